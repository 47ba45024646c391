// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/log.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace manual_reset_event_test {

namespace {

Task<> wait_for(ManualResetEvent& event, Log& log, std::string name) {
    co_await event.wait();
    log.note(name);
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(manual_reset_event)

BOOST_FIXTURE_TEST_CASE(everybody_who_waits_goes_on_in_the_order_of_coming, VirtualTime) {
    ManualResetEvent event;
    Log log;
    Running<void> first = executor.start(wait_for(event, log, "a"));
    Running<void> second = executor.start(wait_for(event, log, "b"));
    Running<void> third = executor.start(wait_for(event, log, "c"));
    settle(executor);
    BOOST_TEST(log.text() == "");
    BOOST_TEST(event.has_waiters());

    event.set();
    event.set();
    executor.run();

    BOOST_TEST(log.text() == "a b c");
    BOOST_TEST(event.is_set());
}

BOOST_FIXTURE_TEST_CASE(set_event_is_no_suspension, VirtualTime) {
    ManualResetEvent event(true);
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        co_await event.wait();
        co_await event.wait();

        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(who_comes_after_the_reset_waits, VirtualTime) {
    ManualResetEvent event(true);
    Log log;
    event.reset();
    event.reset();
    Running<void> waiting = executor.start(wait_for(event, log, "a"));
    settle(executor);

    BOOST_TEST(log.text() == "");
    event.set();
    executor.run();
    BOOST_TEST(log.text() == "a");
}

BOOST_FIXTURE_TEST_CASE(who_was_let_go_on_does_so_although_it_is_reset_at_once, VirtualTime) {
    ManualResetEvent event;
    Log log;
    Running<void> waiting = executor.start(wait_for(event, log, "a"));
    settle(executor);

    event.set();
    event.reset();
    executor.run();

    BOOST_TEST(log.text() == "a");
    BOOST_TEST(!event.is_set());
}

BOOST_FIXTURE_TEST_CASE(wait_may_have_a_deadline_and_a_result, VirtualTime) {
    ManualResetEvent event;
    run([&]() -> Task<> {
        Result<void> late = co_await as_result(timeout(1s, event.wait()));
        bool later = co_await try_timeout(1s, event.wait());
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        BOOST_TEST(!later);
        BOOST_TEST(!event.has_waiters());
        event.set();
        bool now = co_await try_timeout(0s, event.wait());
        BOOST_TEST(now);
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_waiter_leaves_the_others_waiting, VirtualTime) {
    ManualResetEvent event;
    Log log;
    Running<void> first = executor.start(wait_for(event, log, "a"));
    Running<void> second = executor.start(wait_for(event, log, "b"));
    Running<void> third = executor.start(wait_for(event, log, "c"));
    settle(executor);

    second.cancel();
    settle(executor);
    event.set();
    executor.run();

    BOOST_TEST(log.text() == "a c");
}

BOOST_FIXTURE_TEST_CASE(wait_in_a_cancelled_scope_ends_even_if_it_is_set, VirtualTime) {
    ManualResetEvent event(true);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await event.wait();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });
}

BOOST_FIXTURE_TEST_CASE(task_that_never_waits_lets_others_run_all_the_same, VirtualTime) {
    ManualResetEvent event(true);
    bool other_ran = false;
    bool ran_in_between = false;
    auto greedy = [&]() -> Task<> {
        for (int i = 0; i < 1'000; ++i) {
            co_await event.wait();
            ran_in_between = ran_in_between || other_ran;
        }
    };
    auto other = [&]() -> Task<> {
        other_ran = true;
        co_return;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(greedy));
            group.spawn(std::ref(other));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(ran_in_between);
}

BOOST_FIXTURE_TEST_CASE(dump_tells_what_a_waiter_waits_for, VirtualTime) {
    ManualResetEvent event;
    Log log;
    Running<void> running = executor.start(wait_for(event, log, "never"));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("an event that is not set") != std::string::npos);
    running.cancel();
    executor.run();
    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    ManualResetEvent event;
    std::size_t allocations = 1;
    auto wait = [&]() -> Task<> {
        for (int i = 0; i < 100; ++i)
            co_await event.wait();
    };
    auto feed = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i) {
            event.set();
            event.reset();
            co_await yield();
        }
        allocations = allocations_made() - before;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(wait));
            group.spawn(std::ref(feed));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(wait_can_be_cancelled_anywhere) {
    std::optional<ManualResetEvent> event;
    SweepOptions options;
    options.before = [&] { event.emplace(); };
    options.after = [&] {
        BOOST_TEST(!event->has_waiters());
        event.reset();
    };
    auto waiter = [&]() -> Task<> {
        co_await event->wait();
        co_await event->wait();
        event->reset();
        co_await event->wait();
    };
    auto setter = [&]() -> Task<> {
        co_await yield();
        event->set();
        for (int i = 0; i < 2; ++i) {
            co_await sleep_for(1s);
            event->set();
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter));
            group.spawn(std::ref(waiter));
            group.spawn(std::ref(setter));
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
}

// Whoever waits when it is set goes on, unless its own deadline took it away before.
BOOST_FIXTURE_TEST_CASE(random_use_leaves_nobody_behind, VirtualTime) {
    constexpr std::size_t waiters = 8;
    ManualResetEvent event;
    Random random(2);
    std::size_t left = stress_iterations(20'000);
    std::size_t went_on = 0;
    std::size_t gave_up = 0;
    std::size_t left_behind = 0;
    // Of each waiter: when it was set for the first time since it began to wait.
    std::vector<std::optional<TimePoint>> first_set(waiters);
    auto waiter = [&](std::size_t index) -> Task<> {
        while (left != 0) {
            --left;
            first_set[index].reset();
            TimePoint deadline = executor.now() + random.below(5) * 1ms;
            bool in_time = co_await try_timeout(deadline - executor.now(), event.wait());
            if (in_time)
                ++went_on;
            else
                ++gave_up;
            if (!in_time && first_set[index] && *first_set[index] < deadline) ++left_behind;
            if (in_time && !first_set[index]) ++left_behind;
            if (random.once_in(2)) co_await yield();
        }
    };
    auto setter = [&]() -> Task<> {
        while (left != 0) {
            co_await sleep_for(random.below(4) * 1ms);
            event.set();
            event.reset();
            for (std::optional<TimePoint>& each : first_set)
                if (!each) each = executor.now();
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < waiters; ++i)
                group.spawn(std::ref(waiter), i);
            group.spawn(std::ref(setter));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(left_behind == 0u);
    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(went_on > 0u);
    BOOST_TEST(!event.has_waiters());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace manual_reset_event_test
