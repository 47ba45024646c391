// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes every local std::stop_source for uninitialised.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace stop_token_test {

namespace {

Task<int> give(int value) {
    co_await yield();
    co_return value;
}

// Waits until it is ended: for a gate that nobody opens.
Task<int> wait_for_ever(Log& log, std::string name = "task") {
    Guard guard(log, std::move(name));
    Gate gate;
    co_await gate.pass();
    log.note("passed");
    co_return 1;
}

// In Wine, mingw-w64's std::stop_callback was seen to wait for ever for a call of another thread that was over.
const boost::unit_test::label unless_in_wine("posix");

}  // namespace

BOOST_AUTO_TEST_SUITE(stop_token)

// ---- cancel_on ----

BOOST_FIXTURE_TEST_CASE(task_that_nobody_stops_gives_its_value, VirtualTime) {
    std::stop_source source;
    auto own = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
    auto nothing = []() -> Task<> { co_await yield(); };
    run([&]() -> Task<> {
        std::optional<int> value = co_await cancel_on(source.get_token(), give(7));
        BOOST_TEST((value == 7));
        std::optional<std::unique_ptr<int>> owned = co_await cancel_on(source.get_token(), own());
        BOOST_TEST(**owned == 5);
        bool ended = co_await cancel_on(source.get_token(), nothing());
        BOOST_TEST(ended);
    });
    // Too late for anybody.
    source.request_stop();
    executor.turn();
}

BOOST_FIXTURE_TEST_CASE(stop_of_another_thread_ends_the_task, VirtualTime) {
    Log log;
    auto nothing = [&]() -> Task<> { (void)co_await wait_for_ever(log, "nothing"); };
    run([&]() -> Task<> {
        std::stop_source source;
        std::jthread thread([&source] { source.request_stop(); });
        std::optional<int> value = co_await cancel_on(source.get_token(), wait_for_ever(log));
        BOOST_TEST(!value.has_value());
        std::stop_source other;
        std::jthread second([&other] { other.request_stop(); });
        bool ended = co_await cancel_on(other.get_token(), nothing());
        BOOST_TEST(!ended);
        log.note("after");
    });
    BOOST_TEST(log.text() == "task! nothing! after");
}

BOOST_FIXTURE_TEST_CASE(stop_only_posts_and_nothing_is_cancelled_inside_request_stop, VirtualTime) {
    Log log;
    std::stop_source source;
    auto stop = [&]() -> Task<> {
        source.request_stop();
        log.note("requested");
        co_await yield();
    };
    auto noting = [&]() -> Task<> {
        Guard guard(log, "task");
        Gate gate;
        co_await gate.pass();
    };
    run([&]() -> Task<> {
        Running<void> stopping = executor.start(stop());
        bool ended = co_await cancel_on(source.get_token(), noting());
        BOOST_TEST(!ended);
    });
    BOOST_TEST(log.text() == "requested task!");
}

BOOST_FIXTURE_TEST_CASE(result_that_comes_before_the_stop_is_heard_of_is_given, VirtualTime) {
    std::stop_source source;
    auto stops_and_ends = [&]() -> Task<int> {
        source.request_stop();
        co_return 7;
    };
    auto stops_and_waits = [&]() -> Task<int> {
        source = std::stop_source();
        co_return 8;
    };
    run([&]() -> Task<> {
        std::optional<int> value = co_await cancel_on(source.get_token(), stops_and_ends());
        BOOST_TEST((value == 7));
        value = co_await cancel_on(source.get_token(), stops_and_waits());
        BOOST_TEST((value == 8));
    });
    executor.turn();
}

BOOST_FIXTURE_TEST_CASE(task_that_stops_itself_ends_at_a_later_wait, VirtualTime) {
    std::stop_source source;
    Log log;
    auto stops = [&]() -> Task<> {
        Guard guard(log, "task");
        source.request_stop();
        Gate gate;
        co_await gate.pass();
        log.note("never");
    };
    run([&]() -> Task<> {
        bool ended = co_await cancel_on(source.get_token(), stops());
        BOOST_TEST(!ended);
    });
    BOOST_TEST(log.text() == "task!");
}

BOOST_FIXTURE_TEST_CASE(stop_that_was_requested_before_ends_the_task_at_its_first_wait, VirtualTime) {
    std::stop_source source;
    source.request_stop();
    Log log;
    auto begins = [&]() -> Task<> {
        Guard guard(log, "task");
        log.note("begun");
        co_await sleep_for(1s);
        log.note("never");
    };
    auto needs_no_wait = []() -> Task<int> { co_return 7; };
    run([&]() -> Task<> {
        bool ended = co_await cancel_on(source.get_token(), begins());
        BOOST_TEST(!ended);
        std::optional<int> value = co_await cancel_on(source.get_token(), needs_no_wait());
        BOOST_TEST((value == 7));
    });
    BOOST_TEST(log.text() == "begun task!");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(token_without_a_source_never_stops_anything, VirtualTime) {
    std::stop_token orphan;
    {
        std::stop_source gone;
        orphan = gone.get_token();
    }
    auto slow = []() -> Task<int> {
        co_await sleep_for(1s);
        co_return 7;
    };
    run([&]() -> Task<> {
        // Nobody can ever call: so nobody is waited for, and a virtual clock goes on.
        std::optional<int> value = co_await cancel_on(std::stop_token(), slow());
        BOOST_TEST((value == 7));
        value = co_await cancel_on(orphan, slow());
        BOOST_TEST((value == 7));
    });
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(body_may_take_its_token_by_reference, VirtualTime) {
    bool was_asked = false;
    run([&]() -> Task<> {
        auto body = [&](const std::stop_token& token) -> Task<> {
            co_await sleep_for(1s);
            was_asked = token.stop_requested();
        };
        co_await with_stop_token(body);
    });

    BOOST_TEST(!was_asked);
    BOOST_TEST(elapsed() == 1s);
}

BOOST_FIXTURE_TEST_CASE(failure_of_the_task_passes, VirtualTime) {
    std::stop_source source;
    auto fail = []() -> Task<int> {
        co_await yield();
        throw std::system_error(std::make_error_code(std::errc::broken_pipe));
    };
    run([&]() -> Task<> {
        Result<std::optional<int>> result = co_await as_result(cancel_on(source.get_token(), fail()));
        BOOST_TEST((result.error() == std::errc::broken_pipe));
        Outcome<std::optional<int>> outcome = co_await as_outcome(cancel_on(source.get_token(), fail()));
        BOOST_TEST(!outcome.has_value());
        source.request_stop();
        Log log;
        result = co_await as_result(cancel_on(source.get_token(), wait_for_ever(log)));
        BOOST_TEST((result && !result->has_value()));
    });
}

BOOST_FIXTURE_TEST_CASE(clean_up_and_shield_of_a_stopped_task_come_to_their_ends, VirtualTime) {
    std::stop_source source;
    Log log;
    auto cleanup = [&]() -> Task<> {
        co_await yield();
        log.note("cleaned");
    };
    auto all = [&]() -> Task<int> {
        int value = co_await leat::finally(wait_for_ever(log), cleanup);
        co_return value;
    };
    auto say = [&]() -> Task<> {
        source.request_stop();
        for (int i = 0; i < 5; ++i)
            co_await yield();
        log.note("said");
    };
    auto shielded = [&]() -> Task<int> {
        co_await leat::shield(say());
        Gate gate;
        co_await gate.pass();
        co_return 1;
    };
    run([&]() -> Task<> {
        std::optional<int> value = co_await cancel_on(source.get_token(), shielded());
        BOOST_TEST(!value.has_value());
        value = co_await cancel_on(source.get_token(), all());
        BOOST_TEST(!value.has_value());
    });
    BOOST_TEST(log.text() == "said task! cleaned");
}

BOOST_FIXTURE_TEST_CASE(cancellation_from_outside_unwinds_task_and_awaiter_also_beside_a_stop, VirtualTime) {
    for (bool is_stopped : {false, true}) {
        Log log;
        std::stop_source source;
        run([&]() -> Task<> {
            auto body = [&](CancelScope& scope) -> Task<> {
                Guard guard(log, "body");
                auto cancel = [&]() -> Task<> {
                    if (is_stopped) source.request_stop();
                    scope.cancel();
                    scope.cancel();
                    co_return;
                };
                Running<void> canceller = executor.start(cancel());
                (void)co_await cancel_on(source.get_token(), wait_for_ever(log));
                log.note("never");
            };
            bool finished = co_await cancel_scope(body);
            BOOST_TEST(!finished);
        });
        BOOST_TEST(log.text() == "task! body!");
    }
}

BOOST_FIXTURE_TEST_CASE(nested_ones_each_hear_their_own_stop, VirtualTime) {
    Log log;
    std::stop_source outer;
    std::stop_source inner;
    auto inside = [&]() -> Task<> {
        std::optional<int> value = co_await cancel_on(inner.get_token(), wait_for_ever(log, "inner"));
        log.note(value ? "?" : "stopped");
        outer.request_stop();
        (void)co_await wait_for_ever(log, "outer");
    };
    auto stop = [&]() -> Task<> {
        inner.request_stop();
        co_return;
    };
    run([&]() -> Task<> {
        Running<void> stopping = executor.start(stop());
        bool ended = co_await cancel_on(outer.get_token(), inside());
        BOOST_TEST(!ended);
    });
    BOOST_TEST(log.text() == "inner! stopped outer!");
}

BOOST_FIXTURE_TEST_CASE(timeout_and_race_stand_around_it, VirtualTime) {
    std::stop_source source;
    Log log;
    auto tick = [&]() -> Task<> {
        for (int i = 0; i < 3; ++i)
            co_await yield();
        clock.advance(10s);
    };
    run([&]() -> Task<> {
        Running<void> ticking = executor.start(tick());
        Result<std::optional<int>> late =
            co_await as_result(leat::timeout(1s, cancel_on(source.get_token(), wait_for_ever(log))));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        auto [stopped, yielded] =
            co_await leat::when_any(cancel_on(source.get_token(), wait_for_ever(log)), yield());
        BOOST_TEST(!stopped.has_value());
        BOOST_TEST(yielded);
    });
    BOOST_TEST(log.text() == "task! task!");
}

BOOST_AUTO_TEST_CASE(executor_that_ends_and_a_stop_at_the_same_time_end_the_task_once, *unless_in_wine) {
    for (int i = 0; i < (is_sanitized ? 50 : 300); ++i) {
        std::stop_source source;
        std::atomic<bool> go = false;
        std::jthread stopper([&] {
            while (!go)
                std::this_thread::yield();
            source.request_stop();
        });
        Log log;
        {
            Executor executor;
            auto all = [&]() -> Task<> { (void)co_await cancel_on(source.get_token(), wait_for_ever(log)); };
            Running<void> running = executor.start(all());
            executor.turn();
            go = true;
        }
        BOOST_TEST(log.text() == "task!");
        // What is left in the source's hands refers to nothing that is gone.
        source.request_stop();
    }
}

// The stop falls before, into, and after the end of the wait.
BOOST_AUTO_TEST_CASE(stop_of_another_thread_while_the_wait_ends_harms_nobody, *unless_in_wine) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 300 : 3000);
    Executor executor;
    std::size_t stopped = 0;
    std::size_t ended = 0;
    auto work = [&](std::size_t steps) -> Task<int> {
        Counted local;
        for (std::size_t i = 0; i < steps; ++i)
            co_await yield();
        co_return 1;
    };
    executor.run_until([&]() -> Task<> {
        for (std::size_t i = 0; i < rounds; ++i) {
            std::stop_source source;
            std::jthread stopper([&source] { source.request_stop(); });
            std::optional<int> value = co_await cancel_on(source.get_token(), work(i % 50 * 4));
            ++(value ? ended : stopped);
        }
    }());
    BOOST_TEST(stopped + ended == rounds);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(tasks_that_one_source_stops_all_end) {
    Executor executor;
    std::stop_source source;
    int ended = 0;
    std::jthread stopper([&source] {
        std::this_thread::yield();
        source.request_stop();
    });
    executor.run_until([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto child = [&](Counted) -> Task<> {
                Log log;
                std::optional<int> value = co_await cancel_on(source.get_token(), wait_for_ever(log));
                if (!value) ++ended;
            };
            for (int i = 0; i < 1000; ++i)
                group.spawn(child, Counted());
            co_return;
        };
        co_await task_group(body);
    }());
    BOOST_TEST(ended == 1000);
}

BOOST_FIXTURE_TEST_CASE(what_was_never_awaited_holds_nothing_and_hears_nothing, VirtualTime) {
    std::stop_source source;
    auto take = [](Counted) -> Task<> { co_return; };
    {
        auto waiting = cancel_on(source.get_token(), take(Counted()));
        auto moved = std::move(waiting);
        source.request_stop();
        BOOST_TEST(Counted::live() == 1);
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(cancel_on_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        std::stop_source source;
        auto slow = []() -> Task<Counted> {
            Counted local;
            co_await sleep_for(1s);
            co_return Counted(1);
        };
        std::optional<Counted> value = co_await cancel_on(source.get_token(), slow());
        BOOST_TEST(value.has_value());
        auto stops = [&]() -> Task<Counted> {
            Counted local;
            co_await yield();
            source.request_stop();
            co_await sleep_for(1s);
            co_return Counted(1);
        };
        value = co_await cancel_on(source.get_token(), stops());
        BOOST_TEST(!value.has_value());
        value = co_await cancel_on(source.get_token(), slow());
    });
}

// ---- with_stop_token ----

BOOST_FIXTURE_TEST_CASE(body_gets_a_token_that_is_quiet_while_nobody_cancels, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [](std::stop_token token) -> Task<std::unique_ptr<int>> {
            BOOST_TEST(token.stop_possible());
            BOOST_TEST(!token.stop_requested());
            co_await sleep_for(1s);
            BOOST_TEST(!token.stop_requested());
            co_return std::make_unique<int>(7);
        };
        std::unique_ptr<int> value = co_await with_stop_token(body);
        BOOST_TEST(*value == 7);
        auto fail = [](std::stop_token) -> Task<int> {
            throw std::system_error(std::make_error_code(std::errc::broken_pipe));
            co_return 1;
        };
        Result<int> result = co_await as_result(with_stop_token(fail));
        BOOST_TEST((result.error() == std::errc::broken_pipe));
    });
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(body_that_throws_when_it_is_called_fails_the_await, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [](std::stop_token) -> Task<> { throw std::runtime_error("called"); };
        std::string caught;
        try {
            co_await with_stop_token(body);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "called");
    });
}

BOOST_FIXTURE_TEST_CASE(cancellation_around_it_requests_the_stop_but_not_in_the_cancellers_hands,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto scope_body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            auto cancel = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
                scope.cancel();
                log.note("cancelled");
            };
            Running<void> canceller = executor.start(cancel());
            auto body = [&](std::stop_token token) -> Task<> {
                // What cannot be cancelled learns of it by the token alone.
                auto heard = [&]() noexcept { log.note("heard"); };
                std::stop_callback<decltype(heard)> callback(token, heard);
                co_await leat::shield(sleep_for(10s));
                log.note(token.stop_requested() ? "requested" : "not");
                co_await sleep_for(1s);
                log.note("never");
            };
            co_await with_stop_token(body);
        };
        bool finished = co_await cancel_scope(scope_body);
        BOOST_TEST(!finished);
    });
    BOOST_TEST(log.text() == "cancelled heard requested body!");
    BOOST_TEST((elapsed() == Duration(10s)));
}

BOOST_FIXTURE_TEST_CASE(thread_that_holds_the_token_hears_of_it_though_the_body_is_gone, VirtualTime) {
    std::stop_token kept;
    run([&]() -> Task<> {
        auto scope_body = [&](CancelScope& scope) -> Task<> {
            auto body = [&](std::stop_token token) -> Task<> {
                kept = token;
                scope.cancel();
                co_await sleep_for(1s);
            };
            co_await with_stop_token(body);
        };
        co_await cancel_scope(scope_body);
        co_await yield();
        co_await sleep_for(1s);
    });
    BOOST_TEST(kept.stop_requested());
}

BOOST_FIXTURE_TEST_CASE(in_a_scope_that_is_cancelled_the_stop_is_requested_from_the_first, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto scope_body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            auto body = [&](std::stop_token token) -> Task<> {
                log.note(token.stop_requested() ? "requested" : "not");
                co_await sleep_for(1s);
                log.note("never");
            };
            co_await with_stop_token(body);
        };
        co_await cancel_scope(scope_body);
    });
    BOOST_TEST(log.text() == "requested");
}

BOOST_FIXTURE_TEST_CASE(what_listens_may_cancel_other_scopes, VirtualTime) {
    Log log;
    CancelScope* other = nullptr;
    auto other_body = [&](CancelScope& scope) -> Task<> {
        other = &scope;
        (void)co_await wait_for_ever(log, "other");
    };
    auto run_other = [&]() -> Task<> {
        bool finished = co_await cancel_scope(other_body);
        other = nullptr;
        log.note(finished ? "?" : "other-ended");
    };
    auto listening = [&](std::stop_token token) -> Task<> {
        auto heard = [&]() noexcept {
            if (other != nullptr) other->cancel();
        };
        std::stop_callback<decltype(heard)> callback(token, heard);
        co_await leat::shield(sleep_for(2s));
        co_await sleep_for(1s);
    };
    run([&]() -> Task<> {
        auto all = [&](CancelScope& scope) -> Task<> {
            auto cancel = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
            };
            Running<void> canceller = executor.start(cancel());
            co_await with_stop_token(listening);
        };
        Running<void> running = executor.start(run_other());
        bool finished = co_await cancel_scope(all);
        BOOST_TEST(!finished);
        BOOST_TEST(running.has_ended());
    });
    BOOST_TEST(log.text() == "other! other-ended");
}

BOOST_FIXTURE_TEST_CASE(token_of_the_one_stops_the_other, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto scope_body = [&](CancelScope& scope) -> Task<> {
            auto cancel = [&]() -> Task<> {
                co_await yield();
                scope.cancel();
            };
            Running<void> canceller = executor.start(cancel());
            auto body = [&](std::stop_token token) -> Task<> {
                auto stopped = [&]() -> Task<> { (void)co_await cancel_on(token, wait_for_ever(log)); };
                // Nothing but the token reaches inside.
                co_await leat::shield(stopped());
                log.note("out");
            };
            co_await with_stop_token(body);
        };
        co_await cancel_scope(scope_body);
    });
    BOOST_TEST(log.text() == "task! out");
}

BOOST_FIXTURE_TEST_CASE(timeout_around_it_requests_the_stop, VirtualTime) {
    std::stop_token kept;
    auto body = [&](std::stop_token token) -> Task<int> {
        kept = token;
        co_await leat::shield(sleep_for(2s));
        BOOST_TEST(token.stop_requested());
        co_await sleep_for(1s);
        co_return 1;
    };
    run([&]() -> Task<> {
        std::optional<int> value = co_await try_timeout(1s, with_stop_token(body));
        BOOST_TEST(!value.has_value());
    });
    BOOST_TEST(kept.stop_requested());
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_AUTO_TEST_CASE(executor_that_ends_requests_the_stop) {
    std::atomic<bool> heard = false;
    {
        Executor executor;
        auto body = [&](std::stop_token token) -> Task<> {
            // A thread that does something for the body, and is waited for by it.
            Gate gate;
            std::jthread worker([token, &gate, &heard, remote = executor.remote()]() mutable {
                while (!token.stop_requested())
                    std::this_thread::yield();
                heard = true;
                (void)remote.try_post([&gate] { gate.open(); });
            });
            co_await leat::shield(gate.pass());
        };
        auto all = [&]() -> Task<> { co_await with_stop_token(body); };
        Running<void> running = executor.start(all());
        executor.turn();
    }
    BOOST_TEST(heard);
}

BOOST_AUTO_TEST_CASE(with_stop_token_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto body = [counted = Counted()](std::stop_token token) -> Task<Counted> {
            Counted local;
            auto heard = [counted = Counted()]() noexcept {};
            std::stop_callback<decltype(heard)> callback(token, heard);
            co_await sleep_for(1s);
            co_await leat::shield(sleep_for(1s));
            co_return Counted(1);
        };
        Counted value = co_await with_stop_token(body);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace stop_token_test
