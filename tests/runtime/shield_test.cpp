// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
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
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace shield_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<int> fail_after(Duration duration) {
    co_await sleep_for(duration);
    throw std::runtime_error("it failed");
}

// Cancels `scope` after so long, and once more a little later.
Task<> cancel_after(Duration duration, CancelScope& scope) {
    co_await sleep_for(duration);
    scope.cancel();
    co_await sleep_for(duration);
    scope.cancel();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(shield)

BOOST_FIXTURE_TEST_CASE(left_alone_it_gives_the_value, VirtualTime) {
    int object = 3;
    auto refer = [&]() -> Task<int&> { co_return object; };
    auto own = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
    run([&]() -> Task<> {
        int value = co_await leat::shield(give_after(1s, 7));
        BOOST_TEST(value == 7);
        co_await leat::shield(sleep_for(1s));
        std::unique_ptr<int> owned = co_await leat::shield(own());
        BOOST_TEST(*owned == 5);
        int& referred = co_await leat::shield(refer());
        BOOST_TEST(&referred == &object);
        int nested = co_await leat::shield(give_after(0s, 8));
        BOOST_TEST(nested == 8);
    });
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(what_is_cancelled_around_it_waits_for_its_end_and_its_value_is_returned,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            Running<void> canceller = executor.start(cancel_after(1s, scope));
            int value = co_await leat::shield(give_after(10s, 7));
            log.note(std::to_string(value));
            log.note(scope.is_cancelled() ? "cancelled" : "not");
            co_await sleep_for(1s);
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
        log.note("after");
    });

    BOOST_TEST(log.text() == "7 cancelled body! after");
    BOOST_TEST((elapsed() == Duration(10s)));
}

BOOST_FIXTURE_TEST_CASE(it_runs_in_a_scope_that_was_cancelled_before, VirtualTime) {
    Log log;
    Channel<int> channel(1);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            int value = co_await leat::shield(give_after(1s, 7));
            log.note(std::to_string(value));
            // One after the other: none of them is a wait that ends.
            co_await leat::shield(channel.send(9));
            log.note("sent");
            co_await yield();
            co_await yield();
            log.note("never");
        };
        co_await cancel_scope(body);
        std::optional<int> received = channel.try_receive();
        BOOST_TEST((received == 9));
    });

    BOOST_TEST(log.text() == "7 sent");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(no_deadline_around_it_reaches_inside_but_its_own_does, VirtualTime) {
    run([&]() -> Task<> {
        auto work = [&]() -> Task<int> {
            auto inside = [&]() -> Task<int> {
                std::optional<TimePoint> deadline = co_await current_deadline();
                BOOST_TEST(!deadline.has_value());
                Result<int> own = co_await as_result(leat::timeout(5s, give_after(1h, 1)));
                BOOST_TEST((!own && own.error() == errc::deadline_exceeded));
                co_return 4;
            };
            int value = co_await leat::shield(inside());
            co_return value;
        };
        // The value is there when the deadline is looked at, so it is given.
        int value = co_await with_deadline(1s, work());
        BOOST_TEST(value == 4);
        BOOST_TEST((elapsed() == Duration(5s)));

        auto hangs = []() -> Task<> { co_await leat::shield(leat::timeout(2s, sleep_for(1h))); };
        Result<void> result = co_await as_result(hangs());
        BOOST_TEST((result.error() == errc::deadline_exceeded));
    });
}

BOOST_FIXTURE_TEST_CASE(scopes_and_groups_inside_are_cancelled_as_ever, VirtualTime) {
    Log log;
    auto child = [&](std::string name, Duration duration) -> Task<> {
        Guard guard(log, name);
        co_await sleep_for(duration);
    };
    auto group_body = [&](TaskGroup& group) -> Task<> {
        group.spawn(std::ref(child), "a", 1s);
        group.spawn(std::ref(child), "b", 10s);
        co_await sleep_for(2s);
        group.cancel();
    };
    auto inside = [&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await sleep_for(1s);
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
        co_await task_group(group_body);
        log.note("inside");
    };
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await leat::shield(inside());
            log.note("after");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(log.text() == "a b! inside after");
}

BOOST_FIXTURE_TEST_CASE(cancellation_passes_a_shield_inside_a_shield_by_too, VirtualTime) {
    Log log;
    auto innermost = [&]() -> Task<> {
        co_await leat::shield(sleep_for(3s));
        log.note("innermost");
        co_await sleep_for(1s);
        log.note("inner");
    };
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_after(1s, scope));
            co_await leat::shield(innermost());
            log.note("outer");
            co_await sleep_for(1s);
            log.note("never");
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "innermost inner outer");
}

BOOST_FIXTURE_TEST_CASE(its_failure_is_thrown_also_in_a_cancelled_scope, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_after(1s, scope));
            try {
                co_await leat::shield(fail_after(2s));
            } catch (const std::runtime_error& error) {
                log.note("caught");
            }
            Outcome<int> outcome = co_await as_outcome(leat::shield(fail_after(1s)));
            log.note(outcome ? "?" : "outcome");
            co_await sleep_for(1s);
            log.note("never");
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "caught outcome");
}

BOOST_FIXTURE_TEST_CASE(result_and_deadline_stand_around_it_and_wait_for_it, VirtualTime) {
    auto refuse = []() -> Task<int> {
        co_await sleep_for(1s);
        throw std::system_error(std::make_error_code(std::errc::broken_pipe));
    };
    run([&]() -> Task<> {
        Result<int> refused = co_await as_result(leat::shield(refuse()));
        BOOST_TEST((refused.error() == std::errc::broken_pipe));
        // The deadline finds nothing that it could cancel; the result came all the same.
        Result<int> late = co_await as_result(leat::timeout(1s, leat::shield(give_after(3s, 1))));
        BOOST_TEST((late == 1));
        std::optional<int> tried = co_await try_timeout(1s, leat::shield(give_after(3s, 2)));
        BOOST_TEST((tried == 2));
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
    BOOST_TEST((elapsed() == Duration(7s)));
}

BOOST_AUTO_TEST_CASE(executor_that_ends_waits_for_it) {
    VirtualClock clock;
    ExecutorOptions options;
    options.clock = &clock;
    Log log;
    std::optional<Executor> executor(std::in_place, std::move(options));
    auto work = [&]() -> Task<> {
        Guard guard(log, "work");
        co_await leat::shield(give_after(1h, 1));
        log.note("shielded");
        co_await sleep_for(1s);
        log.note("never");
    };
    {
        Running<void> running = executor->start(work());
        executor->turn();
        executor->turn();
    }
    executor.reset();

    BOOST_TEST(log.text() == "shielded work!");
}

BOOST_FIXTURE_TEST_CASE(task_that_was_never_awaited_goes_with_it, VirtualTime) {
    auto take = [](Counted) -> Task<> { co_return; };
    {
        auto waiting = leat::shield(take(Counted()));
        auto moved = std::move(waiting);
        BOOST_TEST(Counted::live() == 1);
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(dump_names_it_and_what_runs_inside, VirtualTime) {
    Gate gate;
    std::string dump;
    auto look = [&]() -> Task<> {
        co_await sleep_for(1s);
        dump = executor.dump_tasks();
        gate.open();
    };
    run([&]() -> Task<> { co_await leat::when_all(leat::shield(gate.pass()), look()); });

    BOOST_TEST(dump.find("a shielded task") != std::string::npos);
    BOOST_TEST(dump.find("a gate") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(hundred_thousand_nested_ones_are_cancelled_on_a_flat_stack, VirtualTime) {
    std::function<Task<int>(int)> nest = [&](int depth) -> Task<int> {
        if (depth == 0) {
            co_await sleep_for(1s);
            co_return 0;
        }
        int below = co_await leat::shield(nest(depth - 1));
        co_return below + 1;
    };
    run([&]() -> Task<> {
        int reached = 0;
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_after(500ms, scope));
            reached = co_await leat::shield(nest(100'000));
            co_await sleep_for(1s);
            reached = -1;
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
        BOOST_TEST(reached == 100'000);
    });
}

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    int begun = 0;
    int ended = 0;
    SweepOptions options;
    options.before = [&] { begun = ended = 0; };
    // What has begun has come to its end.
    options.after = [&] { BOOST_TEST(begun == ended); };
    auto inside = [&]() -> Task<Counted> {
        ++begun;
        Counted local;
        co_await sleep_for(1s);
        co_await leat::shield(sleep_for(1s));
        co_await yield();
        ++ended;
        co_return Counted(1);
    };
    SweepReport report = sweep_all_endings(
        [&]() -> Task<> {
            Counted value = co_await leat::shield(inside());
            co_await sleep_for(1s);
            Counted other = co_await leat::shield(inside());
        },
        options);
    BOOST_TEST(report.unwound > 0u);
}

BOOST_AUTO_TEST_CASE(shielded_streams_can_be_cancelled_anywhere_and_send_all_that_was_begun) {
    std::optional<StreamPair> pair;
    std::size_t written = 0;
    bool begun = false;
    SweepOptions options;
    options.before = [&] {
        pair.emplace();
        written = 0;
        begun = false;
    };
    options.after = [&] {
        BOOST_TEST(receive_directly(pair->right).size() == (begun ? 8u : 0u));
        pair.reset();
    };
    auto say = [&]() -> Task<> {
        begun = true;
        for (int i = 0; i < 2; ++i) {
            written += co_await write_some(pair->left, "bye!");
            co_await sleep_for(1s);
        }
    };
    sweep_all_endings(
        [&]() -> Task<> {
            co_await yield();
            co_await leat::shield(say());
        },
        options);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace shield_test
