// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/group_handle.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace task_group_test {

namespace {

Task<> note_after(Duration duration, Log& log, std::string word) {
    Guard guard(log, word);
    co_await sleep_for(duration);
}

Task<> fail_after(Duration duration, std::string why) {
    co_await sleep_for(duration);
    throw std::runtime_error(why);
}

Task<> fail_at_once(std::string why) {
    throw std::runtime_error(why);
    co_return;
}

std::string long_text(const char* what) {
    return std::string("longer than any string without memory: ") + what;
}

// Its parameter is a view of the argument, if that is a string.
Task<> note_view(std::string_view text, Log& log) {
    co_await sleep_for(1ms);
    log.note(std::string(text));
}

// The text of what `body`, run as a group, throws; empty if nothing.
template <class Body>
Task<std::string> failure_of(Body& body) {
    Outcome<void> outcome = co_await as_outcome(leat::task_group(body));
    std::string text;
    if (!outcome) {
        try {
            std::rethrow_exception(outcome.error());
        } catch (const std::exception& error) {
            text = error.what();
        }
    }
    co_return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(task_group)

BOOST_FIXTURE_TEST_CASE(argument_lives_in_the_child_also_if_the_parameter_is_a_view_of_it, VirtualTime) {
    Log log;
    auto note = [](std::string_view text, Log* to) -> Task<> { return note_view(text, *to); };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_view, long_text("a"), std::ref(log));
            group.spawn(note, long_text("b"), &log);
            group.spawn_named("c", note, long_text("c"), &log);
            co_await group.spawn_when_free(note, long_text("d"), &log);
            GroupHandle handle = group.handle();
            handle.spawn(note, long_text("e"), &log);
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == long_text("a") + ' ' + long_text("b") + ' ' + long_text("c") + ' ' +
                                 long_text("d") + ' ' + long_text("e"));
}

// What it was started with ends with it, as its variables do.
BOOST_FIXTURE_TEST_CASE(what_a_cancelled_child_was_started_with_is_destroyed_as_a_part_of_its_unwinding,
                        VirtualTime) {
    Log log;
    auto make_guard = [&log](const char* name) { return std::make_unique<Guard>(log, name); };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto capturing = [guard = make_guard("capture")]() -> Task<> { co_await sleep_for(1h); };
            auto by_reference = [](const std::unique_ptr<Guard>&) -> Task<> { co_await sleep_for(1h); };
            auto ending = [](const std::unique_ptr<Guard>&) -> Task<> { co_await sleep_for(1ms); };
            group.spawn(std::move(capturing));
            group.spawn(by_reference, make_guard("argument"));
            group.spawn(ending, make_guard("ended"));
            co_await sleep_for(2ms);
            group.cancel();
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "ended argument! capture!");
}

// An executor that runs in a destructor.
BOOST_FIXTURE_TEST_CASE(tasks_of_an_executor_in_a_destructor_are_not_unwound, VirtualTime) {
    Log log;
    auto note_and_fail = [&log]() -> Task<> {
        log.note(unwinding() ? "unwinding" : "running");
        co_await yield();
        throw std::runtime_error("no harm");
    };
    struct Runner {
        Log& log;
        std::function<Task<>()> task;
        ~Runner() {
            {
                Executor inner;
                BOOST_CHECK_THROW(inner.run_until(task()), std::runtime_error);
                Running<void> cancelled = inner.start([]() -> Task<> { co_await sleep_for(1h); }());
                inner.turn();
            }
            log.note(unwinding() ? "unwinding" : "running");
        }
    };
    auto hold = [&]() -> Task<> {
        Runner runner{log, note_and_fail};
        co_await sleep_for(1h);
    };

    Running<void> running = executor.start(hold());
    executor.turn();
    running.cancel();
    executor.run();

    BOOST_TEST(log.text() == "running unwinding");
}

BOOST_AUTO_TEST_CASE(group_cannot_be_made_outside_its_await) {
    static_assert(!std::is_default_constructible_v<TaskGroup>);
    static_assert(!std::is_copy_constructible_v<TaskGroup>);
    static_assert(!std::is_destructible_v<TaskGroup>);
}

BOOST_FIXTURE_TEST_CASE(empty_group_ends_with_its_body, VirtualTime) {
    run([&]() -> Task<> {
        auto nothing = [](TaskGroup&) -> Task<> { co_return; };
        auto value = [](TaskGroup&) -> Task<int> { co_return 7; };

        co_await leat::task_group(nothing);
        int seven = co_await leat::task_group(value);

        BOOST_TEST(seven == 7);
    });
}

BOOST_FIXTURE_TEST_CASE(group_ends_when_all_children_have_ended, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<int> {
            group.spawn(note_after, Duration(2s), std::ref(log), "second");
            group.spawn(note_after, Duration(1s), std::ref(log), "first");
            BOOST_TEST(group.size() == 2u);
            log.note("body");
            co_return 5;
        };
        int value = co_await leat::task_group(body);
        log.note("after");
        BOOST_TEST(value == 5);
    });

    BOOST_TEST(log.text() == "body first second after");
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(group_waits_for_its_body_too, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1s), std::ref(log), "child");
            co_await sleep_for(2s);
            BOOST_TEST(group.size() == 0u);
            log.note("body");
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "child body");
}

BOOST_FIXTURE_TEST_CASE(child_starts_at_the_next_turn_not_within_spawn, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            log.note("child");
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child);
            log.note("body");
            co_await yield();
            log.note("later");
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "body child later");
}

BOOST_FIXTURE_TEST_CASE(capturing_lambda_and_its_arguments_live_in_the_child, VirtualTime) {
    int sum = 0;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 1; i <= 3; ++i) {
                auto number = std::make_unique<int>(i);
                Counted counted(i);
                group.spawn(
                    [&sum, counted](std::unique_ptr<int> moved, Counted argument) -> Task<> {
                        co_await sleep_for(1s);
                        sum += *moved + counted.value() + argument.value();
                    },
                    std::move(number), counted);
            }
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(sum == 18);
    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_FIXTURE_TEST_CASE(argument_that_the_task_takes_by_reference_lives_as_long_as_the_child, VirtualTime) {
    std::string seen;
    run([&]() -> Task<> {
        auto child = [&](const std::string& text) -> Task<> {
            co_await sleep_for(1s);
            seen = text;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child, std::string("a text that is too long to be kept in place"));
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(seen == "a text that is too long to be kept in place");
}

BOOST_FIXTURE_TEST_CASE(function_with_a_reference_parameter_gets_the_child_s_own_copy, VirtualTime) {
    static int seen;
    seen = 0;
    struct Functions {
        static Task<> by_reference(const Counted& counted) {
            co_await sleep_for(1s);
            seen = counted.value();
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(&Functions::by_reference, Counted(9));
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(seen == 9);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(member_function_can_be_spawned, VirtualTime) {
    struct Server {
        Task<> serve(int add) {
            co_await yield();
            served += add;
        }
        int served = 0;
    };
    Server server;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(&Server::serve, &server, 2);
            group.spawn(&Server::serve, std::ref(server), 3);
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(server.served == 5);
}

BOOST_FIXTURE_TEST_CASE(children_may_spawn_into_the_group, VirtualTime) {
    int count = 0;
    run([&]() -> Task<> {
        std::function<Task<>(TaskGroup&, int)> child = [&](TaskGroup& group, int depth) -> Task<> {
            ++count;
            co_await yield();
            if (depth > 0) {
                group.spawn(std::ref(child), std::ref(group), depth - 1);
                group.spawn(std::ref(child), std::ref(group), depth - 1);
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(child), std::ref(group), 5);
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(count == 63);
}

BOOST_FIXTURE_TEST_CASE(first_failure_cancels_the_siblings_and_is_thrown_after_their_end, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1h), std::ref(log), "one");
            group.spawn(fail_after, Duration(1s), "it failed");
            group.spawn(note_after, Duration(1h), std::ref(log), "two");
            Guard guard(log, "body");
            co_await sleep_for(1h);
        };
        std::string failure = co_await failure_of(body);
        log.note("after");
        BOOST_TEST(failure == "it failed");
    });

    BOOST_TEST((elapsed() == Duration(1s)));
    BOOST_TEST(log.text().ends_with("after"));
    for (const char* word : {"one!", "two!", "body!"})
        BOOST_TEST(log.text().find(word) != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(failure_of_the_body_cancels_the_children, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1h), std::ref(log), "child");
            co_await yield();
            throw std::runtime_error("the body failed");
        };
        std::string failure = co_await failure_of(body);
        BOOST_TEST(failure == "the body failed");
    });

    BOOST_TEST(log.text() == "child!");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(later_failures_are_attached_to_the_first, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(fail_at_once, "first");
            group.spawn(fail_at_once, "second");
            group.spawn(fail_at_once, "third");
            co_return;
        };
        Outcome<void> outcome = co_await as_outcome(leat::task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(describe_failure(outcome.error()) == "first; and: second; and: third");
    });

    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(no_failure_is_left_out_however_many_there_are, VirtualTime) {
    constexpr int failures = 50;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < failures; ++i)
                group.spawn(fail_at_once, "failed");
            co_return;
        };
        Outcome<void> outcome = co_await as_outcome(leat::task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(attached_failures(outcome.error()).size() == failures - 1u);
    });
}

BOOST_FIXTURE_TEST_CASE(failures_that_a_code_cannot_tell_become_notices, VirtualTime) {
    constexpr int failures = 50;
    auto fail = []() -> Task<> {
        throw std::system_error(std::make_error_code(std::errc::io_error));
        co_return;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < failures; ++i)
                group.spawn(fail);
            co_return;
        };
        Result<void> result = co_await as_result(leat::task_group(body));
        BOOST_TEST_REQUIRE(!result);
        BOOST_TEST((result.error() == std::errc::io_error));
    });

    BOOST_TEST(notices.size() == failures - 1u);
    BOOST_TEST(executor.stats().notices_suppressed == 0u);
}

BOOST_FIXTURE_TEST_CASE(failure_that_is_no_std_exception_is_thrown_and_attached_too, VirtualTime) {
    auto odd = []() -> Task<> {
        throw 7;
        co_return;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(odd);
            group.spawn(odd);
            co_return;
        };
        int caught = 0;
        std::size_t attached = 0;
        try {
            co_await leat::task_group(body);
        } catch (int thrown) {
            caught = thrown;
            attached = attached_failures(std::current_exception()).size();
        }
        BOOST_TEST(caught == 7);
        BOOST_TEST(attached == 1u);
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_group_ends_without_an_error_if_its_body_owes_no_value, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1h), std::ref(log), "child");
            co_await yield();
            group.cancel();
            group.cancel();
            BOOST_TEST(group.is_cancelled());
            Guard guard(log, "body");
            co_await sleep_for(1h);
            log.note("resumed");
        };
        std::string failure = co_await failure_of(body);
        BOOST_TEST(failure == "");
    });

    BOOST_TEST((elapsed() == Duration::zero()));
    BOOST_TEST(log.text().find("child!") != std::string::npos);
    BOOST_TEST(log.text().find("body!") != std::string::npos);
    BOOST_TEST(log.text().find("resumed") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(cancelled_group_whose_body_owes_a_value_throws_cancelled, VirtualTime) {
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<int> {
            group.cancel();
            co_await yield();
            co_return 1;
        };
        Result<int> result = co_await as_result(leat::task_group(body));
        BOOST_TEST(result.error() == errc::cancelled);

        auto in_time = [&](TaskGroup& group) -> Task<int> {
            group.cancel();
            co_return 1;
        };
        result = co_await as_result(leat::task_group(in_time));
        BOOST_TEST((result == 1));
    });
}

BOOST_FIXTURE_TEST_CASE(child_may_cancel_the_group, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto child = [](TaskGroup& group) -> Task<> {
            co_await sleep_for(1s);
            group.cancel();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child, std::ref(group));
            group.spawn(note_after, Duration(1h), std::ref(log), "sibling");
            co_await sleep_for(1h);
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "sibling!");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(child_of_a_cancelled_group_starts_and_ends_at_its_first_wait, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            log.note("started");
            co_await yield();
            log.note("resumed");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child);
            group.cancel();
            group.spawn(child);
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(log.text() == "started started");
}

BOOST_FIXTURE_TEST_CASE(destructor_of_an_unwound_child_may_spawn_into_the_group, VirtualTime) {
    struct Spawner {
        Spawner(TaskGroup& g, Log& l) noexcept : group(g), log(l) {}
        Spawner(const Spawner&) = delete;
        ~Spawner() { group.spawn(note_after, Duration(1h), std::ref(log), "late"); }
        TaskGroup& group;
        Log& log;
    };
    Log log;
    run([&]() -> Task<> {
        auto child = [&](TaskGroup& group) -> Task<> {
            Spawner spawner(group, log);
            co_await sleep_for(1h);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child, std::ref(group));
            co_await yield();
            group.cancel();
        };
        co_await leat::task_group(body);
        log.note("after");
    });

    BOOST_TEST(log.text() == "late! after");
}

BOOST_FIXTURE_TEST_CASE(cancellation_from_outside_unwinds_children_body_and_then_the_awaiting_task,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto scoped = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "outer");
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(note_after, Duration(1h), std::ref(log), "child");
                Guard body_guard(log, "body");
                co_await sleep_for(1h);
            };
            auto canceller = [](CancelScope& s) -> Task<> {
                co_await yield();
                co_await yield();
                s.cancel();
            };
            Running<void> running = executor.start(canceller(scope));
            co_await leat::task_group(body);
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(scoped);
        BOOST_TEST(!finished);
        log.note("after");
    });

    BOOST_TEST(log.text().ends_with("outer! after"));
    BOOST_TEST(log.text().find("child!") != std::string::npos);
    BOOST_TEST(log.text().find("body!") != std::string::npos);
    BOOST_TEST(log.text().find("resumed") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(failure_during_a_cancellation_from_outside_is_thrown_instead, VirtualTime) {
    Gate gate;
    std::string caught;
    run([&]() -> Task<> {
        auto scoped = [&](CancelScope& scope) -> Task<> {
            auto child = [&]() -> Task<> {
                co_await gate.pass();
                throw std::runtime_error("in spite of it");
            };
            auto canceller = [&]() -> Task<> {
                co_await yield();
                co_await yield();
                gate.open();
                scope.cancel();
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(child);
                co_await sleep_for(1h);
            };
            Running<void> running = executor.start(canceller());
            try {
                co_await leat::task_group(body);
            } catch (const std::runtime_error& error) {
                caught = error.what();
            }
        };
        co_await leat::cancel_scope(scoped);
    });

    BOOST_TEST(caught == "in spite of it");
}

BOOST_FIXTURE_TEST_CASE(body_that_throws_before_it_is_a_task_still_joins_the_children, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        // An ordinary function that spawns and then throws instead of giving a task.
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1h), std::ref(log), "child");
            throw std::runtime_error("no task");
        };
        std::string failure = co_await failure_of(body);
        log.note("after");
        BOOST_TEST(failure == "no task");
    });

    BOOST_TEST(log.text() == "child! after");
}

BOOST_FIXTURE_TEST_CASE(callable_that_throws_within_spawn_starts_nothing, VirtualTime) {
    run([&]() -> Task<> {
        auto thrower = [](int) -> Task<> { throw std::runtime_error("no task"); };
        auto body = [&](TaskGroup& group) -> Task<> {
            BOOST_CHECK_THROW(group.spawn(std::cref(thrower), 1), std::runtime_error);
            BOOST_TEST(group.size() == 0u);
            co_return;
        };
        co_await leat::task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(groups_nest_and_a_failure_passes_through_each, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto inner_body = [&](TaskGroup& group) -> Task<> {
            group.spawn(note_after, Duration(1h), std::ref(log), "inner");
            group.spawn(fail_after, Duration(1s), "deep down");
            co_return;
        };
        auto inner = [&]() -> Task<> { co_await leat::task_group(inner_body); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(inner);
            group.spawn(note_after, Duration(1h), std::ref(log), "outer");
            co_return;
        };
        std::string failure = co_await failure_of(body);
        BOOST_TEST(failure == "deep down");
    });

    BOOST_TEST(log.text() == "inner! outer!");
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(many_children_end_in_any_order, VirtualTime) {
    constexpr int count = is_sanitized ? 10'000 : 100'000;
    int ended = 0;
    run([&]() -> Task<> {
        auto child = [&](int number) -> Task<> {
            co_await sleep_for(std::chrono::milliseconds(number * 7919 % 1000));
            ++ended;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < count; ++i)
                group.spawn(child, i);
            co_return;
        };
        co_await leat::task_group(body);
    });

    BOOST_TEST(ended == count);
}

BOOST_FIXTURE_TEST_CASE(group_can_be_awaited_again_and_again, VirtualTime) {
    int ended = 0;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            ++ended;
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child);
            co_return;
        };
        for (int i = 0; i < 1000; ++i)
            co_await leat::task_group(body);
    });

    BOOST_TEST(ended == 1000);
}

BOOST_FIXTURE_TEST_CASE(group_whose_scope_is_cancelled_by_what_makes_its_body_is_cancelled, VirtualTime) {
    run([&]() -> Task<> {
        auto scoped = [&](CancelScope& scope) -> Task<> {
            auto wait = []() -> Task<> { co_await sleep_for(1h); };
            auto make = [&](TaskGroup& group) -> Task<> {
                group.spawn(wait);
                scope.cancel();
                return wait();
            };
            co_await leat::task_group(make);
        };
        bool finished = co_await cancel_scope(scoped);
        BOOST_TEST(!finished);
    });

    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace task_group_test
