// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace catch_cancelled_test {

namespace {

// Owes a value, and is cancelled by itself.
Task<std::unique_ptr<int>> cancels_itself(bool does) {
    auto body = [&](TaskGroup& group) -> Task<std::unique_ptr<int>> {
        if (does) group.cancel();
        co_await sleep_for(1s);
        co_return std::make_unique<int>(7);
    };
    std::unique_ptr<int> value = co_await task_group(body);
    co_return value;
}

Task<> fail_with(std::error_code code) {
    co_await sleep_for(1s);
    throw std::system_error(code);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(catch_cancelled)

BOOST_FIXTURE_TEST_CASE(left_alone_it_gives_the_value, VirtualTime) {
    auto nothing = []() -> Task<> { co_return; };
    run([&]() -> Task<> {
        std::optional<std::unique_ptr<int>> value = co_await leat::catch_cancelled(cancels_itself(false));
        BOOST_TEST_REQUIRE(value.has_value());
        BOOST_TEST(**value == 7);
        bool ended = co_await leat::catch_cancelled(nothing());
        BOOST_TEST(ended);
    });
}

BOOST_FIXTURE_TEST_CASE(cancellation_by_a_scope_inside_gives_nothing, VirtualTime) {
    auto without_value = []() -> Task<> { (void)co_await cancels_itself(true); };
    auto deeper = [&]() -> Task<int> {
        co_await without_value();
        co_return 1;
    };
    run([&]() -> Task<> {
        std::optional<std::unique_ptr<int>> value = co_await leat::catch_cancelled(cancels_itself(true));
        BOOST_TEST(!value.has_value());
        bool ended = co_await leat::catch_cancelled(without_value());
        BOOST_TEST(!ended);
        std::optional<int> deep = co_await leat::catch_cancelled(deeper());
        BOOST_TEST(!deep.has_value());
    });
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(every_other_failure_passes, VirtualTime) {
    auto no_exception = []() -> Task<> {
        throw 5;
        co_return;
    };
    run([&]() -> Task<> {
        std::error_code code;
        try {
            co_await leat::catch_cancelled(fail_with(make_error_code(errc::deadline_exceeded)));
        } catch (const std::system_error& error) {
            code = error.code();
        }
        BOOST_TEST((code == errc::deadline_exceeded));
        // The kernel's own cancellation is another matter.
        try {
            co_await leat::catch_cancelled(fail_with(std::make_error_code(std::errc::operation_canceled)));
            code.clear();
        } catch (const std::system_error& error) {
            code = error.code();
        }
        BOOST_TEST((code == std::errc::operation_canceled));
        int thrown = 0;
        try {
            co_await leat::catch_cancelled(no_exception());
        } catch (int value) {
            thrown = value;
        }
        BOOST_TEST(thrown == 5);
    });
}

BOOST_FIXTURE_TEST_CASE(cancellation_from_outside_goes_on_outwards, VirtualTime) {
    Log log;
    auto sleeps = [&]() -> Task<int> {
        Guard guard(log, "inside");
        co_await sleep_for(1h);
        co_return 1;
    };
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            auto cancel = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
                scope.cancel();
            };
            Running<void> canceller = executor.start(cancel());
            (void)co_await leat::catch_cancelled(sleeps());
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);

        auto cancelled_before = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            (void)co_await leat::catch_cancelled(sleeps());
            log.note("never");
        };
        finished = co_await cancel_scope(cancelled_before);
        BOOST_TEST(!finished);
    });
    BOOST_TEST(log.text() == "inside! body! inside!");
}

BOOST_FIXTURE_TEST_CASE(cancellation_from_inside_and_from_outside_at_once_goes_outwards, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto inside = [&]() -> Task<int> {
                auto both = [&](TaskGroup& group) -> Task<int> {
                    group.cancel();
                    scope.cancel();
                    co_await sleep_for(1s);
                    co_return 1;
                };
                int value = co_await task_group(both);
                co_return value;
            };
            (void)co_await leat::catch_cancelled(inside());
            co_await yield();
            co_await yield();
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });
    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(failure_that_came_beside_a_cancellation_is_not_swallowed_with_it, VirtualTime) {
    auto work = []() -> Task<> {
        co_await leat::when_all(fail_with(make_error_code(errc::cancelled)),
                                fail_with(std::make_error_code(std::errc::no_space_on_device)),
                                fail_with(make_error_code(errc::cancelled)));
    };
    run([&]() -> Task<> {
        bool ended = co_await leat::catch_cancelled(work());
        BOOST_TEST(!ended);
    });
    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(
        notices[0].find(std::system_error(std::make_error_code(std::errc::no_space_on_device)).what()) !=
        std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(task_of_another_executor_that_was_cancelled_counts_too, VirtualTime) {
    auto sleeps = []() -> Task<int> {
        co_await sleep_for(1h);
        co_return 1;
    };
    run([&]() -> Task<> {
        Running<int> running = executor.start(sleeps());
        co_await yield();
        running.cancel();
        co_await yield();
        auto take = [&]() -> Task<int> { co_return running.get(); };
        std::optional<int> value = co_await leat::catch_cancelled(take());
        BOOST_TEST(!value.has_value());
    });
}

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Counted local;
        std::optional<std::unique_ptr<int>> value = co_await leat::catch_cancelled(cancels_itself(false));
        BOOST_TEST(value.has_value());
        value = co_await leat::catch_cancelled(cancels_itself(true));
        BOOST_TEST(!value.has_value());
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace catch_cancelled_test
