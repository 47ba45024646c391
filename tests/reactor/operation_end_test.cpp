// SPDX-License-Identifier: BSL-1.0
// How operations end, and are ended: once each, and nothing is lost.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::operation_end_test {
namespace {

struct Fixture {
    Poll poll;
    Link link = stream_link();
    NativeHandle fd = link.source.native_handle();
    std::array<std::byte, 64> buffer{};
    std::array<std::byte, 64> other_buffer{};

    Operation reading() { return Operation::receive(link.source, buffer); }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(operation_end, Fixture)

BOOST_AUTO_TEST_CASE(second_reader_gets_busy_and_the_first_goes_on) {
    Operation first = reading();
    BOOST_TEST(!poll.submit(first));

    Operation receive = Operation::receive(link.source, other_buffer);
    Operation peek = Operation::peek(link.source, other_buffer);
    Operation wait = Operation::wait_readable(link.source);
    for (Operation* second : {&receive, &peek, &wait}) {
        BOOST_TEST(poll.submit(*second));
        BOOST_TEST((second->error() == errc::busy));
    }

    write_text(link.peer.get(), "x");
    BOOST_TEST(harvest(poll).events.size() == 1u);
    BOOST_TEST(first.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(second_reader_gets_busy_though_data_is_there_already) {
    Operation first = reading();
    BOOST_TEST(!poll.submit(first));
    write_text(link.peer.get(), "x");

    Operation second = Operation::receive(link.source, other_buffer);
    BOOST_TEST(poll.submit(second));

    BOOST_TEST((second.error() == errc::busy));
    harvest(poll);
    BOOST_TEST(first.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(second_writer_gets_busy_and_the_first_goes_on) {
    fill(fd);
    Operation first = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(!poll.submit(first));

    Operation send = Operation::send(link.source, bytes_of("y"));
    Operation wait = Operation::wait_writable(link.source);
    for (Operation* second : {&send, &wait}) {
        BOOST_TEST(poll.submit(*second));
        BOOST_TEST((second->error() == errc::busy));
    }

    drain(link.peer.get());
    harvest(poll);
    BOOST_TEST(first.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(second_accept_gets_busy) {
    Listening listening = tcp_listener();
    Operation first = Operation::accept(listening.source);
    Operation second = Operation::accept(listening.source);

    BOOST_TEST(!poll.submit(first));
    BOOST_TEST(poll.submit(second));

    BOOST_TEST((second.error() == errc::busy));
    withdraw(poll, first);
}

BOOST_AUTO_TEST_CASE(reader_and_writer_wait_independently) {
    fill(fd);
    Operation read = reading();
    Operation write = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(!poll.submit(read));
    BOOST_TEST(!poll.submit(write));

    write_text(link.peer.get(), "data");
    harvest(poll);
    BOOST_TEST(read.is_ended());
    BOOST_TEST(!write.is_ended());

    drain(link.peer.get());
    harvest(poll);
    BOOST_TEST(write.is_ended());
}

BOOST_AUTO_TEST_CASE(readiness_that_proves_empty_resumes_nobody, *boost::unit_test::label("readiness")) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));

    // Somebody else takes the bytes between the edge and our look.
    write_text(link.peer.get(), "stolen");
    drain(fd);
    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(!operation.is_ended());

    write_text(link.peer.get(), "ours");
    harvest(poll);
    BOOST_TEST(text_of(std::span(buffer).first(operation.transferred())) == "ours");
}

BOOST_AUTO_TEST_CASE(edge_that_came_while_nobody_waited_is_not_lost) {
    Operation first = reading();
    BOOST_TEST(!poll.submit(first));
    write_text(link.peer.get(), "a");
    harvest(poll);

    // The edge of this one is harvested while no operation waits for it.
    write_text(link.peer.get(), "b");
    glance(poll);
    glance(poll);

    Operation second = reading();
    const bool ended = poll.submit(second);
    if (!ended) harvest(poll);
    BOOST_TEST(second.is_ended());
    BOOST_TEST(text_of(std::span(buffer).first(1)) == "b");
}

BOOST_AUTO_TEST_CASE(partial_reads_go_on_without_another_edge) {
    Operation waiting = Operation::receive(link.source, std::span(buffer).first(1));
    BOOST_TEST(!poll.submit(waiting));
    write_text(link.peer.get(), "0123456789");
    harvest(poll);
    std::string text = text_of(std::span(buffer).first(1));

    for (int i = 0; i < 9; ++i) {
        Operation next = Operation::receive(link.source, std::span(buffer).first(1));
        if (!poll.submit(next)) harvest(poll);
        BOOST_TEST_REQUIRE(next.is_ended());
        text += text_of(std::span(buffer).first(1));
    }

    BOOST_TEST(text == "0123456789");
}

BOOST_AUTO_TEST_CASE(data_that_follows_a_short_read_is_not_lost) {
    for (int i = 0; i < 200; ++i) {
        Operation first = reading();
        write_text(link.peer.get(), "ab");
        if (!poll.submit(first)) harvest(poll);
        BOOST_TEST_REQUIRE(first.transferred() == 2u);

        // A short read lets the queue believe that nothing is left; this arrives right behind it.
        if (i % 2 == 0) write_text(link.peer.get(), "c");
        Operation second = reading();
        const bool ended = poll.submit(second);
        if (i % 2 == 1) write_text(link.peer.get(), "c");
        if (!ended) harvest(poll);
        BOOST_TEST_REQUIRE(second.transferred() == 1u);
    }
}

BOOST_AUTO_TEST_CASE(close_ends_a_waiting_reader_once_with_closed) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));

    link.source.close();

    const Harvest found = harvest(poll);
    BOOST_TEST_REQUIRE(found.events.size() == 1u);
    BOOST_TEST((found.events[0].operation() == &operation));
    BOOST_TEST((operation.error() == errc::closed));
    BOOST_TEST(glance(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(close_ends_the_reader_and_the_writer) {
    fill(fd);
    Operation read = reading();
    Operation write = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(!poll.submit(read));
    BOOST_TEST(!poll.submit(write));

    link.source.close();
    std::size_t ended = 0;
    while (ended < 2)
        ended += harvest(poll).events.size();

    BOOST_TEST((read.error() == errc::closed));
    BOOST_TEST((write.error() == errc::closed));
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(cancel_after_close_changes_nothing) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));
    link.source.close();

    BOOST_TEST(!poll.cancel(operation));

    BOOST_TEST(harvest(poll).events.size() == 1u);
    BOOST_TEST((operation.error() == errc::closed));
}

BOOST_AUTO_TEST_CASE(peer_sees_the_close_though_an_operation_waited) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));

    link.source.close();
    harvest(poll);

    BOOST_TEST(read_text(link.peer.get()).empty());
}

BOOST_AUTO_TEST_CASE(destruction_of_the_source_ends_a_waiting_reader_with_closed) {
    std::optional<Source> doomed(std::move(link.source));
    Operation operation = Operation::receive(*doomed, buffer);
    BOOST_TEST(!poll.submit(operation));

    doomed.reset();
    harvest(poll);

    BOOST_TEST((operation.error() == errc::closed));
}

BOOST_AUTO_TEST_CASE(release_ends_a_waiting_reader_with_closed_and_takes_no_byte) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));

    const OwnedHandle owner(link.source.release());
    write_text(link.peer.get(), "for the new owner");
    harvest(poll);

    BOOST_TEST((operation.error() == errc::closed));
    BOOST_TEST(read_text(owner.get()) == "for the new owner");
}

BOOST_AUTO_TEST_CASE(operation_on_a_closed_source_fails_at_once) {
    link.source.close();
    Operation operation = reading();

    BOOST_TEST(poll.submit(operation));

    BOOST_TEST((operation.error() == errc::closed));
}

BOOST_AUTO_TEST_CASE(cancelled_operation_ends_at_once_or_with_one_event) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));

    if (!poll.cancel(operation)) BOOST_TEST(harvest(poll).events.size() == 1u);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST((operation.error() == std::errc::operation_canceled));
    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(cancel_takes_no_byte) {
    Operation cancelled = reading();
    BOOST_TEST(!poll.submit(cancelled));
    write_text(link.peer.get(), "kept");
    std::string got;
    if (!poll.cancel(cancelled)) harvest(poll);
    if (!cancelled.has_failed()) got = text_of(std::span(buffer).first(cancelled.transferred()));

    if (got.empty()) {
        Operation next = reading();
        if (!poll.submit(next)) harvest(poll);
        got = text_of(std::span(buffer).first(next.transferred()));
    }

    BOOST_TEST(got == "kept");
}

BOOST_AUTO_TEST_CASE(result_that_was_harvested_wins_over_cancel) {
    Link second = stream_link();
    Operation one = reading();
    Operation other = Operation::receive(second.source, other_buffer);
    BOOST_TEST(!poll.submit(one));
    BOOST_TEST(!poll.submit(other));
    write_text(link.peer.get(), "x");
    write_text(second.peer.get(), "y");
    Events events;
    poll.poll(events, patience);
    std::set<Operation*> reported;

    for (const Event& event : events) {
        reported.insert(event.operation());
        Operation& rest = event.operation() == &one ? other : one;
        if (reported.size() == 1) BOOST_TEST(!poll.cancel(rest));
    }

    BOOST_TEST((reported == std::set<Operation*>{&one, &other}));
    BOOST_TEST(one.transferred() == 1u);
    BOOST_TEST(other.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(result_that_was_harvested_wins_over_close) {
    Link second = stream_link();
    Operation one = reading();
    Operation other = Operation::receive(second.source, other_buffer);
    BOOST_TEST(!poll.submit(one));
    BOOST_TEST(!poll.submit(other));
    write_text(link.peer.get(), "x");
    write_text(second.peer.get(), "y");
    Events events;
    poll.poll(events, patience);
    std::multiset<Operation*> reported;

    for (const Event& event : events) {
        reported.insert(event.operation());
        link.source.close();
        second.source.close();
    }

    BOOST_TEST((reported == std::multiset<Operation*>{&one, &other}));
    BOOST_TEST(one.transferred() == 1u);
    BOOST_TEST(other.transferred() == 1u);
    BOOST_TEST(glance(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(cancelled_connect_leaves_a_socket_that_closes_cleanly) {
    // A full backlog: the first two get in, the next ones wait for ever.
    const Listening listening = tcp_listener(0);
    std::vector<OwnedHandle> queued;
    for (int i = 0; i < 2; ++i)
        queued.push_back(start_connect(listening.endpoint));
    await_writable(queued[0].get());
    const std::set<NativeHandle> before = open_handles();
    {
        Source client(tcp_socket().release());
        Operation operation =
            Operation::connect(client, listening.endpoint.data(), listening.endpoint.size());
        BOOST_TEST(!poll.submit(operation));
        BOOST_TEST(glance(poll).events.empty());

        if (!poll.cancel(operation)) harvest(poll);

        BOOST_TEST((operation.error() == std::errc::operation_canceled));
    }

    BOOST_TEST((open_handles() == before));
    BOOST_TEST(glance(poll).events.empty());
}

BOOST_AUTO_TEST_CASE(cancelled_accept_loses_no_connection) {
    Listening listening = tcp_listener();
    Operation cancelled = Operation::accept(listening.source);
    BOOST_TEST(!poll.submit(cancelled));
    const OwnedHandle client = start_connect(listening.endpoint);
    await_writable(client.get());

    if (!poll.cancel(cancelled)) harvest(poll);

    if (cancelled.has_failed()) {
        Operation next = Operation::accept(listening.source);
        if (!poll.submit(next)) harvest(poll);
        BOOST_TEST_REQUIRE(!next.has_failed());
        OwnedHandle(next.accepted()).reset();
    } else {
        OwnedHandle(cancelled.accepted()).reset();
    }
    BOOST_TEST(read_text(client.get()).empty());
}

BOOST_AUTO_TEST_CASE(direction_is_free_again_after_a_cancel) {
    Operation first = reading();
    BOOST_TEST(!poll.submit(first));
    if (!poll.cancel(first)) harvest(poll);

    Operation second = reading();
    BOOST_TEST(!poll.submit(second));
    write_text(link.peer.get(), "x");
    harvest(poll);

    BOOST_TEST(second.transferred() == 1u);
}

BOOST_AUTO_TEST_CASE(direction_is_free_as_soon_as_an_operation_was_reported) {
    Operation first = reading();
    BOOST_TEST(!poll.submit(first));
    write_text(link.peer.get(), "a");
    Events events;
    poll.poll(events, patience);

    for (const Event& event : events) {
        BOOST_TEST((event.operation() == &first));
        Operation next = Operation::receive(link.source, other_buffer);
        BOOST_TEST(!poll.submit(next));
        write_text(link.peer.get(), "b");
        harvest(poll);
        BOOST_TEST(next.transferred() == 1u);
        break;
    }
}

BOOST_AUTO_TEST_CASE(more_ended_operations_than_capacity_come_with_the_next_polls) {
    std::vector<Link> links;
    std::vector<std::unique_ptr<Operation>> operations;
    for (int i = 0; i < 20; ++i) {
        links.push_back(stream_link());
        operations.push_back(std::make_unique<Operation>(Operation::wait_readable(links.back().source)));
        BOOST_TEST(!poll.submit(*operations.back()));
        links.back().source.close();
    }
    Events events(3);
    std::set<Operation*> reported;

    while (poll.poll(events, 0ns) == PollStatus::events)
        for (const Event& event : events)
            BOOST_TEST(reported.insert(event.operation()).second);

    BOOST_TEST(reported.size() == 20u);
}

BOOST_AUTO_TEST_CASE(operations_in_flight_are_counted) {
    fill(fd);
    BOOST_TEST(poll.in_flight() == 0u);
    Operation read = reading();
    Operation write = Operation::send(link.source, bytes_of("x"));
    poll.submit(read);
    poll.submit(write);
    BOOST_TEST(poll.in_flight() == 2u);

    write_text(link.peer.get(), "x");
    harvest(poll);

    BOOST_TEST(poll.in_flight() == 1u);
    if (!poll.cancel(write)) harvest(poll);
    BOOST_TEST(poll.in_flight() == 0u);
}

BOOST_AUTO_TEST_CASE(source_serves_either_interest_or_operations) {
    Link watched = stream_link();
    poll.registrator().add(watched.source, Token(1), Interest::readable);
    Operation on_watched = Operation::receive(watched.source, buffer);
    BOOST_TEST(poll.submit(on_watched));
    BOOST_TEST((on_watched.error() == errc::already_registered));

    Operation bound = reading();
    BOOST_TEST(!poll.submit(bound));
    std::error_code error;
    poll.registrator().add(link.source, Token(2), Interest::writable, Mode::persistent, error);
    BOOST_TEST((error == errc::already_registered));
    poll.registrator().remove(link.source, error);
    BOOST_TEST((error == errc::not_registered));
    withdraw(poll, bound);
}

BOOST_AUTO_TEST_CASE(submit_from_a_thread_that_does_not_own_the_poll_gets_busy) {
    glance(poll);
    Operation operation = Operation::send(link.source, bytes_of("x"));
    bool ended = false;

    std::jthread([&] { ended = poll.submit(operation); }).join();

    BOOST_TEST(ended);
    BOOST_TEST((operation.error() == errc::busy));
    BOOST_TEST(drain(link.peer.get()) == 0u);
}

BOOST_AUTO_TEST_CASE(first_thread_that_submits_owns_the_poll) {
    Operation operation = reading();
    BOOST_TEST(!poll.submit(operation));
    bool busy = false;

    std::jthread([&] {
        Events events;
        try {
            poll.poll(events, 0ns);
        } catch (const std::system_error& error) {
            busy = error.code() == errc::busy;
        }
    }).join();

    BOOST_TEST(busy);
    withdraw(poll, operation);
}

BOOST_AUTO_TEST_CASE(firehose_lets_other_operations_end) {
    Link modest = stream_link();
    Operation waiting = Operation::receive(modest.source, other_buffer);
    BOOST_TEST(!poll.submit(waiting));
    write_text(modest.peer.get(), "x");
    Events events(1);
    int rounds = 0;

    while (!waiting.is_ended() && rounds < 10) {
        ++rounds;
        Operation flood = reading();
        const bool ended = poll.submit(flood);
        write_text(link.peer.get(), "flood");
        do {
            poll.poll(events, 0ns);
        } while (!ended && !flood.is_ended());
    }

    BOOST_TEST(waiting.is_ended());
}

BOOST_AUTO_TEST_CASE(operation_on_a_descriptor_that_somebody_else_closed_fails) {
    Operation first = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(poll.submit(first));
    OwnedHandle(fd).reset();

    Operation operation = Operation::receive(link.source, buffer);
    BOOST_TEST(poll.submit(operation));

    BOOST_TEST((operation.error() == std::errc::bad_file_descriptor ||
                operation.error() == std::errc::not_a_socket));
    (void)link.source.release();
    Link fresh = stream_link();
    Operation after = Operation::send(fresh.source, bytes_of("y"));
    BOOST_TEST(poll.submit(after));
    BOOST_TEST(!after.has_failed());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::operation_end_test
