// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/interval.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace interval_test {

namespace {

IntervalOptions with(MissedTicks missed) {
    IntervalOptions options;
    options.missed = missed;
    return options;
}

struct Ticks : VirtualTime {
    /// Milliseconds since the beginning: when the next tick was due, and when it was given.
    Task<> note_tick(Interval& interval) {
        TimePoint ideal = co_await interval.tick();
        due.push_back(since_beginning(ideal));
        given.push_back(since_beginning(executor.now()));
    }
    std::int64_t since_beginning(TimePoint instant) const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(instant - beginning).count();
    }
    /// A period of 100 ms; after the first tick the task is busy until 350 ms, then never again.
    void fall_behind(MissedTicks missed, int ticks) {
        run([&]() -> Task<> {
            Interval interval(100ms, with(missed));
            co_await note_tick(interval);
            co_await sleep_for(250ms);
            for (int i = 0; i < ticks; ++i)
                co_await note_tick(interval);
        });
    }
    void expect(const std::vector<std::int64_t>& expected_due,
                const std::vector<std::int64_t>& expected_given) const {
        BOOST_TEST(due == expected_due, boost::test_tools::per_element());
        BOOST_TEST(given == expected_given, boost::test_tools::per_element());
    }

    std::vector<std::int64_t> due;
    std::vector<std::int64_t> given;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(interval)

BOOST_FIXTURE_TEST_CASE(first_tick_comes_a_period_after_it_is_first_awaited, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms);
        co_await sleep_for(50ms);
        for (int i = 0; i < 3; ++i)
            co_await note_tick(interval);
    });

    expect({150, 250, 350}, {150, 250, 350});
}

BOOST_FIXTURE_TEST_CASE(first_tick_may_come_at_once, Ticks) {
    run([&]() -> Task<> {
        IntervalOptions options;
        options.ticks_at_once = true;
        Interval interval(100ms, options);
        co_await sleep_for(50ms);
        for (int i = 0; i < 3; ++i)
            co_await note_tick(interval);
    });

    expect({50, 150, 250}, {50, 150, 250});
}

BOOST_FIXTURE_TEST_CASE(first_tick_may_have_an_instant, Ticks) {
    run([&]() -> Task<> {
        IntervalOptions options;
        options.first = beginning + 30ms;
        options.ticks_at_once = true;
        Interval interval(100ms, options);
        for (int i = 0; i < 3; ++i)
            co_await note_tick(interval);
    });

    expect({30, 130, 230}, {30, 130, 230});
}

BOOST_FIXTURE_TEST_CASE(times_do_not_drift_whatever_the_work_between_takes, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms);
        for (int i = 0; i < 1000; ++i) {
            TimePoint ideal = co_await interval.tick();
            BOOST_TEST_REQUIRE((ideal == beginning + (i + 1) * 100ms));
            BOOST_TEST_REQUIRE((executor.now() == ideal));
            co_await sleep_for(std::chrono::milliseconds(i % 100));
        }
    });
}

BOOST_FIXTURE_TEST_CASE(repeated_sleeps_would_drift_where_it_does_not, VirtualTime) {
    run([&]() -> Task<> {
        for (int i = 0; i < 10; ++i) {
            co_await sleep_for(100ms);
            co_await sleep_for(10ms);
        }
        BOOST_TEST((elapsed() == Duration(1100ms)));
        TimePoint start = executor.now();
        Interval interval(100ms);
        for (int i = 0; i < 10; ++i) {
            co_await interval.tick();
            co_await sleep_for(10ms);
        }
        BOOST_TEST((executor.now() - start == Duration(1010ms)));
    });
}

BOOST_FIXTURE_TEST_CASE(burst_catches_up_with_what_was_missed, Ticks) {
    fall_behind(MissedTicks::burst, 5);

    expect({100, 200, 300, 400, 500, 600}, {100, 350, 350, 400, 500, 600});
}

BOOST_FIXTURE_TEST_CASE(skip_goes_on_at_the_next_time_of_the_grid, Ticks) {
    fall_behind(MissedTicks::skip, 3);

    expect({100, 200, 400, 500}, {100, 350, 400, 500});
}

BOOST_FIXTURE_TEST_CASE(delay_goes_on_a_period_after_the_late_tick, Ticks) {
    fall_behind(MissedTicks::delay, 3);

    expect({100, 200, 450, 550}, {100, 350, 450, 550});
}

BOOST_FIXTURE_TEST_CASE(skip_leaves_out_a_tick_that_is_due_at_this_instant_too, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms, with(MissedTicks::skip));
        co_await note_tick(interval);
        co_await sleep_for(200ms);
        co_await note_tick(interval);
        co_await note_tick(interval);
    });

    expect({100, 200, 400}, {100, 300, 400});
}

BOOST_FIXTURE_TEST_CASE(delay_keeps_its_grid_after_a_tick_that_is_hardly_late, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms, with(MissedTicks::delay));
        co_await note_tick(interval);
        co_await sleep_for(105ms);
        co_await note_tick(interval);
        co_await note_tick(interval);
        co_await sleep_for(106ms);
        co_await note_tick(interval);
        co_await note_tick(interval);
    });

    expect({100, 200, 300, 400, 506}, {100, 205, 300, 406, 506});
}

BOOST_FIXTURE_TEST_CASE(cancelled_wait_leaves_its_tick_to_the_next_one, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms);
        std::optional<TimePoint> none = co_await try_timeout(60ms, interval.tick());
        BOOST_TEST(!none.has_value());
        co_await note_tick(interval);
        std::optional<TimePoint> late = co_await try_timeout(99ms, interval.tick());
        BOOST_TEST(!late.has_value());
        co_await note_tick(interval);
        Result<TimePoint> result = co_await as_result(interval.tick());
        BOOST_TEST((result.value() == beginning + 300ms));
    });

    expect({100, 200}, {100, 200});
}

BOOST_FIXTURE_TEST_CASE(tick_at_the_instant_of_a_deadline_is_given_or_stays, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms);
        std::optional<TimePoint> first = co_await try_timeout(100ms, interval.tick());
        if (first) due.push_back(since_beginning(*first));
        co_await note_tick(interval);
        if (!first) co_await note_tick(interval);
    });

    BOOST_TEST(due == (std::vector<std::int64_t>{100, 200}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(reset_starts_anew_from_now, Ticks) {
    run([&]() -> Task<> {
        Interval interval(100ms);
        co_await note_tick(interval);
        co_await sleep_for(70ms);
        interval.reset();
        co_await note_tick(interval);
        interval.reset_to(beginning + 300ms);
        co_await note_tick(interval);
        co_await note_tick(interval);
    });

    expect({100, 270, 300, 400}, {100, 270, 300, 400});
}

BOOST_FIXTURE_TEST_CASE(reset_before_the_first_await_counts_from_that, Ticks) {
    run([&]() -> Task<> {
        IntervalOptions options;
        options.first = beginning;
        Interval interval(100ms, options);
        interval.reset();
        co_await sleep_for(50ms);
        co_await note_tick(interval);
    });

    expect({150}, {150});
}

BOOST_FIXTURE_TEST_CASE(reset_moves_the_tick_that_another_task_waits_for, Ticks) {
    Interval watchdog(100ms);
    run([&]() -> Task<> {
        auto waiter = [&]() -> Task<> { co_await note_tick(watchdog); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter));
            for (int i = 0; i < 5; ++i) {
                co_await sleep_for(60ms);
                watchdog.reset();
            }
        };
        co_await task_group(body);
    });

    expect({400}, {400});
}

BOOST_FIXTURE_TEST_CASE(reset_at_the_instant_of_a_tick_neither_takes_it_away_nor_gives_it_twice, Ticks) {
    Interval interval(100ms);
    run([&]() -> Task<> {
        auto waiter = [&]() -> Task<> {
            co_await note_tick(interval);
            co_await note_tick(interval);
        };
        auto resetter = [&]() -> Task<> {
            co_await sleep_for(100ms);
            interval.reset_to(beginning + 150ms);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter));
            group.spawn(std::ref(resetter));
            co_return;
        };
        co_await task_group(body);
    });

    expect({100, 150}, {100, 150});
}

BOOST_AUTO_TEST_CASE(period_must_be_positive) {
    for (Duration period : {Duration(0s), Duration(-1ns), Duration::min()})
        BOOST_CHECK_THROW(Interval{period}, std::invalid_argument);
}

BOOST_FIXTURE_TEST_CASE(extreme_periods_and_instants_overflow_nowhere, Ticks) {
    run([&]() -> Task<> {
        Interval endless(Duration::max());
        std::optional<TimePoint> none = co_await try_timeout(24h * 365, endless.tick());
        BOOST_TEST(!none.has_value());
        for (MissedTicks missed : {MissedTicks::burst, MissedTicks::skip, MissedTicks::delay}) {
            IntervalOptions options;
            options.missed = missed;
            options.first = TimePoint::min();
            Interval longest(Duration::max(), options);
            TimePoint first = co_await longest.tick();
            BOOST_TEST((first == TimePoint::min()));
            options.first = TimePoint::max();
            Interval never(1ns, options);
            none = co_await try_timeout(1s, never.tick());
            BOOST_TEST(!none.has_value());
        }
        IntervalOptions options = with(MissedTicks::skip);
        options.first = TimePoint::min();
        Interval shortest(1ns, options);
        co_await shortest.tick();
        TimePoint before = executor.now();
        TimePoint second = co_await shortest.tick();
        BOOST_TEST((second == before + 1ns));
        clock.advance(Duration::max());
        shortest.reset();
        co_await shortest.tick();
        BOOST_TEST((executor.now() == TimePoint::max()));
    });
}

BOOST_FIXTURE_TEST_CASE(ticks_that_are_due_let_other_tasks_run, Ticks) {
    int ticks = 0;
    int ticks_when_other_ran = -1;
    run([&]() -> Task<> {
        IntervalOptions options;
        options.first = beginning - 1s;
        Interval interval(1ms, options);
        auto other = [&]() -> Task<> {
            co_await yield();
            ticks_when_other_ran = ticks;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(other));
            for (; ticks < 1000; ++ticks)
                co_await interval.tick();
        };
        co_await task_group(body);
    });

    BOOST_TEST(ticks_when_other_ran < 1000);
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(ticks_cost_no_allocation_and_an_interval_that_nobody_awaits_no_timer, VirtualTime) {
    run([&]() -> Task<> {
        Interval interval(1s);
        co_await interval.tick();
        BOOST_TEST(!executor.timers().next_deadline().has_value());
        std::size_t before = allocations_made();

        for (int i = 0; i < 100; ++i)
            co_await interval.tick();
        std::size_t after = allocations_made();

        BOOST_TEST(after == before);
    });
}

BOOST_FIXTURE_TEST_CASE(dump_names_the_period, VirtualTime) {
    Interval interval(1500ms);
    auto waiter = [&]() -> Task<> { co_await interval.tick(); };
    Running<void> running = executor.start(waiter());
    executor.turn();

    BOOST_TEST(executor.dump_tasks().find("a tick of an interval of 1.5") != std::string::npos,
               executor.dump_tasks());
}

BOOST_AUTO_TEST_CASE(tick_is_never_early_by_the_real_clock) {
    int early = 0;
    run([&]() -> Task<> {
        Interval interval(300us);
        for (int i = 0; i < 200; ++i) {
            TimePoint ideal = co_await interval.tick();
            if (steady_clock().now() < ideal) ++early;
        }
    }());

    BOOST_TEST(early == 0);
}

BOOST_AUTO_TEST_CASE(no_tick_is_lost_at_any_suspension_point) {
    std::optional<Interval> interval;
    std::optional<TimePoint> last;
    SweepOptions options;
    options.before = [&] {
        interval.emplace(1s);
        last.reset();
    };
    options.after = [&] {
        // Whoever comes next, in another executor, is given the tick after the last that was given.
        VirtualTime time;
        time.run([&]() -> Task<> {
            TimePoint next = co_await interval->tick();
            if (last) BOOST_TEST((next == *last + 1s));
        });
        interval.reset();
    };
    auto scenario = [&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            TimePoint ideal = co_await interval->tick();
            if (last) BOOST_TEST((ideal == *last + 1s));
            last = ideal;
            co_await sleep_for(300ms);
        }
    };

    sweep_all_endings(scenario, options);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace interval_test
