// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace sleep_test {

namespace {

Task<> sleep_then_note(Duration duration, Log& log, std::string word) {
    co_await sleep_for(duration);
    log.note(word);
}

Task<> sleep_until_then_note(TimePoint deadline, Log& log, std::string word) {
    co_await sleep_until(deadline);
    log.note(word);
}

}  // namespace

// Else the suite's namespace would be <unistd.h>'s function.
namespace runtime_suites {

BOOST_AUTO_TEST_SUITE(sleep)

BOOST_FIXTURE_TEST_CASE(sleepers_wake_by_deadline_and_then_in_the_order_of_their_start, VirtualTime) {
    Log log;
    Running<void> c = executor.start(sleep_then_note(3s, log, "c"));
    Running<void> a = executor.start(sleep_then_note(1s, log, "a"));
    Running<void> b1 = executor.start(sleep_then_note(2s, log, "b1"));
    Running<void> b2 = executor.start(sleep_then_note(2s, log, "b2"));

    executor.run();

    BOOST_TEST(log.text() == "a b1 b2 c");
    BOOST_TEST((elapsed() == Duration(3s)));
}

BOOST_FIXTURE_TEST_CASE(duration_counts_from_the_await_not_from_the_call, VirtualTime) {
    run([&]() -> Task<> {
        SleepOperation operation = sleep_for(1s);
        co_await sleep_for(10s);
        co_await std::move(operation);
    });

    BOOST_TEST((elapsed() == Duration(11s)));
}

BOOST_FIXTURE_TEST_CASE(sleep_until_ends_at_the_instant, VirtualTime) {
    run([&]() -> Task<> {
        TimePoint deadline = executor.now() + 5s;
        co_await sleep_for(2s);
        co_await sleep_until(deadline);
        BOOST_TEST((executor.now() == deadline));
    });
}

BOOST_FIXTURE_TEST_CASE(zero_and_negative_durations_give_way_once, VirtualTime) {
    Log log;
    auto sleeper = [&](Duration duration) -> Task<> {
        log.note("before");
        co_await sleep_for(duration);
        log.note("after");
    };
    auto other = [&]() -> Task<> {
        log.note("other");
        co_return;
    };
    for (Duration duration : {Duration::zero(), Duration(-1s), Duration::min()}) {
        Running<void> first = executor.start(sleeper(duration));
        Running<void> second = executor.start(other());
        executor.run();
    }

    BOOST_TEST(log.text() == "before other after before other after before other after");
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(instant_in_the_past_is_no_wait, VirtualTime) {
    Log log;
    Running<void> past = executor.start(sleep_until_then_note(executor.now() - 1s, log, "past"));
    Running<void> epoch = executor.start(sleep_until_then_note(TimePoint(), log, "epoch"));
    Running<void> least = executor.start(sleep_until_then_note(TimePoint::min(), log, "least"));

    executor.run();

    BOOST_TEST((elapsed() == Duration::zero()));
    BOOST_TEST(log.text().size() == std::string("past epoch least").size());
}

BOOST_FIXTURE_TEST_CASE(longest_duration_never_ends, VirtualTime) {
    Log log;
    Running<void> longest = executor.start(sleep_then_note(Duration::max(), log, "ended"));
    Running<void> last = executor.start(sleep_until_then_note(TimePoint::max(), log, "ended"));
    auto years = []() -> Task<> { co_await sleep_for(24h * 365 * 100); };

    executor.run_until(years());

    BOOST_TEST(!longest.has_ended());
    BOOST_TEST(!last.has_ended());
    longest.cancel();
    last.cancel();
    executor.run();
    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(shortest_duration_is_not_lost, VirtualTime) {
    run([]() -> Task<> { co_await sleep_for(1ns); });

    BOOST_TEST((elapsed() == Duration(1ns)));
}

BOOST_FIXTURE_TEST_CASE(sleep_gives_a_result_without_an_error, VirtualTime) {
    run([]() -> Task<> {
        Result<void> slept = co_await as_result(sleep_for(1s));
        Result<void> yielded = co_await as_result(yield());

        BOOST_TEST(slept.has_value());
        BOOST_TEST(yielded.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_sleep_ends_at_once, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto inner = [&](TaskGroup& group) -> Task<> {
                group.spawn(sleep_then_note, Duration(1h), std::ref(log), "slept");
                co_await yield();
                co_await yield();
                scope.cancel();
            };
            co_await task_group(inner);
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST((elapsed() == Duration::zero()));
    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(sleep_that_has_ended_in_the_same_tick_wins_over_a_cancellation, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto canceller = [](CancelScope& s) -> Task<> {
                co_await sleep_for(1s);
                s.cancel();
            };
            Running<void> running = executor.start(canceller(scope));
            co_await yield();
            co_await sleep_for(1s);
            log.note("slept");
            co_await yield();
            log.note("went on");
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "slept");
}

BOOST_FIXTURE_TEST_CASE(a_million_sleepers_of_one_instant_wake_in_order, VirtualTime) {
    constexpr int count = is_sanitized ? 10'000 : 1'000'000;
    int next = 0;
    run([&]() -> Task<> {
        auto sleeper = [&](int number) -> Task<> {
            co_await sleep_for(1s);
            if (number == next) ++next;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < count; ++i)
                group.spawn(sleeper, i);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(next == count);
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(sleepers_that_wake_at_one_instant_do_not_keep_an_event_waiting, VirtualTime) {
    constexpr int count = 10'000;
    StreamPair pair;
    int awake = 0;
    int awake_at_event = -1;
    auto sleeper = [&]() -> Task<> {
        co_await sleep_for(1s);
        if (++awake == 1) send_directly(pair.right, "x");
    };
    auto reader = [&]() -> Task<> {
        std::array<std::byte, 1> buffer;
        co_await read_some(pair.left, buffer);
        awake_at_event = awake;
    };
    Running<void> reading = executor.start(reader());
    auto body = [&](TaskGroup& group) -> Task<> {
        for (int i = 0; i < count; ++i)
            group.spawn(std::ref(sleeper));
        co_return;
    };
    Running<void> sleeping =
        executor.start([](auto& children) -> Task<> { co_await task_group(children); }(body));
    // The clock would not jump while the read is under way.
    while (executor.turn()) {
    }
    clock.advance(1s);

    executor.run();

    BOOST_TEST(awake == count);
    BOOST_TEST(awake_at_event > 0);
    BOOST_TEST(awake_at_event < count / 2);
}

BOOST_FIXTURE_TEST_CASE(every_duration_is_slept_exactly, VirtualTime) {
    constexpr Duration tick(65'536);
    for (Duration duration :
         {Duration::min(), Duration(-24h), Duration(-1ns), Duration(0ns), Duration(1ns), Duration(999ns),
          Duration(1us), tick - 1ns, tick, tick + 1ns, Duration(999'999ns), Duration(1ms),
          Duration(64 * tick), Duration(4096 * tick) - 1ns, Duration(1h), Duration(24h * 365 * 10)}) {
        TimePoint before = executor.now();
        run([&]() -> Task<> { co_await sleep_for(duration); });
        BOOST_TEST((executor.now() - before == std::max(duration, Duration::zero())));

        before = executor.now();
        // From the beginning of the clock's count, where the sum would pass its first instant.
        TimePoint deadline = duration < Duration::zero() ? TimePoint(duration) : before + duration;
        run([&]() -> Task<> { co_await sleep_until(deadline); });
        BOOST_TEST((executor.now() - before == std::max(duration, Duration::zero())));
    }
}

BOOST_FIXTURE_TEST_CASE(sleeper_that_sleeps_again_at_once_lets_those_of_its_instant_wake_first, VirtualTime) {
    Log log;
    auto twice = [&](std::string name) -> Task<> {
        co_await sleep_for(1s);
        log.note(name + "1");
        co_await sleep_until(beginning);
        log.note(name + "2");
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const char* name : {"a", "b", "c"})
                group.spawn(std::ref(twice), name);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a1 b1 c1 a2 b2 c2");
    BOOST_TEST((elapsed() == Duration(1s)));
}

BOOST_FIXTURE_TEST_CASE(who_wakes_may_cancel_those_whose_time_comes_within_the_same_tick, VirtualTime) {
    Log log;
    auto sleeper = [&](Duration duration) -> Task<> {
        co_await sleep_for(duration);
        log.note("awake");
    };
    Running<void> later = executor.start(sleeper(1s + 2ns));
    run([&]() -> Task<> {
        co_await sleep_for(1s + 1ns);
        later.cancel();
    });
    executor.run();

    BOOST_TEST(log.text() == "");
    BOOST_TEST(later.has_ended());
    BOOST_TEST((elapsed() == Duration(1s + 1ns)));
}

BOOST_FIXTURE_TEST_CASE(foreign_loop_is_told_at_once_of_a_deadline_in_the_furthest_past, VirtualTime) {
    Log log;
    Running<void> least = executor.start(sleep_until_then_note(TimePoint::min(), log, "least"));
    executor.turn();

    std::optional<Duration> timeout = executor.next_timeout();
    std::string text = executor.dump_tasks();

    BOOST_TEST((timeout == Duration::zero()));
    BOOST_TEST(text.find("sleep, 0.000 s left") != std::string::npos, text);
    executor.turn();
    BOOST_TEST(log.text() == "least");
}

// By the real clock: a backend is told of the deadline, and must neither overflow nor take it for none or for now.
BOOST_AUTO_TEST_CASE(event_comes_through_whatever_is_slept_meanwhile) {
    for (Duration duration : {Duration::max(), Duration::max() - 1h, Duration(24h * 365 * 200),
                              Duration(24h * 365), Duration(24h * 50), Duration(1h)}) {
        StreamPair pair;
        Executor executor;
        auto sleeper = [](Duration longest) -> Task<> { co_await sleep_for(longest); };
        auto reader = [&]() -> Task<> {
            std::array<std::byte, 1> buffer;
            co_await read_some(pair.left, buffer);
        };
        auto writer = [&]() -> Task<> {
            for (int i = 0; i < 3; ++i) {
                co_await sleep_for(1ms);
                if (i == 2) send_directly(pair.right, "x");
            }
        };
        Running<void> sleeping = executor.start(sleeper(duration));
        Running<void> writing = executor.start(writer());

        executor.run_until(reader());

        BOOST_TEST(!sleeping.has_ended());
        BOOST_TEST(writing.has_ended());
    }
}

// 10'000 sleeps from 0.2 to 3 ms, many at a time.
BOOST_AUTO_TEST_CASE(sleep_is_never_early_by_the_real_clock) {
    constexpr int sleepers = 100;
    int early = 0;
    int slept = 0;
    auto sleeper = [&](int number) -> Task<> {
        for (int i = 0; i < 100; ++i) {
            Duration duration = 200us + 28us * ((number + i * 37) % sleepers);
            auto before = std::chrono::steady_clock::now();
            co_await sleep_for(duration);
            if (std::chrono::steady_clock::now() - before < duration) ++early;
            ++slept;
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < sleepers; ++i)
                group.spawn(std::ref(sleeper), i);
            co_return;
        };
        co_await task_group(body);
    }());

    BOOST_TEST(early == 0);
    BOOST_TEST(slept == 10'000);
}

// Alone, so that each is a deadline that the kernel is told.
BOOST_AUTO_TEST_CASE(sleep_of_one_task_alone_is_never_early_either) {
    int early = 0;
    run([&]() -> Task<> {
        for (Duration duration :
             {Duration(1ns), Duration(999ns), Duration(1us), Duration(50us), Duration(200us), Duration(999us),
              Duration(1ms), Duration(1001us), Duration(2999us)}) {
            for (int i = 0; i < 20; ++i) {
                auto before = std::chrono::steady_clock::now();
                co_await sleep_for(duration);
                if (std::chrono::steady_clock::now() - before < duration) ++early;
            }
        }
    }());

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_CASE(sleep_that_begins_after_a_stall_is_not_early) {
    run([]() -> Task<> {
        co_await yield();
        auto stalled_since = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - stalled_since < 20ms) {
        }

        auto before = std::chrono::steady_clock::now();
        co_await sleep_for(3ms);
        BOOST_TEST((std::chrono::steady_clock::now() - before >= 3ms));
    }());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace runtime_suites

}  // namespace sleep_test
