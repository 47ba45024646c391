// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

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

namespace finally_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<int> fail_after(Duration duration, const char* text) {
    co_await sleep_for(duration);
    throw std::runtime_error(text);
}

// Cancels `scope` after `first`, and again each second for some time.
Task<> cancel_repeatedly(CancelScope& scope, Duration first) {
    co_await sleep_for(first);
    for (int i = 0; i < 5; ++i) {
        scope.cancel();
        co_await sleep_for(1s);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(finally)

BOOST_FIXTURE_TEST_CASE(clean_up_follows_the_body_whose_value_is_given, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&]() -> Task<std::unique_ptr<int>> {
            Guard guard(log, "body");
            co_await sleep_for(1s);
            co_return std::make_unique<int>(7);
        };
        auto cleanup = [&]() -> Task<> {
            co_await sleep_for(2s);
            log.note("cleanup");
        };
        std::unique_ptr<int> value = co_await leat::finally(body(), cleanup);
        BOOST_TEST(*value == 7);
    });

    BOOST_TEST(log.text() == "body cleanup");
    BOOST_TEST((elapsed() == Duration(3s)));
    BOOST_TEST(!executor.timers().next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(body_may_give_nothing_or_a_reference, VirtualTime) {
    int object = 1;
    int cleanups = 0;
    auto nothing = []() -> Task<> { co_return; };
    auto refer = [&]() -> Task<int&> { co_return object; };
    auto cleanup = [&]() -> Task<> {
        ++cleanups;
        co_return;
    };
    run([&]() -> Task<> {
        co_await leat::finally(nothing(), cleanup);
        int& referred = co_await leat::finally(refer(), cleanup);
        BOOST_TEST(&referred == &object);
    });
    BOOST_TEST(cleanups == 2);
}

BOOST_FIXTURE_TEST_CASE(clean_up_follows_a_failure_which_is_then_thrown, VirtualTime) {
    Log log;
    auto cleanup = [&]() -> Task<> {
        co_await sleep_for(1s);
        log.note("cleanup");
    };
    run([&]() -> Task<> {
        try {
            co_await leat::finally(fail_after(1s, "body"), cleanup);
        } catch (const std::runtime_error& error) {
            log.note(error.what());
        }
    });
    BOOST_TEST(log.text() == "cleanup body");
}

BOOST_FIXTURE_TEST_CASE(failure_of_the_clean_up_is_thrown_or_attached_to_that_of_the_body, VirtualTime) {
    auto cleanup = []() -> Task<> { (void)co_await fail_after(1s, "cleanup"); };
    run([&]() -> Task<> {
        Outcome<int> alone = co_await as_outcome(leat::finally(give_after(1s, 1), cleanup));
        BOOST_TEST_REQUIRE(!alone.has_value());
        BOOST_TEST(describe_failure(alone.error()) == "cleanup");

        Outcome<int> both = co_await as_outcome(leat::finally(fail_after(1s, "body"), cleanup));
        BOOST_TEST_REQUIRE(!both.has_value());
        BOOST_TEST(describe_failure(both.error()) == "body; and: cleanup");
    });
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(clean_up_that_throws_when_it_is_called_has_failed, VirtualTime) {
    auto cleanup = []() -> Task<> { throw std::runtime_error("called"); };
    Log log;
    run([&]() -> Task<> {
        Outcome<int> alone = co_await as_outcome(leat::finally(give_after(1s, 1), cleanup));
        BOOST_TEST(describe_failure(alone.error()) == "called");
        Outcome<int> both = co_await as_outcome(leat::finally(fail_after(1s, "body"), cleanup));
        BOOST_TEST(describe_failure(both.error()) == "body; and: called");

        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            try {
                co_await leat::finally(give_after(1s, 1), cleanup);
            } catch (const std::runtime_error& error) {
                log.note(error.what());
            }
            co_await sleep_for(1s);
            log.note("never");
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "called");
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(cancelled_body_is_unwound_and_the_clean_up_runs_to_its_end_however_often,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto work = [&]() -> Task<int> {
            Guard guard(log, "work");
            co_await sleep_for(1h);
            co_return 1;
        };
        auto cleanup = [&]() -> Task<> {
            Guard guard(log, "cleanup");
            co_await sleep_for(2s);
            co_await yield();
            co_await sleep_for(1s);
            log.note("cleaned");
        };
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            Running<void> canceller = executor.start(cancel_repeatedly(scope, 1s));
            co_await leat::finally(work(), cleanup);
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "work! cleaned cleanup body!");
    BOOST_TEST((elapsed() == Duration(4s)));
}

BOOST_FIXTURE_TEST_CASE(cancelled_while_the_clean_up_runs_it_gives_the_value, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto cleanup = [&]() -> Task<> {
            co_await sleep_for(3s);
            log.note("cleaned");
        };
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_repeatedly(scope, 2s));
            int value = co_await leat::finally(give_after(1s, 7), cleanup);
            log.note(std::to_string(value));
            co_await sleep_for(1s);
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });
    BOOST_TEST(log.text() == "cleaned 7");
}

BOOST_FIXTURE_TEST_CASE(in_a_scope_that_is_cancelled_the_body_ends_at_its_first_wait_and_is_cleaned_up,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto work = [&]() -> Task<> {
            Guard guard(log, "work");
            co_await sleep_for(1s);
        };
        auto cleanup = [&]() -> Task<> {
            co_await sleep_for(1s);
            log.note("cleaned");
        };
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await leat::finally(work(), cleanup);
            log.note("never");
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "work! cleaned");
}

BOOST_FIXTURE_TEST_CASE(failure_of_a_clean_up_after_a_cancellation_is_thrown_and_the_next_wait_ends,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto cleanup = []() -> Task<> { (void)co_await fail_after(1s, "cleanup"); };
        auto body = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_repeatedly(scope, 1s));
            try {
                co_await leat::finally(give_after(1h, 7), cleanup);
            } catch (const std::runtime_error& error) {
                log.note(error.what());
            }
            co_await sleep_for(1s);
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);

        // Nobody catches it: then it is the scope's failure.
        auto careless = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await leat::finally(give_after(1h, 7), cleanup);
        };
        std::string caught;
        try {
            co_await cancel_scope(careless);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "cleanup");
    });
    BOOST_TEST(log.text() == "cleanup");
}

BOOST_FIXTURE_TEST_CASE(clean_up_has_its_own_limit_and_no_other_and_what_is_cut_short_fails, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto cleanup = [&]() -> Task<> {
            Guard guard(log, "cleanup");
            std::optional<TimePoint> deadline = co_await current_deadline();
            BOOST_TEST((deadline == executor.now() + 3s));
            co_await sleep_for(1h);
        };
        Result<int> cut = co_await as_result(leat::finally(give_after(1s, 7), 3s, cleanup));
        BOOST_TEST((!cut && cut.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(4s)));

        Outcome<int> both = co_await as_outcome(leat::finally(fail_after(1s, "body"), 3s, cleanup));
        BOOST_TEST_REQUIRE(!both.has_value());
        BOOST_TEST(describe_failure(both.error()).find("body; and: ") == 0u);
        BOOST_TEST(attached_failures(both.error()).size() == 1u);
    });
    BOOST_TEST(log.text() == "cleanup! cleanup!");
    BOOST_TEST(!executor.timers().next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(clean_up_that_is_cut_short_is_named_by_its_innermost_wait, VirtualTime) {
    run([&]() -> Task<> {
        int line = 0;
        auto cleanup = [&]() -> Task<> {
            line = __LINE__ + 1;
            co_await sleep_for(1h);
        };
        Outcome<int> cut = co_await as_outcome(leat::finally(give_after(1s, 7), 3s, cleanup));

        BOOST_TEST_REQUIRE(!cut.has_value());
        const std::string text = describe_failure(cut.error());
        const std::string where = "finally_test.cpp:" + std::to_string(line) + " waits for sleep";
        BOOST_TEST(text.find("a clean-up took too long: " + where) != std::string::npos, text);
    });
}

BOOST_FIXTURE_TEST_CASE(usual_limit_is_five_seconds, VirtualTime) {
    run([&]() -> Task<> {
        auto slow = [&]() -> Task<> { co_await sleep_for(1h); };
        auto slow_enough = [&]() -> Task<> { co_await sleep_for(4999ms); };
        Result<int> cut = co_await as_result(leat::finally(give_after(0s, 7), slow));
        BOOST_TEST((!cut && cut.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(5s)));
        int value = co_await leat::finally(give_after(0s, 7), slow_enough);
        BOOST_TEST(value == 7);
    });
}

BOOST_FIXTURE_TEST_CASE(limits_of_none_and_of_any_length_hold, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto at_once = [&]() -> Task<> {
            log.note("at-once");
            co_return;
        };
        auto waits = [&]() -> Task<> {
            log.note("begun");
            co_await sleep_for(1s);
            log.note("never");
        };
        for (Duration limit : {Duration(0s), Duration(-1s), Duration::min()}) {
            int value = co_await leat::finally(give_after(0s, 7), limit, at_once);
            BOOST_TEST(value == 7);
            Result<int> cut = co_await as_result(leat::finally(give_after(0s, 7), limit, waits));
            BOOST_TEST((!cut && cut.error() == errc::deadline_exceeded));
        }
        BOOST_TEST((elapsed() == Duration::zero()));

        auto long_one = []() -> Task<> {
            co_await sleep_for(24h * 365);
            std::optional<TimePoint> deadline = co_await current_deadline();
            BOOST_TEST(!deadline.has_value());
        };
        co_await leat::finally(give_after(0s, 7), Duration::max(), long_one);
    });
    BOOST_TEST((elapsed() == Duration(24h * 365)));
    BOOST_TEST(!executor.timers().next_deadline().has_value());
    BOOST_TEST(log.text() == "at-once begun at-once begun at-once begun");
}

BOOST_FIXTURE_TEST_CASE(clean_up_without_a_limit_takes_as_long_as_it_takes, VirtualTime) {
    Gate gate;
    auto stuck = [&]() -> Task<> { co_await gate.pass(); };
    auto all = [&]() -> Task<int> {
        int value = co_await leat::finally(give_after(0s, 7), Duration::max(), stuck);
        co_return value;
    };
    Running<int> running = executor.start(all());
    auto watch = [&]() -> Task<> {
        co_await sleep_for(1s);
        gate.open();
    };
    executor.run_until(watch());
    executor.run();
    BOOST_TEST(running.get() == 7);
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(result_that_is_there_at_the_limit_is_no_failure, VirtualTime) {
    run([&]() -> Task<> {
        Gate gate;
        auto opener = [&]() -> Task<> {
            co_await sleep_for(1s);
            gate.open();
        };
        Running<void> running = executor.start(opener());
        co_await yield();
        auto cleanup = [&]() -> Task<> { co_await gate.pass(); };
        Result<int> result = co_await as_result(leat::finally(give_after(0s, 7), 1s, cleanup));
        // Either way it came to one end.
        if (result)
            BOOST_TEST(*result == 7);
        else
            BOOST_TEST((result.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(1s)));
    });
}

BOOST_FIXTURE_TEST_CASE(deadline_around_it_ends_the_body_but_not_the_clean_up, VirtualTime) {
    Log log;
    auto work = [&]() -> Task<int> {
        Guard guard(log, "work");
        co_await sleep_for(1h);
        co_return 1;
    };
    auto cleanup = [&]() -> Task<> {
        co_await sleep_for(2s);
        log.note("cleaned");
    };
    run([&]() -> Task<> {
        auto all = [&]() -> Task<int> {
            int value = co_await leat::finally(work(), cleanup);
            co_return value;
        };
        Result<int> late = co_await as_result(with_deadline(1s, all()));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(3s)));
    });
    BOOST_TEST(log.text() == "work! cleaned");
}

BOOST_FIXTURE_TEST_CASE(timeout_around_it_ends_the_body_wherever_it_is, VirtualTime) {
    Log log;
    auto cleanup = [&]() -> Task<> {
        co_await sleep_for(2s);
        log.note("cleaned");
    };
    run([&]() -> Task<> {
        Result<int> late = co_await as_result(leat::timeout(1s, leat::finally(give_after(1h, 1), cleanup)));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        BOOST_TEST((elapsed() == Duration(3s)));

        // At the deadline the body has just been given a result, and waits again afterwards.
        auto restless = [&]() -> Task<int> {
            for (int i = 0; i < 10; ++i)
                co_await sleep_for(1s);
            log.note("never");
            co_return 1;
        };
        std::optional<int> tried = co_await try_timeout(5s, leat::finally(restless(), cleanup));
        BOOST_TEST(!tried.has_value());
        BOOST_TEST((elapsed() == Duration(10s)));
        // It never waits for anything that could be withdrawn, but each of its waits sees the cancellation.
        auto busy = [&]() -> Task<int> {
            for (int i = 0; i < 1000; ++i) {
                if (i == 3) clock.advance(1s);
                co_await yield();
            }
            log.note("never");
            co_return 1;
        };
        tried = co_await try_timeout(1s, leat::finally(busy(), cleanup));
        BOOST_TEST(!tried.has_value());
        int value = co_await leat::timeout(5s, leat::finally(give_after(1s, 3), cleanup));
        BOOST_TEST(value == 3);
    });
    BOOST_TEST(log.text() == "cleaned cleaned cleaned cleaned");
    BOOST_TEST(!executor.timers().next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(nested_ones_clean_up_innermost_first_and_their_failures_stand_together, VirtualTime) {
    Log log;
    auto inner_cleanup = [&]() -> Task<> {
        co_await sleep_for(1s);
        log.note("inner");
        throw std::runtime_error("inner");
    };
    auto outer_cleanup = [&]() -> Task<> {
        co_await sleep_for(1s);
        log.note("outer");
        throw std::runtime_error("outer");
    };
    auto inner = [&]() -> Task<int> {
        int value = co_await leat::finally(give_after(1h, 1), inner_cleanup);
        co_return value;
    };
    run([&]() -> Task<> {
        Outcome<std::optional<int>> outcome = Unexpected<std::exception_ptr>(nullptr);
        auto all = [&]() -> Task<int> {
            int value = co_await leat::finally(inner(), outer_cleanup);
            co_return value;
        };
        outcome = co_await as_outcome(try_timeout(1s, all()));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_TEST(describe_failure(outcome.error()) == "inner; and: outer");
    });
    BOOST_TEST(log.text() == "inner outer");
    BOOST_TEST((elapsed() == Duration(3s)));
}

BOOST_FIXTURE_TEST_CASE(clean_up_may_use_groups_scopes_and_finally_itself, VirtualTime) {
    Log log;
    auto innermost = [&]() -> Task<> {
        log.note("innermost");
        co_return;
    };
    auto cleanup = [&]() -> Task<> {
        auto child = [&]() -> Task<> {
            co_await sleep_for(1s);
            log.note("child");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child);
            group.spawn(child);
            co_return;
        };
        co_await task_group(body);
        (void)co_await leat::finally(give_after(1s, 1), innermost);
    };
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await leat::finally(give_after(1s, 1), cleanup);
        };
        co_await cancel_scope(body);
    });
    BOOST_TEST(log.text() == "child child innermost");
}

BOOST_AUTO_TEST_CASE(executor_that_ends_runs_the_clean_up) {
    VirtualClock clock;
    ExecutorOptions options;
    options.clock = &clock;
    Log log;
    std::optional<Executor> executor(std::in_place, std::move(options));
    auto cleanup = [&]() -> Task<> {
        co_await sleep_for(3s);
        log.note("cleaned");
    };
    auto work = [&]() -> Task<> {
        Guard guard(log, "work");
        co_await leat::finally(give_after(1h, 1), cleanup);
        log.note("never");
    };
    {
        Running<void> running = executor->start(work());
        executor->turn();
    }
    executor.reset();

    BOOST_TEST(log.text() == "cleaned work!");
}

BOOST_FIXTURE_TEST_CASE(dump_tells_body_and_clean_up_apart, VirtualTime) {
    Gate gate;
    std::string before;
    std::string after;
    auto look = [&]() -> Task<> {
        co_await sleep_for(1s);
        before = executor.dump_tasks();
        co_await sleep_for(2s);
        after = executor.dump_tasks();
        gate.open();
    };
    auto cleanup = [&]() -> Task<> { co_await gate.pass(); };
    run([&]() -> Task<> {
        Running<void> looking = executor.start(look());
        (void)co_await leat::finally(give_after(2s, 1), cleanup);
    });
    BOOST_TEST(before.find("a task with a clean-up") != std::string::npos);
    BOOST_TEST(before.find("sleep") != std::string::npos);
    BOOST_TEST(after.find("a clean-up") != std::string::npos);
    BOOST_TEST(after.find("a gate") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(hundred_thousand_nested_ones_are_cancelled_on_a_flat_stack, VirtualTime) {
    int cleanups = 0;
    auto cleanup = [&]() -> Task<> {
        ++cleanups;
        co_return;
    };
    std::function<Task<int>(int)> nest = [&](int depth) -> Task<int> {
        if (depth == 0) {
            co_await sleep_for(1h);
            co_return 0;
        }
        int below = co_await leat::finally(nest(depth - 1), cleanup);
        co_return below + 1;
    };
    run([&]() -> Task<> {
        std::optional<int> reached = co_await try_timeout(1s, nest(100'000));
        BOOST_TEST(!reached.has_value());
        BOOST_TEST(cleanups == 100'000);
        reached = co_await try_timeout(2h, nest(100'000));
        BOOST_TEST((reached == 100'000));
        BOOST_TEST(cleanups == 200'000);
    });
    BOOST_TEST(!executor.timers().next_deadline().has_value());
}

// ---- Sweeps: whatever has begun is cleaned up, once ----

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    int begun = 0;
    int cleaned = 0;
    SweepOptions options;
    options.before = [&] { begun = cleaned = 0; };
    options.after = [&] { BOOST_TEST(begun == cleaned); };
    auto work = [&]() -> Task<Counted> {
        ++begun;
        Counted local;
        co_await sleep_for(1s);
        co_await yield();
        co_return Counted(1);
    };
    auto cleanup = [&]() -> Task<> {
        Counted local;
        co_await sleep_for(1s);
        co_await yield();
        ++cleaned;
    };
    auto nested = [&]() -> Task<Counted> {
        Counted value = co_await leat::finally(work(), cleanup);
        co_return value;
    };
    auto outer_cleanup = [&, counted = Counted()]() -> Task<> {
        co_await sleep_for(1s);
        ++cleaned;
        --begun;
        ++begun;
    };
    SweepReport report = sweep_all_endings(
        [&]() -> Task<> {
            auto counting = [&]() -> Task<Counted> {
                ++begun;
                Counted value = co_await nested();
                co_return value;
            };
            Counted value = co_await leat::finally(counting(), outer_cleanup);
        },
        options);
    BOOST_TEST(report.unwound > 0u);
}

BOOST_AUTO_TEST_CASE(one_that_fails_on_all_sides_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto fail = [](Duration duration) -> Task<Counted> {
            Counted local;
            co_await sleep_for(duration);
            throw Counted(5);
        };
        auto cleanup = [&]() -> Task<> { (void)co_await fail(1s); };
        auto cut_short = [&]() -> Task<> {
            Counted local;
            co_await sleep_for(1h);
        };
        Outcome<Counted> first = co_await as_outcome(leat::finally(fail(1s), cleanup));
        Outcome<Counted> second = co_await as_outcome(leat::finally(fail(1s), 2s, cut_short));
    });
}

BOOST_AUTO_TEST_CASE(last_words_on_a_stream_are_said_wherever_it_is_cancelled) {
    std::optional<StreamPair> pair;
    bool begun = false;
    SweepOptions options;
    options.before = [&] {
        pair.emplace();
        begun = false;
    };
    options.after = [&] {
        BOOST_TEST(receive_directly(pair->right) == (begun ? "QUIT" : ""));
        pair.reset();
    };
    auto talk = [&]() -> Task<> {
        begun = true;
        std::array<std::byte, 8> buffer;
        send_directly(pair->right, "hello");
        (void)co_await read_some(pair->left, buffer);
        (void)co_await try_timeout(1s, read_some(pair->left, buffer));
    };
    auto quit = [&]() -> Task<> { (void)co_await write_some(pair->left, "QUIT"); };
    sweep_all_endings([&]() -> Task<> { co_await leat::finally(talk(), quit); }, options);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace finally_test
