// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class TimerWheel;

namespace detail {
struct TimerLink {
    TimerLink* next = nullptr;
    TimerLink* previous = nullptr;
};
}  // namespace detail

/// A timer that lives where it is needed, such as in an awaiter: arming allocates nothing.
///
/// Destroying it disarms it.
class Timer : private detail::TimerLink {
public:
    Timer() noexcept = default;
    // A timer that moves is not armed.
    Timer(Timer&&) noexcept {}
    Timer& operator=(Timer&&) = delete;

    bool is_armed() const noexcept { return next != nullptr; }
    TimePoint deadline() const noexcept { return deadline_; }

    /// False if it was not armed.
    bool disarm() noexcept {
        if (next == nullptr) return false;
        next->previous = previous;
        previous->next = next;
        next = nullptr;
        return true;
    }

    /// Called once the deadline has passed, on the executor's thread; the timer is disarmed by then.
    virtual void expired() noexcept = 0;

protected:
    ~Timer() { disarm(); }

private:
    friend class TimerWheel;
    TimePoint deadline_;
};

/// The executor's timers: a hierarchical wheel of eleven levels with 64 slots each. A tick is a nanosecond.
///
/// After Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987). A timer is filed by the highest digit
/// (to the base 64) in which its deadline differs from the current time, and moves down as time comes nearer. A
/// slot of the lowest level holds timers of one instant: so timers fire by deadline, and among equal deadlines in
/// the order of arming, never early. Those that are armed for the past fire in the order of arming.
///
/// Complexity: arm and disarm O(1) at every distance; each timer moves at most eleven times. No allocation.
class TimerWheel {
public:
    explicit TimerWheel(TimePoint now) noexcept;
    TimerWheel(const TimerWheel&) = delete;
    TimerWheel& operator=(const TimerWheel&) = delete;
    ~TimerWheel();

    /// A timer that is armed already is moved. A deadline in the past fires at the next `expire`;
    /// `TimePoint::max()` never does.
    void arm(Timer& timer, TimePoint deadline) noexcept;

    /// Fires what is due at `now`; how many that were. What an expired timer arms fires at the next call at the earliest.
    std::size_t expire(TimePoint now) noexcept;

    /// When to call `expire` next: the earliest deadline, or an earlier instant at which crowded slots are to be
    /// sorted. Nothing if no timer is armed.
    std::optional<TimePoint> next_deadline() noexcept;

    /// False if certainly no timer is armed.
    bool may_hold_timers() const noexcept { return levels_ != 0 || due_.next != &due_; }

private:
    static constexpr unsigned level_count = 11;
    static constexpr unsigned slot_bits = 6;
    static constexpr unsigned slot_count = 1u << slot_bits;

    struct Position {
        unsigned level;
        unsigned slot;
        std::uint64_t start;
    };

    static std::uint64_t tick_of(TimePoint instant) noexcept;
    std::optional<Position> first_slot() noexcept;
    void file(Timer& timer, std::uint64_t tick) noexcept;
    void open_slot(const Position& position) noexcept;

    std::uint64_t now_tick_;
    // A bit a level, and a bit a slot: set when a timer is filed; when it is disarmed they stay and are cleared by
    // whoever finds the list empty.
    std::uint32_t levels_ = 0;
    std::array<std::uint64_t, level_count> occupied_{};
    // Timers of the current tick and earlier.
    detail::TimerLink due_;
    detail::TimerLink never_;
    std::array<std::array<detail::TimerLink, slot_count>, level_count> slots_;
};

}  // namespace leat

#pragma GCC diagnostic pop
