// SPDX-License-Identifier: BSL-1.0
//
// What composing tasks costs, each beside what a person would write by hand for that one job (bare_tasks.hpp).
#include "bare_tasks.hpp"
#include "no_looks_at_io.hpp"

#include <benchmark/benchmark.h>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <tuple>

namespace {

constexpr std::int64_t a_batch = 1000;
constexpr std::int64_t a_million = 1'000'000;

[[gnu::noinline]] leat::Task<std::uint64_t> next_of(std::uint64_t number) { co_return number + 1; }
[[gnu::noinline]] BareTask bare_next_of(std::uint64_t number) { co_return number + 1; }

/// Runs `repeat(state)`, a task.
template <class Repeat>
void run_leat(benchmark::State& state, Repeat repeat) {
    leat::Executor executor;
    executor.run_until(repeat(state));
    state.SetItemsProcessed(state.iterations());
}

/// The same of a floor that has no loop.
template <class Repeat>
void run_bare(benchmark::State& state, Repeat repeat) {
    BareTask task = repeat(state);
    task.start();
    benchmark::DoNotOptimize(task.await_resume());
    state.SetItemsProcessed(state.iterations());
}

/// The same of one that has.
template <class Repeat>
void run_bare_loop(benchmark::State& state, Repeat repeat) {
    BareQueue queue;
    queue.push(repeat(state, queue).promise());
    queue.run();
    state.SetItemsProcessed(state.iterations());
}

// ---- A group of a million ----

leat::Task<> add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

leat::Task<> spawn_a_million(benchmark::State& state) {
    std::uint64_t sum = 0;
    auto body = [&sum](leat::TaskGroup& group) -> leat::Task<> {
        for (std::int64_t i = 0; i < a_million; ++i)
            group.spawn(add, &sum, static_cast<std::uint64_t>(i));
        co_return;
    };
    while (state.KeepRunningBatch(a_million))
        co_await leat::task_group(body);
    benchmark::DoNotOptimize(sum);
}

void group(benchmark::State& state) { run_leat(state, spawn_a_million); }
BENCHMARK(group)->Name("group_of_a_million/leat");

[[gnu::noinline]] BareChild bare_add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

BareChild bare_spawn_a_million(benchmark::State& state, BareQueue& queue) {
    std::uint64_t sum = 0;
    while (state.KeepRunningBatch(a_million)) {
        BareGroup group(queue);
        for (std::int64_t i = 0; i < a_million; ++i)
            group.spawn(bare_add(&sum, static_cast<std::uint64_t>(i)));
        co_await group;
    }
    benchmark::DoNotOptimize(sum);
}

void bare_group(benchmark::State& state) { run_bare_loop(state, bare_spawn_a_million); }
BENCHMARK(bare_group)->Name("group_of_a_million/floor");

// ---- All of two ----

leat::Task<> await_both(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(a_batch)) {
        for (std::int64_t i = 0; i < a_batch; ++i) {
            std::tuple<std::uint64_t, std::uint64_t> both =
                co_await leat::when_all(next_of(number), next_of(number));
            number = std::get<0>(both) + std::get<1>(both);
        }
    }
    benchmark::DoNotOptimize(number);
}

void both(benchmark::State& state) { run_leat(state, await_both); }
BENCHMARK(both)->Name("when_all/leat");

[[gnu::noinline]] BareChild bare_store_next(std::uint64_t* place, std::uint64_t number) {
    *place = number + 1;
    co_return;
}

BareChild bare_await_both(benchmark::State& state, BareQueue& queue) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(a_batch)) {
        for (std::int64_t i = 0; i < a_batch; ++i) {
            std::uint64_t left = 0;
            std::uint64_t right = 0;
            BareGroup group(queue);
            group.spawn(bare_store_next(&left, number));
            group.spawn(bare_store_next(&right, number));
            co_await group;
            number = left + right;
        }
    }
    benchmark::DoNotOptimize(number);
}

void bare_both(benchmark::State& state) { run_bare_loop(state, bare_await_both); }
BENCHMARK(bare_both)->Name("when_all/floor");

// ---- Any of two: one that ends, and a timer ----

leat::Task<> await_any(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(a_batch)) {
        for (std::int64_t i = 0; i < a_batch; ++i) {
            std::tuple<bool, std::optional<std::uint64_t>> any =
                co_await leat::when_any(leat::sleep_for(std::chrono::hours(1)), next_of(number));
            number = *std::get<1>(any);
        }
    }
    benchmark::DoNotOptimize(number);
}

void any(benchmark::State& state) { run_leat(state, await_any); }
BENCHMARK(any)->Name("when_any/leat");

/// A timer that never comes: a place in a list, which it leaves when its frame goes.
class BareTimer {
public:
    explicit BareTimer(BareTimer*& list) noexcept : list_(list) {}
    BareTimer(const BareTimer&) = delete;
    ~BareTimer() {
        if (handle_) list_ = next_;
    }

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) noexcept {
        deadline_ = std::chrono::steady_clock::now() + std::chrono::hours(1);
        handle_ = handle;
        next_ = list_;
        list_ = this;
    }
    void await_resume() const noexcept {}

private:
    BareTimer*& list_;
    BareTimer* next_ = nullptr;
    std::coroutine_handle<> handle_;
    std::chrono::steady_clock::time_point deadline_;
};

[[gnu::noinline]] BareTask bare_sleep(BareTimer*& timers) {
    BareTimer timer(timers);
    co_await timer;
    co_return 0;
}

BareTask bare_await_any(benchmark::State& state) {
    std::uint64_t number = 0;
    BareTimer* timers = nullptr;
    while (state.KeepRunningBatch(a_batch)) {
        for (std::int64_t i = 0; i < a_batch; ++i) {
            BareTask loser = bare_sleep(timers);
            loser.start();
            number = co_await bare_next_of(number);
        }
    }
    co_return number;
}

void bare_any(benchmark::State& state) { run_bare(state, bare_await_any); }
BENCHMARK(bare_any)->Name("when_any/floor");

// ---- Shielded ----

leat::Task<> await_shielded(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(a_batch))
        for (std::int64_t i = 0; i < a_batch; ++i)
            number = co_await leat::shield(next_of(number));
    benchmark::DoNotOptimize(number);
}

void shielded(benchmark::State& state) { run_leat(state, await_shielded); }
BENCHMARK(shielded)->Name("shield/leat");

BareTask bare_await_shielded(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(a_batch))
        for (std::int64_t i = 0; i < a_batch; ++i)
            number = co_await bare_next_of(number);
    co_return number;
}

void bare_shielded(benchmark::State& state) { run_bare(state, bare_await_shielded); }
BENCHMARK(bare_shielded)->Name("shield/floor");

// ---- With a clean-up ----

leat::Task<> await_with_cleanup(benchmark::State& state) {
    std::uint64_t number = 0;
    std::uint64_t cleanups = 0;
    auto clean_up = [&cleanups]() -> leat::Task<> {
        ++cleanups;
        co_return;
    };
    while (state.KeepRunningBatch(a_batch))
        for (std::int64_t i = 0; i < a_batch; ++i)
            number = co_await leat::finally(next_of(number), clean_up);
    benchmark::DoNotOptimize(number);
    benchmark::DoNotOptimize(cleanups);
}

void with_cleanup(benchmark::State& state) { run_leat(state, await_with_cleanup); }
BENCHMARK(with_cleanup)->Name("finally/leat");

BareTask bare_await_with_cleanup(benchmark::State& state) {
    std::uint64_t number = 0;
    std::uint64_t cleanups = 0;
    while (state.KeepRunningBatch(a_batch)) {
        for (std::int64_t i = 0; i < a_batch; ++i) {
            std::exception_ptr failure;
            try {
                number = co_await bare_next_of(number);
            } catch (...) {
                failure = std::current_exception();
            }
            cleanups = co_await bare_next_of(cleanups);
            if (failure) std::rethrow_exception(failure);
        }
    }
    benchmark::DoNotOptimize(cleanups);
    co_return number;
}

void bare_with_cleanup(benchmark::State& state) { run_bare(state, bare_await_with_cleanup); }
BENCHMARK(bare_with_cleanup)->Name("finally/floor");

}  // namespace
