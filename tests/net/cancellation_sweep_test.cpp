// SPDX-License-Identifier: BSL-1.0
// What a stream and a server wait for, cancelled at every suspension point: no byte is lost or told of twice. Each run's
// connection outlives it, so that what it left can be counted. See support/sweep.hpp.
#include "support/loopback_pair.hpp"
#include "support/sweep.hpp"
#include "support/system.hpp"

#include <leat/net/drain.hpp>
#include <leat/net/serve.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::cancellation_sweep_test {
namespace {

// More than a small send buffer holds.
constexpr std::size_t flood = 200'000;

/// Fixture: a connection a run, what was sent on it and what was received.
struct SweptConnection {
    /// Sweeps `scenario`; `check` is called after each run, before the connection ends.
    template <class Scenario, class Check>
    void sweep_with(Scenario scenario, Check check) {
        SweepOptions options;
        options.before = [this] {
            TcpListener listener = TcpListener::bind(Address::loopback(0));
            connection.emplace(listener);
            connection->client.set_send_buffer_size(4096);
        };
        options.after = [this, check] {
            take_what_is_left();
            check();
            // A source that was used keeps the queue that it was used with.
            connection.reset();
            sent = std::string();
            received = std::string();
            progress = Progress();
        };
        // What the system opens with the first connection, and keeps, is there from here on.
        {
            LoopbackPair first;
        }
        std::set<NativeHandle> before = open_handles();

        sweep_all_endings(scenario, options);

        BOOST_TEST(open_handles() == before);
    }

    TcpStream& client() { return connection->client; }
    TcpStream& server() { return connection->server; }

    void take_what_is_left() {
        left = std::string();
        client().shutdown(Half::write);
        for (std::string text = "?"; !text.empty(); left += text)
            text = read_text(server().native_handle());
    }

    /// Sends piece after piece; the clock moves only once the other end waits.
    Task<> send_in_pieces() {
        for (const char* piece : {"one", "and two", "three"}) {
            co_await sleep_for(1s);
            write_text(client().native_handle(), piece);
            sent += piece;
        }
    }
    static constexpr std::size_t all_pieces = 15;

    Task<> receive(std::size_t size) {
        std::vector<std::byte> buffer(size);
        while (received.size() < size) {
            std::size_t bytes = co_await server().read(buffer);
            received += text_of(std::span(buffer).first(bytes));
        }
    }

    /// Whether what was taken from `all`, and nothing else, came out.
    bool is_what_was_taken(std::size_t taken) const {
        std::string out = received + left;
        return out.size() == taken && std::string_view(all).starts_with(out);
    }

    const std::string all = text_of(pattern(flood));
    std::optional<Connected> connection;
    std::string sent;
    std::string received;
    std::string left;
    Progress progress;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cancellation_sweep, SweptConnection)

BOOST_AUTO_TEST_CASE(cancelled_peek_takes_nothing) {
    auto peek_and_read = [&]() -> Task<> {
        std::array<std::byte, 4> seen;
        std::array<std::byte, 4> taken;
        while (received.size() < all_pieces) {
            std::size_t peeked = co_await server().peek(seen);
            std::size_t bytes = co_await server().read(std::span(taken).first(peeked));
            received += text_of(std::span(taken).first(bytes));
            BOOST_TEST(std::equal(taken.begin(), taken.begin() + bytes, seen.begin()));
        }
    };
    auto send = [&]() -> Task<> { co_await send_in_pieces(); };

    sweep_with([&]() -> Task<> { co_await together(send, peek_and_read); },
               [&] { BOOST_TEST(received + left == sent); });
}

BOOST_AUTO_TEST_CASE(cancelled_receive_loses_no_byte) {
    auto receive = [&]() -> Task<> {
        while (received.size() < all_pieces) {
            LentBuffer chunk = co_await server().receive();
            received += text_of(chunk.bytes());
        }
    };
    auto send = [&]() -> Task<> { co_await send_in_pieces(); };

    sweep_with([&]() -> Task<> { co_await together(send, receive); },
               [&] { BOOST_TEST(received + left == sent); });
}

BOOST_AUTO_TEST_CASE(cancelled_vectored_read_loses_no_byte) {
    auto read = [&]() -> Task<> {
        std::array<std::byte, 4> bytes;
        std::array<MutableBuffer, 2> places{std::span(bytes).first(1), std::span(bytes).last(3)};
        while (received.size() < all_pieces) {
            std::size_t count = co_await server().read(std::span<const MutableBuffer>(places));
            received += text_of(std::span(bytes).first(count));
        }
    };
    auto send = [&]() -> Task<> { co_await send_in_pieces(); };

    sweep_with([&]() -> Task<> { co_await together(send, read); },
               [&] { BOOST_TEST(received + left == sent); });
}

BOOST_AUTO_TEST_CASE(cancelled_vectored_write_tells_of_each_byte_that_was_taken) {
    auto write = [&]() -> Task<> {
        while (progress.bytes < flood) {
            std::span<const std::byte> rest = bytes_of(all).subspan(progress.bytes);
            std::size_t first = rest.size() / 3;
            std::array<ConstBuffer, 2> pieces{rest.first(first), rest.subspan(first)};
            std::size_t taken = co_await client().write(std::span<const ConstBuffer>(pieces));
            progress.bytes += taken;
        }
    };
    auto read = [&]() -> Task<> { co_await receive(flood); };

    sweep_with([&]() -> Task<> { co_await together(write, read); },
               [&] { BOOST_TEST(is_what_was_taken(progress.bytes)); });
}

BOOST_AUTO_TEST_CASE(progress_of_a_cancelled_read_exactly_is_what_is_in_the_buffer) {
    std::array<std::byte, all_pieces> buffer;
    auto read = [&]() -> Task<> { co_await server().read_exactly(buffer, progress); };
    auto send = [&]() -> Task<> { co_await send_in_pieces(); };

    sweep_with([&]() -> Task<> { co_await together(send, read); },
               [&] { BOOST_TEST(text_of(std::span(buffer).first(progress.bytes)) + left == sent); });
}

BOOST_AUTO_TEST_CASE(progress_of_a_cancelled_write_all_is_what_arrives) {
    auto write = [&]() -> Task<> { co_await client().write_all(bytes_of(all), progress); };
    auto read = [&]() -> Task<> { co_await receive(flood); };

    sweep_with([&]() -> Task<> { co_await together(write, read); },
               [&] { BOOST_TEST(is_what_was_taken(progress.bytes)); });
}

BOOST_AUTO_TEST_CASE(progress_of_a_cancelled_vectored_write_all_is_what_arrives) {
    auto write = [&]() -> Task<> {
        std::span<const std::byte> bytes = bytes_of(all);
        std::array<ConstBuffer, 3> pieces{bytes.first(66'666), bytes.subspan(66'666, 1),
                                          bytes.subspan(66'667)};
        co_await client().write_all(std::span<ConstBuffer>(pieces), progress);
    };
    auto read = [&]() -> Task<> { co_await receive(flood); };

    sweep_with([&]() -> Task<> { co_await together(write, read); },
               [&] { BOOST_TEST(is_what_was_taken(progress.bytes)); });
}

// Wine does not tell what the peer has not acknowledged.
BOOST_AUTO_TEST_CASE(server_that_lingers_can_be_cancelled_anywhere, *boost::unit_test::label("posix")) {
    constexpr std::size_t answer_size = 200'000;
    std::set<NativeHandle> before = open_handles();

    sweep_all_endings([]() -> Task<> {
        TcpListener here = TcpListener::bind(Address::loopback(0));
        ServeOptions options;
        options.drain_timeout = 1h;
        options.drain_quiet = 0s;
        ServeControl control;
        bool has_answered = false;
        bool has_ended = false;
        auto answer = [&](TcpStream peer) -> Task<> {
            // Room for all of it, so that the handler is done with it long before the peer.
            peer.set_send_buffer_size(4 * int{answer_size});
            std::vector<std::byte> text(answer_size);
            co_await peer.write_all(text);
            has_answered = true;
            co_await read_to_end(peer);
        };
        auto run_server = [&]() -> Task<> {
            co_await leat::serve(here, answer, options, control);
            has_ended = true;
        };
        auto ask = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(here.local_address());
            while (!has_answered)
                co_await sleep_for(1ms);
            control.drain();
            // In the meantime, it looks a few times whether the peer has had everything.
            co_await sleep_for(1s);
            BOOST_TEST(control.connections() == 0u);
            BOOST_TEST(!has_ended);
            std::vector<std::byte> buffer(answer_size);
            co_await stream.read_exactly(buffer);
            std::size_t more = co_await stream.read(buffer);
            BOOST_TEST(more == 0u);
        };
        co_await together(run_server, ask);
    });

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_CASE(wait_for_a_drain_can_be_cancelled_anywhere) {
    std::set<NativeHandle> before = open_handles();

    sweep_all_endings([]() -> Task<> {
        TcpListener here = TcpListener::bind(Address::loopback(0));
        ServeOptions options;
        options.lame_duck = 1s;
        options.drain_quiet = 0s;
        ServeControl control;
        // Two tasks of one handler wait, and one that no server runs.
        auto wait = [](TcpStream peer) -> Task<> {
            auto wait_too = []() -> Task<> { co_await drain_requested(); };
            auto wait_and_say_so = [&]() -> Task<> {
                co_await drain_requested();
                co_await peer.write_all(bytes_of("bye"));
            };
            co_await together(wait_too, wait_and_say_so);
        };
        auto run_server = [&]() -> Task<> { co_await leat::serve(here, wait, options, control); };
        auto ask = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(here.local_address());
            while (control.connections() == 0)
                co_await sleep_for(1ms);
            auto outside = drain_requested();
            bool came = co_await try_timeout(1ms, std::move(outside));
            BOOST_TEST(!came);
            control.drain();
            std::array<std::byte, 3> word;
            co_await stream.read_exactly(word);
            BOOST_TEST(text_of(word) == "bye");
        };
        co_await together(run_server, ask);
    });

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::cancellation_sweep_test
