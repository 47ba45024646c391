// SPDX-License-Identifier: BSL-1.0
//
// The sockets without an executor: a `Poll` tells when, the `try_` forms do it.
#include "support/loopback_pair.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/poll.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::bare_queue_test {
namespace {

constexpr Interest both = Interest::readable | Interest::writable;
constexpr Token listener_token(1), client_token(2), server_token(3);

/// Fixture: a queue, and a connection that it does not know yet.
struct BareQueue {
    BareQueue() : listener(TcpListener::bind(Address::loopback(0))), pair(std::in_place, listener) {}

    TcpStream& client() { return pair->client; }
    TcpStream& server() { return pair->server; }

    /// Polls until `token` was reported with `property`; fails after a time that no machine needs.
    void expect(Token token, bool (Event::*property)() const noexcept) {
        for (int attempts = 0; attempts < 100; ++attempts) {
            poll.poll(events, 10s);
            for (const Event& event : events) {
                if (event.token() == token && (event.*property)()) return;
            }
        }
        BOOST_FAIL("token " << token.value() << " was not reported");
    }

    bool is_silent() {
        poll.poll(events, 0s);
        return events.is_empty();
    }

    Poll poll;
    Registrator registrator = poll.registrator();
    Events events{64};
    TcpListener listener;
    std::optional<Connected> pair;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(bare_queue, BareQueue)

// ---- Listeners ----

BOOST_AUTO_TEST_CASE(connection_that_waits_makes_the_listener_readable) {
    registrator.add(listener.source(), listener_token, Interest::readable);
    BOOST_TEST(is_silent());

    TcpStream another = TcpStream::start_connect(listener.local_address());
    expect(listener_token, &Event::is_readable);
    std::optional<TcpStream> accepted = listener.try_accept();

    BOOST_TEST((accepted.value().peer_address() == another.local_address()));
    BOOST_TEST(!listener.try_accept().has_value());
    BOOST_TEST(is_silent());
}

BOOST_AUTO_TEST_CASE(second_connection_after_an_empty_backlog_is_another_event) {
    registrator.add(listener.source(), listener_token, Interest::readable);
    for (int i = 0; i < 2; ++i) {
        TcpStream another = TcpStream::start_connect(listener.local_address());
        expect(listener_token, &Event::is_readable);
        BOOST_TEST(listener.try_accept().has_value());
        BOOST_TEST(!listener.try_accept().has_value());
    }
}

BOOST_AUTO_TEST_CASE(removed_listener_is_silent_and_still_accepts) {
    registrator.add(listener.source(), listener_token, Interest::readable);
    registrator.remove(listener.source());

    TcpStream another = TcpStream::start_connect(listener.local_address());
    await_readable(listener.native_handle());

    BOOST_TEST(is_silent());
    BOOST_TEST(listener.try_accept().has_value());
}

BOOST_AUTO_TEST_CASE(modified_listener_reports_under_its_new_token) {
    registrator.add(listener.source(), listener_token, Interest::readable);
    registrator.modify(listener.source(), Token(99), Interest::readable);

    TcpStream another = TcpStream::start_connect(listener.local_address());

    expect(Token(99), &Event::is_readable);
}

BOOST_AUTO_TEST_CASE(closed_listener_stays_silent) {
    registrator.add(listener.source(), listener_token, Interest::readable);
    TcpStream another = TcpStream::start_connect(listener.local_address());
    await_readable(listener.native_handle());

    listener.close();

    BOOST_TEST(is_silent());
}

BOOST_AUTO_TEST_CASE(failure_of_try_accept_is_told) {
    listener.close();
    std::error_code error;

    std::optional<TcpStream> accepted = listener.try_accept(error);

    BOOST_TEST(!accepted.has_value());
    BOOST_TEST((error == std::errc::bad_file_descriptor));
    BOOST_CHECK_THROW(listener.try_accept(), std::system_error);
}

// ---- Connecting ----

BOOST_AUTO_TEST_CASE(connected_stream_is_writable_without_an_error_and_knows_its_addresses) {
    TcpStream stream = TcpStream::start_connect(listener.local_address());
    registrator.add(stream.source(), client_token, both);

    expect(client_token, &Event::is_writable);

    BOOST_TEST(!stream.take_error());
    BOOST_TEST((stream.peer_address() == listener.local_address()));
    BOOST_TEST(stream.local_address().port() != 0);
}

BOOST_AUTO_TEST_CASE(refused_connection_is_writable_and_tells_why) {
    RefusingPort port;
    TcpStream stream = TcpStream::start_connect(Address::loopback(port.endpoint.port()));
    registrator.add(stream.source(), client_token, both);

    expect(client_token, &Event::is_writable);

    BOOST_TEST((stream.take_error() == std::errc::connection_refused));
}

// Wine goes on telling it.
BOOST_AUTO_TEST_CASE(refused_connection_tells_why_once, *boost::unit_test::label("posix")) {
    RefusingPort port;
    TcpStream stream = TcpStream::start_connect(Address::loopback(port.endpoint.port()));
    await_writable(stream.native_handle());
    BOOST_TEST((stream.take_error() == std::errc::connection_refused));

    BOOST_TEST(!stream.take_error());
}

BOOST_AUTO_TEST_CASE(read_right_after_connecting_would_block_and_is_no_failure) {
    TcpStream stream = TcpStream::start_connect(listener.local_address());
    registrator.add(stream.source(), client_token, both);
    expect(client_token, &Event::is_writable);
    std::array<std::byte, 16> buffer;
    std::error_code error;

    std::optional<std::size_t> received = stream.try_read(buffer, error);

    BOOST_TEST(!received.has_value());
    BOOST_TEST(!error);
}

// ---- Streams ----

BOOST_AUTO_TEST_CASE(bulk_transfer_is_driven_by_events_alone) {
    std::vector<std::byte> sent = pattern(5'000'000);
    std::vector<std::byte> received;
    std::span<const std::byte> rest = sent;
    std::array<std::byte, 65536> buffer;
    registrator.add(client().source(), client_token, both);
    registrator.add(server().source(), server_token, both);

    while (received.size() < sent.size()) {
        BOOST_REQUIRE((poll.poll(events, 10s) == PollStatus::events));
        for (const Event& event : events) {
            if (event.token() == client_token && event.is_writable()) {
                while (!rest.empty()) {
                    std::optional<std::size_t> written = client().try_write(rest);
                    if (!written) break;
                    rest = rest.subspan(*written);
                }
            }
            if (event.token() == server_token && event.is_readable()) {
                while (std::optional<std::size_t> bytes = server().try_read(buffer)) {
                    received.insert(received.end(), buffer.begin(),
                                    buffer.begin() + static_cast<std::ptrdiff_t>(*bytes));
                }
            }
        }
    }

    BOOST_TEST((received == sent));
}

BOOST_AUTO_TEST_CASE(sixteen_writes_succeed_after_one_writable_event) {
    registrator.add(client().source(), client_token, Interest::writable);
    expect(client_token, &Event::is_writable);

    for (int i = 0; i < 16; ++i)
        BOOST_TEST(client().try_write(bytes_of("0123456789")).value() == 10u);

    await_readable(server().native_handle());
    BOOST_TEST(read_text(server().native_handle()).size() == 160u);
}

BOOST_AUTO_TEST_CASE(try_peek_takes_nothing_and_leaves_the_readiness) {
    registrator.add(server().source(), server_token, Interest::readable);
    client().try_write(bytes_of("abc"));
    expect(server_token, &Event::is_readable);
    std::array<std::byte, 16> buffer;
    std::error_code error;

    BOOST_TEST(server().try_peek(buffer, error).value() == 3u);
    BOOST_TEST(server().try_read(buffer).value() == 3u);
    BOOST_TEST(!server().try_peek(buffer, error).has_value());
    BOOST_TEST(!error);

    client().try_write(bytes_of("d"));
    expect(server_token, &Event::is_readable);
}

BOOST_AUTO_TEST_CASE(half_closed_peer_is_read_closed_and_can_still_be_written_to) {
    registrator.add(server().source(), server_token, both);
    client().shutdown(Half::write);

    expect(server_token, &Event::is_read_closed);

    std::array<std::byte, 16> buffer;
    BOOST_TEST(server().try_read(buffer).value() == 0u);
    BOOST_TEST(server().try_write(bytes_of("abc")).value() == 3u);
    BOOST_TEST(client().try_read(buffer).value() == 3u);
}

// Windows tells nobody of what he has shut himself.
BOOST_AUTO_TEST_CASE(own_shutdown_of_both_halves_is_write_closed, *boost::unit_test::label("posix")) {
    registrator.add(client().source(), client_token, both);
    client().shutdown(Half::both);

    expect(client_token, &Event::is_write_closed);
}

BOOST_AUTO_TEST_CASE(own_shutdown_of_both_halves_ends_what_is_read_and_fails_what_is_written) {
    client().shutdown(Half::both);

    std::array<std::byte, 16> buffer;
    BOOST_TEST(client().try_read(buffer).value() == 0u);
    std::error_code error;
    BOOST_TEST(!client().try_write(bytes_of("abc"), error).has_value());
    BOOST_TEST((error == std::errc::broken_pipe));
}

BOOST_AUTO_TEST_CASE(reset_is_read_closed) {
    registrator.add(server().source(), server_token, both);
    reset(client());

    expect(server_token, &Event::is_read_closed);
}

// Wine has forgotten the error of a reset when it has told of the end.
BOOST_AUTO_TEST_CASE(reset_is_read_closed_and_fails_the_read_once, *boost::unit_test::label("posix")) {
    registrator.add(server().source(), server_token, both);
    reset(client());

    expect(server_token, &Event::is_read_closed);

    std::array<std::byte, 16> buffer;
    std::error_code error;
    BOOST_TEST(!server().try_read(buffer, error).has_value());
    BOOST_TEST((error == std::errc::connection_reset));
    BOOST_TEST(server().try_read(buffer).value() == 0u);
    BOOST_TEST(is_silent());
}

BOOST_AUTO_TEST_CASE(writing_to_a_peer_that_has_gone_ends_in_an_error) {
    server().close();
    std::error_code error;

    while (!error)
        client().try_write(bytes_of("abc"), error);

    BOOST_TEST((error == std::errc::broken_pipe || error == std::errc::connection_reset));
}

BOOST_AUTO_TEST_CASE(dropped_stream_is_the_peers_end) {
    registrator.add(client().source(), client_token, both);
    registrator.add(server().source(), server_token, both);
    {
        TcpStream gone = std::move(server());
    }

    expect(client_token, &Event::is_read_closed);

    std::array<std::byte, 16> buffer;
    BOOST_TEST(client().try_read(buffer).value() == 0u);
}

BOOST_AUTO_TEST_CASE(bytes_written_before_remove_and_close_arrive) {
    registrator.add(client().source(), client_token, both);
    registrator.add(server().source(), server_token, Interest::readable);
    client().try_write(bytes_of("last words"));
    registrator.remove(client().source());
    client().close();

    expect(server_token, &Event::is_readable);

    std::array<std::byte, 16> buffer;
    BOOST_TEST(server().try_read(buffer).value() == 10u);
    BOOST_TEST(server().try_read(buffer).value() == 0u);
}

BOOST_AUTO_TEST_CASE(removed_streams_are_silent_and_still_work) {
    registrator.add(client().source(), client_token, both);
    registrator.add(server().source(), server_token, both);
    registrator.remove(client().source());
    registrator.remove(server().source());

    client().try_write(bytes_of("abc"));
    await_readable(server().native_handle());

    BOOST_TEST(is_silent());
    std::array<std::byte, 16> buffer;
    BOOST_TEST(server().try_read(buffer).value() == 3u);
}

BOOST_AUTO_TEST_CASE(readiness_comes_again_after_a_read_would_block) {
    registrator.add(server().source(), server_token, Interest::readable);
    std::array<std::byte, 16> buffer;
    for (int i = 0; i < 3; ++i) {
        BOOST_TEST(is_silent());
        client().try_write(bytes_of("abc"));
        expect(server_token, &Event::is_readable);
        BOOST_TEST(server().try_read(buffer).value() == 3u);
        BOOST_TEST(!server().try_read(buffer).has_value());
    }
}

BOOST_AUTO_TEST_CASE(urgent_data_is_a_priority_event) {
    registrator.add(server().source(), server_token, Interest::readable | Interest::priority);

    send_urgent(client().native_handle(), '!');

    expect(server_token, &Event::is_priority);
}

BOOST_AUTO_TEST_CASE(empty_buffers_move_nothing_and_are_no_end) {
    BOOST_TEST(client().try_write(std::span<const std::byte>()).value() == 0u);
    client().try_write(bytes_of("abc"));
    await_readable(server().native_handle());

    BOOST_TEST(server().try_read(std::span<std::byte>()).value() == 0u);

    std::array<std::byte, 16> buffer;
    BOOST_TEST(server().try_read(buffer).value() == 3u);
}

BOOST_AUTO_TEST_CASE(stream_in_a_bare_queue_is_refused_by_an_executor) {
    registrator.add(server().source(), server_token, Interest::readable);
    Executor executor;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(server().read(buffer));
        BOOST_TEST((!received && received.error() == errc::already_registered));
    };

    executor.run_until(read());
}

BOOST_AUTO_TEST_CASE(stream_registered_by_another_thread_ends_the_poll) {
    client().try_write(bytes_of("abc"));
    std::thread other([&] { registrator.add(server().source(), server_token, Interest::readable); });

    expect(server_token, &Event::is_readable);

    other.join();
}

BOOST_AUTO_TEST_CASE(end_that_was_read_is_not_reported_again) {
    registrator.add(client().source(), client_token, Interest::readable);
    server().shutdown(Half::write);
    expect(client_token, &Event::is_readable);
    std::array<std::byte, 16> buffer;

    BOOST_TEST(client().try_read(buffer).value() == 0u);

    BOOST_TEST(is_silent());
    BOOST_TEST(is_silent());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::bare_queue_test
