// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/stream_pair.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace deadline_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

// A task that tells how long it has left.
Task<std::optional<Duration>> time_left(Executor& executor) {
    std::optional<TimePoint> deadline = co_await current_deadline();
    if (!deadline) co_return std::nullopt;
    co_return *deadline - executor.now();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(deadline)

BOOST_FIXTURE_TEST_CASE(task_that_ends_in_time_gives_its_value_and_leaves_no_timer, VirtualTime) {
    auto own = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
    run([&]() -> Task<> {
        int value = co_await with_deadline(2s, give_after(1s, 7));
        BOOST_TEST(value == 7);
        std::unique_ptr<int> owned = co_await with_deadline(executor.now() + 1s, own());
        BOOST_TEST(*owned == 5);
    });
    BOOST_TEST(!executor.timers().next_deadline().has_value());
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(task_that_is_late_is_ended_with_all_it_waits_for_and_the_error_is_thrown_here,
                        VirtualTime) {
    Log log;
    auto deep = [&]() -> Task<> {
        Guard guard(log, "deep");
        co_await sleep_for(1h);
    };
    auto middle = [&]() -> Task<> {
        Guard guard(log, "middle");
        try {
            co_await deep();
        } catch (...) {
            log.note("caught-inside");
        }
    };
    run([&]() -> Task<> {
        try {
            co_await with_deadline(3s, middle());
        } catch (const std::system_error& error) {
            log.note(error.code() == errc::deadline_exceeded ? "late" : "else");
        }
        Result<void> result = co_await as_result(with_deadline(executor.now() + 1s, middle()));
        BOOST_TEST((result.error() == errc::deadline_exceeded));
    });
    BOOST_TEST(log.text() == "deep! middle! late deep! middle!");
    BOOST_TEST((elapsed() == Duration(4s)));
}

BOOST_FIXTURE_TEST_CASE(without_one_a_task_may_take_as_long_as_it_likes, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<TimePoint> none = co_await current_deadline();
        BOOST_TEST(!none.has_value());
        std::optional<Duration> left = co_await with_deadline(Duration::max(), time_left(executor));
        BOOST_TEST(!left.has_value());
        left = co_await with_deadline(TimePoint::max(), time_left(executor));
        BOOST_TEST(!left.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(it_can_be_asked_for_in_everything_inside, VirtualTime) {
    std::vector<std::optional<Duration>> seen;
    auto note = [&]() -> Task<> {
        std::optional<Duration> left = co_await time_left(executor);
        seen.push_back(left);
    };
    auto all = [&]() -> Task<> {
        co_await note();
        co_await leat::when_all(note(), note());
        co_await leat::when_any(note(), note());
        auto scope_body = [&](CancelScope&) -> Task<> { co_await note(); };
        co_await cancel_scope(scope_body);
        auto group_body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note);
            co_await note();
        };
        co_await task_group(group_body);
        co_await catch_cancelled(note());
        co_await retry(note);
        auto nothing = []() -> Task<> { co_return; };
        co_await leat::finally(note(), nothing);
        co_await leat::timeout(1h, note());
    };
    run([&]() -> Task<> { co_await with_deadline(5s, all()); });

    BOOST_TEST(seen.size() == 12u);
    for (const std::optional<Duration>& left : seen)
        BOOST_TEST((left == Duration(5s)));
}

BOOST_FIXTURE_TEST_CASE(timeout_and_try_timeout_of_a_task_set_it_too, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<Duration> left = co_await leat::timeout(3s, time_left(executor));
        BOOST_TEST((left == Duration(3s)));
        left = co_await timeout_at(executor.now() + 4s, time_left(executor));
        BOOST_TEST((left == Duration(4s)));
        std::optional<std::optional<Duration>> tried = co_await try_timeout(2s, time_left(executor));
        BOOST_TEST((*tried == Duration(2s)));
    });
}

BOOST_FIXTURE_TEST_CASE(timeout_of_what_runs_tasks_sets_it_for_them, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<Duration> in_group;
        auto ask = [&]() -> Task<> { in_group = co_await time_left(executor); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(ask);
            co_return;
        };
        co_await timeout(2s, task_group(body));
        BOOST_TEST((in_group == 2s));

        std::tuple<std::optional<Duration>> in_all = co_await timeout(3s, when_all(time_left(executor)));
        BOOST_TEST((std::get<0>(in_all) == 3s));

        std::optional<std::optional<Duration>> in_finally =
            co_await try_timeout(4s, finally(time_left(executor), ask));
        BOOST_TEST((in_finally == std::optional<Duration>(4s)));
    });
}

BOOST_FIXTURE_TEST_CASE(shield_and_the_clean_up_of_a_finally_stand_outside, VirtualTime) {
    std::vector<std::optional<Duration>> seen;
    auto note = [&]() -> Task<> {
        std::optional<Duration> left = co_await time_left(executor);
        seen.push_back(left);
    };
    auto all = [&]() -> Task<> {
        co_await leat::shield(note());
        co_await leat::finally(note(), note);
        co_await leat::finally(note(), 1min, note);
        co_await note();
    };
    run([&]() -> Task<> { co_await with_deadline(2s, all()); });

    BOOST_TEST_REQUIRE(seen.size() == 6u);
    BOOST_TEST(!seen[0].has_value());
    BOOST_TEST((seen[1] == Duration(2s)));
    BOOST_TEST((seen[2] == Duration(5s)));
    BOOST_TEST((seen[3] == Duration(2s)));
    BOOST_TEST((seen[4] == Duration(1min)));
    BOOST_TEST((seen[5] == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(earlier_one_counts_and_a_later_one_inside_costs_no_timer, VirtualTime) {
    auto innermost = [&]() -> Task<> {
        std::optional<Duration> left = co_await time_left(executor);
        BOOST_TEST((left == Duration(2s)));
        // The outer one's timer is the only one.
        std::size_t armed = 0;
        co_await yield();
        if (executor.timers().next_deadline()) ++armed;
        BOOST_TEST(armed == 1u);
        co_await sleep_for(1h);
    };
    auto inner = [&]() -> Task<> { co_await with_deadline(1min, innermost()); };
    auto outer = [&]() -> Task<> { co_await with_deadline(3s, inner()); };
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().timers_fired;
        Result<void> result = co_await as_result(with_deadline(2s, outer()));
        BOOST_TEST((result.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(2s)));
        BOOST_TEST(executor.stats().timers_fired == before + 1);
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(hundred_waits_under_one_deadline_fire_one_timer, VirtualTime) {
    auto body = [&](TaskGroup& group) -> Task<> {
        auto child = [](Counted) -> Task<> { (void)co_await leat::timeout(1h, give_after(2h, 1)); };
        for (int i = 0; i < 100; ++i)
            group.spawn(child, Counted());
        co_return;
    };
    auto all = [&]() -> Task<> { co_await task_group(body); };
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().timers_fired;
        Result<void> result = co_await as_result(with_deadline(1s, all()));
        BOOST_TEST((result.error() == errc::deadline_exceeded));
        BOOST_TEST(executor.stats().timers_fired == before + 1);
    });
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(error_is_thrown_where_the_deadline_that_passed_was_set, VirtualTime) {
    Log log;
    auto inner = [&](Duration limit) -> Task<> {
        Result<int> result = co_await as_result(with_deadline(limit, give_after(1h, 1)));
        log.note(!result && result.error() == errc::deadline_exceeded ? "inner" : "?");
    };
    run([&]() -> Task<> {
        for (Duration limit : {Duration(1s), Duration(3s), Duration(2s)}) {
            Result<void> result = co_await as_result(with_deadline(2s, inner(limit)));
            log.note(result ? "fine" : "outer");
        }
    });
    // Of two at the same instant it is the outer one's.
    BOOST_TEST(log.text() == "inner fine outer outer");
    BOOST_TEST((elapsed() == Duration(5s)));
}

BOOST_FIXTURE_TEST_CASE(later_deadline_inside_is_in_force_again_nowhere_else, VirtualTime) {
    auto inner = [&]() -> Task<> {
        std::optional<Duration> left = co_await with_deadline(1s, time_left(executor));
        BOOST_TEST((left == Duration(1s)));
        left = co_await time_left(executor);
        BOOST_TEST((left == Duration(5s)));
        co_await sleep_for(2s);
        left = co_await time_left(executor);
        BOOST_TEST((left == Duration(3s)));
    };
    run([&]() -> Task<> { co_await with_deadline(5s, inner()); });
}

BOOST_FIXTURE_TEST_CASE(result_that_is_there_at_the_deadline_wins, VirtualTime) {
    auto never_waits = []() -> Task<int> { co_return 3; };
    auto shielded = []() -> Task<int> {
        co_await leat::shield(sleep_for(10s));
        co_return 4;
    };
    run([&]() -> Task<> {
        for (Duration limit : {Duration(0s), Duration(-1s), Duration::min()}) {
            int value = co_await with_deadline(limit, never_waits());
            BOOST_TEST(value == 3);
        }
        int value = co_await with_deadline(TimePoint::min(), never_waits());
        BOOST_TEST(value == 3);
        value = co_await with_deadline(1s, shielded());
        BOOST_TEST(value == 4);
    });
}

BOOST_FIXTURE_TEST_CASE(deadline_in_the_past_ends_what_has_to_wait, VirtualTime) {
    run([&]() -> Task<> {
        for (Duration limit : {Duration(0s), Duration(-1s), Duration::min()}) {
            Result<int> result = co_await as_result(with_deadline(limit, give_after(1s, 1)));
            BOOST_TEST((!result && result.error() == errc::deadline_exceeded));
        }
        BOOST_TEST((elapsed() == Duration::zero()));
    });
}

BOOST_FIXTURE_TEST_CASE(failure_of_the_task_passes_through, VirtualTime) {
    auto fail = []() -> Task<int> {
        co_await sleep_for(1s);
        throw std::runtime_error("it failed");
    };
    run([&]() -> Task<> {
        std::string caught;
        try {
            co_await with_deadline(2s, fail());
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "it failed");
        // One that comes of being ended: it is told, not the deadline.
        auto cleanup = []() -> Task<> {
            throw std::runtime_error("cleanup");
            co_return;
        };
        auto all = [&]() -> Task<int> {
            int value = co_await leat::finally(give_after(1h, 1), cleanup);
            co_return value;
        };
        caught.clear();
        try {
            co_await with_deadline(2s, all());
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "cleanup");
    });
    BOOST_TEST(!executor.timers().next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(cancelled_from_outside_it_throws_nothing, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            auto cancel = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
            };
            Running<void> canceller = executor.start(cancel());
            co_await yield();
            try {
                // At the very instant of the cancellation.
                co_await with_deadline(1s, give_after(1h, 1));
            } catch (...) {
                log.note("thrown");
            }
            co_await yield();
            co_await yield();
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
    BOOST_TEST((log.text() == "body!" || log.text() == "thrown body!"));
}

BOOST_FIXTURE_TEST_CASE(asking_is_no_cancellation_point, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            std::optional<TimePoint> deadline = co_await current_deadline();
            log.note(deadline ? "deadline" : "none");
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "none");
}

BOOST_AUTO_TEST_CASE(nested_deadlines_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto deep = []() -> Task<Counted> {
            Counted local;
            co_await sleep_for(1s);
            (void)co_await try_timeout(1s, sleep_for(1h));
            co_return Counted(2);
        };
        auto middle = [&]() -> Task<Counted> {
            Counted value = co_await with_deadline(1min, deep());
            Result<Counted> late = co_await as_result(with_deadline(500ms, deep()));
            co_return value;
        };
        Counted value = co_await with_deadline(10s, middle());
        Result<Counted> late = co_await as_result(with_deadline(1s, middle()));
    });
}

BOOST_AUTO_TEST_CASE(reads_under_a_deadline_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        auto read = [&]() -> Task<std::size_t> {
            std::array<std::byte, 8> buffer;
            std::size_t count = co_await read_some(pair.left, buffer);
            co_return count + co_await read_some(pair.left, buffer);
        };
        send_directly(pair.right, "ping");
        Result<std::size_t> late = co_await as_result(with_deadline(1s, read()));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace deadline_test
