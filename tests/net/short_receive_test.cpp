// SPDX-License-Identifier: BSL-1.0
// A receive that gives less than was asked for has emptied a TCP socket, and no other: a Unix socket stops at
// a message that carries descriptors and where another writer's bytes begin, and a datagram socket gives one
// datagram.
#include "support/loopback_pair.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/poll.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::short_receive_test {
namespace {

enum class Reads { read, vectored_read, receive, read_exactly, readable };
constexpr std::array ways{Reads::read, Reads::vectored_read, Reads::receive, Reads::read_exactly,
                          Reads::readable};
constexpr std::array names{"read", "vectored read", "receive", "read_exactly", "readable"};

// It ends a wait that has failed.
constexpr Duration patience = 5s;
constexpr const char* goes_on = "goes on waiting";

struct Streams {
    Streams() {
        const auto [ours, theirs] = unix_pair(UnixSocket::stream);
        stream = TcpStream::adopt(ours);
        peer = OwnedHandle(theirs);
    }

    /// Reads ten bytes, in pieces that are as short as they come.
    Task<std::string> read_ten(Reads way) {
        std::string text;
        std::array<std::byte, 64> buffer;
        if (way == Reads::read_exactly) {
            co_await stream.read_exactly(std::span(buffer).first(10));
            co_return text_of(std::span(buffer).first(10));
        }
        while (text.size() < 10) {
            if (way == Reads::receive) {
                LentBuffer chunk = co_await stream.receive();
                if (chunk.empty()) co_return text;
                text += text_of(chunk.bytes());
                continue;
            }
            std::size_t received = 0;
            if (way == Reads::read) {
                received = co_await stream.read(buffer);
            } else if (way == Reads::vectored_read) {
                std::array<MutableBuffer, 2> places{std::span(buffer).first(30), std::span(buffer).last(34)};
                received = co_await stream.read(std::span<const MutableBuffer>(places));
            } else {
                co_await stream.readable();
                received = stream.try_read(buffer).value_or(0);
            }
            if (received == 0) co_return text;
            text += text_of(std::span(buffer).first(received));
        }
        co_return text;
    }

    /// Three times `send` sends ten bytes in pieces, to a read that waits or before it.
    template <class Send>
    void check(Send send) {
        for (Reads way : ways) {
            for (bool waits_first : {true, false}) {
                for (int round = 0; round < 3; ++round) {
                    std::optional<std::string> text;
                    auto read = [&]() -> Task<> { text = co_await try_timeout(patience, read_ten(way)); };
                    auto write = [&]() -> Task<> {
                        if (waits_first) {
                            for (int turn = 0; turn < 10; ++turn)
                                co_await yield();
                        }
                        send();
                    };
                    if (waits_first)
                        executor.run_until(together(read, write));
                    else
                        executor.run_until(together(write, read));
                    if (text == "0123456789") continue;
                    BOOST_ERROR(std::string(names[static_cast<std::size_t>(way)]) +
                                (waits_first ? " that waits" : " of what is there") + ", round " +
                                std::to_string(round) + ": " + text.value_or(goes_on));
                    return;
                }
            }
        }
        BOOST_TEST(true);
    }

    Executor executor;
    TcpStream stream;
    OwnedHandle peer;
};

struct Datagrams {
    Datagrams() {
        const auto [ours, theirs] = unix_pair(UnixSocket::datagram);
        source = Source(ours);
        peer = OwnedHandle(theirs);
    }

    /// Whether it ends.
    bool carry_out(Operation& operation) { return poll.submit(operation) || wait_for(operation); }
    /// The same of one that was submitted. It is cancelled otherwise.
    bool wait_for(Operation& operation) {
        Events events(16);
        const auto deadline = std::chrono::steady_clock::now() + patience;
        while (!operation.is_ended() && std::chrono::steady_clock::now() < deadline)
            (void)poll.poll(events, 100ms);
        if (operation.is_ended()) return true;
        if (!poll.cancel(operation))
            while (!operation.is_ended())
                (void)poll.poll(events, 100ms);
        return false;
    }

    std::string receive(Source& from) {
        Operation operation = Operation::receive(from, buffer);
        return finish(operation, true);
    }
    std::string receive_vector(Source& from) {
        std::array<MutableBuffer, 2> places{std::span(buffer).first(1), std::span(buffer).subspan(1)};
        Operation operation = Operation::receive(from, std::span<const MutableBuffer>(places));
        return finish(operation, true);
    }
    std::string receive_lent(Source& from) {
        Operation operation = Operation::receive_lent(from);
        return finish(operation, false);
    }
    std::string finish(Operation& operation, bool has_buffer) {
        if (!carry_out(operation)) return goes_on;
        if (operation.has_failed()) return operation.error().message();
        if (has_buffer) return text_of(std::span(buffer).first(operation.transferred()));
        LentBuffer chunk = operation.take_buffer();
        return text_of(chunk.bytes());
    }

    void send(std::string_view text) {
        std::error_code error;
        (void)try_write(peer.get(), text, error);
        BOOST_TEST(!error);
    }

    /// Receives `sent`, which are sent while the first receive waits.
    template <class Receive>
    void check(const std::vector<std::string>& sent, Receive receive_one) {
        Operation first = Operation::receive(source, buffer);
        BOOST_TEST_REQUIRE(!poll.submit(first));
        Events events(16);
        (void)poll.poll(events, Duration::zero());
        for (const std::string& text : sent)
            send(text);
        BOOST_TEST_REQUIRE(wait_for(first));
        BOOST_TEST(!first.has_failed());
        std::vector<std::string> received{text_of(std::span(buffer).first(first.transferred()))};
        while (received.size() < sent.size() && received.back() != goes_on)
            received.push_back(receive_one());

        BOOST_TEST(received == sent, boost::test_tools::per_element());
    }

    Poll poll;
    Source source;
    OwnedHandle peer;
    std::array<std::byte, 64> buffer{};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(short_receive)

// ---- Streams ----

BOOST_FIXTURE_TEST_CASE(bytes_behind_a_message_with_a_descriptor_are_read, Streams) {
    check([&] {
        send_with_descriptor(peer.get(), "01234");
        write_text(peer.get(), "56789");
    });
}

BOOST_FIXTURE_TEST_CASE(bytes_behind_several_messages_with_descriptors_are_read, Streams) {
    check([&] {
        write_text(peer.get(), "01");
        send_with_descriptor(peer.get(), "234");
        send_with_descriptor(peer.get(), "5");
        send_with_descriptor(peer.get(), "67");
        write_text(peer.get(), "89");
    });
}

BOOST_FIXTURE_TEST_CASE(bytes_of_another_writer_are_read, Streams) {
    ask_for_credentials(stream.native_handle());
    check([&] {
        const NativeHandle handle = peer.get();
        const int status = run_in_child([handle] {
            write_text(handle, "01234");
            return true;
        });
        BOOST_TEST(status == 0);
        write_text(handle, "56789");
    });
}

// ---- Datagrams ----

BOOST_FIXTURE_TEST_CASE(queued_datagrams_are_received_one_by_one, Datagrams) {
    check({"a", "bb", "ccc"}, [&] { return receive(source); });
}

BOOST_FIXTURE_TEST_CASE(queued_datagrams_are_received_by_vectored_receives, Datagrams) {
    check({"a", "bb", "ccc"}, [&] { return receive_vector(source); });
}

BOOST_FIXTURE_TEST_CASE(queued_datagrams_are_received_into_lent_buffers, Datagrams) {
    check({"a", "bb", "ccc"}, [&] { return receive_lent(source); });
}

BOOST_FIXTURE_TEST_CASE(empty_datagram_is_no_end_of_those_that_follow, Datagrams) {
    check({"", "a", "", "", "bb"}, [&] { return receive(source); });
}

BOOST_FIXTURE_TEST_CASE(empty_datagram_is_no_end_for_vectored_receives, Datagrams) {
    check({"", "a", "", "bb"}, [&] { return receive_vector(source); });
}

BOOST_FIXTURE_TEST_CASE(empty_datagram_is_no_end_for_lent_buffers, Datagrams) {
    check({"", "a", "", "bb"}, [&] { return receive_lent(source); });
}

BOOST_FIXTURE_TEST_CASE(receive_after_an_empty_datagram_waits_for_the_next, Datagrams) {
    check({""}, [&] { return receive(source); });
    Operation next = Operation::receive(source, buffer);
    Events events(16);
    BOOST_TEST(!poll.submit(next));
    (void)poll.poll(events, 10ms);
    BOOST_TEST(!next.is_ended());

    send("x");
    BOOST_TEST_REQUIRE(wait_for(next));

    BOOST_TEST(text_of(std::span(buffer).first(next.transferred())) == "x");
}

BOOST_FIXTURE_TEST_CASE(receive_is_ready_at_once_for_each_empty_datagram_over_udp, Datagrams) {
    Source udp(udp_socket().release());
    Operation first = Operation::receive(udp, buffer);
    BOOST_TEST_REQUIRE(!poll.submit(first));
    Events events(16);
    (void)poll.poll(events, Duration::zero());
    for (int i = 0; i < 3; ++i)
        send_empty_datagram(udp.native_handle());
    BOOST_TEST_REQUIRE(wait_for(first));

    BOOST_TEST(!first.has_failed());
    BOOST_TEST_REQUIRE(receive(udp) == "");
    BOOST_TEST_REQUIRE(receive(udp) == "");
    // There are no more.
    BOOST_TEST(!is_readable(udp.native_handle()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::short_receive_test
