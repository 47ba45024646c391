// SPDX-License-Identifier: BSL-1.0
// Operations on TCP: connections that come, stand, are refused, half closed or reset.
#include "harvest.hpp"
#include "support/system.hpp"

#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <string>
#include <vector>

namespace leat::test::operation_tcp_test {
namespace {

struct Fixture {
    Poll poll;
    Link link = tcp_link();
    NativeHandle fd = link.source.native_handle();
    std::array<std::byte, 64> buffer{};

    // Submits it, and polls until it has ended.
    void carry_out(Operation& operation) {
        if (poll.submit(operation)) return;
        while (!operation.is_ended())
            if (harvest(poll).status != PollStatus::events) return;
    }

    std::string received(const Operation& operation) const {
        return text_of(std::span(buffer).first(operation.transferred()));
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(operation_tcp, Fixture)

BOOST_AUTO_TEST_CASE(end_after_a_short_read_is_not_lost) {
    write_text(link.peer.get(), "abc");
    shut(link.peer.get(), Direction::writing);
    Operation first = Operation::receive(link.source, buffer);
    carry_out(first);
    BOOST_TEST(received(first) == "abc");

    Operation second = Operation::receive(link.source, buffer);
    carry_out(second);

    BOOST_TEST(second.is_ended());
    BOOST_TEST(second.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(end_that_comes_with_the_data_of_a_waiting_receive_is_not_lost) {
    Operation first = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(first));
    write_text(link.peer.get(), "abc");
    shut(link.peer.get(), Direction::writing);
    await_end(fd);
    harvest(poll);
    BOOST_TEST(received(first) == "abc");

    Operation second = Operation::receive(link.source, buffer);
    carry_out(second);

    BOOST_TEST(second.is_ended());
    BOOST_TEST(second.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(half_closed_peer_can_still_be_sent_to) {
    shut(link.peer.get(), Direction::writing);
    Operation end = Operation::receive(link.source, buffer);
    carry_out(end);

    Operation answer = Operation::send(link.source, bytes_of("answer"));
    carry_out(answer);

    BOOST_TEST(read_text(link.peer.get()) == "answer");
}

BOOST_AUTO_TEST_CASE(reset_fails_the_waiting_receive_once_and_then_it_is_the_end) {
    Operation first = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(first));

    reset_connection(link.peer);
    harvest(poll);

    BOOST_TEST((first.error() == std::errc::connection_reset));
    Operation second = Operation::receive(link.source, buffer);
    carry_out(second);
    BOOST_TEST(!second.has_failed());
    BOOST_TEST(second.transferred() == 0u);
}

BOOST_AUTO_TEST_CASE(reset_wakes_the_reader_and_the_writer) {
    fill(fd);
    Operation reading = Operation::receive(link.source, buffer);
    Operation writing = Operation::send(link.source, bytes_of("x"));
    BOOST_TEST(!poll.submit(reading));
    BOOST_TEST(!poll.submit(writing));

    reset_connection(link.peer);
    while (!reading.is_ended() || !writing.is_ended())
        BOOST_TEST_REQUIRE(!harvest(poll).events.empty());

    // One of them takes the pending error, the other one finds a dead stream.
    BOOST_TEST(writing.has_failed());
    BOOST_TEST((reading.has_failed() || reading.transferred() == 0));
}

BOOST_AUTO_TEST_CASE(bytes_behind_urgent_data_are_not_lost) {
    Operation first = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(first));
    // A read stops short at the urgent byte; what follows it has come already and brings no edge of its own.
    write_text(link.peer.get(), "before");
    send_urgent(link.peer.get(), '!');
    write_text(link.peer.get(), "behind");
    await_urgent(fd);
    std::string text;
    harvest(poll);
    text += received(first);

    while (text.size() < 12) {
        Operation next = Operation::receive(link.source, buffer);
        carry_out(next);
        BOOST_TEST_REQUIRE(next.is_ended());
        BOOST_TEST_REQUIRE(!next.has_failed());
        text += received(next);
    }

    BOOST_TEST(text == "beforebehind");
}

// Wine 8 has the urgent byte read as any other by the receive that waits.
BOOST_AUTO_TEST_CASE(urgent_data_does_not_make_the_queue_spin, *boost::unit_test::label("posix")) {
    Operation waiting = Operation::receive(link.source, buffer);
    BOOST_TEST(!poll.submit(waiting));

    send_urgent(link.peer.get(), '!');
    await_urgent(fd);

    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(!waiting.is_ended());
    withdraw(poll, waiting);
}

BOOST_AUTO_TEST_CASE(accept_gives_a_connection_that_neither_blocks_nor_outlives_exec) {
    Listening listening = tcp_listener();
    const OwnedHandle client = start_connect(listening.endpoint);
    Operation operation = Operation::accept(listening.source);

    carry_out(operation);

    BOOST_TEST_REQUIRE(!operation.has_failed());
    const OwnedHandle server(operation.accepted());
    BOOST_TEST(!is_inherited(server.get()));
    BOOST_TEST(is_non_blocking(server.get()));
    write_text(client.get(), "hello");
    BOOST_TEST(read_text(server.get()) == "hello");
}

BOOST_AUTO_TEST_CASE(accept_waits_for_a_connection) {
    Listening listening = tcp_listener();
    Operation operation = Operation::accept(listening.source);
    BOOST_TEST(!poll.submit(operation));

    const OwnedHandle client = start_connect(listening.endpoint);
    harvest(poll);

    BOOST_TEST_REQUIRE(operation.is_ended());
    const OwnedHandle server(operation.accepted());
    BOOST_TEST(server.get() >= 0);
}

BOOST_AUTO_TEST_CASE(accept_that_waits_is_no_read_that_ends) {
    Listening listening = tcp_listener();
    Operation operation = Operation::accept(listening.source);
    BOOST_TEST(!poll.submit(operation));
    SourceWatch watch(listening.source);

    watch.end_reads();
    watch.begin_drain();

    BOOST_TEST(glance(poll).events.empty());
    BOOST_TEST(!operation.is_ended());
    const OwnedHandle client = start_connect(listening.endpoint);
    BOOST_TEST(harvest(poll).events.size() == 1u);
    const OwnedHandle server(operation.accepted());
    BOOST_TEST(server.get() > 0);
}

BOOST_AUTO_TEST_CASE(accepts_that_follow_each_other_miss_no_connection) {
    Listening listening = tcp_listener();
    std::vector<OwnedHandle> clients;
    for (int i = 0; i < 50; ++i)
        clients.push_back(start_connect(listening.endpoint));

    std::vector<OwnedHandle> servers;
    while (servers.size() < clients.size()) {
        Operation operation = Operation::accept(listening.source);
        carry_out(operation);
        BOOST_TEST_REQUIRE(!operation.has_failed());
        servers.emplace_back(operation.accepted());
    }

    Operation one_too_many = Operation::accept(listening.source);
    BOOST_TEST(!poll.submit(one_too_many));
    withdraw(poll, one_too_many);
}

// Windows passes over such a connection.
BOOST_AUTO_TEST_CASE(connection_that_was_reset_before_accept_fails_at_its_first_receive,
                     *boost::unit_test::label("posix")) {
    Listening listening = tcp_listener();
    OwnedHandle client = start_connect(listening.endpoint);
    await_readable(listening.source.native_handle());
    reset_connection(client);
    Operation accepting = Operation::accept(listening.source);

    carry_out(accepting);

    BOOST_TEST_REQUIRE(!accepting.has_failed(), accepting.error());
    Source server(accepting.accepted());
    Operation receiving = Operation::receive(server, buffer);
    carry_out(receiving);
    BOOST_TEST((receiving.error() == std::errc::connection_reset));
}

BOOST_AUTO_TEST_CASE(connect_ends_when_the_connection_stands) {
    const Listening listening = tcp_listener();
    Source client(tcp_socket().release());
    Operation operation = Operation::connect(client, listening.endpoint.data(), listening.endpoint.size());

    carry_out(operation);

    BOOST_TEST(operation.is_ended());
    BOOST_TEST(!operation.has_failed());
    const OwnedHandle server = accept_from(listening.source);
    write_text(client.native_handle(), "hello");
    BOOST_TEST(read_text(server.get()) == "hello");
}

BOOST_AUTO_TEST_CASE(refused_connect_tells_why) {
    const RefusingPort port;
    Source client(tcp_socket().release());
    Operation operation = Operation::connect(client, port.endpoint.data(), port.endpoint.size());

    carry_out(operation);

    BOOST_TEST((operation.error() == std::errc::connection_refused));
}

BOOST_AUTO_TEST_CASE(second_connect_of_a_connected_socket_tells_so) {
    const Listening listening = tcp_listener();
    Source client(start_connect(listening.endpoint).release());
    await_writable(client.native_handle());
    Operation operation = Operation::connect(client, listening.endpoint.data(), listening.endpoint.size());

    carry_out(operation);

    BOOST_TEST((!operation.has_failed() || operation.error() == std::errc::already_connected));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::operation_tcp_test
