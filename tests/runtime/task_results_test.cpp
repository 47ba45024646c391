// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_results.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace task_results_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<> take_all(TaskResults<int>& results, Log& log) {
    for (;;) {
        std::optional<int> result = co_await results.next();
        if (!result) break;
        log.note(std::to_string(*result));
    }
    log.note("end");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(task_results)

BOOST_FIXTURE_TEST_CASE(results_come_in_the_order_of_completion, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            results.spawn(give_after, Duration(3s), 3);
            results.spawn(give_after, Duration(1s), 1);
            results.spawn(give_after, Duration(2s), 2);
            BOOST_TEST(results.in_flight() == 3u);
            co_await take_all(results, log);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "1 2 3 end");
}

BOOST_FIXTURE_TEST_CASE(results_wait_for_who_comes_late, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            results.spawn(give_after, Duration(2s), 2);
            results.spawn(give_after, Duration(1s), 1);
            co_await group.join();
            BOOST_TEST(results.size() == 2u);
            BOOST_TEST(results.in_flight() == 0u);
            co_await take_all(results, log);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "1 2 end");
}

BOOST_FIXTURE_TEST_CASE(nothing_in_flight_is_the_end_at_once_and_more_may_follow, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            co_await take_all(results, log);
            results.spawn(give_after, Duration(1s), 1);
            co_await take_all(results, log);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "end 1 end");
}

BOOST_FIXTURE_TEST_CASE(failure_is_the_group_s, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto fail = []() -> Task<int> {
            co_await sleep_for(1s);
            throw std::runtime_error("failed");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            results.spawn(fail);
            results.spawn(give_after, Duration(1h), 1);
            co_await take_all(results, log);
        };
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(describe_failure(outcome.error()) == "failed");
    });

    BOOST_TEST(log.text().empty());
    BOOST_TEST((elapsed() == 1s));
}

BOOST_FIXTURE_TEST_CASE(failure_of_the_last_one_is_not_taken_for_the_end, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto fail = []() -> Task<int> {
            co_await sleep_for(1s);
            throw std::runtime_error("failed");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            results.spawn(fail);
            co_await take_all(results, log);
            log.note("committed");
        };
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(describe_failure(outcome.error()) == "failed");
    });

    BOOST_TEST(log.text().empty());
}

BOOST_FIXTURE_TEST_CASE(as_many_run_as_the_group_s_limit_says, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            group.set_limit(2);
            for (int i = 1; i <= 4; ++i)
                co_await results.spawn_when_free(give_after, Duration(1s), i);
            co_await take_all(results, log);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "1 2 3 4 end");
    BOOST_TEST((elapsed() == 2s));
}

BOOST_FIXTURE_TEST_CASE(result_that_can_only_be_moved_comes_too, VirtualTime) {
    run([&]() -> Task<> {
        auto make = [](int value) -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(value); };
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<std::unique_ptr<int>> results(group);
            results.spawn(make, 5);
            std::optional<std::unique_ptr<int>> result = co_await results.next();
            BOOST_TEST_REQUIRE(result.has_value());
            BOOST_TEST(**result == 5);
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(who_gives_up_waiting_loses_no_result, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<int> results(group);
            results.spawn(give_after, Duration(2s), 1);
            std::optional<std::optional<int>> early = co_await try_timeout(1s, results.next());
            BOOST_TEST(!early);
            // At the same instant as the result, whose timer was armed first.
            std::optional<std::optional<int>> late = co_await try_timeout(1s, results.next());
            if (late && *late) log.note(std::to_string(**late));
            co_await take_all(results, log);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "1 end");
}

BOOST_FIXTURE_TEST_CASE(children_may_outlive_it, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<Counted> results(group);
            auto give = []() -> Task<Counted> {
                co_await sleep_for(1s);
                co_return Counted(1);
            };
            results.spawn(give);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST((elapsed() == 1s));
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(results_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto give = [](Duration duration) -> Task<Counted> {
            co_await sleep_for(duration);
            co_return Counted(1);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            TaskResults<Counted> results(group);
            results.spawn(give, Duration(2s));
            results.spawn(give, Duration(1s));
            for (int i = 0; i < 3; ++i) {
                std::optional<Counted> result = co_await results.next();
            }
            co_await yield();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace task_results_test
