// SPDX-License-Identifier: BSL-1.0
//
// What tasks cost, each beside what a person would write by hand for that one job: the ratio counts, not the time.
// The floors are made of bare_tasks.hpp.
#include "bare_tasks.hpp"

#include <benchmark/benchmark.h>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

// This stands before the C library's in this program: the executor's bounded look at I/O is counted, and what the
// kernel would take for it is left out, since here is no I/O and the floors never look.
static std::uint64_t looks_at_io = 0;

extern "C" int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) {
    if (timeout == 0) {
        ++looks_at_io;
        return 0;
    }
    return static_cast<int>(syscall(SYS_epoll_wait, epoll, events, capacity, timeout));
}

namespace {

constexpr std::int64_t children_awaited = 1000;  // a batch between two looks at the clock
constexpr std::int64_t children_spawned = 100;
constexpr std::int64_t yielders = 8;
constexpr std::int64_t yields_each = 1000;

// ---- Create, await and finish a child ----

[[gnu::noinline]] leat::Task<std::uint64_t> next_of(std::uint64_t number) { co_return number + 1; }

leat::Task<> await_children(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(children_awaited)) {
        for (std::int64_t i = 0; i < children_awaited; ++i) {
            number = co_await next_of(number);
        }
    }
    benchmark::DoNotOptimize(number);
}

void child_task(benchmark::State& state) {
    leat::Executor executor;
    executor.run_until(await_children(state));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(child_task)->Name("child_task/leat");

[[gnu::noinline]] BareTask bare_next_of(std::uint64_t number) { co_return number + 1; }

BareTask bare_await_children(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(children_awaited)) {
        for (std::int64_t i = 0; i < children_awaited; ++i) {
            number = co_await bare_next_of(number);
        }
    }
    co_return number;
}

void bare_child_task(benchmark::State& state) {
    BareTask task = bare_await_children(state);
    task.start();
    benchmark::DoNotOptimize(task.await_resume());
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_child_task)->Name("child_task/floor");

// ---- Spawn into a group and join ----

leat::Task<> add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

leat::Task<> spawn_children(benchmark::State& state) {
    std::uint64_t sum = 0;
    auto body = [&sum](leat::TaskGroup& group) -> leat::Task<> {
        for (std::int64_t i = 0; i < children_spawned; ++i) {
            group.spawn(add, &sum, static_cast<std::uint64_t>(i));
        }
        co_return;
    };
    while (state.KeepRunningBatch(children_spawned)) {
        co_await leat::task_group(body);
    }
    benchmark::DoNotOptimize(sum);
}

void group_spawn(benchmark::State& state) {
    leat::Executor executor;
    executor.run_until(spawn_children(state));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(group_spawn)->Name("group_spawn/leat");

[[gnu::noinline]] BareChild bare_add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

BareChild bare_spawn_children(benchmark::State& state, BareQueue& queue) {
    std::uint64_t sum = 0;
    while (state.KeepRunningBatch(children_spawned)) {
        BareGroup group(queue);
        for (std::int64_t i = 0; i < children_spawned; ++i) {
            group.spawn(bare_add(&sum, static_cast<std::uint64_t>(i)));
        }
        co_await group;
    }
    benchmark::DoNotOptimize(sum);
}

void bare_group_spawn(benchmark::State& state) {
    BareQueue queue;
    queue.push(bare_spawn_children(state, queue).promise());
    queue.run();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_group_spawn)->Name("group_spawn/floor");

// ---- Yield ----

leat::Task<> yield_repeatedly(std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
        co_await leat::yield();
    }
}

leat::Task<> run_yielders(benchmark::State& state) {
    auto body = [](leat::TaskGroup& group) -> leat::Task<> {
        for (std::int64_t i = 0; i < yielders; ++i) {
            group.spawn(yield_repeatedly, yields_each);
        }
        co_return;
    };
    while (state.KeepRunningBatch(yielders * yields_each)) {
        co_await leat::task_group(body);
    }
}

void yield_in_turn(benchmark::State& state) {
    leat::Executor executor;
    looks_at_io = 0;
    executor.run_until(run_yielders(state));
    state.SetItemsProcessed(state.iterations());
    state.counters["calls_per_item"] =
        static_cast<double>(looks_at_io) / static_cast<double>(state.iterations());
}
BENCHMARK(yield_in_turn)->Name("yield/leat");

class BareYield {
public:
    explicit BareYield(BareQueue& queue) noexcept : queue_(queue) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<BareChild::promise_type> handle) const noexcept {
        queue_.push(handle.promise());
    }
    void await_resume() const noexcept {}

private:
    BareQueue& queue_;
};

BareChild bare_yield_repeatedly(BareQueue& queue, std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
        co_await BareYield(queue);
    }
}

BareChild bare_run_yielders(benchmark::State& state, BareQueue& queue) {
    while (state.KeepRunningBatch(yielders * yields_each)) {
        BareGroup group(queue);
        for (std::int64_t i = 0; i < yielders; ++i) {
            group.spawn(bare_yield_repeatedly(queue, yields_each));
        }
        co_await group;
    }
}

void bare_yield_in_turn(benchmark::State& state) {
    BareQueue queue;
    queue.push(bare_run_yielders(state, queue).promise());
    queue.run();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_yield_in_turn)->Name("yield/floor");

}  // namespace
