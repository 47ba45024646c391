// SPDX-License-Identifier: BSL-1.0
// What becomes of a connection that its handler closes in a drain, before the peer has had all of it.
#include "support/loopback_pair.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

using namespace std::chrono_literals;

namespace leat::test::net::serve_linger_test {
namespace {

// More than the system takes for a client that does not read, less than it keeps for a server that is to send it.
constexpr std::size_t answer_size = 200'000;

/// Fixture: a handler that leaves a long answer in the system's queue, and a client that does not read it.
struct SlowReader {
    SlowReader() {
        options.drain_timeout = 1h;
        options.drain_quiet = 0s;
    }

    Task<> answer(TcpStream peer) {
        // Room for all of it, so that the handler is done with it long before the peer.
        peer.set_send_buffer_size(4 * int{answer_size});
        if (linger) peer.set_linger(linger);
        std::string text(answer_size, 'a');
        co_await peer.write_all(std::as_bytes(std::span(text)));
        has_answered = true;
        std::array<std::byte, 64> request;
        for (;;) {
            std::size_t received = co_await peer.read(request);
            if (received == 0) co_return;
        }
    }

    /// Serves while `client(stream)` runs, a stream that has an answer waiting, in a server that drains.
    template <class Client>
    ServeReport drain_during(Client client) {
        auto connect_and_drain = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(listener.local_address());
            while (!has_answered)
                co_await yield();
            control.drain();
            co_await client(stream);
        };
        auto handler = [this](TcpStream peer) { return answer(std::move(peer)); };
        return serve_during(handler, connect_and_drain);
    }

    /// Serves with `handler` while `client()`, a task, runs.
    template <class Handler, class Client>
    ServeReport serve_during(Handler& handler, Client& client) {
        auto body = [&](TaskGroup& group) -> Task<ServeReport> {
            group.spawn(std::ref(client));
            ServeReport report = co_await leat::serve(listener, handler, options, control);
            has_ended = true;
            co_return report;
        };
        auto all = [&]() -> Task<ServeReport> {
            ServeReport report = co_await task_group(body);
            co_return report;
        };
        return executor.run_until(all());
    }

    /// Until the server has no handler any more.
    Task<> wait_for_the_handlers_end() {
        while (control.connections() != 0)
            co_await yield();
    }

    Executor executor;
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    ServeOptions options;
    ServeControl control;
    std::optional<std::chrono::seconds> linger;
    bool has_answered = false;
    bool has_ended = false;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(serve_linger, SlowReader)

// Wine does not tell what the peer has not acknowledged.
BOOST_AUTO_TEST_CASE(peer_that_goes_on_sending_still_gets_all_that_was_answered,
                     *boost::unit_test::label("posix")) {
    ServeReport report = drain_during([&](TcpStream& stream) -> Task<> {
        co_await wait_for_the_handlers_end();
        co_await stream.write_all(bytes_of("more"));
        std::array<std::byte, 64> first;
        co_await stream.read_exactly(first);
        co_await stream.write_all(bytes_of("and more"));
        std::string rest = co_await read_to_end(stream);

        BOOST_TEST(first.size() + rest.size() == answer_size);
        co_await stream.write_all(bytes_of("to the end"));
    });

    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(report.cancelled == 0u);
}

// Wine does not tell what the peer has not acknowledged.
BOOST_AUTO_TEST_CASE(drain_waits_for_a_reader_that_is_slow, *boost::unit_test::label("posix")) {
    bool was_running = false;

    drain_during([&](TcpStream& stream) -> Task<> {
        co_await wait_for_the_handlers_end();
        for (int i = 0; i < 100; ++i)
            co_await yield();
        was_running = control.is_draining() && !has_ended;
        std::string rest = co_await read_to_end(stream);
        BOOST_TEST(rest.size() == answer_size);
    });

    BOOST_TEST(was_running);
}

BOOST_AUTO_TEST_CASE(deadline_of_the_drain_ends_the_wait_for_a_reader_that_never_comes) {
    options.drain_timeout = 10ms;
    std::optional<TcpStream> client;

    ServeReport report = drain_during([&](TcpStream& stream) -> Task<> {
        client = std::move(stream);
        co_return;
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(stop_ends_it_too) {
    std::optional<TcpStream> client;

    ServeReport report = drain_during([&](TcpStream& stream) -> Task<> {
        client = std::move(stream);
        co_await wait_for_the_handlers_end();
        control.stop();
    });

    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(report.cancelled == 0u);
}

// Wine forgets the error of a reset that nothing waits for.
BOOST_AUTO_TEST_CASE(linger_of_zero_is_a_reset_at_once, *boost::unit_test::label("posix")) {
    linger = 0s;

    drain_during([&](TcpStream& stream) -> Task<> {
        co_await wait_for_the_handlers_end();
        Result<std::string> rest = co_await as_result(read_to_end(stream));
        BOOST_TEST((!rest && rest.error() == std::errc::connection_reset));
    });
}

// It has had everything; what it goes on to send is no reason to wait for it. Wine does not report what the
// peer has received, and resets the connection.
BOOST_AUTO_TEST_CASE(peer_that_never_stops_sending_does_not_hold_the_drain_up,
                     *boost::unit_test::label("posix")) {
    options.drain_timeout = 24h;
    std::size_t received = 0;
    std::error_code ended;

    ServeReport report = drain_during([&](TcpStream& stream) -> Task<> {
        std::pair<TcpReader, TcpWriter> halves = std::move(stream).split();
        auto read = [&]() -> Task<> {
            std::array<std::byte, 4096> buffer;
            for (;;) {
                Result<std::size_t> bytes = co_await as_result(halves.first.read(buffer));
                if (!bytes || *bytes == 0) co_return;
                received += *bytes;
            }
        };
        auto write = [&]() -> Task<> {
            for (;;) {
                Result<void> written = co_await as_result(halves.second.write_all(bytes_of("more")));
                if (!written) {
                    ended = written.error();
                    co_return;
                }
                co_await yield();
            }
        };
        co_await together(read, write);
    });

    BOOST_TEST(received == answer_size);
    BOOST_TEST((ended == std::errc::broken_pipe || ended == std::errc::connection_reset));
    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(stream_that_a_handler_closes_in_a_drain_tells_its_peer_at_once) {
    bool has_heard = false;
    auto close_and_work = [&](TcpStream peer) -> Task<> {
        std::array<std::byte, 64> request;
        for (std::size_t received = 1; received != 0;)
            received = co_await peer.read(request);
        peer.close();
        // What it goes on with hangs on the peer's having seen the end.
        while (!has_heard)
            co_await yield();
    };
    auto client = [&]() -> Task<> {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        while (control.report().accepted == 0)
            co_await yield();
        control.drain();
        std::string rest = co_await read_to_end(stream);
        has_heard = rest.empty();
    };
    ServeReport report = serve_during(close_and_work, client);

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(peer_whose_last_words_nobody_reads_still_gets_its_answer) {
    bool has_asked = false;
    auto answer_unread = [&](TcpStream peer) -> Task<> {
        co_await peer.readable();
        has_asked = true;
        while (!control.is_draining())
            co_await yield();
        co_await peer.write_all(bytes_of("answer"));
    };
    auto client = [&]() -> Task<> {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        co_await stream.write_all(bytes_of("question"));
        while (!has_asked)
            co_await yield();
        control.drain();
        std::string rest = co_await read_to_end(stream);
        BOOST_TEST(rest == "answer");
    };
    ServeReport report = serve_during(answer_unread, client);

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(readiness_and_trying_find_the_end_of_a_drained_connection) {
    auto try_to_the_end = [](TcpStream peer) -> Task<> {
        std::array<std::byte, 64> request;
        for (;;) {
            co_await peer.readable();
            std::optional<std::size_t> received = peer.try_read(request);
            if (received && *received == 0) co_return;
        }
    };
    auto client = [&]() -> Task<> {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        co_await stream.write_all(bytes_of("abc"));
        while (control.report().accepted == 0)
            co_await yield();
        control.drain();
        std::string rest = co_await read_to_end(stream);
        BOOST_TEST(rest == "");
    };
    ServeReport report = serve_during(try_to_the_end, client);

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::serve_linger_test
