// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace cancel_scope_test {

namespace {

struct Scopes : VirtualTime {
    // Runs `body` in a scope that another task cancels after `turns` of the queue; whether it finished all the same.
    template <class Body>
    Task<bool> cancelled_after(int turns, Body& body) {
        auto scoped = [&](CancelScope& scope) -> Task<> {
            Running<void> canceller = executor.start(cancel_after(turns, scope));
            co_await body();
        };
        bool finished = co_await leat::cancel_scope(scoped);
        co_return finished;
    }

    static Task<> cancel_after(int turns, CancelScope& scope) {
        for (int i = 0; i < turns; ++i)
            co_await yield();
        scope.cancel();
    }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(cancel_scope)

BOOST_FIXTURE_TEST_CASE(scope_that_nobody_cancels_gives_the_body_s_value, VirtualTime) {
    run([&]() -> Task<> {
        auto value = [](CancelScope&) -> Task<int> { co_return 7; };
        auto nothing = [](CancelScope&) -> Task<> { co_await sleep_for(1s); };
        auto moved = [](CancelScope&) -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };

        std::optional<int> seven = co_await leat::cancel_scope(value);
        bool finished = co_await leat::cancel_scope(nothing);
        std::optional<std::unique_ptr<int>> three = co_await leat::cancel_scope(moved);

        BOOST_TEST((seven == 7));
        BOOST_TEST(finished);
        BOOST_TEST((three.has_value() && **three == 3));
    });
}

BOOST_FIXTURE_TEST_CASE(body_s_exception_leaves_the_scope, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [](CancelScope&) -> Task<> {
            co_await sleep_for(1s);
            throw std::runtime_error("it failed");
        };
        std::string caught;
        try {
            co_await leat::cancel_scope(body);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "it failed");
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_wait_is_not_resumed, Scopes) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&]() -> Task<> {
            log.note("waits");
            co_await sleep_for(1h);
            log.note("resumed");
        };
        bool finished = co_await cancelled_after(3, body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "waits");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(frames_are_destroyed_innermost_first_and_then_the_scope_ends, Scopes) {
    Log log;
    run([&]() -> Task<> {
        auto inner = [&]() -> Task<> {
            Guard first(log, "inner1");
            Guard second(log, "inner2");
            co_await sleep_for(1h);
        };
        auto middle = [&]() -> Task<> {
            Guard guard(log, "middle");
            co_await inner();
        };
        auto outer = [&]() -> Task<> {
            Guard guard(log, "outer");
            co_await middle();
        };
        co_await cancelled_after(3, outer);
        log.note("after");
    });

    BOOST_TEST(log.text() == "inner2! inner1! middle! outer! after");
}

BOOST_FIXTURE_TEST_CASE(destructors_are_told_that_they_run_because_of_a_cancellation, Scopes) {
    Log log;
    BOOST_TEST(!unwinding());
    run([&]() -> Task<> {
        auto body = [&]() -> Task<> {
            Guard cancelled(log, "cancelled");
            {
                Guard finished(log, "finished");
                co_await yield();
            }
            try {
                Guard thrown(log, "thrown");
                throw std::runtime_error("it failed");
            } catch (const std::runtime_error&) {
            }
            co_await sleep_for(1h);
        };
        co_await cancelled_after(5, body);
        BOOST_TEST(!unwinding());
    });

    BOOST_TEST(log.text() == "finished thrown cancelled!");
}

BOOST_FIXTURE_TEST_CASE(catch_all_does_not_see_a_cancellation, Scopes) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&]() -> Task<> {
            for (;;) {
                try {
                    co_await sleep_for(1h);
                } catch (...) {
                    log.note("caught");
                }
            }
        };
        bool finished = co_await cancelled_after(3, body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(cancelling_twice_is_harmless, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto cancel_twice = [](CancelScope& s) -> Task<> {
                s.cancel();
                s.cancel();
                co_await yield();
                s.cancel();
            };
            Running<void> canceller = executor.start(cancel_twice(scope));
            co_await gate.pass();
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(gate.cancellations() == 1);
}

BOOST_FIXTURE_TEST_CASE(task_that_cancels_its_own_scope_goes_on_to_its_next_wait, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<int> {
            Guard guard(log, "body");
            scope.cancel();
            log.note("goes-on");
            co_await yield();
            log.note("resumed");
            co_return 1;
        };
        std::optional<int> value = co_await leat::cancel_scope(body);
        BOOST_TEST(!value.has_value());
    });

    BOOST_TEST(log.text() == "goes-on body!");
}

BOOST_FIXTURE_TEST_CASE(result_without_a_further_wait_is_given_although_cancelled, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<int> {
            scope.cancel();
            BOOST_TEST(scope.is_cancelled());
            co_return 1;
        };
        std::optional<int> value = co_await leat::cancel_scope(body);
        BOOST_TEST((value == 1));
    });
}

BOOST_FIXTURE_TEST_CASE(exception_without_a_further_wait_is_thrown_although_cancelled, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            throw std::runtime_error("it failed");
            co_return;
        };
        std::string caught;
        try {
            co_await leat::cancel_scope(body);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "it failed");
    });
}

BOOST_FIXTURE_TEST_CASE(awaiting_a_task_is_no_cancellation_point, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<int> {
            log.note("child");
            co_return 1;
        };
        auto body = [&](CancelScope& scope) -> Task<int> {
            scope.cancel();
            int value = co_await child();
            log.note("parent");
            co_return value;
        };
        std::optional<int> value = co_await leat::cancel_scope(body);
        BOOST_TEST((value == 1));
    });

    BOOST_TEST(log.text() == "child parent");
}

BOOST_FIXTURE_TEST_CASE(cancellation_ends_the_first_leaf_of_an_awaited_task_and_its_parents, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            Guard guard(log, "child");
            co_await yield();
            log.note("resumed");
        };
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            scope.cancel();
            co_await child();
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "child! body!");
}

BOOST_FIXTURE_TEST_CASE(leaf_wait_in_a_cancelled_scope_starts_nothing, VirtualTime) {
    StreamPair pair;
    Gate gate;
    gate.open();
    int started = 0;
    send_directly(pair.right, "data");
    auto cancelled = [&](auto wait) -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await wait();
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    };
    run([&]() -> Task<> {
        auto pass = [&]() -> Task<> { co_await gate.pass(); };
        auto receive = [&]() -> Task<> {
            std::array<std::byte, 16> buffer;
            co_await read_some(pair.left, buffer);
        };
        auto await_readable = [&]() -> Task<> { co_await readable(pair.left); };
        auto await_writable = [&]() -> Task<> { co_await writable(pair.left); };
        auto sleep_briefly = [&]() -> Task<> { co_await sleep_for(0s); };
        auto give_way = [&]() -> Task<> { co_await yield(); };
        auto call = [&]() -> Task<> {
            auto start = [&](Callback<int> done) {
                ++started;
                done(1);
            };
            co_await leat::callback<int>(start);
        };
        co_await cancelled(pass);
        co_await cancelled(receive);
        co_await cancelled(await_readable);
        co_await cancelled(await_writable);
        co_await cancelled(sleep_briefly);
        co_await cancelled(give_way);
        co_await cancelled(call);
    });

    BOOST_TEST(gate.arrivals() == 0);
    BOOST_TEST(started == 0);
    BOOST_TEST(executor.poll().in_flight() == 0u);
    BOOST_TEST(!executor.timers().next_deadline().has_value());
    BOOST_TEST(receive_directly(pair.left) == "data");
}

BOOST_FIXTURE_TEST_CASE(result_that_has_arrived_wins_and_the_next_wait_ends, Scopes) {
    Log log;
    Gate gate;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto opener = [&]() -> Task<> {
                co_await yield();
                gate.open();
                scope.cancel();
            };
            Running<void> running = executor.start(opener());
            co_await gate.pass();
            log.note("passed");
            co_await yield();
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "passed");
}

BOOST_FIXTURE_TEST_CASE(inner_scope_ends_alone, Scopes) {
    Log log;
    run([&]() -> Task<> {
        auto outer = [&]() -> Task<> {
            auto inner = [&]() -> Task<> {
                Guard guard(log, "inner");
                co_await sleep_for(1h);
            };
            bool finished = co_await cancelled_after(3, inner);
            BOOST_TEST(!finished);
            co_await sleep_for(1s);
            log.note("outer");
        };
        co_await outer();
    });

    BOOST_TEST(log.text() == "inner! outer");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(outer_scope_takes_the_inner_one_with_it, Scopes) {
    Log log;
    run([&]() -> Task<> {
        auto outer = [&]() -> Task<> {
            Guard guard(log, "outer");
            auto inner = [&](CancelScope&) -> Task<> {
                Guard inner_guard(log, "inner");
                co_await sleep_for(1h);
            };
            co_await leat::cancel_scope(inner);
            log.note("resumed");
        };
        bool finished = co_await cancelled_after(3, outer);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "inner! outer!");
}

BOOST_FIXTURE_TEST_CASE(inner_and_outer_scope_may_be_cancelled_at_once, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto outer = [&](CancelScope& outer_scope) -> Task<> {
            Guard guard(log, "outer");
            auto inner = [&](CancelScope& inner_scope) -> Task<> {
                Guard inner_guard(log, "inner");
                auto both = [&]() -> Task<> {
                    co_await yield();
                    inner_scope.cancel();
                    outer_scope.cancel();
                };
                Running<void> running = executor.start(both());
                co_await sleep_for(1h);
            };
            co_await leat::cancel_scope(inner);
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(outer);
        BOOST_TEST(!finished);
        log.note("after");
    });

    BOOST_TEST(log.text() == "inner! outer! after");
}

BOOST_FIXTURE_TEST_CASE(scope_opened_in_a_cancelled_scope_is_cancelled_from_outside, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto outer = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "outer");
            scope.cancel();
            auto inner = [&](CancelScope&) -> Task<> {
                log.note("inner");
                co_await yield();
                log.note("resumed");
            };
            co_await leat::cancel_scope(inner);
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(outer);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "inner outer!");
}

BOOST_FIXTURE_TEST_CASE(scopes_of_other_tasks_are_left_alone, Scopes) {
    Log log;
    auto neighbour = [&]() -> Task<> {
        co_await sleep_for(1s);
        log.note("neighbour");
    };
    Running<void> running = executor.start(neighbour());
    run([&]() -> Task<> {
        auto body = []() -> Task<> { co_await sleep_for(1h); };
        co_await cancelled_after(2, body);
    });
    executor.run();

    BOOST_TEST(log.text() == "neighbour");
}

BOOST_FIXTURE_TEST_CASE(destructor_may_cancel_another_scope, VirtualTime) {
    struct Canceller {
        explicit Canceller(CancelScope*& s) noexcept : scope(s) {}
        Canceller(const Canceller&) = delete;
        ~Canceller() {
            if (scope != nullptr) scope->cancel();
        }
        CancelScope*& scope;
    };
    CancelScope* second_scope = nullptr;
    Log log;
    auto second = [&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            second_scope = &scope;
            co_await sleep_for(1h);
        };
        bool finished = co_await leat::cancel_scope(body);
        log.note(finished ? "finished" : "cancelled");
    };
    auto first = [&]() -> Task<> {
        Canceller canceller(second_scope);
        co_await sleep_for(1h);
    };
    Running<void> first_running = executor.start(first());
    Running<void> second_running = executor.start(second());
    executor.turn();

    first_running.cancel();
    executor.run();

    BOOST_TEST(log.text() == "cancelled");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(cancellation_throws_and_allocates_nothing_that_stays, Scopes) {
    run([&]() -> Task<> {
        auto body = [](Counted) -> Task<> { co_await sleep_for(1h); };
        auto wrapped = [&]() -> Task<> { co_await body(Counted()); };
        for (int i = 0; i < 100; ++i)
            co_await cancelled_after(i % 4, wrapped);
    });

    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_FIXTURE_TEST_CASE(scope_that_is_cancelled_by_what_makes_its_body_is_cancelled, VirtualTime) {
    run([&]() -> Task<> {
        auto wait = []() -> Task<> { co_await sleep_for(1h); };
        auto make = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            return wait();
        };
        bool finished = co_await leat::cancel_scope(make);
        BOOST_TEST(!finished);
    });

    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace cancel_scope_test
