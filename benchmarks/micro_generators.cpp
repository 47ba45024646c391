// SPDX-License-Identifier: BSL-1.0
//
// Generators and intervals, each next to what one would write by hand for the same job.
#include <leat/reactor/clock.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/generator.hpp>
#include <leat/runtime/interval.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>

namespace {

constexpr std::int64_t items = 1000;

void count_items(benchmark::State& state) {
    state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations()) * items);
}

// ---- Generator ----

leat::Generator<std::int64_t> numbers(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        co_yield std::int64_t{i};
}

void generator_items(benchmark::State& state) {
    for (auto _ : state) {
        std::int64_t sum = 0;
        for (std::int64_t number : numbers(items))
            sum += number;
        benchmark::DoNotOptimize(sum);
    }
    count_items(state);
}
BENCHMARK(generator_items)->Name("generator/leat");

// The smallest coroutine that does it: a promise with a number, resumed by hand.
class Bare {
public:
    struct promise_type {
        Bare get_return_object() { return Bare(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_always final_suspend() const noexcept { return {}; }
        std::suspend_always yield_value(std::int64_t given) noexcept {
            value = given;
            return {};
        }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }

        std::int64_t value = 0;
    };

    explicit Bare(std::coroutine_handle<promise_type> h) noexcept : handle(h) {}
    Bare(const Bare&) = delete;
    ~Bare() { handle.destroy(); }

    std::coroutine_handle<promise_type> handle;
};

Bare bare_numbers(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        co_yield i;
}

void generator_floor(benchmark::State& state) {
    for (auto _ : state) {
        std::int64_t sum = 0;
        Bare source = bare_numbers(items);
        for (source.handle.resume(); !source.handle.done(); source.handle.resume())
            sum += source.handle.promise().value;
        benchmark::DoNotOptimize(sum);
    }
    count_items(state);
}
BENCHMARK(generator_floor)->Name("generator/floor");

// ---- AsyncGenerator ----

leat::AsyncGenerator<std::int64_t> async_numbers(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        co_yield std::int64_t{i};
}

leat::Task<std::int64_t> sum_of_generator() {
    std::int64_t sum = 0;
    leat::AsyncGenerator<std::int64_t> source = async_numbers(items);
    for (;;) {
        std::optional<std::int64_t> number = co_await source.next();
        if (!number) co_return sum;
        sum += *number;
    }
}

// By hand: an object with a state, asked by a task for its next item.
class Counter {
public:
    explicit Counter(std::int64_t count) noexcept : count_(count) {}
    leat::Task<std::optional<std::int64_t>> next() {
        if (next_ == count_) co_return std::nullopt;
        co_return next_++;
    }

private:
    std::int64_t next_ = 0;
    std::int64_t count_;
};

leat::Task<std::int64_t> sum_of_object() {
    std::int64_t sum = 0;
    Counter source(items);
    for (;;) {
        std::optional<std::int64_t> number = co_await source.next();
        if (!number) co_return sum;
        sum += *number;
    }
}

// The floor: two coroutines that resume each other by hand, without an executor.
void async_generator_floor(benchmark::State& state) {
    for (auto _ : state) {
        std::int64_t sum = 0;
        Bare source = bare_numbers(items);
        for (;;) {
            source.handle.resume();
            if (source.handle.done()) break;
            std::optional<std::int64_t> number(source.handle.promise().value);
            benchmark::DoNotOptimize(number);
            sum += *number;
        }
        benchmark::DoNotOptimize(sum);
    }
    count_items(state);
}
BENCHMARK(async_generator_floor)->Name("async_generator/floor");

void sum_by(benchmark::State& state, leat::Task<std::int64_t> (*sum)()) {
    leat::Executor executor;
    for (auto _ : state) {
        std::int64_t result = executor.run_until(sum());
        benchmark::DoNotOptimize(result);
    }
    count_items(state);
}
BENCHMARK_CAPTURE(sum_by, leat, sum_of_generator)->Name("async_generator/leat");
BENCHMARK_CAPTURE(sum_by, task_an_item, sum_of_object)->Name("async_generator/task_an_item");

// ---- Interval ----

leat::Task<> tick(std::int64_t count) {
    leat::Interval interval(std::chrono::milliseconds(1));
    for (std::int64_t i = 0; i < count; ++i)
        co_await interval.tick();
}

// By hand: sleeps until instants that are added up.
leat::Task<> sleep_until_each(leat::TimePoint start, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        start += std::chrono::milliseconds(1);
        co_await leat::sleep_until(start);
    }
}

void interval_ticks(benchmark::State& state) {
    leat::VirtualClock clock;
    leat::ExecutorOptions options;
    options.clock = &clock;
    leat::Executor executor(options);
    for (auto _ : state)
        executor.run_until(tick(items));
    count_items(state);
}
BENCHMARK(interval_ticks)->Name("interval/leat");

void interval_floor(benchmark::State& state) {
    leat::VirtualClock clock;
    leat::ExecutorOptions options;
    options.clock = &clock;
    leat::Executor executor(options);
    for (auto _ : state)
        executor.run_until(sleep_until_each(clock.now(), items));
    count_items(state);
}
BENCHMARK(interval_floor)->Name("interval/floor");

}  // namespace
