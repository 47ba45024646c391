// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <cstdint>
#include <limits>

namespace leat::test::token_test {
namespace {

// The edges of the range, and what a queue might be tempted to keep for itself.
constexpr std::array<std::uint64_t, 10> tempting_values{0,
                                                        1,
                                                        0x7fffffff,
                                                        0x80000000,
                                                        0xffffffff,
                                                        0x100000000,
                                                        0x7fffffffffffffff,
                                                        0x8000000000000000,
                                                        std::numeric_limits<std::uint64_t>::max() - 1,
                                                        std::numeric_limits<std::uint64_t>::max()};

}  // namespace

BOOST_AUTO_TEST_SUITE(token)

BOOST_AUTO_TEST_CASE(tokens_compare_as_their_values) {
    BOOST_TEST(Token().value() == 0u);
    BOOST_TEST((Token(7) == Token(7)));
    BOOST_TEST((Token(7) != Token(8)));
    BOOST_TEST((Token(7) < Token(8)));
}

BOOST_AUTO_TEST_CASE(whole_range_comes_back_with_events) {
    Poll poll;
    const Registrator registrator = poll.registrator();

    for (const std::uint64_t value : tempting_values) {
        Link link = stream_link();
        Registrator(registrator).add(link.source, Token(value), Interest::writable);

        const Harvest found = glance(poll);

        BOOST_TEST_REQUIRE(found.events.size() == 1u);
        BOOST_TEST(found.events[0].token().value() == value);
        BOOST_TEST(found.events[0].is_writable());
    }
}

BOOST_AUTO_TEST_CASE(whole_range_comes_back_with_timers) {
    Poll poll;
    Registrator registrator = poll.registrator();

    for (const std::uint64_t value : tempting_values) {
        registrator.add_timer(poll.clock().now(), Token(value));

        const Harvest found = harvest(poll);

        BOOST_TEST_REQUIRE(found.events.size() == 1u);
        BOOST_TEST(found.events[0].token().value() == value);
        BOOST_TEST(found.events[0].is_timeout());
    }
}

BOOST_AUTO_TEST_CASE(no_token_is_mistaken_for_a_wake) {
    for (const std::uint64_t value : tempting_values) {
        Poll poll;
        Link link = stream_link();
        poll.registrator().add(link.source, Token(value), Interest::writable);

        BOOST_TEST(glance(poll).status == PollStatus::events);

        poll.wake();
        const Harvest found = harvest(poll);
        BOOST_TEST(found.status == PollStatus::woken);
        BOOST_TEST(found.events.empty());
    }
}

BOOST_AUTO_TEST_CASE(same_token_may_name_several_sources) {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link one = stream_link();
    Link other = stream_link();

    registrator.add(one.source, Token(5), Interest::writable);
    registrator.add(other.source, Token(5), Interest::writable);

    BOOST_TEST(glance(poll).events.size() == 2u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::token_test
