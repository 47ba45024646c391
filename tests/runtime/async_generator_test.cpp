// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
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
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace async_generator_test {

namespace {

AsyncGenerator<int> each_second(int last) {
    for (int i = 1; i <= last; ++i) {
        co_await sleep_for(1s);
        co_yield i;
    }
}

AsyncGenerator<int> at_once(int last) {
    for (int i = 1; i <= last; ++i)
        co_yield i;
}

AsyncGenerator<int> doubled(AsyncGenerator<int> source) {
    for (;;) {
        std::optional<int> item = co_await source.next();
        if (!item) co_return;
        co_yield 2 * *item;
    }
}

AsyncGenerator<int> fail_after_two(std::errc code) {
    co_yield 1;
    co_await sleep_for(1s);
    co_yield 2;
    throw std::system_error(std::make_error_code(code));
}

AsyncGenerator<std::string> words(Log& log) {
    co_yield "converted";
    std::string variable = "variable";
    co_yield variable;
    log.note(variable);
    co_yield std::move(variable);
    log.note(variable.empty() ? "empty" : variable);
}

AsyncGenerator<int&> slots(std::vector<int>& values) {
    for (int& value : values) {
        co_await yield();
        co_yield value;
    }
}

AsyncGenerator<const std::string&> names(const std::vector<std::string>& known) {
    for (const std::string& name : known)
        co_yield name;
    co_yield std::string("temporary");
}

AsyncGenerator<std::unique_ptr<int>> boxes(int count) {
    for (int i = 0; i < count; ++i)
        co_yield std::make_unique<int>(i);
}

AsyncGenerator<Counted> counted_items(int count, Counted argument) {
    Counted local(100);
    for (int i = 0; i < count; ++i) {
        co_await sleep_for(1s);
        co_yield Counted(argument.value() + i);
        co_yield local;
    }
}

constexpr int waiting_line = __LINE__ + 1;
AsyncGenerator<int> at_a_gate(Gate& gate) { co_await gate.pass(); }

Task<> pass(Gate& gate, Log& log) {
    Guard guard(log, "child");
    co_await gate.pass();
}

AsyncGenerator<int> guarded(Gate& gate, Log& log) {
    Guard guard(log, "generator");
    co_yield 1;
    co_await pass(gate, log);
    co_yield 2;
}

Task<int> sum_of(AsyncGenerator<int> items) {
    int sum = 0;
    for (;;) {
        std::optional<int> item = co_await items.next();
        if (!item) co_return sum;
        sum += *item;
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(async_generator)

BOOST_FIXTURE_TEST_CASE(items_come_in_their_order_and_then_the_end_ever_after, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> items = each_second(3);
        for (int expected = 1; expected <= 3; ++expected) {
            std::optional<int> item = co_await items.next();
            BOOST_TEST((item == expected));
            BOOST_TEST((elapsed() == expected * Duration(1s)));
        }
        for (int i = 0; i < 3; ++i) {
            std::optional<int> item = co_await items.next();
            BOOST_TEST(!item.has_value());
        }
    });
}

BOOST_FIXTURE_TEST_CASE(generator_runs_only_while_an_item_is_awaited, VirtualTime) {
    Log log;
    auto noting = [](Log& to) -> AsyncGenerator<int> {
        to.note("begun");
        co_yield 1;
        to.note("gone-on");
        co_yield 2;
    };
    run([&]() -> Task<> {
        AsyncGenerator<int> items = noting(log);
        co_await sleep_for(1s);
        BOOST_TEST(log.text() == "");
        co_await items.next();
        co_await sleep_for(1s);
        BOOST_TEST(log.text() == "begun");
        co_await items.next();
    });

    BOOST_TEST(log.text() == "begun gone-on");
}

BOOST_FIXTURE_TEST_CASE(what_is_yielded_as_a_variable_is_copied_and_the_rest_is_moved, VirtualTime) {
    Log log;
    std::vector<std::string> taken;
    run([&]() -> Task<> {
        AsyncGenerator<std::string> items = words(log);
        for (;;) {
            std::optional<std::string> word = co_await items.next();
            if (!word) break;
            taken.push_back(std::move(*word));
        }
    });

    BOOST_TEST(taken == (std::vector<std::string>{"converted", "variable", "variable"}),
               boost::test_tools::per_element());
    BOOST_TEST(log.text() == "variable empty");
}

BOOST_FIXTURE_TEST_CASE(items_of_a_generator_of_references_are_the_objects_themselves, VirtualTime) {
    std::vector<int> values{1, 2, 3};
    std::vector<std::string> known{"a", "b"};
    std::vector<const std::string*> places;
    run([&]() -> Task<> {
        AsyncGenerator<int&> items = slots(values);
        for (;;) {
            int* value = co_await items.next();
            if (value == nullptr) break;
            *value *= 10;
        }
        AsyncGenerator<const std::string&> strings = names(known);
        for (;;) {
            const std::string* name = co_await strings.next();
            if (name == nullptr) break;
            if (*name != "temporary") places.push_back(name);
        }
    });

    BOOST_TEST(values == (std::vector<int>{10, 20, 30}), boost::test_tools::per_element());
    BOOST_TEST_REQUIRE(places.size() == 2u);
    BOOST_TEST(places[0] == &known[0]);
    BOOST_TEST(places[1] == &known[1]);
}

BOOST_FIXTURE_TEST_CASE(items_may_be_such_as_can_only_be_moved, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<std::unique_ptr<int>> items = boxes(2);
        std::optional<std::unique_ptr<int>> first = co_await items.next();
        std::optional<std::unique_ptr<int>> second = co_await items.next();

        BOOST_TEST(**first == 0);
        BOOST_TEST(**second == 1);
    });
}

BOOST_FIXTURE_TEST_CASE(exception_comes_out_of_next_after_the_items_before_it_and_is_the_end, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> items = fail_after_two(std::errc::io_error);
        std::optional<int> first = co_await items.next();
        std::optional<int> second = co_await items.next();
        std::error_code code;
        try {
            co_await items.next();
        } catch (const std::system_error& error) {
            code = error.code();
        }
        std::optional<int> end = co_await items.next();

        BOOST_TEST((first == 1 && second == 2));
        BOOST_TEST((code == std::errc::io_error));
        BOOST_TEST(!end.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(failure_may_be_a_result_or_an_outcome, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> items = fail_after_two(std::errc::io_error);
        co_await items.next();
        Result<std::optional<int>> second = co_await as_result(items.next());
        Result<std::optional<int>> failure = co_await as_result(items.next());
        Result<std::optional<int>> end = co_await as_result(items.next());
        AsyncGenerator<int> others = fail_after_two(std::errc::broken_pipe);
        Outcome<std::optional<int>> other = co_await as_outcome(others.next());
        co_await others.next();
        Outcome<std::optional<int>> other_failure = co_await as_outcome(others.next());

        BOOST_TEST((second && *second == 2));
        BOOST_TEST((!failure && failure.error() == std::errc::io_error));
        BOOST_TEST((end && !end->has_value()));
        BOOST_TEST((other && *other == 1));
        BOOST_TEST(!other_failure.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(generators_may_be_made_of_generators, VirtualTime) {
    int sum = run([]() -> Task<int> {
        int total = co_await sum_of(doubled(doubled(each_second(4))));
        co_return total;
    });

    BOOST_TEST(sum == 40);
    BOOST_TEST((elapsed() == Duration(4s)));
}

BOOST_FIXTURE_TEST_CASE(it_may_run_a_group_between_its_items, VirtualTime) {
    auto in_parallel = [](int rounds) -> AsyncGenerator<int> {
        for (int i = 0; i < rounds; ++i) {
            int done = 0;
            auto child = [](int& count) -> Task<> {
                co_await sleep_for(1s);
                ++count;
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                for (int j = 0; j < 3; ++j)
                    group.spawn(child, std::ref(done));
                co_return;
            };
            co_await task_group(body);
            co_yield done;
        }
    };
    int sum = run([&]() -> Task<int> {
        int total = co_await sum_of(in_parallel(2));
        co_return total;
    });

    BOOST_TEST(sum == 6);
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(cancelled_consumer_is_unwound_after_the_generator_innermost_first, VirtualTime) {
    Gate gate;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto consume = [&]() -> Task<> {
                Guard guard(log, "consumer");
                AsyncGenerator<int> items = guarded(gate, log);
                co_await items.next();
                log.note("item");
                co_await items.next();
                log.note("never");
            };
            auto inner = [&](TaskGroup& group) -> Task<> {
                group.spawn(std::ref(consume));
                while (!gate.has_waiter())
                    co_await yield();
                scope.cancel();
            };
            co_await task_group(inner);
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "item child! generator! consumer!");
}

BOOST_FIXTURE_TEST_CASE(generator_that_was_unwound_for_one_consumer_is_at_its_end_for_others, VirtualTime) {
    Gate gate;
    Log log;
    run([&]() -> Task<> {
        AsyncGenerator<int> items = guarded(gate, log);
        co_await items.next();
        auto one = [&]() -> Task<bool> {
            std::optional<int> item = co_await items.next();
            co_return item.has_value();
        };
        std::optional<bool> in_time = co_await try_timeout(1s, one());
        std::optional<int> after = co_await items.next();

        BOOST_TEST(!in_time.has_value());
        BOOST_TEST(!after.has_value());
    });

    BOOST_TEST(log.text() == "child! generator!");
}

BOOST_FIXTURE_TEST_CASE(item_yielded_at_the_instant_of_a_cancellation_is_given, VirtualTime) {
    std::vector<int> seen;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto cancelling = [](CancelScope& s) -> AsyncGenerator<int> {
                for (int i = 1;; ++i) {
                    co_await sleep_for(1s);
                    if (i == 2) s.cancel();
                    co_yield i;
                }
            };
            AsyncGenerator<int> items = cancelling(scope);
            for (;;) {
                std::optional<int> item = co_await items.next();
                seen.push_back(*item);
            }
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(seen == (std::vector<int>{1, 2}), boost::test_tools::per_element());
    BOOST_TEST((elapsed() == Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(in_a_cancelled_scope_an_endless_generator_that_never_waits_does_not_go_on,
                        VirtualTime) {
    int items_seen = 0;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            AsyncGenerator<int> items = at_once(1'000'000);
            while (items_seen < 1000) {
                co_await items.next();
                if (++items_seen == 10) scope.cancel();
            }
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(items_seen == 10);
}

BOOST_FIXTURE_TEST_CASE(destroying_it_where_it_stands_destroys_its_variables_at_once, VirtualTime) {
    const int before = Counted::live();
    const int misused = Counted::misused();
    run([&]() -> Task<> {
        for (int stop = 0; stop <= 4; ++stop) {
            std::optional<AsyncGenerator<Counted>> items(counted_items(2, Counted(stop)));
            for (int i = 0; i < stop; ++i)
                co_await items->next();
            BOOST_TEST(Counted::live() > before);
            items.reset();
            BOOST_TEST(Counted::live() == before);
        }
    });

    BOOST_TEST(Counted::misused() == misused);
}

BOOST_FIXTURE_TEST_CASE(generator_at_its_end_holds_nothing_any_more, VirtualTime) {
    const int before = Counted::live();
    run([&]() -> Task<> {
        AsyncGenerator<Counted> items = counted_items(1, Counted(1));
        co_await items.next();
        co_await items.next();
        std::optional<Counted> end = co_await items.next();

        BOOST_TEST(!end.has_value());
        BOOST_TEST(Counted::live() == before);
    });
}

BOOST_FIXTURE_TEST_CASE(it_may_be_moved_and_replaced_between_items, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> first = each_second(3);
        co_await first.next();
        AsyncGenerator<int> second = std::move(first);
        std::optional<int> none = co_await first.next();
        std::optional<int> two = co_await second.next();
        second = each_second(1);
        AsyncGenerator<int>& same = second;
        second = std::move(same);
        std::optional<int> one = co_await second.next();

        BOOST_TEST(!none.has_value());
        BOOST_TEST((two == 2));
        BOOST_TEST((one == 1));
    });
}

BOOST_FIXTURE_TEST_CASE(each_item_is_computed_in_the_scope_of_whoever_awaits_it, VirtualTime) {
    auto scopes = []() -> AsyncGenerator<Environment*> {
        for (;;) {
            Environment& here = co_await Here();
            co_yield &here;
        }
    };
    run([&]() -> Task<> {
        AsyncGenerator<Environment*> items = scopes();
        Environment& outer = co_await Here();
        std::optional<Environment*> first = co_await items.next();
        BOOST_TEST((first == &outer));
        auto body = [&](CancelScope&) -> Task<> {
            Environment& inner = co_await Here();
            std::optional<Environment*> second = co_await items.next();
            BOOST_TEST((second == &inner));
            BOOST_TEST(&inner != &outer);
        };
        co_await cancel_scope(body);
        std::optional<Environment*> third = co_await items.next();
        BOOST_TEST((third == &outer));
    });
}

BOOST_FIXTURE_TEST_CASE(scope_that_was_cancelled_between_items_is_nothing_to_the_next_consumer, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> items = each_second(3);
        auto body = [&](CancelScope& scope) -> Task<> {
            co_await items.next();
            scope.cancel();
            co_await sleep_for(1h);
        };
        co_await cancel_scope(body);
        std::optional<int> second = co_await items.next();

        BOOST_TEST((second == 2));
    });
}

BOOST_AUTO_TEST_CASE(generator_may_be_taken_from_one_executor_to_another) {
    VirtualClock clock;
    ExecutorOptions options;
    options.clock = &clock;
    Executor first(options);
    Executor second(options);
    AsyncGenerator<int> items = each_second(2);
    auto take = [&]() -> Task<int> {
        std::optional<int> item = co_await items.next();
        co_return item.value_or(0);
    };

    BOOST_TEST(first.run_until(take()) == 1);
    BOOST_TEST(second.run_until(take()) == 2);
    BOOST_TEST(first.run_until(take()) == 0);
}

BOOST_FIXTURE_TEST_CASE(a_million_items_do_not_grow_the_stack, VirtualTime) {
    constexpr int count = is_sanitized ? 100'000 : 1'000'000;
    std::uintptr_t lowest = UINTPTR_MAX;
    std::uintptr_t highest = 0;
    auto noting = [&](int last) -> AsyncGenerator<int> {
        for (int i = 0; i < last; ++i) {
            auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
            lowest = std::min(lowest, here);
            highest = std::max(highest, here);
            co_yield i;
        }
    };
    std::int64_t sum = 0;
    run([&]() -> Task<> {
        AsyncGenerator<int> items = noting(count);
        for (;;) {
            std::optional<int> item = co_await items.next();
            if (!item) break;
            sum += *item;
        }
    });

    BOOST_TEST(sum == static_cast<std::int64_t>(count) * (count - 1) / 2);
    // What the runtime lets tasks run on top of each other, and a few calls.
    BOOST_TEST(highest - lowest < 64u * 1024u);
}

BOOST_FIXTURE_TEST_CASE(deep_pipeline_of_generators_does_not_need_a_deep_stack, VirtualTime) {
    constexpr int depth = is_sanitized ? 500 : 5'000;
    auto passing_on = [](auto& self, int levels) -> AsyncGenerator<int> {
        if (levels == 0) {
            co_yield 1;
            co_yield 2;
            co_return;
        }
        AsyncGenerator<int> below = self(self, levels - 1);
        for (;;) {
            std::optional<int> item = co_await below.next();
            if (!item) co_return;
            co_yield *item;
        }
    };
    int sum = run([&]() -> Task<int> {
        int total = co_await sum_of(passing_on(passing_on, depth));
        co_return total;
    });

    BOOST_TEST(sum == 3);
}

BOOST_FIXTURE_TEST_CASE(items_cost_no_allocation, VirtualTime) {
    run([&]() -> Task<> {
        AsyncGenerator<int> waiting = each_second(1000);
        AsyncGenerator<int> instant = at_once(1000);
        co_await waiting.next();
        co_await instant.next();
        std::size_t before = allocations_made();

        for (int i = 0; i < 100; ++i) {
            co_await waiting.next();
            co_await instant.next();
        }
        std::size_t after = allocations_made();

        BOOST_TEST(after == before);
    });
}

BOOST_FIXTURE_TEST_CASE(consumer_of_a_generator_that_never_waits_lets_others_run, VirtualTime) {
    int seen = 0;
    int seen_when_other_ran = -1;
    run([&]() -> Task<> {
        auto other = [&]() -> Task<> {
            co_await yield();
            seen_when_other_ran = seen;
        };
        auto consume = [&]() -> Task<> {
            AsyncGenerator<int> items = at_once(100'000);
            for (int i = 0; i < 100'000; ++i) {
                co_await items.next();
                ++seen;
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(consume));
            group.spawn(std::ref(other));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(seen_when_other_ran < 1000);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_it_below_its_consumer_with_definition_and_line, VirtualTime) {
    Gate gate;
    auto consume = [&]() -> Task<> {
        AsyncGenerator<int> items = at_a_gate(gate);
        co_await items.next();
        co_await sleep_for(1h);
    };
    Running<void> running = executor.start(consume());
    executor.turn();
    auto place = [](int line) { return "async_generator_test.cpp:" + std::to_string(line); };

    std::string waiting = executor.dump_tasks();
    gate.open();
    while (executor.turn()) {
    }
    std::string afterwards = executor.dump_tasks();

    BOOST_TEST(waiting.find("waits for the next item of a generator\n  #2 task ") != std::string::npos,
               waiting);
    BOOST_TEST(waiting.find("at_a_gate") != std::string::npos, waiting);
    BOOST_TEST(waiting.find("(" + place(waiting_line) + ")") != std::string::npos, waiting);
    BOOST_TEST(waiting.find("at " + place(waiting_line) + " waits for a gate") != std::string::npos, waiting);
    BOOST_TEST(afterwards.find("at_a_gate") == std::string::npos, afterwards);
}

BOOST_FIXTURE_TEST_CASE(dump_may_be_taken_while_a_consumer_has_given_way_or_is_about_to_be_unwound,
                        VirtualTime) {
    std::string text;
    auto consume = [&]() -> Task<> {
        AsyncGenerator<int> items = at_once(1000);
        for (int i = 0; i < 1000; ++i)
            co_await items.next();
    };
    Running<void> running = executor.start(consume());
    while (executor.turn(1))
        text += executor.dump_tasks();
    auto cancelled = [&](CancelScope& scope) -> Task<> {
        AsyncGenerator<int> items = at_once(10);
        co_await items.next();
        scope.cancel();
        co_await items.next();
    };
    auto scoped = [&]() -> Task<> { co_await cancel_scope(cancelled); };
    Running<void> other = executor.start(scoped());
    while (executor.turn(1))
        text += executor.dump_tasks();

    BOOST_TEST(text.find("the next item of a generator") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(deadline_inside_ends_only_what_it_is_around, VirtualTime) {
    Gate gate;
    auto with_pulse = [](Gate& to_pass) -> AsyncGenerator<bool> {
        for (;;) {
            bool passed = co_await try_timeout(1s, to_pass.pass());
            co_yield passed;
        }
    };
    run([&]() -> Task<> {
        AsyncGenerator<bool> items = with_pulse(gate);
        std::optional<bool> first = co_await items.next();
        gate.open();
        std::optional<bool> second = co_await items.next();

        BOOST_TEST((first == false));
        BOOST_TEST((second == true));
    });
}

BOOST_AUTO_TEST_CASE(items_that_wait_can_be_cancelled_at_every_suspension_point) {
    auto scenario = []() -> Task<> {
        Counted local;
        AsyncGenerator<Counted> items = counted_items(2, Counted(1));
        for (;;) {
            std::optional<Counted> item = co_await items.next();
            if (!item) break;
            co_await yield();
        }
    };

    sweep_all_endings(scenario);
}

BOOST_AUTO_TEST_CASE(pipeline_can_be_cancelled_at_every_suspension_point) {
    auto scenario = []() -> Task<> {
        int sum = co_await sum_of(doubled(doubled(each_second(3))));
        BOOST_TEST(sum == 24);
    };

    sweep_all_endings(scenario);
}

BOOST_AUTO_TEST_CASE(item_that_was_received_is_lost_at_no_suspension_point) {
    std::optional<Channel<int>> channel;
    int sent = 0;
    int received = 0;
    SweepOptions options;
    options.before = [&] {
        channel.emplace(0u);
        sent = received = 0;
    };
    options.after = [&] {
        BOOST_TEST(received == sent);
        channel.reset();
    };
    auto receive = [](Channel<int>& from) -> AsyncGenerator<int> {
        for (;;) {
            std::optional<int> value = co_await from.receive();
            if (!value) co_return;
            co_yield *value;
        }
    };
    auto consumer = [&]() -> Task<> {
        AsyncGenerator<int> items = receive(*channel);
        for (int i = 0; i < 3; ++i) {
            std::optional<int> item = co_await items.next();
            if (item) ++received;
        }
    };
    auto producer = [&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            co_await channel->send(i);
            ++sent;
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(consumer));
            group.spawn(std::ref(producer));
            co_return;
        };
        co_await task_group(body);
    };

    sweep_all_endings(scenario, options);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace async_generator_test
