// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace when_any_test {

namespace {

Task<int> give_after(Duration duration, int value) {
    co_await sleep_for(duration);
    co_return value;
}

Task<int> give_at_once(int value) { co_return value; }

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

Task<Counted> give_counted(Duration duration) {
    Counted local;
    co_await sleep_for(duration);
    co_return Counted(3);
}

// The second time comes when the scope's body is gone.
Task<> cancel_twice(CancelScope& scope) {
    co_await sleep_for(1s);
    scope.cancel();
    co_await yield();
    scope.cancel();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(when_any)

BOOST_FIXTURE_TEST_CASE(first_that_ends_gives_its_value_and_the_others_are_cancelled_and_awaited,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto [first, second, third] =
            co_await leat::when_any(guarded(log, "a", 3s), guarded(log, "b", 1s), guarded(log, "c", 2s));
        log.note("after");
        BOOST_TEST(!first.has_value());
        BOOST_TEST((second == 1));
        BOOST_TEST(!third.has_value());
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });

    BOOST_TEST(log.text() == "b+ b a! c! after");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(where_there_is_no_value_a_bool_tells_whether_it_ended, VirtualTime) {
    run([&]() -> Task<> {
        auto [slept, value] = co_await leat::when_any(sleep_for(1s), give_after(2s, 7));
        static_assert(std::is_same_v<decltype(slept), bool>);
        static_assert(std::is_same_v<decltype(value), std::optional<int>>);
        BOOST_TEST(slept);
        BOOST_TEST(!value.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(loser_is_awaited_however_long_its_end_takes, VirtualTime) {
    run([&]() -> Task<> {
        auto shielded = []() -> Task<int> {
            co_await leat::shield(sleep_for(10s));
            co_return 4;
        };
        auto [slept, value] = co_await leat::when_any(sleep_for(1s), shielded());
        BOOST_TEST(slept);
        // It came to its end all the same.
        BOOST_TEST((value == 4));
    });

    BOOST_TEST((elapsed() == Duration(10s)));
}

BOOST_FIXTURE_TEST_CASE(two_results_that_are_there_are_both_handed_over, VirtualTime) {
    Gate left;
    Gate right;
    run([&]() -> Task<> {
        left.open();
        right.open();
        auto [first, second] = co_await leat::when_any(left.pass(), right.pass());
        BOOST_TEST(first);
        BOOST_TEST(!second);
        // The second had not begun to wait when the first ended: what it was to take is still there.
        bool passed = co_await try_timeout(0s, right.pass());
        BOOST_TEST(passed);

        auto open_both = [&]() -> Task<> {
            co_await sleep_for(1s);
            left.open();
            right.open();
        };
        Running<void> opener = executor.start(open_both());
        auto [one, other] = co_await leat::when_any(left.pass(), right.pass());
        BOOST_TEST(one);
        BOOST_TEST(other);
        BOOST_TEST(!left.has_waiter());
        BOOST_TEST(!right.has_waiter());
    });
}

BOOST_FIXTURE_TEST_CASE(two_that_end_without_a_wait_both_give_their_values, VirtualTime) {
    run([&]() -> Task<> {
        auto [first, second] = co_await leat::when_any(give_at_once(1), give_at_once(2));
        BOOST_TEST((first == 1));
        BOOST_TEST((second == 2));
    });
}

BOOST_FIXTURE_TEST_CASE(vector_gives_a_vector_in_its_order, VirtualTime) {
    run([&]() -> Task<> {
        std::vector<Task<std::unique_ptr<int>>> tasks;
        auto give = [](Duration duration, int value) -> Task<std::unique_ptr<int>> {
            co_await sleep_for(duration);
            co_return std::make_unique<int>(value);
        };
        for (int i = 0; i < 10; ++i)
            tasks.push_back(give((i == 7 ? 1s : 2s), i));
        std::vector<std::optional<std::unique_ptr<int>>> values = co_await leat::when_any(std::move(tasks));
        BOOST_TEST_REQUIRE(values.size() == 10u);
        for (std::size_t i = 0; i < 10; ++i)
            BOOST_TEST(values[i].has_value() == (i == 7));
        BOOST_TEST(**values[7] == 7);

        std::vector<Task<>> waits;
        waits.push_back(wait_for(2s));
        waits.push_back(wait_for(1s));
        std::vector<bool> ended = co_await leat::when_any(std::move(waits));
        BOOST_TEST((ended == std::vector<bool>{false, true}));
    });
}

BOOST_FIXTURE_TEST_CASE(of_no_tasks_at_once, VirtualTime) {
    run([&]() -> Task<> {
        std::vector<std::optional<int>> values = co_await leat::when_any(std::vector<Task<int>>());
        BOOST_TEST(values.empty());
        std::vector<bool> ended = co_await leat::when_any(std::vector<Task<>>());
        BOOST_TEST(ended.empty());
    });
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(failure_cancels_the_others_and_is_thrown_also_if_another_had_a_value, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        for (Duration other : {Duration(2s), Duration(1s)}) {
            try {
                co_await leat::when_any(fail_after(1s, "failed"), guarded(log, "other", other));
                log.note("never");
            } catch (const std::runtime_error& error) {
                log.note(error.what());
            }
        }
        // What had a value first does not hide what fails while it is being cancelled.
        try {
            co_await leat::when_any(give_after(1s, 1), fail_after(1s, "later"));
        } catch (const std::runtime_error& error) {
            log.note(error.what());
        }
    });

    BOOST_TEST(log.text() == "other! failed other+ other failed later");
}

BOOST_FIXTURE_TEST_CASE(failures_after_the_first_are_attached, VirtualTime) {
    run([&]() -> Task<> {
        Outcome<std::tuple<std::optional<int>, std::optional<int>, bool>> outcome = co_await as_outcome(
            leat::when_any(fail_after(1s, "first"), fail_after(1s, "second"), sleep_for(1h)));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_TEST(describe_failure(outcome.error()) == "first; and: second");
    });
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(failure_taken_as_a_value_loses_nothing_of_the_others, VirtualTime) {
    Channel<int> channel(1);
    run([&]() -> Task<> {
        auto send_and_wait = [&]() -> Task<> {
            co_await sleep_for(1s);
            co_await channel.send(7);
        };
        Running<void> sending = executor.start(send_and_wait());
        Gate gate;
        auto [received, late] =
            co_await leat::when_any(as_result(channel.receive()), as_result(leat::timeout(1s, gate.pass())));
        std::optional<int> taken = received ? received->value() : channel.try_receive();
        BOOST_TEST((taken == 7));
        if (late) BOOST_TEST((late->error() == errc::deadline_exceeded));
    });
}

BOOST_FIXTURE_TEST_CASE(results_and_outcomes_and_deadlines_stand_around_it, VirtualTime) {
    run([&]() -> Task<> {
        using Two = std::tuple<std::optional<int>, bool>;
        Result<Two> result = co_await as_result(leat::when_any(give_after(1s, 1), sleep_for(2s)));
        BOOST_TEST((result && std::get<0>(*result) == 1));
        Two in_time = co_await leat::timeout(5s, leat::when_any(give_after(1s, 1), sleep_for(2s)));
        BOOST_TEST((std::get<0>(in_time) == 1));
        Result<Two> late =
            co_await as_result(leat::timeout(1s, leat::when_any(give_after(2s, 1), sleep_for(3s))));
        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        std::optional<Two> tried = co_await try_timeout(1s, leat::when_any(give_after(2s, 1), sleep_for(3s)));
        BOOST_TEST(!tried.has_value());
        TimePoint deadline = executor.now() + 1s;
        Outcome<Two> outcome =
            co_await as_outcome(timeout_at(deadline, leat::when_any(give_after(2s, 1), sleep_for(3s))));
        BOOST_TEST(!outcome.has_value());
        std::vector<Task<>> waits;
        waits.push_back(wait_for(2s));
        std::optional<std::vector<bool>> several = co_await try_timeout(1s, leat::when_any(std::move(waits)));
        BOOST_TEST(!several.has_value());
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
    BOOST_TEST((elapsed() == Duration(6s)));
}

BOOST_FIXTURE_TEST_CASE(whatever_can_be_awaited_can_be_raced, VirtualTime) {
    auto fail = []() -> Task<int> {
        co_await sleep_for(1s);
        throw std::system_error(std::make_error_code(std::errc::broken_pipe));
    };
    auto body = [](CancelScope& scope) -> Task<int> {
        scope.cancel();
        co_await sleep_for(1h);
        co_return 1;
    };
    auto group_body = [](TaskGroup&) -> Task<int> {
        co_await sleep_for(1s);
        co_return 5;
    };
    run([&]() -> Task<> {
        auto [result] = co_await leat::when_any(as_result(fail()));
        BOOST_TEST_REQUIRE(result.has_value());
        BOOST_TEST((result->error() == std::errc::broken_pipe));
        auto [outcome] = co_await leat::when_any(as_outcome(fail()));
        BOOST_TEST((outcome.has_value() && !outcome->has_value()));
        auto [leaf] = co_await leat::when_any(as_outcome(sleep_for(1s)));
        BOOST_TEST((leaf.has_value() && leaf->has_value()));
        auto [caught] = co_await leat::when_any(catch_cancelled(give_after(1s, 3)));
        BOOST_TEST((caught.has_value() && *caught == 3));
        auto [scope] = co_await leat::when_any(cancel_scope(body));
        BOOST_TEST((scope.has_value() && !scope->has_value()));
        auto [group] = co_await leat::when_any(task_group(group_body));
        BOOST_TEST((group == 5));
        auto [inner] = co_await leat::when_any(leat::when_any(give_after(1s, 4), sleep_for(2s)));
        BOOST_TEST((inner.has_value() && std::get<0>(*inner) == 4));
        auto [late, never] = co_await leat::when_any(as_result(leat::timeout(1s, as_result(sleep_for(2s)))),
                                                     as_outcome(leat::timeout(5s, sleep_for(2s))));
        BOOST_TEST((late.has_value() && late->error() == errc::deadline_exceeded));
        BOOST_TEST(!never.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(deadline_of_all_that_comes_with_a_result_gives_the_result, VirtualTime) {
    run([&]() -> Task<> {
        // The inner timer was armed later, and fires after the outer one: at that the branch may have no result yet.
        using Two = std::tuple<bool, bool>;
        std::optional<Two> tried = co_await try_timeout(1s, leat::when_any(sleep_for(1s), sleep_for(2s)));
        if (tried) BOOST_TEST((std::get<0>(*tried) && !std::get<1>(*tried)));
        BOOST_TEST((elapsed() == Duration(1s)));
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_from_outside_all_end_and_then_the_awaiting_task, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            Guard guard(log, "body");
            Running<void> running = executor.start(cancel_twice(scope));
            co_await leat::when_any(guarded(log, "a", 1h), guarded(log, "b", 2h));
            log.note("resumed");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "a! b! body!");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(result_that_one_has_despite_the_cancellation_is_returned, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            auto [value, slept] = co_await leat::when_any(give_at_once(1), sleep_for(1s));
            log.note(value ? "value" : "nothing");
            log.note(slept ? "slept" : "not");
            co_await sleep_for(1s);
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "value not");
}

BOOST_FIXTURE_TEST_CASE(cancelled_between_the_end_of_a_winner_and_that_of_a_loser_it_gives_the_result,
                        VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto shielded = []() -> Task<> { co_await leat::shield(sleep_for(10s)); };
        auto body = [&](CancelScope& scope) -> Task<> {
            auto canceller = [&]() -> Task<> {
                co_await sleep_for(5s);
                scope.cancel();
            };
            Running<void> running = executor.start(canceller());
            auto [value, ended] = co_await leat::when_any(give_after(1s, 1), shielded());
            log.note(value ? "value" : "nothing");
            log.note(ended ? "ended" : "not");
            co_await yield();
            co_await yield();
            log.note("never");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "value ended");
    BOOST_TEST((elapsed() == Duration(10s)));
}

BOOST_FIXTURE_TEST_CASE(cancellation_by_a_post_of_another_thread_ends_all, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            std::jthread canceller([&scope, remote = executor.remote()]() mutable {
                remote.post([&scope] { scope.cancel(); });
            });
            Gate gate;
            co_await leat::when_any(guarded(log, "a", 1h), gate.pass());
            log.note("resumed");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "a!");
}

// ---- Nothing is lost where a loser had a result in its hands ----

BOOST_FIXTURE_TEST_CASE(value_of_a_channel_and_a_timer_at_the_same_instant_lose_and_double_no_value,
                        VirtualTime) {
    // Whichever of the two timers is armed first.
    for (bool sender_first : {true, false}) {
        Channel<int> channel(0);
        std::vector<int> received;
        int ticks = 0;
        auto send = [&]() -> Task<> {
            for (int i = 0; i < 50; ++i) {
                co_await sleep_for(1ms);
                co_await channel.send(i);
            }
            channel.close();
        };
        auto receive = [&]() -> Task<> {
            for (;;) {
                auto [value, ticked] = co_await leat::when_any(channel.receive(), sleep_for(1ms));
                if (ticked) ++ticks;
                if (value && !*value) co_return;
                if (value) received.push_back(**value);
            }
        };
        run([&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                if (sender_first) group.spawn(std::ref(send));
                group.spawn(std::ref(receive));
                if (!sender_first) group.spawn(std::ref(send));
                co_return;
            };
            co_await task_group(body);
        });

        BOOST_TEST_REQUIRE(received.size() == 50u);
        for (int i = 0; i < 50; ++i)
            BOOST_TEST(received[static_cast<std::size_t>(i)] == i);
        BOOST_TEST(ticks > 0);
    }
}

BOOST_FIXTURE_TEST_CASE(two_channels_that_are_sent_to_at_once_both_hand_over, VirtualTime) {
    Channel<int> left(0);
    Channel<int> right(0);
    std::vector<int> received;
    auto send = [](Channel<int>& channel, int first) -> Task<> {
        for (int i = 0; i < 30; ++i) {
            co_await sleep_for(1ms);
            co_await channel.send(first + i);
        }
    };
    auto receive = [&]() -> Task<> {
        while (received.size() < 60) {
            auto [one, other] = co_await leat::when_any(left.receive(), right.receive());
            if (one) received.push_back(one->value());
            if (other) received.push_back(other->value());
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(receive));
            group.spawn(send, std::ref(left), 0);
            group.spawn(send, std::ref(right), 100);
            co_return;
        };
        co_await leat::timeout(1h, task_group(body));
    });

    int sum = 0;
    for (int value : received)
        sum += value;
    BOOST_TEST(sum == 30 * 100 + 2 * (29 * 30 / 2));
    BOOST_TEST(left.size() == 0u);
    BOOST_TEST(right.size() == 0u);
}

BOOST_FIXTURE_TEST_CASE(permit_and_lock_that_came_at_the_same_instant_are_given_back, VirtualTime) {
    Semaphore semaphore(0);
    Mutex mutex;
    run([&]() -> Task<> {
        for (int i = 0; i < 20; ++i) {
            MutexGuard held = co_await mutex.lock();
            auto release = [&]() -> Task<> {
                co_await sleep_for(1ms);
                semaphore.add();
                held.unlock();
            };
            Running<void> releasing = executor.start(release());
            if (i % 2 == 0) co_await yield();
            {
                auto [permit, lock, ticked] =
                    co_await leat::when_any(semaphore.acquire(), mutex.lock(), sleep_for(1ms));
                BOOST_TEST((permit || lock || ticked));
            }
            co_await sleep_for(1ms);
            BOOST_TEST(!mutex.is_locked());
            Permit left = semaphore.try_acquire();
            BOOST_TEST(left.is_held());
            left.forget();
        }
    });
}

BOOST_FIXTURE_TEST_CASE(losers_place_in_a_queue_is_given_up_and_nobody_behind_loses_a_turn, VirtualTime) {
    Mutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto hold = [&]() -> Task<> {
            MutexGuard guard = co_await mutex.lock();
            co_await sleep_for(3s);
            log.note("held");
        };
        auto impatient = [&]() -> Task<> {
            auto [lock, ticked] = co_await leat::when_any(mutex.lock(), sleep_for(1s));
            BOOST_TEST(!lock.has_value());
            log.note(ticked ? "gave-up" : "?");
        };
        auto patient = [&]() -> Task<> {
            MutexGuard guard = co_await mutex.lock();
            log.note("locked");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(hold);
            group.spawn(impatient);
            group.spawn(patient);
            co_return;
        };
        co_await task_group(body);
    });
    BOOST_TEST(log.text() == "gave-up held locked");
}

BOOST_FIXTURE_TEST_CASE(bytes_that_have_arrived_when_the_timer_fires_are_not_lost, VirtualTime) {
    StreamPair pair;
    std::string received;
    run([&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        for (int i = 0; i < 20; ++i) {
            // While a read is under way, a virtual clock moves only when it is told to.
            auto send = [&]() -> Task<> {
                co_await yield();
                send_directly(pair.right, std::string(1, static_cast<char>('a' + i)));
                if (i % 2 == 0) co_await yield();
                clock.advance(1ms);
                co_await sleep_for(1s);
            };
            auto [count, sent, ticked] =
                co_await leat::when_any(read_some(pair.left, buffer), send(), sleep_for(1ms));
            if (count) received.append(reinterpret_cast<const char*>(buffer.data()), *count);
        }
    });
    received += receive_directly(pair.left);

    BOOST_TEST(received == "abcdefghijklmnopqrst");
}

BOOST_AUTO_TEST_CASE(read_and_a_short_timer_lose_and_double_no_byte_however_often) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 4'000 : 20'000);
    StreamPair pair;
    std::size_t expected = 0;
    std::size_t wrong = 0;
    std::size_t received = 0;
    std::size_t sent = 0;
    std::size_t ticks = 0;
    bool is_over = false;
    std::string text;
    for (int i = 0; i < 251; ++i)
        text += static_cast<char>(i);
    auto write = [&]() -> Task<> {
        while (!is_over) {
            std::size_t begin = sent % text.size();
            std::size_t length = std::min(1 + sent % 13, text.size() - begin);
            sent += co_await write_some(pair.right, std::string_view(text).substr(begin, length));
            // Sometimes faster than the reader's timer, sometimes slower.
            co_await sleep_for((sent % 5) * 10us);
        }
        pair.right.close();
    };
    auto take = [&](std::span<const std::byte> bytes) {
        for (std::byte byte : bytes)
            wrong += static_cast<std::size_t>(byte) != expected++ % 251;
        received += bytes.size();
    };
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        for (std::size_t i = 0; i < rounds; ++i) {
            auto [count, ticked] =
                co_await leat::when_any(read_some(pair.left, buffer), sleep_for((i % 4) * 10us));
            if (count) take(std::span(buffer).first(*count));
            if (ticked) ++ticks;
        }
        is_over = true;
        for (bool is_open = true; is_open;) {
            std::size_t count = co_await read_some(pair.left, buffer);
            take(std::span(buffer).first(count));
            is_open = count != 0;
        }
    };
    leat::run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(write));
            group.spawn(std::ref(read));
            co_return;
        };
        co_await task_group(body);
    }());

    BOOST_TEST(wrong == 0u);
    BOOST_TEST(received == sent);
    BOOST_TEST(ticks > 0u);
    BOOST_TEST(received > 0u);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_what_any_is_waited_for, VirtualTime) {
    std::string dump;
    auto look = [&]() -> Task<> {
        co_await sleep_for(1s);
        dump = executor.dump_tasks();
    };
    Gate gate;
    run([&]() -> Task<> { co_await leat::when_any(gate.pass(), look()); });

    BOOST_TEST(dump.find("any of 2 (2 still running)") != std::string::npos);
    BOOST_TEST(dump.find("a gate") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(thousands_that_are_raced_end_at_once_and_leave_no_timer, VirtualTime) {
    run([&]() -> Task<> {
        std::vector<Task<>> waits;
        for (int i = 0; i < 20'000; ++i)
            waits.push_back(wait_for(i == 12'345 ? Duration(1s) : Duration(1h)));
        std::vector<bool> ended = co_await leat::when_any(std::move(waits));
        BOOST_TEST(ended[12'345]);
        BOOST_TEST(std::count(ended.begin(), ended.end(), true) == 1);
        BOOST_TEST(!executor.timers().next_deadline().has_value());
    });
    BOOST_TEST((elapsed() == Duration(1s)));
}

// ---- Sweeps ----

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Counted local;
        auto [first, second, slept] =
            co_await leat::when_any(give_counted(2s), give_counted(1s), sleep_for(3s));
        BOOST_TEST(second.has_value());
        std::vector<Task<Counted>> tasks;
        for (int i = 1; i < 4; ++i)
            tasks.push_back(give_counted(1s));
        std::vector<std::optional<Counted>> values = co_await leat::when_any(std::move(tasks));
    });
}

BOOST_AUTO_TEST_CASE(nested_ones_with_failures_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto fail = [](Duration duration) -> Task<Counted> {
            Counted local;
            co_await sleep_for(duration);
            throw Counted(5);
        };
        auto inner = [&](Duration duration) -> Task<Counted> {
            auto [first, second] = co_await leat::when_any(give_counted(duration), fail(duration + 1s));
            co_return std::move(*first);
        };
        auto [one, other] = co_await leat::when_any(inner(1s), inner(1s));
        Outcome<std::tuple<std::optional<Counted>, std::optional<Counted>>> outcome =
            co_await as_outcome(leat::when_any(fail(1s), fail(1s)));
    });
}

BOOST_AUTO_TEST_CASE(race_of_reads_and_of_values_can_be_cancelled_anywhere_and_loses_nothing) {
    std::optional<Channel<int>> channel;
    std::optional<StreamPair> pair;
    std::size_t sent = 0;
    std::size_t received = 0;
    std::size_t written = 0;
    std::size_t read = 0;
    SweepOptions options;
    options.before = [&] {
        channel.emplace(0u);
        pair.emplace();
        sent = received = written = read = 0;
    };
    options.after = [&] {
        read += receive_directly(pair->left).size();
        BOOST_TEST(read >= written);
        BOOST_TEST(read <= written + 4);
        // The last one may have been taken from its sender's hands when that was ended; the receiver may have been ended with
        // it in its hands.
        BOOST_TEST(received + 1 >= sent);
        BOOST_TEST(received <= sent + 1);
        channel.reset();
        pair.reset();
    };
    auto send = [&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            co_await channel->send(i);
            ++sent;
            std::size_t count = co_await write_some(pair->right, "ball");
            written += count;
        }
    };
    auto receive = [&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        while (received < 2 || read < 8) {
            auto [count, value] = co_await leat::when_any(read_some(pair->left, buffer), channel->receive());
            if (count) read += *count;
            if (value && *value) ++received;
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(receive));
            group.spawn(std::ref(send));
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace when_any_test
