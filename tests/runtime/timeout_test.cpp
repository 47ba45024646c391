// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/system.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace timeout_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<> wait_for(Duration duration) { co_await sleep_for(duration); }

Task<int> fail_after(Duration duration) {
    co_await sleep_for(duration);
    throw std::runtime_error("it failed");
}

/// Awaits `task`, and gives the text and the code of what it throws.
template <class T>
Task<std::string> text_of_failure(Task<T> task) {
    std::string text = "no failure";
    try {
        co_await std::move(task);
    } catch (const std::system_error& error) {
        text = error.what();
        BOOST_TEST(error.code() == errc::deadline_exceeded);
    }
    co_return text;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::string here(int line) { return "timeout_test.cpp:" + std::to_string(line); }

/// A gate for whose description there is no memory.
class Indescribable : public Gate::Passage {
public:
    using Passage::Passage;
    std::string describe() const override { throw std::bad_alloc(); }
};

/// Lets a group's children wait for `gate`; where they do.
constexpr int line_of_child = __LINE__ + 1;
Task<> pass(Gate& gate) { co_await gate.pass(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(timeout)

BOOST_FIXTURE_TEST_CASE(task_that_ends_in_time_gives_its_value_and_disarms_the_deadline, VirtualTime) {
    run([&]() -> Task<> {
        int value = co_await leat::timeout(2s, give_after(1s, 7));
        co_await leat::timeout(2s, wait_for(1s));

        BOOST_TEST(value == 7);
        BOOST_TEST(!executor.timers().next_deadline().has_value());
        BOOST_TEST((elapsed() == Duration(2s)));
    });
}

BOOST_FIXTURE_TEST_CASE(task_that_is_late_is_cancelled_and_the_error_is_deadline_exceeded, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto late = [&]() -> Task<int> {
            Guard guard(log, "task");
            co_await sleep_for(1h);
            co_return 1;
        };
        std::error_code code;
        try {
            co_await leat::timeout(2s, late());
        } catch (const std::system_error& error) {
            code = error.code();
        }
        log.note("after");

        BOOST_TEST(code == errc::deadline_exceeded);
        BOOST_TEST((code != std::errc::timed_out));
        BOOST_TEST((elapsed() == Duration(2s)));
    });

    BOOST_TEST(log.text() == "task! after");
}

BOOST_FIXTURE_TEST_CASE(error_of_a_late_task_names_the_innermost_wait_and_its_line, VirtualTime) {
    run([&]() -> Task<> {
        int line = 0;
        auto inner = [&]() -> Task<> {
            line = __LINE__ + 1;
            co_await sleep_for(1h);
        };
        auto outer = [&]() -> Task<> {
            Task<> task = inner();
            co_await std::move(task);
        };
        auto limited = [&]() -> Task<> {
            Task<> task = outer();
            co_await leat::timeout(2s, std::move(task));
        };
        Task<> task = limited();
        std::string text = co_await text_of_failure(std::move(task));

        BOOST_TEST(contains(text, "leat: timeout: " + here(line) + " waits for sleep"), text);
    });
}

BOOST_FIXTURE_TEST_CASE(error_of_a_late_group_names_the_wait_of_one_task_and_counts_the_others, VirtualTime) {
    Gate gates[3];
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (Gate& gate : gates)
                group.spawn(pass, std::ref(gate));
            co_return;
        };
        auto limited = [&]() -> Task<> { co_await leat::timeout(2s, task_group(body)); };
        Task<> task = limited();
        std::string text = co_await text_of_failure(std::move(task));

        BOOST_TEST(contains(text, here(line_of_child) + " waits for a gate, and 2 more"), text);
    });
}

BOOST_FIXTURE_TEST_CASE(late_task_without_memory_for_a_text_is_late_all_the_same, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        auto late = [&]() -> Task<> { co_await Indescribable(gate); };
        auto limited = [&]() -> Task<> {
            Task<> task = late();
            co_await leat::timeout(2s, std::move(task));
        };
        Task<> task = limited();
        std::string text = co_await text_of_failure(std::move(task));

        BOOST_TEST(text.starts_with("leat: timeout"), text);
        BOOST_TEST(!contains(text, "waits for"), text);
    });
}

BOOST_FIXTURE_TEST_CASE(task_that_is_late_for_a_try_costs_no_text, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        bool passed = co_await try_timeout(1s, pass(gate));
        std::size_t before = allocations_made();
        bool passed_later = co_await try_timeout(1s, pass(gate));

        BOOST_TEST(!passed);
        BOOST_TEST(!passed_later);
        // A sanitizer's frames come from the heap.
        if (!is_sanitized) BOOST_TEST(allocations_made() == before);
    });
}

BOOST_FIXTURE_TEST_CASE(leaf_wait_that_is_late_ends_with_deadline_exceeded, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        std::error_code code;
        try {
            co_await leat::timeout(2s, gate.pass());
        } catch (const std::system_error& error) {
            code = error.code();
        }

        BOOST_TEST(code == errc::deadline_exceeded);
        BOOST_TEST((elapsed() == Duration(2s)));
        BOOST_TEST(!gate.has_waiter());
        co_await leat::timeout(2s, sleep_for(1s));
        BOOST_TEST((elapsed() == Duration(3s)));
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(leaf_wait_with_a_deadline_allocates_nothing, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        bool passed = co_await try_timeout(1s, gate.pass());
        std::size_t before = allocations_made();

        for (int i = 0; i < 10; ++i)
            passed = co_await try_timeout(1s, gate.pass());
        std::size_t after = allocations_made();

        BOOST_TEST(!passed);
        BOOST_TEST(after == before);
    });
}

BOOST_FIXTURE_TEST_CASE(exception_of_the_task_passes_through, VirtualTime) {
    run([&]() -> Task<> {
        std::string caught;
        try {
            co_await leat::timeout(2s, fail_after(1s));
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "it failed");
    });
}

BOOST_FIXTURE_TEST_CASE(result_that_is_there_at_the_deadline_wins, VirtualTime) {
    run([&]() -> Task<> {
        // Armed first, the inner sleep fires first at the common instant.
        Gate gate;
        auto open_at = [](TimePoint instant, Gate& to_open) -> Task<> {
            co_await sleep_until(instant);
            to_open.open();
        };
        TimePoint instant = executor.now() + 5s;
        Running<void> opener = executor.start(open_at(instant, gate));
        co_await yield();
        gate.open();  // There before the wait begins.
        bool passed = co_await try_timeout(0s, gate.pass());
        BOOST_TEST(passed);

        bool slept = co_await try_timeout(1s, sleep_for(1s));
        BOOST_TEST(slept);
    });
}

BOOST_FIXTURE_TEST_CASE(result_of_a_task_that_has_come_at_the_deadline_wins, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        auto opener = [&]() -> Task<> {
            co_await sleep_for(1s);
            gate.open();
        };
        auto waiter = [&]() -> Task<int> {
            co_await gate.pass();
            co_return 3;
        };
        Running<void> running = executor.start(opener());
        co_await yield();
        // At one second the opener's timer fires first, and then this one; the gate is open by the time it matters, or
        // not: whichever it is, a value and an error never come together and nothing is lost.
        Result<int> result = co_await as_result(leat::timeout(1s, waiter()));
        if (!result) {
            BOOST_TEST(result.error() == errc::deadline_exceeded);
            BOOST_TEST(!gate.has_waiter());
        } else {
            BOOST_TEST(*result == 3);
        }
    });
}

BOOST_FIXTURE_TEST_CASE(limit_in_the_past_still_gives_what_is_there_at_once, VirtualTime) {
    Gate gate;
    auto ready = []() -> Task<int> { co_return 5; };
    run([&]() -> Task<> {
        gate.open();
        co_await leat::timeout(-1s, gate.pass());
        int value = co_await leat::timeout(Duration::min(), ready());
        BOOST_TEST(value == 5);
        bool passed = co_await try_timeout(-1s, gate.pass());
        BOOST_TEST(!passed);
        BOOST_TEST((elapsed() == Duration::zero()));
    });
}

BOOST_FIXTURE_TEST_CASE(longest_limit_is_no_limit, VirtualTime) {
    run([&]() -> Task<> {
        co_await leat::timeout(Duration::max(), wait_for(24h * 365));
        co_await leat::timeout(Duration::max(), sleep_for(1s));
        co_await timeout_at(TimePoint::max(), sleep_for(1s));
    });

    BOOST_TEST((elapsed() == Duration(24h * 365 + 2s)));
}

BOOST_FIXTURE_TEST_CASE(limit_counts_from_the_await, VirtualTime) {
    run([&]() -> Task<> {
        auto limited = leat::timeout(2s, wait_for(1s));
        co_await sleep_for(10s);
        co_await std::move(limited);
    });

    BOOST_TEST((elapsed() == Duration(11s)));
}

BOOST_FIXTURE_TEST_CASE(timeout_at_is_an_instant, VirtualTime) {
    run([&]() -> Task<> {
        TimePoint deadline = executor.now() + 3s;
        co_await sleep_for(2s);
        Result<void> result = co_await as_result(timeout_at(deadline, wait_for(5s)));
        BOOST_TEST(result.error() == errc::deadline_exceeded);
        BOOST_TEST((executor.now() == deadline));
        Result<void> leaf = co_await as_result(timeout_at(deadline, sleep_for(5s)));
        BOOST_TEST(leaf.error() == errc::deadline_exceeded);
        BOOST_TEST((executor.now() == deadline));
    });
}

BOOST_FIXTURE_TEST_CASE(try_timeout_gives_nothing_instead_of_an_error, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<int> in_time = co_await try_timeout(2s, give_after(1s, 7));
        std::optional<int> late = co_await try_timeout(2s, give_after(3s, 7));
        bool void_in_time = co_await try_timeout(2s, wait_for(1s));
        bool void_late = co_await try_timeout(2s, wait_for(3s));
        bool leaf_in_time = co_await try_timeout(2s, sleep_for(1s));
        bool leaf_late = co_await try_timeout(2s, sleep_for(3s));

        BOOST_TEST((in_time == 7));
        BOOST_TEST(!late.has_value());
        BOOST_TEST(void_in_time);
        BOOST_TEST(!void_late);
        BOOST_TEST(leaf_in_time);
        BOOST_TEST(!leaf_late);
    });
}

BOOST_FIXTURE_TEST_CASE(try_timeout_still_throws_what_the_task_throws, VirtualTime) {
    run([&]() -> Task<> {
        Outcome<std::optional<int>> outcome = Unexpected<std::exception_ptr>(nullptr);
        outcome = co_await as_outcome(try_timeout(2s, fail_after(1s)));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_CHECK_THROW(std::rethrow_exception(outcome.error()), std::runtime_error);
    });
}

BOOST_FIXTURE_TEST_CASE(as_result_of_a_timeout_gives_the_code, VirtualTime) {
    run([&]() -> Task<> {
        Result<int> late = co_await as_result(leat::timeout(1s, give_after(2s, 7)));
        Result<int> in_time = co_await as_result(leat::timeout(2s, give_after(1s, 7)));
        Result<void> leaf_late = co_await as_result(leat::timeout(1s, sleep_for(2s)));
        Result<bool> tried = co_await as_result(try_timeout(1s, sleep_for(2s)));

        BOOST_TEST(late.error() == errc::deadline_exceeded);
        BOOST_TEST(in_time.value() == 7);
        BOOST_TEST(leaf_late.error() == errc::deadline_exceeded);
        BOOST_TEST(!tried.value());
    });
}

BOOST_FIXTURE_TEST_CASE(nested_timeouts_each_keep_their_own_deadline, VirtualTime) {
    run([&]() -> Task<> {
        auto inner_is_shorter = [&]() -> Task<> {
            bool ended = co_await try_timeout(1s, wait_for(1h));
            BOOST_TEST(!ended);
            co_await sleep_for(1s);
        };
        bool outer = co_await try_timeout(3s, inner_is_shorter());
        BOOST_TEST(outer);
        BOOST_TEST((elapsed() == Duration(2s)));

        auto inner_is_longer = [&]() -> Task<> {
            co_await try_timeout(5s, wait_for(1h));
            BOOST_TEST(false, "the inner wait went on after the outer deadline");
        };
        outer = co_await try_timeout(3s, inner_is_longer());
        BOOST_TEST(!outer);
        BOOST_TEST((elapsed() == Duration(5s)));
    });
}

BOOST_FIXTURE_TEST_CASE(timeout_of_a_timeout_obeys_the_shorter, VirtualTime) {
    run([&]() -> Task<> {
        bool ended = co_await try_timeout(2s, leat::timeout(1h, sleep_for(3h)));
        BOOST_TEST(!ended);
        BOOST_TEST((elapsed() == Duration(2s)));
        Result<void> result = co_await as_result(leat::timeout(1h, leat::timeout(2s, sleep_for(3h))));
        BOOST_TEST(result.error() == errc::deadline_exceeded);
        BOOST_TEST((elapsed() == Duration(4s)));
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_timeout_is_unwound_and_not_resumed, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        for (bool is_leaf : {true, false}) {
            auto body = [&](CancelScope& scope) -> Task<> {
                Guard guard(log, "body");
                auto canceller = [](CancelScope& s) -> Task<> {
                    co_await sleep_for(1s);
                    s.cancel();
                };
                Running<void> running = executor.start(canceller(scope));
                if (is_leaf)
                    co_await leat::timeout(1h, sleep_for(2h));
                else
                    co_await leat::timeout(1h, wait_for(2h));
                log.note("resumed");
            };
            bool finished = co_await leat::cancel_scope(body);
            BOOST_TEST(!finished);
        }
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });

    BOOST_TEST(log.text() == "body! body!");
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(cancellation_and_deadline_in_the_same_tick_end_the_task_once, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        for (bool is_leaf : {true, false}) {
            auto body = [&](CancelScope& scope) -> Task<> {
                Guard guard(log, "body");
                auto canceller = [](CancelScope& s) -> Task<> {
                    co_await sleep_for(1s);
                    s.cancel();
                };
                Running<void> running = executor.start(canceller(scope));
                co_await yield();
                if (is_leaf)
                    co_await try_timeout(1s, sleep_for(2h));
                else
                    co_await try_timeout(1s, wait_for(2h));
                co_await yield();
                log.note("resumed");
            };
            bool finished = co_await leat::cancel_scope(body);
            BOOST_TEST(!finished);
        }
    });

    BOOST_TEST(log.text() == "body! body!");
}

BOOST_FIXTURE_TEST_CASE(deadline_of_a_group_cancels_every_child, VirtualTime) {
    run([&]() -> Task<> {
        auto child = [](Counted) -> Task<> { co_await sleep_for(1h); };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 10; ++i)
                group.spawn(child, Counted());
            co_return;
        };
        auto group = [&]() -> Task<> { co_await leat::task_group(body); };
        bool ended = co_await try_timeout(1s, group());
        bool leaf_ended = co_await try_timeout(1s, leat::task_group(body));
        BOOST_TEST(!ended);
        BOOST_TEST(!leaf_ended);
    });

    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_AUTO_TEST_CASE(deadline_of_a_read_withdraws_it_and_loses_no_byte) {
    StreamPair pair;
    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> late = co_await as_result(leat::timeout(1ms, read_some(pair.left, buffer)));
        BOOST_TEST(late.error() == errc::deadline_exceeded);

        send_directly(pair.right, "later");
        std::size_t received = co_await leat::timeout(1h, read_some(pair.left, buffer));
        BOOST_TEST(received == 5u);
        send_directly(pair.right, "there");
        received = co_await leat::timeout(0s, read_some(pair.left, buffer));
        BOOST_TEST(received == 5u);
    }());
}

// More at once than a backend's queues hold.
BOOST_AUTO_TEST_CASE(thousands_of_reads_are_late_at_the_same_instant_and_each_ends_once) {
    const std::size_t count = calls_are_slow() ? 300 : 3000;
    BOOST_TEST_REQUIRE(raise_handle_limit(2 * count + 100) >= 2 * count + 100);
    std::vector<StreamPair> pairs(count);
    std::size_t late = 0;
    // So early that all are late when the executor first looks.
    const TimePoint instant = steady_clock().now() + 1ms;
    auto read_in_time = [&](StreamPair& pair) -> Task<> {
        std::array<std::byte, 8> buffer;
        Result<std::size_t> received =
            co_await as_result(leat::timeout_at(instant, read_some(pair.left, buffer)));
        if (!received && received.error() == errc::deadline_exceeded) ++late;
    };

    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (StreamPair& pair : pairs)
                group.spawn(read_in_time, std::ref(pair));
            co_return;
        };
        co_await leat::task_group(body);
    }());

    BOOST_TEST(late == count);
    // Nothing is left that would take what comes later.
    for (StreamPair& pair : pairs) {
        send_directly(pair.right, "later");
        BOOST_TEST_REQUIRE(receive_directly(pair.left) == "later");
    }
}

BOOST_FIXTURE_TEST_CASE(every_limit_ends_exactly_at_its_time, VirtualTime) {
    Gate gate;
    for (Duration limit :
         {Duration::min(), Duration(-1ns), Duration(0ns), Duration(1ns), Duration(999ns), Duration(1us),
          Duration(65'535ns), Duration(65'536ns), Duration(1ms), Duration(1h), Duration(24h * 365 * 10)}) {
        TimePoint before = executor.now();
        bool leaf = run([&]() -> Task<bool> {
            bool passed = co_await try_timeout(limit, gate.pass());
            co_return passed;
        });
        BOOST_TEST((executor.now() - before == std::max(limit, Duration::zero())));

        before = executor.now();
        bool task = run([&]() -> Task<bool> {
            bool ended = co_await try_timeout(limit, wait_for(Duration::max()));
            co_return ended;
        });
        BOOST_TEST((executor.now() - before == std::max(limit, Duration::zero())));
        BOOST_TEST(!leaf);
        BOOST_TEST(!task);
    }
}

BOOST_FIXTURE_TEST_CASE(furthest_instants_are_deadlines_like_any_other, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        for (TimePoint past : {TimePoint::min(), TimePoint::min() + 1ns, TimePoint(), TimePoint(-1ns)}) {
            Result<void> leaf = co_await as_result(timeout_at(past, gate.pass()));
            Result<void> task = co_await as_result(timeout_at(past, wait_for(1h)));
            BOOST_TEST(leaf.error() == errc::deadline_exceeded);
            BOOST_TEST(task.error() == errc::deadline_exceeded);
        }
        BOOST_TEST((elapsed() == Duration::zero()));
        Result<void> in_time = co_await as_result(timeout_at(TimePoint::max(), wait_for(1h)));
        BOOST_TEST(in_time.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(deadlines_of_one_instant_pass_by_deadline_and_then_in_the_order_of_their_start,
                        VirtualTime) {
    Log log;
    auto waiter = [&](Duration limit, std::string name) -> Task<> {
        Gate gate;
        co_await try_timeout(limit, gate.pass());
        log.note(name);
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter), Duration(1s + 2ns), "d");
            group.spawn(std::ref(waiter), Duration(1s), "a");
            group.spawn(std::ref(waiter), Duration(1s + 1ns), "c");
            group.spawn(std::ref(waiter), Duration(1s), "b");
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "a b c d");
}

BOOST_FIXTURE_TEST_CASE(who_is_late_may_end_another_whose_deadline_is_the_same_instant, VirtualTime) {
    Log log;
    Gate gate;
    auto second = [&]() -> Task<> {
        Gate other;
        bool passed = co_await try_timeout(1s, other.pass());
        log.note(passed ? "passed" : "late");
        co_await yield();
        log.note("never");
    };
    run([&]() -> Task<> {
        std::optional<Running<void>> running;
        auto first = [&]() -> Task<> {
            co_await try_timeout(1s, gate.pass());
            running->cancel();
        };
        Running<void> canceller = executor.start(first());
        co_await yield();
        running.emplace(executor.start(second()));
        co_await sleep_for(2s);
        BOOST_TEST(running->has_ended());
        BOOST_TEST(canceller.has_ended());
    });

    // Its own deadline had passed before: a result that it is given, and it ends at its next wait.
    BOOST_TEST(log.text() == "late");
}

BOOST_FIXTURE_TEST_CASE(a_million_deadlines_that_do_not_pass_leave_nothing_behind, VirtualTime) {
    constexpr int count = is_sanitized ? 100'000 : 1'000'000;
    std::size_t allocations = 0;
    run([&]() -> Task<> {
        co_await leat::timeout(1h, yield());
        allocations = allocations_made();
        for (int i = 0; i < count; ++i)
            co_await leat::timeout(1h + i * 1us, yield());
        allocations = allocations_made() - allocations;
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });

    BOOST_TEST(allocations == 0u);
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_AUTO_TEST_CASE(deadline_is_never_early_by_the_real_clock) {
    Gate gate;
    int early = 0;
    run([&]() -> Task<> {
        for (int i = 0; i < 50; ++i) {
            auto before = std::chrono::steady_clock::now();
            co_await try_timeout(700us, gate.pass());
            if (std::chrono::steady_clock::now() - before < 700us) ++early;
        }
    }());

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace timeout_test
