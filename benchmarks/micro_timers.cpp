// SPDX-License-Identifier: BSL-1.0
//
// What timers cost among a million others, beside a bare wheel: the hierarchical one of the textbook, intrusive, with
// the same ticks and as many slots, which finds the next occupied slot in a word of bits. It rounds deadlines up to a
// tick and fires in no particular order within one.
#include <benchmark/benchmark.h>

#include <leat/runtime/timer_wheel.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t others = 1'000'000;
constexpr leat::TimePoint start = leat::TimePoint(1h);
constexpr leat::Duration span = 10s;  // deadlines lie within it
constexpr leat::Duration step = 1ms;  // how far time goes between two looks, as in a loop under load

/// So many instants in [start + step, start + span), in no order.
std::vector<leat::TimePoint> random_deadlines(std::size_t count) {
    std::minstd_rand random(1);
    std::uniform_int_distribution<std::int64_t> after(leat::Duration(step).count(),
                                                      leat::Duration(span).count() - 1);
    std::vector<leat::TimePoint> deadlines(count);
    for (leat::TimePoint& deadline : deadlines) {
        deadline = start + leat::Duration(after(random));
    }
    return deadlines;
}

// ---- The floor ----

struct BareLink {
    BareLink* next = nullptr;
    BareLink* previous = nullptr;
};

struct BareTimer : BareLink {
    std::uint64_t tick = 0;

    virtual void expired() noexcept = 0;
    void disarm() noexcept {
        if (next == nullptr) return;
        next->previous = previous;
        previous->next = next;
        next = nullptr;
    }

protected:
    ~BareTimer() = default;
};

class BareWheel {
public:
    explicit BareWheel(leat::TimePoint now) noexcept : now_(floor_tick(now)) {
        for (auto& level : slots_) {
            for (BareLink& slot : level) {
                slot.next = slot.previous = &slot;
            }
        }
    }

    void arm(BareTimer& timer, leat::TimePoint deadline) noexcept {
        timer.disarm();
        timer.tick = floor_tick(deadline) + 1;  // rounded up: never early
        if (timer.tick <= now_) timer.tick = now_ + 1;
        file(timer);
    }

    /// Fires all whose tick has come.
    void expire(leat::TimePoint now) noexcept {
        const std::uint64_t target = floor_tick(now);
        while (now_ < target) {
            advance_to_next_slot(target);
        }
    }

private:
    static constexpr unsigned level_count = 8;
    static constexpr unsigned slot_bits = 6;
    static constexpr unsigned slot_count = 1u << slot_bits;
    static constexpr unsigned tick_bits = 16;

    static std::uint64_t floor_tick(leat::TimePoint instant) noexcept {
        return static_cast<std::uint64_t>(instant.time_since_epoch().count()) >> tick_bits;
    }

    // By the highest digit in which the tick differs from the current one.
    void file(BareTimer& timer) noexcept {
        const auto level = static_cast<unsigned>(std::bit_width(timer.tick ^ now_) - 1) / slot_bits;
        const auto slot = static_cast<unsigned>(timer.tick >> (level * slot_bits)) % slot_count;
        BareLink& head = slots_[level][slot];
        timer.next = &head;
        timer.previous = head.previous;
        head.previous->next = &timer;
        head.previous = &timer;
        occupied_[level] |= std::uint64_t(1) << slot;
    }

    // The lowest level with an occupied slot ahead has the earliest; its timers fire or move down.
    void advance_to_next_slot(std::uint64_t target) noexcept {
        for (unsigned level = 0; level < level_count; ++level) {
            const unsigned shift = level * slot_bits;
            const auto current = static_cast<unsigned>(now_ >> shift) % slot_count;
            const std::uint64_t ahead = occupied_[level] & ~((std::uint64_t(2) << current) - 1);
            if (ahead == 0) continue;
            const auto slot = static_cast<unsigned>(std::countr_zero(ahead));
            const std::uint64_t begin = ((now_ >> shift >> slot_bits << slot_bits) + slot) << shift;
            if (begin > target) break;
            now_ = begin;
            occupied_[level] &= ~(std::uint64_t(1) << slot);
            empty(slots_[level][slot]);
            return;
        }
        now_ = target;
    }

    void empty(BareLink& head) noexcept {
        // Moved to a list of its own, since what fires may arm again.
        BareLink list;
        if (head.next == &head) return;
        list.next = head.next;
        list.previous = head.previous;
        list.next->previous = list.previous->next = &list;
        head.next = head.previous = &head;
        while (list.next != &list) {
            auto& timer = static_cast<BareTimer&>(*list.next);
            timer.disarm();
            if (timer.tick <= now_) {
                timer.expired();
            } else {
                file(timer);
            }
        }
    }

    std::uint64_t now_;
    std::array<std::uint64_t, level_count> occupied_{};
    std::array<std::array<BareLink, slot_count>, level_count> slots_;
};

// ---- Both sides under one name ----

struct Leat {
    using Wheel = leat::TimerWheel;
    using Timer = leat::Timer;
};

struct Floor {
    using Wheel = BareWheel;
    using Timer = BareTimer;
};

template <class Side>
struct CountingTimer final : Side::Timer {
    std::uint64_t* fired = nullptr;

    void expired() noexcept override { ++*fired; }
};

/// Arms one more timer and cancels it, as a read with a timeout does whose data came.
template <class Side>
void timer_cancel(benchmark::State& state) {
    std::uint64_t fired = 0;
    auto wheel = std::make_unique<typename Side::Wheel>(start);
    std::vector<CountingTimer<Side>> timers(others);
    const std::vector<leat::TimePoint> deadlines = random_deadlines(others);
    for (std::size_t i = 0; i < others; ++i) {
        timers[i].fired = &fired;
        wheel->arm(timers[i], deadlines[i]);
    }
    CountingTimer<Side> timer;
    timer.fired = &fired;
    std::size_t next = 0;
    for (auto _ : state) {
        wheel->arm(timer, deadlines[next]);
        benchmark::ClobberMemory();
        timer.disarm();
        next = (next + 1) % 4096;
    }
    for (CountingTimer<Side>& each : timers) {
        each.disarm();
    }
    if (fired != 0) state.SkipWithError("a timer fired early");
}
BENCHMARK_TEMPLATE(timer_cancel, Leat)->Name("timer_cancel/leat");
BENCHMARK_TEMPLATE(timer_cancel, Floor)->Name("timer_cancel/floor");

/// Arms a million and lets time pass until all have fired.
template <class Side>
void timer_fire(benchmark::State& state) {
    std::uint64_t fired = 0;
    std::vector<CountingTimer<Side>> timers(others);
    const std::vector<leat::TimePoint> deadlines = random_deadlines(others);
    auto wheel = std::make_unique<typename Side::Wheel>(start);
    leat::TimePoint now = start;
    std::uint64_t expected = 0;
    for (CountingTimer<Side>& timer : timers) {
        timer.fired = &fired;
    }
    for (auto _ : state) {
        const leat::TimePoint begin = now;
        for (std::size_t i = 0; i < others; ++i) {
            wheel->arm(timers[i], begin + (deadlines[i] - start));
        }
        while (now < begin + span + step) {
            now += step;
            wheel->expire(now);
        }
        expected += others;
        if (fired != expected) state.SkipWithError("a timer was lost");
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(others));
}
BENCHMARK_TEMPLATE(timer_fire, Leat)->Name("timer_fire/leat")->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(timer_fire, Floor)->Name("timer_fire/floor")->Unit(benchmark::kMillisecond);

}  // namespace
