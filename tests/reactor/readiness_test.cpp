// SPDX-License-Identifier: BSL-1.0
// What TCP, pipes and datagrams look like as events: the hints that come beside readable and writable.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <string>

namespace leat::test::readiness_test {
namespace {

constexpr Interest both_ways = Interest::readable | Interest::writable;

bool readable(const Event& event) { return event.is_readable(); }
bool writable(const Event& event) { return event.is_writable(); }
bool read_closed(const Event& event) { return event.is_read_closed(); }
bool write_closed(const Event& event) { return event.is_write_closed(); }

std::error_code receive_error(Source& source) {
    std::array<char, 1> byte{};
    std::error_code error;
    if (try_read(source.native_handle(), byte, error) == 0) source.rearm(Interest::readable);
    return error;
}

std::error_code peek_error(Source& source) {
    std::array<char, 1> byte{};
    std::error_code error;
    try_peek(source.native_handle(), byte, error);
    if (error) source.rearm(Interest::readable);
    return error;
}

bool would_block(const std::error_code& error) { return error == std::errc::operation_would_block; }

// Windows tells the readiness of sockets only, and nothing of what their owner has done to them himself.
const boost::unit_test::label no_sockets("posix");
const boost::unit_test::label own_doing("posix");

struct Fixture {
    Poll poll;
    Registrator registrator = poll.registrator();
    Link link = tcp_link();
    NativeHandle fd = link.source.native_handle();
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(readiness, Fixture)

BOOST_AUTO_TEST_CASE(connection_that_waits_makes_a_listener_readable) {
    Listening listening = tcp_listener();
    registrator.add(listening.source, Token(1), Interest::readable);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    const OwnedHandle client = start_connect(listening.endpoint);

    BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
    accept_from(listening.source);
    BOOST_TEST((receive_error(listening.source) != std::error_code()));
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(two_connections_may_come_as_one_event_and_a_third_as_another) {
    Listening listening = tcp_listener();
    const OwnedHandle first = start_connect(listening.endpoint);
    const OwnedHandle second = start_connect(listening.endpoint);
    await_readable(listening.source.native_handle());
    registrator.add(listening.source, Token(1), Interest::readable);

    harvest_until(poll, Token(1), readable);
    accept_from(listening.source);
    accept_from(listening.source);
    listening.source.rearm(Interest::readable);

    const OwnedHandle third = start_connect(listening.endpoint);
    BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
    accept_from(listening.source);
}

BOOST_AUTO_TEST_CASE(listener_reports_under_its_modified_token) {
    Listening listening = tcp_listener();
    registrator.add(listening.source, Token(1), Interest::readable);
    registrator.modify(listening.source, Token(2), Interest::readable);

    const OwnedHandle client = start_connect(listening.endpoint);

    const Harvest found = harvest(poll);
    BOOST_TEST(found.of(Token(1)) == nullptr);
    BOOST_TEST(found.of(Token(2)) != nullptr);
}

BOOST_AUTO_TEST_CASE(removed_listener_is_silent_and_still_accepts) {
    Listening listening = tcp_listener();
    registrator.add(listening.source, Token(1), Interest::readable);
    registrator.remove(listening.source);

    const OwnedHandle client = start_connect(listening.endpoint);

    const OwnedHandle server = accept_from(listening.source);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(closed_listener_is_silent) {
    Listening listening = tcp_listener();
    registrator.add(listening.source, Token(1), Interest::readable);
    const OwnedHandle client = start_connect(listening.endpoint);

    listening.source.close();

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(connected_socket_becomes_writable_without_a_pending_error) {
    const Listening listening = tcp_listener();
    Source client(start_connect(listening.endpoint).release());

    registrator.add(client, Token(1), Interest::writable);

    const Event event = harvest_until(poll, Token(1), writable);
    BOOST_TEST(event.is_writable());
    BOOST_TEST(!event.is_write_closed());
    BOOST_TEST(!take_error(client.native_handle()));
}

BOOST_AUTO_TEST_CASE(refused_connection_is_writable_or_an_error_and_tells_why) {
    const RefusingPort port;
    Source client(start_connect(port.endpoint).release());

    registrator.add(client, Token(1), both_ways);

    const Event event = harvest_until(
        poll, Token(1), [](const Event& each) { return each.is_writable() || each.is_error(); });
    BOOST_TEST(event.is_write_closed());
    BOOST_TEST((take_error(client.native_handle()) == std::errc::connection_refused));
}

// Wine's sockets keep the error.
BOOST_AUTO_TEST_CASE(error_of_a_refused_connection_is_told_once, *boost::unit_test::label("posix")) {
    const RefusingPort port;
    const OwnedHandle client = start_connect(port.endpoint);
    await_writable(client.get());

    BOOST_TEST((take_error(client.get()) == std::errc::connection_refused));
    BOOST_TEST(!take_error(client.get()));
}

BOOST_AUTO_TEST_CASE(unconnected_socket_that_is_reported_has_no_peer) {
    Source fresh(tcp_socket().release());
    registrator.add(fresh, Token(1), both_ways);

    glance(poll);

    BOOST_TEST(!has_peer(fresh.native_handle()));
}

BOOST_AUTO_TEST_CASE(read_that_would_block_right_after_connecting_is_no_failure) {
    BOOST_TEST(would_block(receive_error(link.source)));

    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "x");

    BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
}

BOOST_AUTO_TEST_CASE(healthy_stream_gives_no_closed_hints) {
    registrator.add(link.source, Token(1), both_ways);
    write_text(link.peer.get(), "x");

    const Event event = harvest_until(poll, Token(1), readable);

    BOOST_TEST(!event.is_read_closed());
    BOOST_TEST(!event.is_write_closed());
    BOOST_TEST(!event.is_error());
    BOOST_TEST(!event.is_priority());
}

BOOST_AUTO_TEST_CASE(half_closed_peer_is_readable_and_read_closed_and_can_still_be_written_to) {
    registrator.add(link.source, Token(1), both_ways);
    write_text(link.peer.get(), "last words");
    shut(link.peer.get(), Direction::writing);

    std::string text;
    bool is_closed = false;
    while (!is_closed) {
        const Event event = harvest_until(poll, Token(1), readable);
        BOOST_TEST(!event.is_write_closed());
        is_closed = event.is_read_closed();
        text += read_text(link.source);
    }

    BOOST_TEST(text == "last words");
    BOOST_TEST(read_text(link.source).empty());
    write_text(fd, "answer");
    BOOST_TEST(read_text(link.peer.get()) == "answer");
}

BOOST_AUTO_TEST_CASE(own_half_close_leaves_reading_alone_and_may_be_repeated) {
    registrator.add(link.source, Token(1), Interest::readable);

    shut(fd, Direction::writing);
    shut(fd, Direction::writing);

    BOOST_TEST(read_text(link.peer.get()).empty());
    write_text(link.peer.get(), "still");
    BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
    BOOST_TEST(read_text(link.source) == "still");
}

BOOST_AUTO_TEST_CASE(own_read_shutdown_is_read_closed, *own_doing) {
    registrator.add(link.source, Token(1), Interest::readable);

    shut(fd, Direction::reading);

    BOOST_TEST(harvest_until(poll, Token(1), read_closed).is_read_closed());
}

BOOST_AUTO_TEST_CASE(both_halves_shut_are_write_closed_too, *own_doing) {
    registrator.add(link.source, Token(1), both_ways);

    shut(fd, Direction::both);

    BOOST_TEST(harvest_until(poll, Token(1), write_closed).is_write_closed());
}

BOOST_AUTO_TEST_CASE(reset_closes_both_halves_and_then_the_queue_is_quiet) {
    registrator.add(link.source, Token(1), both_ways);
    harvest(poll);

    reset_connection(link.peer);

    const Event event = harvest_until(poll, Token(1), read_closed);
    BOOST_TEST(event.is_readable());
    BOOST_TEST(event.is_write_closed());
    receive_error(link.source);
    glance(poll);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

// Wine's poll takes the error from the socket, which then has only an end.
BOOST_AUTO_TEST_CASE(call_after_a_reset_was_reported_tells_of_it, *boost::unit_test::label("posix")) {
    registrator.add(link.source, Token(1), Interest::readable);
    reset_connection(link.peer);
    harvest_until(poll, Token(1), read_closed);

    BOOST_TEST((receive_error(link.source) == std::errc::connection_reset));
}

BOOST_AUTO_TEST_CASE(reset_before_registration_is_reported_all_the_same) {
    reset_connection(link.peer);
    await_readable(fd);

    registrator.add(link.source, Token(1), Interest::readable);

    BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
}

BOOST_AUTO_TEST_CASE(closed_peer_is_read_closed) {
    registrator.add(link.source, Token(1), Interest::readable);

    link.peer.reset();

    BOOST_TEST(harvest_until(poll, Token(1), read_closed).is_read_closed());
    BOOST_TEST(read_text(link.source).empty());
}

BOOST_AUTO_TEST_CASE(writing_to_a_dead_peer_ends_in_an_error) {
    registrator.add(link.source, Token(1), Interest::writable);
    link.peer.reset();
    std::error_code error;

    // The first write earns the reset that fails the next.
    while (!error) {
        harvest_until(poll, Token(1), writable);
        try_write(fd, "x", error);
        registrator.modify(link.source, Token(1), Interest::writable);
    }

    BOOST_TEST((error == std::errc::broken_pipe || error == std::errc::connection_reset ||
                error == std::errc::connection_aborted));
}

BOOST_AUTO_TEST_CASE(sixteen_writes_succeed_after_one_writable_event) {
    registrator.add(link.source, Token(1), Interest::writable);
    harvest_until(poll, Token(1), writable);

    for (int i = 0; i < 16; ++i)
        write_text(fd, "x");

    std::string received;
    while (received.size() < 16)
        received += read_text(link.peer.get());
    BOOST_TEST(received == std::string(16, 'x'));
}

BOOST_AUTO_TEST_CASE(data_written_before_remove_and_close_still_arrives) {
    registrator.add(link.source, Token(1), Interest::writable);
    harvest(poll);
    write_text(fd, "posted");

    registrator.remove(link.source);
    link.source.close();

    BOOST_TEST(read_text(link.peer.get()) == "posted");
    BOOST_TEST(read_text(link.peer.get()).empty());
}

BOOST_AUTO_TEST_CASE(urgent_data_is_reported_as_priority_and_does_not_spin) {
    registrator.add(link.source, Token(1), Interest::readable | Interest::priority);

    send_urgent(link.peer.get(), '!');

    const Event event = harvest_until(poll, Token(1), [](const Event& each) { return each.is_priority(); });
    BOOST_TEST(event.is_priority());
    glance(poll);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(urgent_data_is_no_priority_event_unless_asked_for) {
    registrator.add(link.source, Token(1), Interest::readable);
    send_urgent(link.peer.get(), '!');
    await_urgent(fd);

    for (const Event& event : glance(poll).events)
        BOOST_TEST(!event.is_priority());
}

BOOST_AUTO_TEST_CASE(successful_peek_does_not_eat_readiness) {
    registrator.add(link.source, Token(1), Interest::readable);
    write_text(link.peer.get(), "x");
    harvest_until(poll, Token(1), readable);

    BOOST_TEST(!peek_error(link.source));

    BOOST_TEST(!receive_error(link.source));
    BOOST_TEST(would_block(receive_error(link.source)));
}

BOOST_AUTO_TEST_CASE(peek_that_would_block_rearms_as_a_read_does) {
    registrator.add(link.source, Token(1), Interest::readable);

    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(would_block(peek_error(link.source)));
        write_text(link.peer.get(), "x");
        BOOST_TEST(harvest_until(poll, Token(1), readable).is_readable());
        drain(link.source);
    }
}

BOOST_AUTO_TEST_CASE(pipe_without_a_writer_is_read_closed_though_nothing_is_readable, *no_sockets) {
    Link pipe = pipe_to_read();
    registrator.add(pipe.source, Token(2), Interest::readable);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    pipe.peer.reset();

    BOOST_TEST(harvest_until(poll, Token(2), read_closed).is_read_closed());
    BOOST_TEST(read_text(pipe.source.native_handle()).empty());
}

BOOST_AUTO_TEST_CASE(pipe_without_a_reader_is_write_closed, *no_sockets) {
    Link pipe = pipe_to_write();
    fill(pipe.source.native_handle());
    registrator.add(pipe.source, Token(2), Interest::writable);
    BOOST_TEST(glance(poll).status == PollStatus::timed_out);

    pipe.peer.reset();

    BOOST_TEST(harvest_until(poll, Token(2), write_closed).is_write_closed());
}

BOOST_AUTO_TEST_CASE(hang_up_does_not_spin, *no_sockets) {
    Link pipe = pipe_to_read();
    registrator.add(pipe.source, Token(2), Interest::readable);
    pipe.peer.reset();

    harvest_until(poll, Token(2), read_closed);

    BOOST_TEST(glance(poll).status == PollStatus::timed_out);
}

BOOST_AUTO_TEST_CASE(empty_datagram_is_an_event) {
    Source receiver(udp_socket().release());
    registrator.add(receiver, Token(2), Interest::readable);

    send_empty_datagram(receiver.native_handle());

    BOOST_TEST(harvest_until(poll, Token(2), readable).is_readable());
    BOOST_TEST(!receive_error(receiver));
    BOOST_TEST(would_block(receive_error(receiver)));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::readiness_test
