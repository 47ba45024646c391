// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace task_test {

namespace {

constexpr int a_million = 1'000'000;
constexpr int deep = 100'000;

Task<int> ready(int value) { co_return value; }

Task<> set(bool& flag) {
    flag = true;
    co_return;
}

Task<> hold(Counted) { co_return; }

Task<int> fail() {
    throw std::runtime_error("it failed");
    co_return 0;
}

// The lowest and highest place that the stack has reached.
struct StackRange {
    std::uintptr_t lowest = UINTPTR_MAX;
    std::uintptr_t highest = 0;

    [[gnu::noinline]] void note() noexcept {
        auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
        lowest = std::min(lowest, here);
        highest = std::max(highest, here);
    }
    std::uintptr_t size() const noexcept { return highest - lowest; }
};

// What a handful of calls may need, in the greediest build.
constexpr std::uintptr_t flat = 16 * 1024;

Task<int> noting(StackRange& stack) {
    stack.note();
    co_return 1;
}

Task<int> nested(int depth, StackRange& stack) {
    stack.note();
    int below = 0;
    if (depth > 1) below = co_await nested(depth - 1, stack);
    stack.note();
    co_return below + 1;
}

Task<int> nested_then_fails(int depth) {
    if (depth == 0) throw std::runtime_error("at the bottom");
    int below = co_await nested_then_fails(depth - 1);
    co_return below;
}

// Destroyed innermost first, or `order` is -1.
struct DepthGuard {
    DepthGuard(int d, int& o) noexcept : depth(d), order(o) {}
    DepthGuard(const DepthGuard&) = delete;
    ~DepthGuard() { order = order == depth - 1 ? depth : -1; }

    int depth;
    int& order;
};

Task<> nested_then_waits(int depth, int& order, Gate& gate) {
    DepthGuard guard(depth, order);
    if (depth > 1)
        co_await nested_then_waits(depth - 1, order, gate);
    else
        co_await gate.pass();
}

Task<> opened_by_us(Gate& gate) {
    co_await yield();
    gate.open();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(task)

BOOST_AUTO_TEST_CASE(task_does_nothing_until_it_is_awaited) {
    run([]() -> Task<> {
        bool has_run = false;

        Task<> task = set(has_run);

        BOOST_TEST(!has_run);
        co_await std::move(task);
        BOOST_TEST(has_run);
    }());
}

BOOST_AUTO_TEST_CASE(task_that_is_never_awaited_runs_nothing_and_destroys_its_parameters) {
    bool has_run = false;
    {
        Task<> task = set(has_run);
        Task<> holding = hold(Counted());
        BOOST_TEST(Counted::live() == 1);
    }

    BOOST_TEST(!has_run);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(task_can_be_moved_but_not_copied) {
    static_assert(std::is_nothrow_move_constructible_v<Task<int>>);
    static_assert(std::is_nothrow_move_assignable_v<Task<int>>);
    static_assert(!std::is_copy_constructible_v<Task<int>>);

    Task<> first = hold(Counted());
    Task<> second = std::move(first);
    second = hold(Counted());

    BOOST_TEST(Counted::live() == 1);
    run(std::move(second));
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(result_may_be_a_type_that_only_moves) {
    auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };

    std::unique_ptr<int> result = run(make());

    BOOST_TEST(*result == 7);
}

BOOST_AUTO_TEST_CASE(result_may_have_no_default_constructor_and_is_destroyed_once) {
    int misused = Counted::misused();
    run([]() -> Task<> {
        auto make = []() -> Task<Counted> { co_return Counted(5); };
        {
            Counted result = co_await make();
            BOOST_TEST(result.value() == 5);
            BOOST_TEST(Counted::live() == 1);
        }
        co_await make();  // The result is not looked at.
        BOOST_TEST(Counted::live() == 0);
    }());

    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST(Counted::misused() == misused);
}

BOOST_AUTO_TEST_CASE(reference_result_is_the_object_itself) {
    int object = 1;
    auto refer = [](int& to) -> Task<int&> { co_return to; };
    auto refer_const = [](const int& to) -> Task<const int&> { co_return to; };

    run([&]() -> Task<> {
        int& result = co_await refer(object);
        const int& constant = co_await refer_const(object);

        BOOST_TEST(&result == &object);
        BOOST_TEST(&constant == &object);
    }());

    BOOST_TEST(&run(refer(object)) == &object);
}

BOOST_AUTO_TEST_CASE(result_is_converted_from_what_is_returned) {
    auto text = []() -> Task<std::string> { co_return "seven"; };
    auto maybe = []() -> Task<std::optional<int>> { co_return std::nullopt; };

    BOOST_TEST(run(text()) == "seven");
    BOOST_TEST(!run(maybe()).has_value());
}

BOOST_AUTO_TEST_CASE(exception_comes_out_of_the_await) {
    run([]() -> Task<> {
        std::string caught;
        try {
            co_await fail();
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }

        BOOST_TEST(caught == "it failed");
    }());
}

BOOST_AUTO_TEST_CASE(exception_of_a_throwing_result_constructor_comes_out_of_the_await) {
    struct Thrower {
        explicit Thrower(int) { throw std::runtime_error("no result"); }
        Thrower(Thrower&&) = default;
    };
    auto make = []() -> Task<Thrower> { co_return 1; };

    BOOST_CHECK_THROW(run(make()), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(locals_are_destroyed_before_the_awaiting_task_goes_on) {
    Log log;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            Guard guard(log, "child");
            co_await yield();
        };
        co_await child();
        log.note("parent");
    }());

    BOOST_TEST(log.text() == "child parent");
}

BOOST_AUTO_TEST_CASE(parameters_live_as_long_as_the_task) {
    run([]() -> Task<> {
        auto child = [](Counted counted) -> Task<int> {
            co_await yield();
            co_return counted.value();
        };
        int value = co_await child(Counted(3));

        BOOST_TEST(value == 3);
        BOOST_TEST(Counted::live() == 0);
    }());
}

BOOST_FIXTURE_TEST_CASE(environment_is_inherited_by_awaited_tasks, VirtualTime) {
    run([&]() -> Task<> {
        auto child = []() -> Task<Environment*> {
            Environment& here = co_await Here();
            co_return &here;
        };
        Environment& ours = co_await Here();
        Environment* inherited = co_await child();

        BOOST_TEST(inherited == &ours);
        BOOST_TEST(&inherited->executor() == &executor);
    });
}

BOOST_AUTO_TEST_CASE(a_million_synchronous_completions_do_not_grow_the_stack) {
    StackRange stack;
    run([&]() -> Task<> {
        int sum = 0;
        for (int i = 0; i < a_million; ++i) {
            int value = co_await noting(stack);
            sum += value;
        }
        BOOST_TEST(sum == a_million);
    }());

    BOOST_TEST(stack.size() < flat);
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_nested_tasks_complete_on_a_flat_stack) {
    StackRange stack;

    int depth = run(nested(deep, stack));

    BOOST_TEST(depth == deep);
    BOOST_TEST(stack.size() < flat);
}

BOOST_AUTO_TEST_CASE(an_exception_passes_through_ten_thousand_nested_tasks) {
    BOOST_CHECK_THROW(run(nested_then_fails(10'000)), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(a_hundred_thousand_nested_tasks_wait_and_complete, VirtualTime) {
    int order = 0;
    Gate gate;
    Running<void> nested = executor.start(nested_then_waits(deep, order, gate));
    Running<void> opener = executor.start(opened_by_us(gate));

    executor.run();

    nested.get();
    BOOST_TEST(order == deep);
}

BOOST_FIXTURE_TEST_CASE(a_hundred_thousand_nested_tasks_are_cancelled_innermost_first, VirtualTime) {
    int order = 0;
    Gate gate;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start([](CancelScope& s) -> Task<> {
                co_await yield();
                co_await yield();
                s.cancel();
            }(scope));
            co_await nested_then_waits(deep, order, gate);
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(order == deep);
    BOOST_TEST(executor.stats().unwound_frames >= static_cast<std::uint64_t>(deep));
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_nested_tasks_are_destroyed_with_their_executor) {
    int order = 0;
    Gate gate;
    {
        VirtualTime time;
        Running<void> running = time.executor.start(nested_then_waits(deep, order, gate));
        while (time.executor.turn()) {
        }
        BOOST_TEST(gate.has_waiter());
    }

    BOOST_TEST(order == deep);
    BOOST_TEST(!gate.has_waiter());
}

BOOST_FIXTURE_TEST_CASE(started_task_that_was_asked_too_early_still_gives_its_result, VirtualTime) {
    Running<int> running = executor.start(ready(1));

    BOOST_CHECK_THROW(running.get(), std::system_error);

    executor.run();
    BOOST_TEST(running.get() == 1);
}

BOOST_AUTO_TEST_CASE(task_knows_where_it_is_defined) {
    // The frame is the combinator's to look at: it releases the task.
    Task<int> task = ready(1);
    auto handle = task.release();

    std::source_location definition = handle.promise().definition();

    BOOST_TEST(std::string(definition.file_name()).ends_with("task_test.cpp"));
    BOOST_TEST(std::string(definition.function_name()).find("ready") != std::string::npos);
    handle.destroy();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace task_test
