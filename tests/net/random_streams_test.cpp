// SPDX-License-Identifier: BSL-1.0
// Random stories about two connected streams (stream_story.hpp). LEAT_STRESS is the number of seeds,
// LEAT_SEED the only one.
#include "stream_story.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/watchdog.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>

namespace leat::test::net::random_streams_test {
namespace {

void tell_stories(std::uint64_t kind, StoryLink link, StoryPeer peer) {
    constexpr std::uint64_t kinds = 4;
    const char* only = std::getenv("LEAT_SEED");
    const std::uint64_t first = only != nullptr ? std::stoull(only) : kind;
    if (first % kinds != kind) return;
    const std::uint64_t end = only != nullptr ? first + 1 : stress_iterations(is_sanitized ? 40 : 200);
    StoryLog log;
    Watchdog watchdog([&log] { return log.text(); });
    for (std::uint64_t seed = first; seed < end; seed += kinds) {
        watchdog.feed();
        try {
            tell_story(seed, link, peer, log);
        } catch (const StoryFailure& failure) {
            BOOST_ERROR(failure.what());
            return;
        }
    }
    BOOST_TEST(true);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(random_streams)

BOOST_AUTO_TEST_CASE(random_stories_lose_no_byte_between_tcp_streams) {
    tell_stories(0, StoryLink::tcp, StoryPeer::tasks);
}

BOOST_AUTO_TEST_CASE(random_stories_lose_no_byte_between_unix_streams) {
    tell_stories(1, StoryLink::unix_sockets, StoryPeer::tasks);
}

BOOST_AUTO_TEST_CASE(random_stories_lose_no_byte_between_a_tcp_stream_and_a_plain_socket) {
    tell_stories(2, StoryLink::tcp, StoryPeer::plain_socket);
}

BOOST_AUTO_TEST_CASE(random_stories_lose_no_byte_between_a_unix_stream_and_a_plain_socket) {
    tell_stories(3, StoryLink::unix_sockets, StoryPeer::plain_socket);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::random_streams_test
