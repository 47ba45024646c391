// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/clock.hpp>

#include <boost/test/unit_test.hpp>

#include <time.h>

#include <chrono>

using namespace std::chrono_literals;

namespace leat::test::clock_test {
namespace {

TimePoint monotonic_now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(clock)

BOOST_AUTO_TEST_CASE(steady_clock_is_the_monotonic_one_which_wall_clock_jumps_leave_alone) {
    const TimePoint before = monotonic_now();
    const TimePoint now = steady_clock().now();
    const TimePoint after = monotonic_now();

    BOOST_TEST((before <= now));
    BOOST_TEST((now <= after));
    BOOST_TEST(!steady_clock().is_virtual());
}

BOOST_AUTO_TEST_CASE(steady_clock_never_goes_back) {
    TimePoint last = steady_clock().now();
    bool went_back = false;

    for (int i = 0; i < 10000; ++i) {
        const TimePoint now = steady_clock().now();
        went_back = went_back || now < last;
        last = now;
    }

    BOOST_TEST(!went_back);
}

BOOST_AUTO_TEST_CASE(virtual_clock_stands_still_until_it_is_moved) {
    VirtualClock clock(TimePoint(5s));

    BOOST_TEST(clock.is_virtual());
    BOOST_TEST((clock.now() == TimePoint(5s)));
    BOOST_TEST((clock.now() == TimePoint(5s)));

    clock.advance(3ns);
    BOOST_TEST((clock.now() == TimePoint(5s + 3ns)));
}

BOOST_AUTO_TEST_CASE(virtual_clock_never_goes_back) {
    VirtualClock clock(TimePoint(5s));

    clock.advance_to(TimePoint(4s));
    clock.advance(-1s);

    BOOST_TEST((clock.now() == TimePoint(5s)));
}

BOOST_AUTO_TEST_CASE(virtual_clock_moves_to_an_instant) {
    VirtualClock clock(TimePoint(5s));

    clock.advance_to(TimePoint(8s));

    BOOST_TEST((clock.now() == TimePoint(8s)));
}

BOOST_AUTO_TEST_CASE(virtual_clock_holds_at_the_last_instant) {
    VirtualClock clock;

    clock.advance(Duration::max());
    clock.advance(Duration::max());

    BOOST_TEST((clock.now() == TimePoint::max()));
}

BOOST_AUTO_TEST_CASE(saturating_add_holds_at_the_last_instant) {
    const TimePoint now(1h);

    BOOST_TEST((saturating_add(now, 1s) == TimePoint(1h + 1s)));
    BOOST_TEST((saturating_add(now, Duration::max()) == TimePoint::max()));
    BOOST_TEST((saturating_add(TimePoint::max(), 1ns) == TimePoint::max()));
}

BOOST_AUTO_TEST_CASE(saturating_add_overflows_from_no_instant) {
    BOOST_TEST((saturating_add(TimePoint::min(), 1ns) == TimePoint::min() + 1ns));
    BOOST_TEST((saturating_add(TimePoint::min(), Duration::max()) == TimePoint(-1ns)));
    BOOST_TEST((saturating_add(TimePoint(-1s), Duration::max()) == TimePoint::max() - 1s));
    BOOST_TEST((saturating_add(TimePoint(), Duration::max()) == TimePoint::max()));
}

BOOST_AUTO_TEST_CASE(time_left_overflows_between_no_two_instants) {
    BOOST_TEST((time_left(TimePoint(5s), TimePoint(3s)) == Duration(2s)));
    BOOST_TEST((time_left(TimePoint(3s), TimePoint(3s)) == Duration::zero()));
    BOOST_TEST((time_left(TimePoint::min(), TimePoint(1h)) == Duration::zero()));
    BOOST_TEST((time_left(TimePoint::min(), TimePoint::max()) == Duration::zero()));
    BOOST_TEST((time_left(TimePoint::max(), TimePoint(1h)) == Duration::max() - 1h));
    BOOST_TEST((time_left(TimePoint::max(), TimePoint(-1ns)) == Duration::max()));
    BOOST_TEST((time_left(TimePoint::max(), TimePoint::min()) == Duration::max()));
}

BOOST_AUTO_TEST_CASE(saturating_add_takes_the_past_for_now) {
    const TimePoint now(1h);

    BOOST_TEST((saturating_add(now, 0ns) == now));
    BOOST_TEST((saturating_add(now, -1s) == now));
    BOOST_TEST((saturating_add(now, Duration::min()) == now));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::clock_test
