// SPDX-License-Identifier: BSL-1.0
#include "src/quiet_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>

using leat::Duration;
using leat::detail::QuietTime;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t gibibyte = std::uint64_t{1} << 30;
constexpr Duration day = 24h;

}  // namespace

BOOST_AUTO_TEST_SUITE(quiet_time)

BOOST_AUTO_TEST_CASE(length_is_never_too_long_and_too_short_by_less_than_the_rounding) {
    for (Duration start : {Duration(0), Duration(1ns), Duration(300us), Duration(999'999ns), Duration(1ms)}) {
        const QuietTime quiet(0, start);
        for (Duration length : {Duration(0), Duration(1ns), Duration(999us), Duration(1ms), Duration(20s)}) {
            const Duration found = quiet.length(start + length);
            BOOST_TEST((found <= length));
            BOOST_TEST((found + QuietTime::rounding > length));
        }
    }
}

BOOST_AUTO_TEST_CASE(length_is_right_on_every_day_although_its_milliseconds_wrap) {
    // Milliseconds wrap in the fiftieth day.
    for (int at = 0; at < 200; ++at) {
        const QuietTime quiet(0, at * day);
        BOOST_TEST((quiet.length(at * day) == Duration::zero()));
        BOOST_TEST((quiet.length(at * day + 1h) == Duration(1h)));
        BOOST_TEST((quiet.length((at + 39) * day) == 39 * day));
    }
}

BOOST_AUTO_TEST_CASE(no_instant_is_taken_for_never) {
    const Duration last_before_the_wrap = std::chrono::milliseconds(0xffff'ffff);
    const QuietTime quiet(0, last_before_the_wrap);

    BOOST_TEST(quiet.is_measured());
    BOOST_TEST((quiet.length(last_before_the_wrap) == Duration::zero()));
    BOOST_TEST((quiet.length(last_before_the_wrap + 1s) == Duration(999ms)));
    BOOST_TEST(!QuietTime().is_measured());
}

BOOST_AUTO_TEST_CASE(bytes_since_the_restart_are_right_across_the_wrap) {
    for (std::uint64_t moved : {std::uint64_t{0}, 3 * gibibyte, 4 * gibibyte - 1, 40 * gibibyte + 7}) {
        QuietTime quiet(0, 0s);
        quiet.restart(moved, 1s);

        BOOST_TEST(quiet.bytes(moved) == 0u);
        BOOST_TEST(quiet.bytes(moved + 1) == 1u);
        BOOST_TEST(quiet.bytes(moved + QuietTime::most_bytes) == QuietTime::most_bytes);
    }
}

BOOST_AUTO_TEST_SUITE_END()
