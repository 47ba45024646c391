// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
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
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace when_all_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<int> fail_after(Duration duration, const char* text) {
    co_await sleep_for(duration);
    throw std::runtime_error(text);
}

Task<> wait_for(Duration duration) { co_await sleep_for(duration); }

Task<int> guarded(Log& log, std::string name, Duration duration) {
    Guard guard(log, name);
    co_await sleep_for(duration);
    log.note(name + "+");
    co_return 1;
}

// Goes on whatever happens: its waits have all ended before.
Task<int> give_at_once(int value) { co_return value; }

Task<Counted> give_counted(Duration duration) {
    Counted local;
    co_await sleep_for(duration);
    co_return Counted(3);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(when_all)

BOOST_FIXTURE_TEST_CASE(all_run_at_the_same_time_and_their_values_come_in_the_order_of_the_call,
                        VirtualTime) {
    run([&]() -> Task<> {
        auto [first, second, third] =
            co_await leat::when_all(give_after(3s, 1), give_after(1s, 2), give_after(2s, 3));
        BOOST_TEST(first == 1);
        BOOST_TEST(second == 2);
        BOOST_TEST(third == 3);
    });

    BOOST_TEST((elapsed() == Duration(3s)));
}

BOOST_FIXTURE_TEST_CASE(they_begin_in_the_order_of_the_call, VirtualTime) {
    Log log;
    auto begin = [&](std::string name) -> Task<> {
        log.note(name);
        co_await yield();
        log.note(name);
    };
    run([&]() -> Task<> {
        co_await leat::when_all(begin("a"), begin("b"), begin("c"));
        std::vector<Task<>> tasks;
        for (const char* name : {"d", "e"})
            tasks.push_back(begin(name));
        co_await leat::when_all(std::move(tasks));
    });

    BOOST_TEST(log.text() == "a b c a b c d e d e");
}

BOOST_FIXTURE_TEST_CASE(what_gives_nothing_is_a_monostate_and_leaf_waits_and_requests_are_taken_alike,
                        VirtualTime) {
    Channel<std::unique_ptr<int>> channel(1);
    Gate gate;
    run([&]() -> Task<> {
        std::unique_ptr<int> sent = std::make_unique<int>(9);
        co_await channel.send(std::move(sent));
        gate.open();
        auto [slept, passed, received, value] =
            co_await leat::when_all(sleep_for(1s), gate.pass(), channel.receive(), give_after(1s, 4));
        static_assert(std::is_same_v<decltype(slept), std::monostate>);
        static_assert(std::is_same_v<decltype(passed), std::monostate>);
        BOOST_TEST(**received == 9);
        BOOST_TEST(value == 4);
    });
}

BOOST_FIXTURE_TEST_CASE(references_stay_references, VirtualTime) {
    int object = 1;
    auto refer = [&]() -> Task<int&> {
        co_await yield();
        co_return object;
    };
    run([&]() -> Task<> {
        std::tuple<int&, int&> both = co_await leat::when_all(refer(), refer());
        BOOST_TEST(&std::get<0>(both) == &object);
        BOOST_TEST(&std::get<1>(both) == &object);
    });
}

BOOST_FIXTURE_TEST_CASE(one_alone_and_one_that_ends_without_a_wait_are_awaited_too, VirtualTime) {
    run([&]() -> Task<> {
        auto [value] = co_await leat::when_all(give_at_once(5));
        BOOST_TEST(value == 5);
    });
}

BOOST_FIXTURE_TEST_CASE(vector_gives_a_vector_in_its_order_and_nothing_for_tasks_without_value, VirtualTime) {
    run([&]() -> Task<> {
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 100; ++i)
            tasks.push_back(give_after((100 - i) * 1ms, i));
        std::vector<int> values = co_await leat::when_all(std::move(tasks));
        BOOST_TEST_REQUIRE(values.size() == 100u);
        for (int i = 0; i < 100; ++i)
            BOOST_TEST(values[static_cast<std::size_t>(i)] == i);

        std::vector<Task<>> waits;
        waits.push_back(wait_for(1s));
        waits.push_back(wait_for(2s));
        co_await leat::when_all(std::move(waits));
        BOOST_TEST((elapsed() == Duration(2s + 100ms)));
    });
}

BOOST_FIXTURE_TEST_CASE(vector_of_none_is_done_at_once_also_in_a_cancelled_scope, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        std::vector<int> values = co_await leat::when_all(std::vector<Task<int>>());
        BOOST_TEST(values.empty());
        co_await leat::when_all(std::vector<Task<>>());
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await leat::when_all(std::vector<Task<>>());
            log.note("done");
            co_await yield();
            co_await yield();
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "done");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(first_failure_cancels_the_others_and_is_thrown_when_all_have_ended, VirtualTime) {
    Log log;
    auto slow_to_end = [&]() -> Task<> {
        Guard guard(log, "other");
        co_await sleep_for(1h);
    };
    run([&]() -> Task<> {
        try {
            co_await leat::when_all(slow_to_end(), fail_after(1s, "it failed"), slow_to_end());
            log.note("never");
        } catch (const std::runtime_error& error) {
            log.note(error.what());
        }
    });

    BOOST_TEST(log.text() == "other! other! it failed");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(what_fails_after_the_first_is_attached_in_its_order, VirtualTime) {
    run([&]() -> Task<> {
        Outcome<std::tuple<int, int, int>> outcome = co_await as_outcome(
            leat::when_all(fail_after(1s, "first"), fail_after(1s, "second"), fail_after(1s, "third")));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_TEST(describe_failure(outcome.error()) == "first; and: second; and: third");
        BOOST_TEST(attached_failures(outcome.error()).size() == 2u);

        std::vector<Task<int>> tasks;
        for (const char* text : {"one", "two", "three"})
            tasks.push_back(fail_after(1s, text));
        Outcome<std::vector<int>> several = co_await as_outcome(leat::when_all(std::move(tasks)));
        BOOST_TEST_REQUIRE(!several.has_value());
        BOOST_TEST(describe_failure(several.error()) == "one; and: two; and: three");
    });
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(failure_that_comes_first_in_time_is_the_first_whatever_its_place, VirtualTime) {
    run([&]() -> Task<> {
        auto fails_when_cancelled = [&]() -> Task<int> {
            Outcome<int> outcome = co_await as_outcome(give_after(2s, 1));
            co_return outcome.value();
        };
        Outcome<std::tuple<int, int>> outcome =
            co_await as_outcome(leat::when_all(fails_when_cancelled(), fail_after(1s, "the second place")));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_TEST(describe_failure(outcome.error()) == "the second place");
        BOOST_TEST(attached_failures(outcome.error()).empty());
    });
}

BOOST_FIXTURE_TEST_CASE(as_result_gives_the_code_and_tells_of_what_no_code_can_tell, VirtualTime) {
    auto fail = [](std::errc code) -> Task<> {
        co_await sleep_for(1s);
        throw std::system_error(std::make_error_code(code));
    };
    run([&]() -> Task<> {
        using Both = std::tuple<std::monostate, std::monostate>;
        Result<Both> result =
            co_await as_result(leat::when_all(fail(std::errc::address_in_use), fail(std::errc::broken_pipe)));
        BOOST_TEST_REQUIRE(!result.has_value());
        BOOST_TEST((result.error() == std::errc::address_in_use));
        BOOST_TEST_REQUIRE(notices.size() == 1u);
        BOOST_TEST(notices[0].find("one more failure") != std::string::npos);

        std::vector<Task<>> tasks;
        tasks.push_back(fail(std::errc::broken_pipe));
        Result<void> several = co_await as_result(leat::when_all(std::move(tasks)));
        BOOST_TEST((several.error() == std::errc::broken_pipe));
        Result<std::tuple<int>> fine = co_await as_result(leat::when_all(give_at_once(2)));
        BOOST_TEST(std::get<0>(*fine) == 2);
    });
    BOOST_TEST(notices.size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(as_result_lets_what_is_no_system_error_pass, VirtualTime) {
    run([&]() -> Task<> {
        std::string caught;
        try {
            co_await as_result(leat::when_all(fail_after(1s, "it failed")));
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "it failed");
    });
}

BOOST_FIXTURE_TEST_CASE(all_of_them_may_have_one_deadline, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        Result<std::tuple<int, int>> late = co_await as_result(
            leat::timeout(1s, leat::when_all(guarded(log, "a", 2s), guarded(log, "b", 500ms))));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        std::optional<std::tuple<int, int>> in_time =
            co_await try_timeout(5s, leat::when_all(give_after(2s, 1), give_after(1s, 2)));
        BOOST_TEST((in_time == std::tuple(1, 2)));
        std::vector<Task<>> waits;
        waits.push_back(wait_for(2s));
        bool ended = co_await try_timeout(1s, leat::when_all(std::move(waits)));
        BOOST_TEST(!ended);
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });

    BOOST_TEST(log.text() == "b+ b a!");
    BOOST_TEST((elapsed() == Duration(4s)));
}

BOOST_FIXTURE_TEST_CASE(cancelled_from_outside_all_unwind_and_then_the_awaiting_task, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            auto canceller = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
                scope.cancel();
            };
            Running<void> running = executor.start(canceller());
            co_await leat::when_all(guarded(log, "a", 1h), guarded(log, "b", 500ms), guarded(log, "c", 2h));
            log.note("resumed");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "b+ b a! c! body!");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(in_a_scope_that_is_cancelled_each_ends_at_its_first_wait, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            scope.cancel();
            co_await leat::when_all(guarded(log, "a", 1s), guarded(log, "b", 0s));
            log.note("resumed");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "a! b! body!");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(values_are_returned_if_all_came_to_their_ends_despite_the_cancellation, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            auto [first, second] = co_await leat::when_all(give_at_once(1), give_at_once(2));
            log.note(std::to_string(first + second));
            co_await sleep_for(1s);
            log.note("never");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(log.text() == "3");
}

BOOST_FIXTURE_TEST_CASE(failure_among_cancelled_ones_is_thrown_and_not_lost, VirtualTime) {
    Log log;
    // Takes the cancellation for a failure: in a destructor-like way that C++ allows, after its last wait.
    auto fails_at_once = []() -> Task<> {
        throw std::runtime_error("lost?");
        co_return;
    };
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            try {
                co_await leat::when_all(wait_for(1s), fails_at_once());
            } catch (const std::runtime_error& error) {
                log.note(error.what());
            }
            co_await sleep_for(1s);
            log.note("never");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(log.text() == "lost?");
}

BOOST_FIXTURE_TEST_CASE(branch_that_is_cancelled_before_its_first_step_still_takes_it, VirtualTime) {
    Log log;
    auto fails_at_once = [&]() -> Task<> {
        log.note("fails");
        throw std::runtime_error("it failed");
        co_return;
    };
    run([&]() -> Task<> {
        try {
            co_await leat::when_all(fails_at_once(), guarded(log, "other", 1s));
        } catch (const std::runtime_error&) {
            log.note("caught");
        }
    });

    BOOST_TEST(log.text() == "fails other! caught");
}

BOOST_FIXTURE_TEST_CASE(tasks_that_were_never_awaited_go_with_it, VirtualTime) {
    auto take = [](Counted) -> Task<> { co_return; };
    {
        auto waiting = leat::when_all(take(Counted()), take(Counted()));
        auto moved = std::move(waiting);
        BOOST_TEST(Counted::live() == 2);
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_every_branch_that_still_runs, VirtualTime) {
    Gate gate;
    std::string dump;
    auto pass = [&]() -> Task<> { co_await gate.pass(); };
    auto open = [&]() -> Task<> {
        co_await sleep_for(1s);
        dump = executor.dump_tasks();
        gate.open();
    };
    run([&]() -> Task<> { co_await leat::when_all(pass(), give_at_once(1), open()); });

    BOOST_TEST(dump.find("all of 3 (2 still running)") != std::string::npos);
    BOOST_TEST(dump.find("a gate") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(hundred_thousand_at_once_are_no_matter_of_the_stack, VirtualTime) {
    run([&]() -> Task<> {
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 100'000; ++i)
            tasks.push_back(give_after(1s, 1));
        std::vector<int> values = co_await leat::when_all(std::move(tasks));
        BOOST_TEST(values.size() == 100'000u);

        for (int i = 0; i < 100'000; ++i)
            tasks.push_back(give_after(1s, 1));
        std::optional<std::vector<int>> late = co_await try_timeout(500ms, leat::when_all(std::move(tasks)));
        BOOST_TEST(!late.has_value());
    });
}

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Counted local;
        auto results =
            co_await leat::when_all(give_counted(1s), give_counted(2s), give_counted(1s), sleep_for(1s));
        BOOST_TEST(std::get<0>(results).value() == 3);
    });
}

BOOST_AUTO_TEST_CASE(vector_and_nested_ones_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto inner = [](Duration duration) -> Task<Counted> {
            auto [first, second] =
                co_await leat::when_all(give_counted(duration), give_counted(2 * duration));
            co_return std::move(first);
        };
        std::vector<Task<Counted>> tasks;
        for (int i = 1; i < 4; ++i)
            tasks.push_back(inner(i * 1s));
        std::vector<Counted> values = co_await leat::when_all(std::move(tasks));
    });
}

BOOST_AUTO_TEST_CASE(one_with_failures_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto fail = [](Duration duration) -> Task<Counted> {
            Counted local;
            co_await sleep_for(duration);
            throw Counted(5);
        };
        Outcome<std::tuple<Counted, Counted, Counted>> outcome =
            co_await as_outcome(leat::when_all(give_counted(1s), fail(1s), fail(1s)));
        BOOST_TEST(!outcome.has_value());
        BOOST_TEST(attached_failures(outcome.error()).size() == 1u);
    });
}

BOOST_AUTO_TEST_CASE(reads_of_streams_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        std::array<std::byte, 8> left;
        std::array<std::byte, 8> right;
        auto write = [&]() -> Task<> {
            co_await yield();
            co_await write_some(pair.right, "ping");
            co_await write_some(pair.left, "pong");
        };
        auto [from_left, from_right, written] =
            co_await leat::when_all(read_some(pair.left, left), read_some(pair.right, right), write());
        BOOST_TEST(from_left == 4u);
        BOOST_TEST(from_right == 4u);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace when_all_test
