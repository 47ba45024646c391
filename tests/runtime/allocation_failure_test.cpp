// SPDX-License-Identifier: BSL-1.0
// Each allocation of a scenario fails once: the first, the second, and so on, until none is left to fail. The program
// gets std::bad_alloc where it can be caught, and nothing is leaked.
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/stream_pair.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <coroutine>
#include <csignal>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace allocation_failure_test {

namespace {

ExecutorOptions options_on(const Clock& clock) {
    ExecutorOptions options;
    options.clock = &clock;
    options.diagnostic = [](std::string_view) {};
    return options;
}

Task<int> give(int value) {
    Counted local;
    co_await sleep_for(1s);
    co_return value;
}

// Calls `action` with its 1st, 2nd, … allocation failing, until it makes fewer. How often one has failed.
template <class Action>
std::size_t fail_each_allocation_of(Action action) {
    // What is allocated once and kept, such as room for what others post, is so now.
    for (int i = 0; i < 3; ++i)
        action();
    for (std::size_t which = 1; which < 10'000; ++which) {
        detail::FramePool::trim();
        std::size_t before = outstanding_allocations();
        int counted = Counted::live();
        bool has_struck = false;
        {
            FailingAllocation failing(which);
            try {
                action();
            } catch (const std::bad_alloc&) {
            }
            has_struck = FailingAllocation::has_struck();
        }
        detail::FramePool::trim();
        std::size_t after = outstanding_allocations();
        int live = Counted::live() - counted;
        BOOST_TEST_INFO("allocation " << which);
        BOOST_TEST(after == before);
        BOOST_TEST(live == 0);
        if (!has_struck) return which - 1;
    }
    BOOST_TEST(false, "the scenario never came to an end of its allocations");
    return 0;
}

// The same in a task of an executor that is there already, and that must still work afterwards.
template <class Body>
std::size_t fail_each_allocation_in_task(Body body) {
    VirtualClock clock;
    Executor executor(options_on(clock));
    std::size_t failed = fail_each_allocation_of([&] { executor.run_until(body()); });
    BOOST_TEST(executor.run_until(give(7)) == 7);
    return failed;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(allocation_failure)

BOOST_AUTO_TEST_CASE(executor_that_cannot_be_made_leaves_nothing) {
    VirtualClock clock;
    std::size_t failed = fail_each_allocation_of([&] { Executor executor(options_on(clock)); });

    BOOST_TEST(failed > 0u);
}

BOOST_AUTO_TEST_CASE(frame_that_cannot_be_made_is_an_exception_of_the_call) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        co_await give(1);
        co_await timeout(2s, give(1));
    });

    BOOST_TEST(failed >= 2u);
}

BOOST_AUTO_TEST_CASE(started_task_that_cannot_be_made_is_an_exception_of_start) {
    VirtualClock clock;
    Executor executor(options_on(clock));
    std::size_t failed = fail_each_allocation_of([&] {
        Running<int> running = executor.start(give(1));
        executor.run();
        running.get();
    });

    BOOST_TEST(failed >= 2u);
}

BOOST_AUTO_TEST_CASE(child_that_cannot_be_spawned_is_a_failure_of_the_spawner) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        Counted local;
        auto child = [counted = Counted()](Counted) -> Task<> {
            co_await sleep_for(1s);
            co_await give(1);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 3; ++i)
                group.spawn(child, Counted());
            co_await sleep_for(1s);
        };
        co_await task_group(body);
    });

    BOOST_TEST(failed >= 8u);
}

BOOST_AUTO_TEST_CASE(child_that_cannot_be_spawned_may_be_left_out) {
    int left_out = 0;
    std::size_t failed = fail_each_allocation_in_task([&]() -> Task<> {
        auto child = [](Counted) -> Task<> { co_await sleep_for(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 3; ++i) {
                try {
                    group.spawn(child, Counted());
                } catch (const std::bad_alloc&) {
                    ++left_out;
                }
            }
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(failed > 0u);
    BOOST_TEST(left_out > 0);
}

BOOST_AUTO_TEST_CASE(scope_whose_body_cannot_be_made_gives_the_exception) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        auto body = [counted = Counted()](CancelScope& scope) -> Task<> {
            co_await sleep_for(1s);
            scope.cancel();
            co_await give(1);
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(failed >= 2u);
}

BOOST_AUTO_TEST_CASE(post_that_cannot_be_kept_throws_and_is_not_called) {
    int called = 0;
    VirtualClock clock;
    std::size_t failed = fail_each_allocation_of([&] {
        Executor executor(options_on(clock));
        std::array<char, 100> large{};
        int expected = called;
        try {
            executor.remote().post([&called, counted = Counted()] { ++called; });
            ++expected;
            executor.remote().post([&called, counted = Counted(), large] { called += 1 + large[0]; });
            ++expected;
        } catch (const std::bad_alloc&) {
        }
        executor.turn();
        if (called != expected) called = -1'000'000;
    });

    BOOST_TEST(failed > 0u);
    BOOST_TEST(called > 0);
}

BOOST_AUTO_TEST_CASE(post_that_finds_no_memory_leaves_the_others_in_their_order) {
    constexpr int posts = 200;
    VirtualClock clock;
    bool held = true;
    std::size_t failed = fail_each_allocation_of([&] {
        Executor executor(options_on(clock));
        Remote remote = executor.remote();
        std::vector<int> accepted;
        std::vector<int> called;
        accepted.reserve(posts);
        called.reserve(posts);
        for (int i = 0; i < posts; ++i) {
            try {
                remote.post([&called, i] { called.push_back(i); });
                accepted.push_back(i);
            } catch (const std::bad_alloc&) {
            }
        }
        while (executor.turn()) {
        }
        held = held && called == accepted;
    });

    BOOST_TEST(failed > 0u);
    BOOST_TEST(held);
}

BOOST_AUTO_TEST_CASE(callback_that_cannot_begin_throws) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        auto start = [](Callback<Counted> done) { done(Counted(1)); };
        co_await callback<Counted>(start);
    });

    BOOST_TEST(failed >= 2u);
}

BOOST_AUTO_TEST_CASE(operation_that_cannot_begin_ends_with_an_error) {
    VirtualClock clock;
    std::size_t failed = fail_each_allocation_of([&] {
        StreamPair pair;
        Executor executor(options_on(clock));
        auto task = [&]() -> Task<> {
            std::array<std::byte, 16> buffer;
            send_directly(pair.right, "x");
            Result<std::size_t> received = co_await as_result(read_some(pair.left, buffer));
            if (!received && received.error() != std::errc::not_enough_memory)
                throw std::system_error(received.error());
        };
        executor.run_until(task());
    });

    BOOST_TEST(failed > 0u);
}

BOOST_AUTO_TEST_CASE(signals_that_cannot_be_watched_leave_the_handlers_alone) {
    const auto before = std::signal(SIGINT, SIG_DFL);
    std::signal(SIGINT, before);
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        Signals signals{SIGINT};
        std::raise(SIGINT);
        co_await signals.next();
    });
    const auto after = std::signal(SIGINT, before);

    BOOST_TEST(failed > 0u);
    BOOST_TEST((after == before));
}

BOOST_AUTO_TEST_CASE(notice_that_cannot_be_made_is_dropped) {
    VirtualClock clock;
    std::size_t failed = fail_each_allocation_of([&] {
        Executor executor(options_on(clock));
        executor.notice("a notice that is longer than what a string keeps in place");
    });

    BOOST_TEST(failed > 0u);
}

BOOST_AUTO_TEST_CASE(failing_group_survives_that_its_notice_cannot_be_made) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        auto fails = []() -> Task<> {
            throw std::runtime_error("it failed");
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(fails);
            group.spawn(fails);
            co_return;
        };
        try {
            co_await task_group(body);
        } catch (const std::runtime_error&) {
        }
    });

    BOOST_TEST(failed > 0u);
}

BOOST_AUTO_TEST_CASE(combinator_that_cannot_begin_throws_and_begins_nothing) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        Counted local;
        std::tuple<std::optional<int>, bool> first = co_await when_any(give(1), sleep_for(2s));
        BOOST_TEST((std::get<0>(first) == 1));
        std::tuple<int, int> both = co_await when_all(give(2), give(3));
        BOOST_TEST((both == std::tuple<int, int>(2, 3)));
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 3; ++i)
            tasks.push_back(give(i));
        std::vector<int> values = co_await when_all(std::move(tasks));
        std::vector<Task<int>> others;
        for (int i = 0; i < 3; ++i)
            others.push_back(give(i));
        std::vector<std::optional<int>> any = co_await when_any(std::move(others));
        co_await shield(sleep_for(1s));
    });

    BOOST_TEST(failed >= 15u);
}

BOOST_AUTO_TEST_CASE(failures_that_cannot_be_noted_are_thrown_all_the_same) {
    int wrong = 0;
    std::size_t failed = fail_each_allocation_in_task([&]() -> Task<> {
        auto fails = [](const char* text, Counted) -> Task<> {
            co_await sleep_for(1s);
            throw std::runtime_error(text);
        };
        auto attempt = [&]() -> Task<> {
            co_await when_all(fails("first", Counted()), fails("second", Counted()));
        };
        RetryOptions options;
        options.attempts = 2;
        options.may_pass = [](const std::exception_ptr&) { return true; };
        try {
            co_await retry(attempt, options);
            ++wrong;
        } catch (const std::runtime_error& error) {
            wrong += std::string_view(error.what()) != "first";
            (void)describe_failure(std::current_exception());
            (void)async_trace(std::current_exception());
        }
    });

    BOOST_TEST(failed > 0u);
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(clean_up_is_begun_or_its_absence_is_told) {
    int absent = 0;
    std::size_t failed = fail_each_allocation_in_task([&]() -> Task<> {
        int begun = 0;
        int cleaned = 0;
        auto body = [&]() -> Task<int> {
            ++begun;
            co_await sleep_for(1s);
            co_return 1;
        };
        auto cleanup = [&, counted = Counted()]() -> Task<> {
            ++cleaned;
            co_await sleep_for(1s);
        };
        bool is_told = false;
        try {
            co_await finally(body(), cleanup);
        } catch (const std::bad_alloc&) {
            is_told = true;
        }
        absent += begun != cleaned && !is_told;
        // The same where the body is cancelled.
        begun = cleaned = 0;
        is_told = false;
        try {
            co_await try_timeout(500ms, finally(body(), cleanup));
        } catch (const std::bad_alloc&) {
            is_told = true;
        }
        absent += begun != cleaned && !is_told;
    });

    BOOST_TEST(failed >= 4u);
    BOOST_TEST(absent == 0);
}

BOOST_AUTO_TEST_CASE(stop_token_that_cannot_be_listened_to_is_an_exception_of_the_await) {
    std::size_t failed = fail_each_allocation_in_task([]() -> Task<> {
        Counted local;
        auto yields = [](Counted) -> Task<int> {
            for (int i = 0; i < 3; ++i)
                co_await yield();
            co_return 1;
        };
        std::stop_source source;
        std::optional<int> value = co_await cancel_on(source.get_token(), yields(Counted()));
        if (!value) throw std::logic_error("it was stopped");
    });

    BOOST_TEST(failed >= 3u);
}

BOOST_AUTO_TEST_CASE(cancellation_tells_a_stop_token_without_memory) {
    int unheard = 0;
    std::size_t failed = fail_each_allocation_in_task([&]() -> Task<> {
        std::stop_token kept;
        auto body = [&](std::stop_token token) -> Task<> {
            kept = std::move(token);
            co_await sleep_for(1h);
        };
        // The frames are there; what follows cannot fail.
        bool ended = co_await try_timeout(1s, with_stop_token(body));
        unheard += ended || !kept.stop_requested();
    });

    BOOST_TEST(failed > 0u);
    BOOST_TEST(unheard == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace allocation_failure_test
