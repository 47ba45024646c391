// SPDX-License-Identifier: BSL-1.0
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::events_test {
namespace {

// Three sources that are all ready, so that the first event's handler can meddle with the others.
struct Fixture {
    Fixture() {
        for (std::uint64_t i = 0; i < 3; ++i) {
            links.push_back(stream_link());
            registrator.add(links.back().source, Token(i), Interest::writable);
        }
    }

    // Runs `meddle` with a source that is not the first event's, and returns the tokens that were seen.
    template <class Meddle>
    std::vector<std::uint64_t> tokens_seen(Meddle meddle) {
        poll.poll(events, 0ns);
        std::vector<std::uint64_t> seen;
        for (const Event& event : events) {
            seen.push_back(event.token().value());
            if (seen.size() == 1) {
                victim = (seen[0] + 1) % 3;
                meddle(links[victim].source);
            }
        }
        return seen;
    }

    Poll poll;
    Registrator registrator = poll.registrator();
    Events events;
    std::vector<Link> links;
    std::uint64_t victim = 0;
};

bool contains(const std::vector<std::uint64_t>& values, std::uint64_t value) {
    return std::find(values.begin(), values.end(), value) != values.end();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(events)

BOOST_AUTO_TEST_CASE(capacity_of_zero_is_refused) { BOOST_CHECK_THROW(Events(0), std::invalid_argument); }

BOOST_AUTO_TEST_CASE(new_events_are_empty_and_tell_their_capacity) {
    const Events events(17);

    BOOST_TEST(events.capacity() == 17u);
    BOOST_TEST(events.is_empty());
    BOOST_TEST((events.begin() == events.end()));
}

BOOST_FIXTURE_TEST_CASE(each_poll_replaces_the_content, Fixture) {
    poll.poll(events, 0ns);
    BOOST_TEST(std::ranges::distance(events.begin(), events.end()) == 3);

    poll.poll(events, 0ns);

    BOOST_TEST(events.is_empty());
}

BOOST_FIXTURE_TEST_CASE(clear_empties_and_keeps_the_capacity, Fixture) {
    poll.poll(events, 0ns);

    events.clear();

    BOOST_TEST(events.is_empty());
    BOOST_TEST(events.capacity() == Events().capacity());
}

BOOST_FIXTURE_TEST_CASE(content_can_be_iterated_more_than_once, Fixture) {
    poll.poll(events, 0ns);

    BOOST_TEST(std::ranges::distance(events.begin(), events.end()) == 3);
    BOOST_TEST(std::ranges::distance(events.begin(), events.end()) == 3);
}

BOOST_FIXTURE_TEST_CASE(source_that_a_handler_removed_is_passed_over, Fixture) {
    const auto seen = tokens_seen([&](Source& source) { registrator.remove(source); });

    BOOST_TEST(seen.size() == 2u);
    BOOST_TEST(!contains(seen, victim));
}

BOOST_FIXTURE_TEST_CASE(source_that_a_handler_closed_is_passed_over, Fixture) {
    const auto seen = tokens_seen([](Source& source) { source.close(); });

    BOOST_TEST(seen.size() == 2u);
    BOOST_TEST(!contains(seen, victim));
}

BOOST_FIXTURE_TEST_CASE(source_that_a_handler_released_is_passed_over, Fixture) {
    OwnedHandle owner;

    const auto seen = tokens_seen([&](Source& source) { owner = OwnedHandle(source.release()); });

    BOOST_TEST(seen.size() == 2u);
    BOOST_TEST(!contains(seen, victim));
}

BOOST_FIXTURE_TEST_CASE(source_that_a_handler_modified_is_passed_over_and_reported_anew, Fixture) {
    const auto seen =
        tokens_seen([&](Source& source) { registrator.modify(source, Token(77), Interest::writable); });

    BOOST_TEST(seen.size() == 2u);
    BOOST_TEST(!contains(seen, victim));
    BOOST_TEST(glance(poll).of(Token(77)) != nullptr);
}

BOOST_FIXTURE_TEST_CASE(next_owner_of_a_closed_handles_number_gets_none_of_its_events, Fixture) {
    Link next;

    const auto seen = tokens_seen([&](Source& source) {
        const NativeHandle number = source.native_handle();
        source.close();
        next = stream_link();
        BOOST_TEST(next.source.native_handle() == number);
        registrator.add(next.source, Token(77), Interest::readable);
    });

    BOOST_TEST(seen.size() == 2u);
    BOOST_TEST(!contains(seen, victim));
    BOOST_TEST(!contains(seen, 77));
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_FIXTURE_TEST_CASE(source_that_was_destroyed_within_the_batch_is_passed_over, Fixture) {
    auto doomed = std::make_unique<Link>(stream_link());
    registrator.add(doomed->source, Token(9), Interest::writable);
    poll.poll(events, 0ns);

    doomed.reset();

    std::size_t count = 0;
    for (const Event& event : events) {
        BOOST_TEST((event.token() != Token(9)));
        ++count;
    }
    BOOST_TEST(count == 3u);
}

BOOST_FIXTURE_TEST_CASE(all_sources_removed_leave_nothing_to_iterate, Fixture) {
    poll.poll(events, 0ns);

    for (Link& link : links)
        registrator.remove(link.source);

    BOOST_TEST(events.is_empty());
    BOOST_TEST((events.begin() == events.end()));
}

BOOST_FIXTURE_TEST_CASE(event_at_hand_stays_as_it_was_while_its_source_is_closed, Fixture) {
    poll.poll(events, 0ns);

    for (const Event& event : events) {
        const Token before = event.token();
        links[before.value()].source.close();
        BOOST_TEST((event.token() == before));
        BOOST_TEST(event.is_writable());
    }

    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(events_may_outlive_the_poll_and_its_sources) {
    Events events;
    {
        Poll poll;
        Link link = stream_link();
        poll.registrator().add(link.source, Token(1), Interest::writable);
        poll.poll(events, 0ns);
    }

    // Whether the entry still stands is not promised; looking is harmless.
    for (const Event& event : events)
        BOOST_TEST((event.token() == Token(1)));
    events.clear();
    BOOST_TEST(events.is_empty());
}

BOOST_AUTO_TEST_CASE(events_may_serve_one_poll_after_another) {
    Events events;
    for (std::uint64_t i = 0; i < 3; ++i) {
        Poll poll;
        Link link = stream_link();
        poll.registrator().add(link.source, Token(i), Interest::writable);

        poll.poll(events, 0ns);

        BOOST_TEST_REQUIRE(std::ranges::distance(events.begin(), events.end()) == 1);
        BOOST_TEST((events.begin()->token() == Token(i)));
    }
}

BOOST_FIXTURE_TEST_CASE(readiness_is_neither_timeout_nor_operation, Fixture) {
    poll.poll(events, 0ns);

    const Event event = *events.begin();

    BOOST_TEST(!event.is_timeout());
    BOOST_TEST((event.operation() == nullptr));
}

BOOST_FIXTURE_TEST_CASE(closed_operation_within_the_batch_is_passed_over_when_destroyed, Fixture) {
    Link reading = stream_link();
    std::array<std::byte, 8> buffer{};
    auto operation = std::make_unique<Operation>(Operation::receive(reading.source, buffer));
    BOOST_TEST(!poll.submit(*operation));
    write_text(reading.peer.get(), "x");
    poll.poll(events, 0ns);

    operation.reset();

    for (const Event& event : events)
        BOOST_TEST((event.operation() == nullptr));
    BOOST_TEST(std::ranges::distance(events.begin(), events.end()) == 3);
}

BOOST_AUTO_TEST_CASE(text_of_an_event_names_its_token_and_readiness) {
    Poll poll;
    Link link = stream_link();
    write_text(link.peer.get(), "x");
    poll.registrator().add(link.source, Token(4711), Interest::readable);
    std::ostringstream out;

    out << glance(poll).events.at(0);

    BOOST_TEST(out.str().find("4711") != std::string::npos);
    BOOST_TEST(out.str().find("readable") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::events_test
