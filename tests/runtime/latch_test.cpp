// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/latch.hpp>
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

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace latch_test {

namespace {

Task<> wait_for(Latch& latch, Log& log, std::string name) {
    co_await latch.wait();
    log.note(name);
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(latch)

BOOST_FIXTURE_TEST_CASE(waiters_go_on_in_the_order_of_coming_once_the_count_is_zero, VirtualTime) {
    Latch latch(3);
    Log log;
    Running<void> first = executor.start(wait_for(latch, log, "a"));
    Running<void> second = executor.start(wait_for(latch, log, "b"));
    settle(executor);

    latch.count_down();
    settle(executor);
    BOOST_TEST(log.text() == "");
    BOOST_TEST(latch.count() == 2u);
    BOOST_TEST(!latch.is_open());
    latch.count_down(2);
    executor.run();

    BOOST_TEST(log.text() == "a b");
    BOOST_TEST(latch.is_open());
}

BOOST_FIXTURE_TEST_CASE(open_latch_is_no_suspension, VirtualTime) {
    Latch latch(0);
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        co_await latch.wait();
        co_await latch.arrive_and_wait(0);

        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(who_arrives_and_waits_counts_itself, VirtualTime) {
    Latch latch(3);
    Log log;
    auto arrive = [&](std::string name) -> Task<> {
        co_await sleep_for(latch.count() * 1s);
        log.note(name);
        co_await latch.arrive_and_wait();
        log.note(name + "!");
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const char* name : {"a", "b", "c"})
                group.spawn(std::ref(arrive), name);
            co_return;
        };
        co_await task_group(body);
    });

    // The last one does not wait.
    BOOST_TEST(log.text() == "a b c c! a! b!");
}

BOOST_FIXTURE_TEST_CASE(arrival_that_is_not_awaited_does_not_count, VirtualTime) {
    Latch latch(1);

    (void)latch.arrive_and_wait();

    BOOST_TEST(latch.count() == 1u);
}

BOOST_FIXTURE_TEST_CASE(wait_may_have_a_deadline_and_a_result, VirtualTime) {
    Latch latch(2);
    run([&]() -> Task<> {
        Result<void> late = co_await as_result(timeout(1s, latch.wait()));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        bool later = co_await try_timeout(1s, latch.arrive_and_wait());
        BOOST_TEST(!later);
        // It has arrived all the same.
        BOOST_TEST(latch.count() == 1u);
        bool now = co_await try_timeout(1s, latch.arrive_and_wait());
        BOOST_TEST(now);
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_waiter_has_arrived_all_the_same, VirtualTime) {
    Latch latch(2);
    auto arrive = [&]() -> Task<> { co_await latch.arrive_and_wait(); };
    Running<void> running = executor.start(arrive());
    settle(executor);

    running.cancel();
    executor.run();

    BOOST_TEST(latch.count() == 1u);
}

BOOST_FIXTURE_TEST_CASE(arrival_in_a_cancelled_scope_does_not_count, VirtualTime) {
    Latch latch(1);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await latch.arrive_and_wait();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(latch.count() == 1u);
}

BOOST_FIXTURE_TEST_CASE(dump_tells_how_many_are_to_come, VirtualTime) {
    Latch latch(2);
    Log log;
    Running<void> running = executor.start(wait_for(latch, log, "a"));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("a latch, 2 to come") != std::string::npos);
    latch.count_down(2);
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    Latch latch(101);
    std::size_t allocations = 1;
    auto arrive = [&]() -> Task<> { co_await latch.arrive_and_wait(); };
    auto measure = [&]() -> Task<> {
        std::size_t before = allocations_made();
        co_await yield();
        co_await latch.arrive_and_wait();
        allocations = allocations_made() - before;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 100; ++i)
                group.spawn(std::ref(arrive));
            group.spawn(std::ref(measure));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(wait_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Latch latch(3);
        auto arrive = [&]() -> Task<> {
            co_await yield();
            co_await latch.arrive_and_wait();
            co_await yield();
        };
        auto wait = [&]() -> Task<> { co_await latch.wait(); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(wait));
            group.spawn(std::ref(arrive));
            group.spawn(std::ref(arrive));
            co_await sleep_for(1s);
            latch.count_down();
            co_await latch.wait();
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(random_arrivals_open_it_exactly_at_the_last_one, VirtualTime) {
    Random random(4);
    const std::size_t total = stress_iterations(20'000);
    std::size_t early = 0;
    run([&]() -> Task<> {
        for (std::size_t left = total; left != 0;) {
            const std::size_t arrivals = 1 + random.below(20);
            Latch latch(arrivals);
            std::size_t arrived = 0;
            auto arrive = [&]() -> Task<> {
                co_await sleep_for(random.below(3) * 1ms);
                ++arrived;
                // Some give up waiting, but have come.
                if (random.once_in(2)) {
                    bool opened = co_await try_timeout(random.below(3) * 1ms, latch.arrive_and_wait());
                    early += opened && arrived != arrivals;
                } else {
                    co_await latch.arrive_and_wait();
                    early += arrived != arrivals;
                }
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                for (std::size_t i = 0; i < arrivals; ++i)
                    group.spawn(std::ref(arrive));
                co_await latch.wait();
                early += arrived != arrivals;
            };
            co_await task_group(body);
            BOOST_TEST_REQUIRE(latch.is_open());
            left -= std::min(left, arrivals);
        }
    });

    BOOST_TEST(early == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace latch_test
