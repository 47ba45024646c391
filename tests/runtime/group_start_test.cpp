// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
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
#include <system_error>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace group_start_test {

namespace {

// Ready after `pause`, and ends a second later.
Task<> be_ready(Ready<int>& ready, Log& log, Duration pause) {
    Guard guard(log, "child");
    co_await sleep_for(pause);
    ready(7);
    co_await sleep_for(1s);
}

Task<> fail_before(Ready<int>&) {
    co_await yield();
    throw std::runtime_error("no port is free");
}

Task<> end_before(Ready<int>&) { co_await yield(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(group_start)

BOOST_FIXTURE_TEST_CASE(start_waits_until_the_child_is_ready_and_gives_its_value, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            int value = co_await group.start<int>(be_ready, std::ref(log), Duration(2s));
            BOOST_TEST(value == 7);
            BOOST_TEST((elapsed() == 2s));
            BOOST_TEST(group.size() == 1u);
            BOOST_TEST(log.text().empty());
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "child");
    BOOST_TEST((elapsed() == 3s));
}

BOOST_FIXTURE_TEST_CASE(child_may_be_ready_without_a_value, VirtualTime) {
    run([&]() -> Task<> {
        auto child = [](Ready<void>& ready) -> Task<> {
            co_await sleep_for(1s);
            ready();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            co_await group.start(child);
            BOOST_TEST((elapsed() == 1s));
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(child_may_be_ready_before_its_first_wait, VirtualTime) {
    run([&]() -> Task<> {
        auto child = [](Ready<std::unique_ptr<int>>& ready) -> Task<> {
            ready(std::make_unique<int>(3));
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            std::unique_ptr<int> value = co_await group.start<std::unique_ptr<int>>(child);
            BOOST_TEST(*value == 3);
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(being_ready_twice_is_harmless, VirtualTime) {
    run([&]() -> Task<> {
        auto child = [](Ready<int>& ready) -> Task<> {
            ready(1);
            ready(2);
            co_await yield();
            ready(3);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            int value = co_await group.start<int>(child);
            BOOST_TEST(value == 1);
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(failure_before_that_is_the_starter_s_and_not_the_group_s, VirtualTime) {
    std::string failure;
    bool finished = false;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            try {
                co_await group.start<int>(fail_before);
            } catch (const std::runtime_error& error) {
                failure = error.what();
            }
            BOOST_TEST(!group.is_cancelled());
            co_await sleep_for(1s);
            finished = true;
        };
        co_await task_group(body);
    });

    BOOST_TEST(failure == "no port is free");
    BOOST_TEST(finished);
}

BOOST_FIXTURE_TEST_CASE(failure_after_that_is_the_group_s, VirtualTime) {
    run([&]() -> Task<> {
        auto child = [](Ready<int>& ready) -> Task<> {
            ready(1);
            co_await sleep_for(1s);
            throw std::runtime_error("later");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            co_await group.start<int>(child);
            co_await sleep_for(1h);
        };
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(describe_failure(outcome.error()) == "later");
    });

    BOOST_TEST((elapsed() == 1s));
}

BOOST_FIXTURE_TEST_CASE(child_that_ends_without_being_ready_is_an_error, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            Result<int> result = co_await as_result(group.start<int>(end_before));
            BOOST_TEST_REQUIRE(!result);
            BOOST_TEST((result.error() == errc::closed));
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_starter_takes_its_child_along, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            std::optional<int> value =
                co_await try_timeout(1s, group.start<int>(be_ready, std::ref(log), Duration(1h)));
            BOOST_TEST(!value);
            BOOST_TEST(log.text() == "child!");
            BOOST_TEST(group.size() == 0u);
            BOOST_TEST(!group.is_cancelled());
        };
        co_await task_group(body);
    });

    BOOST_TEST((elapsed() == 1s));
}

BOOST_FIXTURE_TEST_CASE(child_that_was_ready_at_the_deadline_is_kept, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            // The child's timer was armed first.
            std::optional<int> value =
                co_await try_timeout(2s, group.start<int>(be_ready, std::ref(log), Duration(1s)));
            BOOST_TEST_REQUIRE(value.has_value());
            BOOST_TEST(*value == 7);
            BOOST_TEST(group.size() == 1u);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "child");
}

BOOST_FIXTURE_TEST_CASE(cancelled_group_tells_a_starter_that_is_not_in_it, VirtualTime) {
    Log log;
    std::error_code error;
    run([&]() -> Task<> {
        TaskGroup* inner = nullptr;
        Gate gate;
        auto starter = [&]() -> Task<> {
            Result<int> result = co_await as_result(inner->start<int>(be_ready, std::ref(log), Duration(1h)));
            if (!result) error = result.error();
        };
        auto holder = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                inner = &group;
                co_await gate.pass();
                group.cancel();
            };
            co_await task_group(body);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(holder);
            co_await yield();
            co_await yield();
            group.spawn(starter);
            co_await sleep_for(1s);
            gate.open();
        };
        co_await task_group(body);
    });

    BOOST_TEST((error == errc::cancelled));
    BOOST_TEST(log.text() == "child!");
}

BOOST_FIXTURE_TEST_CASE(start_in_a_cancelled_scope_starts_nothing, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto scoped = [&](CancelScope& scope) -> Task<> {
                scope.cancel();
                co_await group.start<int>(be_ready, std::ref(log), Duration(1s));
            };
            bool finished = co_await cancel_scope(scoped);
            BOOST_TEST(!finished);
            BOOST_TEST(group.size() == 0u);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text().empty());
}

BOOST_FIXTURE_TEST_CASE(dump_tells_where_a_started_child_came_from, VirtualTime) {
    std::string dump;
    unsigned line = 0;
    run([&]() -> Task<> {
        auto child = [&](Ready<int>&) -> Task<> {
            co_await yield();
            dump = executor.dump_tasks();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            line = __LINE__ + 1;
            co_await as_result(group.start<int>(child));
        };
        co_await task_group(body);
    });

    BOOST_TEST(dump.find("spawned at group_start_test.cpp:" + std::to_string(line)) != std::string::npos);
    BOOST_TEST(dump.find("a child of a group to be ready") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(start_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto child = [](Ready<Counted>& ready, Counted) -> Task<> {
            Counted local;
            co_await yield();
            co_await sleep_for(1s);
            ready(Counted(1));
            co_await sleep_for(1s);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            Counted first = co_await group.start<Counted>(child, Counted());
            std::optional<Counted> late = co_await try_timeout(500ms, group.start<Counted>(child, Counted()));
            co_await yield();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace group_start_test
