// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/timer_wheel.hpp>

#include "support/allocations.hpp"
#include "support/sanitizer.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace timer_wheel_test {

namespace {

class ActingTimer final : public Timer {
public:
    ActingTimer() = default;
    explicit ActingTimer(std::function<void()> action) : action_(std::move(action)) {}

    void expired() noexcept override { action_(); }

private:
    std::function<void()> action_ = [] {};
};

class CountingTimer final : public Timer {
public:
    void expired() noexcept override { ++fired; }
    int fired = 0;
};

constexpr TimePoint beginning{1h};

struct Wheel {
    // Fires at each instant that the wheel asks for until `to`; gives how often that was.
    int run_to(TimePoint to) {
        int steps = 0;
        for (;;) {
            std::optional<TimePoint> next = wheel.next_deadline();
            if (!next || *next > to) break;
            now = std::max(now, *next);
            wheel.expire(now);
            ++steps;
        }
        now = to;
        wheel.expire(now);
        return steps;
    }

    TimePoint now = beginning;
    TimerWheel wheel{beginning};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(timer_wheel)

BOOST_FIXTURE_TEST_CASE(empty_wheel_has_no_deadline, Wheel) {
    wheel.expire(now + 1h);

    BOOST_TEST(!wheel.next_deadline().has_value());
    BOOST_TEST(!wheel.may_hold_timers());
}

BOOST_FIXTURE_TEST_CASE(timer_fires_once_at_its_deadline_and_not_before, Wheel) {
    CountingTimer timer;
    wheel.arm(timer, beginning + 10s);
    BOOST_TEST(timer.is_armed());
    BOOST_TEST((timer.deadline() == beginning + 10s));

    wheel.expire(beginning + 10s - 1ns);
    BOOST_TEST(timer.fired == 0);
    wheel.expire(beginning + 10s);
    BOOST_TEST(timer.fired == 1);
    wheel.expire(beginning + 20s);

    BOOST_TEST(timer.fired == 1);
    BOOST_TEST(!timer.is_armed());
}

BOOST_FIXTURE_TEST_CASE(timers_fire_by_deadline_and_then_in_the_order_of_arming, Wheel) {
    std::string order;
    ActingTimer a([&] { order += 'a'; }), b([&] { order += 'b'; }), c([&] { order += 'c'; }),
        d([&] { order += 'd'; });
    wheel.arm(d, beginning + 3s);
    wheel.arm(b, beginning + 2s);
    wheel.arm(c, beginning + 2s);
    wheel.arm(a, beginning + 1s);

    wheel.expire(beginning + 1h);

    BOOST_TEST(order == "abcd");
}

BOOST_FIXTURE_TEST_CASE(timers_within_one_tick_fire_by_deadline_too, Wheel) {
    std::string order;
    ActingTimer a([&] { order += 'a'; }), b([&] { order += 'b'; }), c([&] { order += 'c'; });
    wheel.arm(c, beginning + 1s + 3ns);
    wheel.arm(a, beginning + 1s + 1ns);
    wheel.arm(b, beginning + 1s + 2ns);

    wheel.expire(beginning + 1s + 2ns);
    BOOST_TEST(order == "ab");
    wheel.expire(beginning + 1s + 3ns);

    BOOST_TEST(order == "abc");
}

BOOST_FIXTURE_TEST_CASE(equal_deadlines_keep_the_order_of_arming_from_whatever_level, Wheel) {
    std::string order;
    ActingTimer a([&] { order += 'a'; }), b([&] { order += 'b'; }), c([&] { order += 'c'; });
    TimePoint deadline = beginning + 5h;
    wheel.arm(a, deadline);
    run_to(beginning + 4h);
    wheel.arm(b, deadline);
    run_to(deadline - 1us);
    wheel.arm(c, deadline);

    run_to(deadline);

    BOOST_TEST(order == "abc");
}

BOOST_FIXTURE_TEST_CASE(disarmed_timer_does_not_fire, Wheel) {
    CountingTimer timer;
    wheel.arm(timer, beginning + 1s);

    BOOST_TEST(timer.disarm());
    BOOST_TEST(!timer.disarm());
    wheel.expire(beginning + 1h);

    BOOST_TEST(timer.fired == 0);
    BOOST_TEST(!wheel.next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(destroyed_timer_does_not_fire, Wheel) {
    {
        CountingTimer timer;
        wheel.arm(timer, beginning + 1s);
    }
    wheel.expire(beginning + 1h);

    BOOST_TEST(!wheel.next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(timer_that_is_armed_again_is_moved, Wheel) {
    CountingTimer timer;
    wheel.arm(timer, beginning + 1s);
    wheel.arm(timer, beginning + 3s);
    wheel.expire(beginning + 2s);
    BOOST_TEST(timer.fired == 0);
    wheel.arm(timer, beginning + 2500ms);
    wheel.expire(beginning + 2500ms);
    BOOST_TEST(timer.fired == 1);

    wheel.expire(beginning + 1h);

    BOOST_TEST(timer.fired == 1);
}

BOOST_FIXTURE_TEST_CASE(deadline_in_the_past_fires_at_the_next_call, Wheel) {
    CountingTimer past, now_timer, epoch, least;
    run_to(beginning + 1min);
    wheel.arm(past, beginning);
    wheel.arm(now_timer, now);
    wheel.arm(epoch, TimePoint());
    wheel.arm(least, TimePoint::min());
    BOOST_TEST_REQUIRE(wheel.next_deadline().has_value());
    BOOST_TEST((*wheel.next_deadline() <= now));

    wheel.expire(now);

    BOOST_TEST(past.fired == 1);
    BOOST_TEST(now_timer.fired == 1);
    BOOST_TEST(epoch.fired == 1);
    BOOST_TEST(least.fired == 1);
}

BOOST_FIXTURE_TEST_CASE(last_instant_of_the_clock_never_comes, Wheel) {
    CountingTimer last, before_last;
    wheel.arm(last, TimePoint::max());
    BOOST_TEST(!wheel.next_deadline().has_value());
    wheel.arm(before_last, TimePoint::max() - 1ns);

    wheel.expire(TimePoint::max());

    BOOST_TEST(before_last.fired == 1);
    BOOST_TEST(last.fired == 0);
    BOOST_TEST(last.is_armed());
    BOOST_TEST(last.disarm());
}

// A timer that looked for its place among the others would take minutes for as many.
BOOST_FIXTURE_TEST_CASE(many_timers_of_a_short_time_and_of_the_past_are_armed_in_time_that_does_not_grow,
                        Wheel) {
    run_to(beginning + 1s);
    std::vector<CountingTimer> timers(200'000);
    for (std::size_t i = 0; i < timers.size(); ++i) {
        const Duration distance(static_cast<Duration::rep>(timers.size() - i));
        wheel.arm(timers[i], i % 2 == 0 ? now + distance % 60'000 : now - distance);
    }

    wheel.expire(now);
    const auto in_the_past =
        std::count_if(timers.begin(), timers.end(), [](auto& timer) { return timer.fired == 1; });
    wheel.expire(now + 60us);

    BOOST_TEST(in_the_past >= 100'000);
    BOOST_TEST(std::all_of(timers.begin(), timers.end(), [](auto& timer) { return timer.fired == 1; }));
}

BOOST_FIXTURE_TEST_CASE(far_deadline_is_reached_in_at_most_twelve_steps, Wheel) {
    for (Duration distance : {Duration(1ns), Duration(65us), Duration(66us), Duration(1ms), Duration(1s),
                              Duration(1h), Duration(24h), Duration(24h * 365), Duration(24h * 365 * 200)}) {
        CountingTimer timer;
        TimePoint deadline = now + distance;
        wheel.arm(timer, deadline);
        BOOST_TEST_REQUIRE(wheel.next_deadline().has_value());
        BOOST_TEST((*wheel.next_deadline() <= deadline));

        int steps = run_to(deadline);

        BOOST_TEST(timer.fired == 1);
        BOOST_TEST(steps <= 12);
        if (distance > Duration(24h)) break;  // The next one would pass the end of time.
    }
}

BOOST_FIXTURE_TEST_CASE(leap_over_two_centuries_fires_everything_in_order, Wheel) {
    std::string order;
    ActingTimer a([&] { order += 'a'; }), b([&] { order += 'b'; }), c([&] { order += 'c'; });
    wheel.arm(c, beginning + 24h * 365 * 150);
    wheel.arm(a, beginning + 1ms);
    wheel.arm(b, beginning + 24h);

    wheel.expire(beginning + 24h * 365 * 200);

    BOOST_TEST(order == "abc");
}

BOOST_FIXTURE_TEST_CASE(time_that_goes_back_fires_nothing, Wheel) {
    CountingTimer timer;
    run_to(beginning + 1h);
    wheel.arm(timer, beginning + 2h);

    wheel.expire(beginning);

    BOOST_TEST(timer.fired == 0);
    wheel.expire(beginning + 2h);
    BOOST_TEST(timer.fired == 1);
}

BOOST_FIXTURE_TEST_CASE(timer_armed_in_a_callback_fires_at_the_next_call_at_the_earliest, Wheel) {
    int fired = 0;
    CountingTimer other;
    std::unique_ptr<ActingTimer> timer;
    timer = std::make_unique<ActingTimer>([&] {
        if (++fired == 1) wheel.arm(other, beginning);
        wheel.arm(*timer, beginning);
    });
    wheel.arm(*timer, beginning + 1s);

    wheel.expire(beginning + 1s);
    BOOST_TEST(fired == 1);
    BOOST_TEST(other.fired == 0);
    wheel.expire(beginning + 1s);

    BOOST_TEST(fired == 2);
    BOOST_TEST(other.fired == 1);
    timer->disarm();
}

BOOST_FIXTURE_TEST_CASE(timer_disarmed_by_another_ones_callback_in_the_same_tick_does_not_fire, Wheel) {
    CountingTimer second;
    bool was_armed = false;
    ActingTimer first([&] { was_armed = second.disarm(); });
    wheel.arm(first, beginning + 1s);
    wheel.arm(second, beginning + 1s);

    wheel.expire(beginning + 1s);

    BOOST_TEST(was_armed);
    BOOST_TEST(second.fired == 0);
}

BOOST_FIXTURE_TEST_CASE(timer_is_disarmed_by_the_time_of_its_callback, Wheel) {
    bool is_armed = true;
    std::unique_ptr<ActingTimer> timer;
    timer = std::make_unique<ActingTimer>([&] {
        is_armed = timer->is_armed();
        timer->disarm();
    });
    wheel.arm(*timer, beginning + 1s);

    wheel.expire(beginning + 1s);

    BOOST_TEST(!is_armed);
}

BOOST_FIXTURE_TEST_CASE(timer_may_be_destroyed_by_a_callback_of_the_same_tick, Wheel) {
    auto victim = std::make_unique<CountingTimer>();
    auto later = std::make_unique<CountingTimer>();
    ActingTimer killer([&] {
        victim.reset();
        later.reset();
    });
    wheel.arm(killer, beginning + 1s);
    wheel.arm(*victim, beginning + 1s);
    wheel.arm(*later, beginning + 2s);

    wheel.expire(beginning + 2s);

    BOOST_TEST(victim == nullptr);
    BOOST_TEST(!wheel.next_deadline().has_value());
}

BOOST_FIXTURE_TEST_CASE(timer_moved_later_by_a_callback_of_the_same_tick_waits, Wheel) {
    CountingTimer second;
    ActingTimer first([&] { wheel.arm(second, beginning + 5s); });
    wheel.arm(first, beginning + 1s);
    wheel.arm(second, beginning + 1s);

    wheel.expire(beginning + 1s);
    BOOST_TEST(second.fired == 0);
    wheel.expire(beginning + 5s);

    BOOST_TEST(second.fired == 1);
}

BOOST_AUTO_TEST_CASE(timer_may_outlive_the_wheel) {
    CountingTimer timer;
    {
        TimerWheel wheel(beginning);
        wheel.arm(timer, beginning + 1s);
    }

    BOOST_TEST(timer.fired == 0);
}

BOOST_FIXTURE_TEST_CASE(a_million_timers_at_once_fire_in_order_without_an_allocation, Wheel) {
    constexpr std::size_t count = is_sanitized ? 100'000 : 1'000'000;
    static TimePoint last;
    static bool is_ordered;
    static std::size_t fired;
    last = TimePoint();
    is_ordered = true;
    fired = 0;
    struct OrderedTimer final : Timer {
        void expired() noexcept override {
            is_ordered = is_ordered && last <= deadline();
            last = deadline();
            ++fired;
        }
    };
    std::vector<OrderedTimer> timers(count);
    std::mt19937_64 random(1);
    std::size_t allocations = allocations_made();

    for (OrderedTimer& timer : timers)
        wheel.arm(timer, beginning + Duration(random() % 3'600'000'000'000u));
    for (std::size_t i = 0; i < count; i += 2)
        timers[i].disarm();
    run_to(beginning + 1h);

    BOOST_TEST(allocations_made() == allocations);
    BOOST_TEST(fired == count / 2);
    BOOST_TEST(is_ordered);
}

BOOST_FIXTURE_TEST_CASE(a_million_timers_of_one_instant_fire_in_the_order_of_arming, Wheel) {
    constexpr std::size_t count = is_sanitized ? 100'000 : 1'000'000;
    static std::size_t expected;
    expected = 0;
    struct NumberedTimer final : Timer {
        void expired() noexcept override {
            if (number == expected) ++expected;
        }
        std::size_t number = 0;
    };
    std::vector<NumberedTimer> timers(count);
    for (std::size_t i = 0; i < count; ++i) {
        timers[i].number = i;
        wheel.arm(timers[i], beginning + 1s);
    }

    run_to(beginning + 1s);

    BOOST_TEST(expected == count);
}

// Arms, moves, disarms and lets time pass at random, and compares with a sorted map.
BOOST_FIXTURE_TEST_CASE(wheel_agrees_with_a_sorted_map, Wheel) {
    constexpr int steps = is_sanitized ? 20'000 : 200'000;
    static std::vector<int> fired;
    struct NumberedTimer final : Timer {
        void expired() noexcept override { fired.push_back(number); }
        int number = 0;
    };
    fired.clear();
    std::vector<NumberedTimer> timers(200);
    for (std::size_t i = 0; i < timers.size(); ++i)
        timers[i].number = static_cast<int>(i);
    // Ordered by deadline, and by the count of armings among equal ones and those of the past.
    std::map<std::pair<TimePoint, int>, int> model;
    std::map<int, std::pair<TimePoint, int>> key_of;
    int arming = 0;
    std::mt19937_64 random(7);
    bool agrees = true;
    auto distance = [&] {
        // Every magnitude from a nanosecond to some days is as likely.
        std::uint64_t magnitude = std::uint64_t{1} << random() % 49;
        return Duration(static_cast<Duration::rep>(random() % magnitude));
    };

    for (int step = 0; step < steps && agrees; ++step) {
        int number = static_cast<int>(random() % timers.size());
        NumberedTimer& timer = timers[static_cast<std::size_t>(number)];
        unsigned choice = random() % 8;
        if (choice < 5) {
            if (auto known = key_of.find(number); known != key_of.end()) model.erase(known->second);
            TimePoint deadline = now + distance() - (choice == 0 ? distance() : Duration::zero());
            // What is due already fires in the order of arming.
            key_of[number] = std::pair(std::max(deadline, now), arming++);
            model[key_of[number]] = number;
            wheel.arm(timer, deadline);
        } else if (choice == 5) {
            agrees = timer.disarm() == (key_of.count(number) == 1);
            if (key_of.count(number) == 1) model.erase(key_of[number]);
            key_of.erase(number);
        } else {
            std::optional<TimePoint> next = wheel.next_deadline();
            agrees = model.empty() || (next && *next <= model.begin()->first.first);
            now += distance();
            fired.clear();
            wheel.expire(now);
            std::vector<int> expected;
            while (!model.empty() && model.begin()->first.first <= now) {
                expected.push_back(model.begin()->second);
                key_of.erase(model.begin()->second);
                model.erase(model.begin());
            }
            agrees = agrees && fired == expected;
        }
    }

    BOOST_TEST(agrees);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace timer_wheel_test
