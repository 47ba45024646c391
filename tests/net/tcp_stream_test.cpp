// SPDX-License-Identifier: BSL-1.0
#include "support/allocations.hpp"
#include "support/loopback_pair.hpp"
#include "support/sanitizer.hpp"
#include "support/sweep.hpp"
#include "support/system.hpp"

#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using namespace std::string_literals;

namespace leat::test::net::tcp_stream_test {
namespace {

// More than the buffers of a connection hold.
constexpr std::size_t flood = 10'000'000;
// Enough for hundreds of writes into a small buffer.
constexpr std::size_t small_flood = 2'000'000;

// A listener whose backlog is full: whoever connects now waits for an answer that does not come.
struct FullBacklog {
    FullBacklog() {
        ListenOptions options;
        options.backlog = 0;
        listener = TcpListener::bind(Address::loopback(0), options);
        for (TcpStream& stream : filling)
            stream = TcpStream::start_connect(listener.local_address());
    }

    TcpListener listener;
    std::array<TcpStream, 3> filling;
};

// A port that is bound and does not listen.
Address refusing_address(const RefusingPort& port) { return Address::loopback(port.endpoint.port()); }

// Reads all that comes, `step` bytes at a time.
Task<std::vector<std::byte>> read_all(TcpStream& stream, std::size_t step) {
    std::vector<std::byte> all;
    std::vector<std::byte> buffer(step);
    for (;;) {
        std::size_t received = co_await stream.read(buffer);
        if (received == 0) co_return all;
        all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(received));
    }
}

Task<> echo(TcpStream& stream) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        std::size_t received = co_await stream.read(buffer);
        if (received == 0) break;
        co_await stream.write_all(std::span(buffer).first(received));
    }
    stream.shutdown(Half::write);
}

Task<> connect_to(Address address) { TcpStream stream = co_await TcpStream::connect(address); }

}  // namespace

BOOST_FIXTURE_TEST_SUITE(tcp_stream, LoopbackPair)

// ---- Reading and writing ----

BOOST_AUTO_TEST_CASE(what_is_written_is_read) {
    run([&]() -> Task<> {
        std::size_t written = co_await client.write(bytes_of("hello"));
        std::array<std::byte, 16> buffer;
        std::size_t received = co_await server.read(buffer);

        BOOST_TEST(written == 5u);
        BOOST_TEST(text_of(std::span(buffer).first(received)) == "hello");
    });
}

BOOST_AUTO_TEST_CASE(text_is_written_without_the_nul_that_ends_a_literal) {
    const char unterminated[] = {'e', 'f'};
    const char* pointer = "g";
    std::string text = "h\0i"s;
    std::string_view view = std::string_view("jkl").substr(0, 2);
    Progress progress;
    std::string received;
    auto write = [&]() -> Task<> {
        co_await client.write_all("ab");
        co_await client.write_all("c\0d");
        co_await client.write_all(unterminated);
        co_await client.write_all(pointer);
        co_await client.write_all(text);
        co_await client.write_all(view);
        co_await client.write_all("");
        co_await client.write_all("m", progress);
        std::size_t written = co_await client.write("n");
        BOOST_TEST(written == 1u);
        BOOST_TEST((client.try_write("o") == 1u));
        client.shutdown(Half::write);
    };
    auto read = [&]() -> Task<> { received = co_await read_to_end(server); };

    executor.run_until(together(write, read));

    BOOST_TEST(progress.bytes == 1u);
    BOOST_TEST((received == "abc\0defgh\0ijkmno"s));
}

BOOST_AUTO_TEST_CASE(ipv6_connection_echoes) {
    if (!has_ipv6()) return;
    TcpListener ipv6 = TcpListener::bind(Address::loopback(0, Address::Family::ipv6));
    Connected connected(ipv6);
    std::string answer;
    auto serve = [&]() -> Task<> { co_await echo(connected.server); };
    auto ask = [&]() -> Task<> {
        co_await connected.client.write_all(bytes_of("hello"));
        connected.client.shutdown(Half::write);
        answer = co_await read_to_end(connected.client);
    };

    executor.run_until(together(serve, ask));

    BOOST_TEST(answer == "hello");
}

BOOST_AUTO_TEST_CASE(read_waits_for_bytes_and_does_not_wait_for_more) {
    std::string text;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 4096> buffer;
        std::size_t received = co_await server.read(buffer);
        text = text_of(std::span(buffer).first(received));
    };
    auto write = [&]() -> Task<> {
        co_await yield();
        BOOST_TEST(text == "");
        co_await client.write_all(bytes_of("a"));
    };

    executor.run_until(together(read, write));

    BOOST_TEST(text == "a");
}

// What a read tells is its own, not what stood in the same place of the frame before.
BOOST_AUTO_TEST_CASE(read_that_ends_without_bytes_gives_zero_after_reads_that_had_some) {
    std::vector<std::size_t> received;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        for (;;) {
            std::size_t bytes = co_await server.read(buffer);
            received.push_back(bytes);
            if (bytes == 0) co_return;
        }
    };
    auto write = [&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            std::size_t before = received.size();
            co_await client.write_all(bytes_of("12345"));
            while (received.size() == before)
                co_await yield();
        }
        SourceWatch watch(server.source());
        watch.end_reads();
    };

    executor.run_until(together(read, write));

    const std::vector<std::size_t> expected{5, 5, 5, 0};
    BOOST_TEST(received == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(rest_of_what_has_arrived_is_read_without_a_further_edge) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("0123456789"));
        std::string text;
        std::array<std::byte, 1> buffer;
        for (int i = 0; i < 10; ++i) {
            std::size_t received = co_await server.read(buffer);
            text += text_of(std::span(buffer).first(received));
        }
        BOOST_TEST(text == "0123456789");
    });
}

BOOST_AUTO_TEST_CASE(vectored_forms_keep_the_order) {
    run([&]() -> Task<> {
        std::array<ConstBuffer, 4> pieces{bytes_of("hel"), bytes_of(""), bytes_of("lo w"), bytes_of("orld")};
        std::size_t written = co_await client.write(std::span<const ConstBuffer>(pieces));
        std::array<std::byte, 4> head;
        std::array<std::byte, 16> tail;
        std::array<MutableBuffer, 2> places{std::span<std::byte>(head), std::span<std::byte>(tail)};
        std::size_t received = co_await server.read(std::span<const MutableBuffer>(places));

        BOOST_TEST(written == 11u);
        BOOST_TEST(received == 11u);
        BOOST_TEST(text_of(head) + text_of(std::span(tail).first(7)) == "hello world");
    });
}

BOOST_AUTO_TEST_CASE(more_buffers_than_the_system_takes_at_once_are_all_written) {
    constexpr std::size_t count = 3000;
    std::string received;
    auto write = [&]() -> Task<> {
        std::vector<ConstBuffer> pieces(count, ConstBuffer(bytes_of("abc")));
        co_await client.write_all(std::span<ConstBuffer>(pieces));
        client.close();
    };
    auto read = [&]() -> Task<> { received = co_await read_to_end(server); };

    executor.run_until(together(write, read));

    BOOST_TEST(received.size() == 3 * count);
    BOOST_TEST(received.substr(0, 6) == "abcabc");
}

BOOST_AUTO_TEST_CASE(vectored_write_all_goes_on_in_the_middle_of_a_buffer) {
    client.set_send_buffer_size(4096);
    std::vector<std::byte> sent = pattern(small_flood);
    std::vector<std::byte> received;
    Progress progress;
    auto write = [&]() -> Task<> {
        std::span<const std::byte> all(sent);
        std::array<ConstBuffer, 3> pieces{all.first(333'333), all.subspan(333'333, 1), all.subspan(333'334)};
        co_await client.write_all(std::span<ConstBuffer>(pieces), progress);
        client.close();
    };
    auto read = [&]() -> Task<> { received = co_await read_all(server, 7777); };

    executor.run_until(together(write, read));

    BOOST_TEST((received == sent));
    BOOST_TEST(progress.bytes == sent.size());
}

BOOST_AUTO_TEST_CASE(write_all_continues_in_order_when_the_peer_is_slow) {
    client.set_send_buffer_size(4096);
    std::vector<std::byte> sent = pattern(small_flood);
    std::vector<std::byte> received;
    bool was_written_at_once = true;
    auto write = [&]() -> Task<> {
        co_await client.write_all(sent);
        client.close();
    };
    auto read = [&]() -> Task<> {
        was_written_at_once = !client.is_open();
        received = co_await read_all(server, 1000);
    };

    executor.run_until(together(write, read));

    BOOST_TEST(!was_written_at_once);
    BOOST_TEST((received == sent));
}

BOOST_AUTO_TEST_CASE(single_bytes_arrive_in_order) {
    constexpr std::size_t count = 5000;
    std::vector<std::byte> sent = pattern(count);
    std::vector<std::byte> received;
    auto write = [&]() -> Task<> {
        for (std::byte byte : sent)
            co_await client.write_all(std::span(&byte, 1));
        client.close();
    };
    auto read = [&]() -> Task<> { received = co_await read_all(server, 4096); };

    executor.run_until(together(write, read));

    BOOST_TEST((received == sent));
}

BOOST_AUTO_TEST_CASE(read_exactly_collects_what_comes_in_pieces) {
    std::string text;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 10> buffer;
        co_await server.read_exactly(buffer);
        text = text_of(buffer);
    };
    auto write = [&]() -> Task<> {
        for (const char* piece : {"012", "3456", "78", "9abc"}) {
            co_await client.write_all(bytes_of(piece));
            co_await yield();
        }
    };

    executor.run_until(together(read, write));

    BOOST_TEST(text == "0123456789");
}

BOOST_AUTO_TEST_CASE(read_exactly_tells_an_end_that_comes_too_early_and_how_far_it_came) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        client.close();
        std::array<std::byte, 10> buffer;
        Progress progress;
        Result<void> result = co_await as_result(server.read_exactly(buffer, progress));

        BOOST_TEST((!result && result.error() == errc::unexpected_end));
        BOOST_TEST(progress.bytes == 3u);
    });
}

BOOST_AUTO_TEST_CASE(reader_and_writer_of_both_ends_do_not_wait_for_each_other) {
    std::vector<std::byte> upwards = pattern(flood, 1);
    std::vector<std::byte> downwards = pattern(flood, 2);
    auto exchange = [](TcpStream& stream, std::span<const std::byte> out,
                       std::vector<std::byte>& in) -> Task<> {
        auto write = [&]() -> Task<> {
            co_await stream.write_all(out);
            stream.shutdown(Half::write);
        };
        auto read = [&]() -> Task<> { in = co_await read_all(stream, 65536); };
        co_await together(write, read);
    };
    std::vector<std::byte> at_server;
    std::vector<std::byte> at_client;
    auto client_side = [&]() -> Task<> { co_await exchange(client, upwards, at_client); };
    auto server_side = [&]() -> Task<> { co_await exchange(server, downwards, at_server); };

    executor.run_until(together(client_side, server_side));

    BOOST_TEST((at_server == upwards));
    BOOST_TEST((at_client == downwards));
}

BOOST_AUTO_TEST_CASE(peek_takes_nothing) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("hello"));
        std::array<std::byte, 16> buffer;
        std::size_t seen = co_await server.peek(buffer);
        std::size_t received = co_await server.read(buffer);

        BOOST_TEST(seen == 5u);
        BOOST_TEST(received == 5u);
    });
}

BOOST_AUTO_TEST_CASE(peek_waits_as_a_read_does) {
    std::size_t seen = 0;
    auto peek = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        seen = co_await server.peek(buffer);
    };
    auto write = [&]() -> Task<> {
        co_await yield();
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(peek, write));

    BOOST_TEST(seen == 3u);
}

BOOST_AUTO_TEST_CASE(readable_waits_for_bytes_and_leaves_them) {
    std::string text;
    auto read = [&]() -> Task<> {
        co_await server.readable();
        std::array<std::byte, 16> buffer;
        std::optional<std::size_t> received = server.try_read(buffer);
        text = text_of(std::span(buffer).first(received.value()));
    };
    auto write = [&]() -> Task<> {
        co_await yield();
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(read, write));

    BOOST_TEST(text == "abc");
}

BOOST_AUTO_TEST_CASE(writable_waits_until_the_peer_has_made_room) {
    fill(client.native_handle());
    bool is_writable = false;
    auto write = [&]() -> Task<> {
        co_await client.writable();
        is_writable = true;
        client.close();
    };
    auto read = [&]() -> Task<> {
        co_await yield();
        BOOST_TEST(!is_writable);
        co_await read_all(server, 65536);
    };

    executor.run_until(together(write, read));

    BOOST_TEST(is_writable);
}

// ---- Sizes ----

BOOST_AUTO_TEST_CASE(empty_read_gives_zero_at_once_and_is_not_the_end) {
    run([&]() -> Task<> {
        std::size_t before = co_await server.read(std::span<std::byte>());
        co_await client.write_all(bytes_of("a"));
        std::size_t after = co_await server.read(std::span<std::byte>());
        co_await server.read_exactly(std::span<std::byte>());
        std::array<std::byte, 16> buffer;
        std::size_t received = co_await server.read(buffer);

        BOOST_TEST(before == 0u);
        BOOST_TEST(after == 0u);
        BOOST_TEST(received == 1u);
    });
}

BOOST_AUTO_TEST_CASE(empty_write_sends_nothing) {
    run([&]() -> Task<> {
        std::size_t written = co_await client.write(std::span<const std::byte>());
        co_await client.write_all(std::span<const std::byte>());
        co_await client.write_all(std::span<ConstBuffer>());
        std::array<std::byte, 16> buffer;
        std::optional<std::size_t> received = server.try_read(buffer);

        BOOST_TEST(written == 0u);
        BOOST_TEST(!received.has_value());
    });
}

BOOST_AUTO_TEST_CASE(empty_read_of_a_full_duplex_pair_disturbs_no_reader) {
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t received = co_await server.read(buffer);
        BOOST_TEST(received == 3u);
    };
    auto write = [&]() -> Task<> {
        co_await yield();
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(read, write));
}

// ---- The end of the stream ----

BOOST_AUTO_TEST_CASE(read_gives_zero_once_the_peer_has_closed_and_again) {
    run([&]() -> Task<> {
        client.close();

        std::array<std::byte, 16> buffer;
        std::size_t first = co_await server.read(buffer);
        std::size_t second = co_await server.read(buffer);

        BOOST_TEST(first == 0u);
        BOOST_TEST(second == 0u);
    });
}

BOOST_AUTO_TEST_CASE(end_that_follows_a_short_read_is_not_lost) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        client.shutdown(Half::write);

        std::string text = co_await read_to_end(server);

        BOOST_TEST(text == "abc");
    });
}

BOOST_AUTO_TEST_CASE(end_that_comes_while_a_read_waits_ends_it) {
    std::optional<std::size_t> received;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t bytes = co_await server.read(buffer);
        received = bytes;
    };
    auto close = [&]() -> Task<> {
        co_await yield();
        client.close();
    };

    executor.run_until(together(read, close));

    BOOST_TEST(received.value() == 0u);
}

BOOST_AUTO_TEST_CASE(peer_that_half_closed_can_still_be_written_to) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("question"));
        client.shutdown(Half::write);
        std::string question = co_await read_to_end(server);
        co_await server.write_all(bytes_of("answer"));
        server.close();
        std::string answer = co_await read_to_end(client);

        BOOST_TEST(question == "question");
        BOOST_TEST(answer == "answer");
    });
}

BOOST_AUTO_TEST_CASE(ten_mebibytes_before_a_half_close_are_all_echoed) {
    std::vector<std::byte> sent = pattern(10 << 20);
    std::vector<std::byte> received;
    auto serve = [&]() -> Task<> { co_await echo(server); };
    auto write = [&]() -> Task<> {
        co_await client.write_all(sent);
        client.shutdown(Half::write);
    };
    auto read = [&]() -> Task<> { received = co_await read_all(client, 65536); };
    auto ask = [&]() -> Task<> { co_await together(write, read); };

    executor.run_until(together(serve, ask));

    BOOST_TEST((received == sent));
}

BOOST_AUTO_TEST_CASE(shutdown_may_be_repeated) {
    for (Half half : {Half::write, Half::read, Half::both}) {
        client.shutdown(half);
        client.shutdown(half);
    }
}

BOOST_AUTO_TEST_CASE(shutdown_after_the_peer_has_gone_is_no_error) {
    reset(server);

    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        co_await as_result(client.read(buffer));
    });

    BOOST_CHECK_NO_THROW(client.shutdown(Half::write));
}

BOOST_AUTO_TEST_CASE(write_after_the_own_shutdown_is_a_broken_pipe) {
    client.shutdown(Half::write);

    run([&]() -> Task<> {
        Result<std::size_t> written = co_await as_result(client.write(bytes_of("a")));
        BOOST_TEST((!written && written.error() == std::errc::broken_pipe));
    });
}

// Windows gives nothing of it.
BOOST_AUTO_TEST_CASE(shut_reading_half_gives_what_has_arrived_and_then_the_end,
                     *boost::unit_test::label("posix")) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        server.shutdown(Half::read);

        std::string text = co_await read_to_end(server);

        BOOST_TEST(text == "abc");
    });
}

BOOST_AUTO_TEST_CASE(shut_reading_half_is_at_its_end) {
    server.shutdown(Half::read);

    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t peeked = co_await server.peek(buffer);
        std::size_t received = co_await server.read(buffer);
        Result<void> exactly = co_await as_result(server.read_exactly(buffer));

        BOOST_TEST(peeked == 0u);
        BOOST_TEST(received == 0u);
        BOOST_TEST((!exactly && exactly.error() == errc::unexpected_end));
        BOOST_TEST(server.try_read(buffer).value() == 0u);
    });
}

BOOST_AUTO_TEST_CASE(shutting_the_reading_half_ends_a_read_that_waits) {
    std::optional<std::size_t> received;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t bytes = co_await server.read(buffer);
        received = bytes;
    };
    auto shut = [&]() -> Task<> {
        co_await yield();
        server.shutdown(Half::read);
    };

    executor.run_until(together(read, shut));

    BOOST_TEST(received.value() == 0u);
}

BOOST_AUTO_TEST_CASE(shutting_the_writing_half_fails_a_write_that_waits) {
    fill(server.native_handle());
    std::error_code failure;
    auto write = [&]() -> Task<> {
        Result<void> written = co_await as_result(server.write_all(bytes_of("a")));
        if (!written) failure = written.error();
    };
    auto shut = [&]() -> Task<> {
        co_await yield();
        server.shutdown(Half::write);
    };

    executor.run_until(together(write, shut));

    BOOST_TEST((failure == std::errc::broken_pipe));
}

// ---- Errors ----

BOOST_AUTO_TEST_CASE(reset_fails_the_read_that_waits) {
    std::error_code failure;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(server.read(buffer));
        if (!received) failure = received.error();
    };
    auto strike = [&]() -> Task<> {
        co_await yield();
        reset(client);
    };

    executor.run_until(together(read, strike));

    BOOST_TEST((failure == std::errc::connection_reset));
}

// Wine forgets the error of a reset that nothing waits for.
BOOST_AUTO_TEST_CASE(reset_fails_the_read_once_and_then_it_is_the_end, *boost::unit_test::label("posix")) {
    reset(client);

    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> first = co_await as_result(server.read(buffer));
        Result<std::size_t> second = co_await as_result(server.read(buffer));

        BOOST_TEST((!first && first.error() == std::errc::connection_reset));
        BOOST_TEST((second && *second == 0));
    });
}

BOOST_AUTO_TEST_CASE(reset_ends_a_reader_and_a_writer_that_wait) {
    fill(server.native_handle());
    int failures = 0;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> result = co_await as_result(server.read(buffer));
        if (!result || *result == 0) ++failures;
    };
    auto write = [&]() -> Task<> {
        Result<void> result = co_await as_result(server.write_all(bytes_of("a")));
        if (!result) ++failures;
    };
    auto wait = [&]() -> Task<> { co_await together(read, write); };
    auto strike = [&]() -> Task<> {
        co_await yield();
        reset(client);
    };

    executor.run_until(together(wait, strike));

    BOOST_TEST(failures == 2);
}

// Wine forgets the error of a reset that nothing waits for.
BOOST_AUTO_TEST_CASE(error_of_a_read_says_so, *boost::unit_test::label("posix")) {
    reset(client);

    try {
        run([&]() -> Task<> {
            std::array<std::byte, 16> buffer;
            co_await server.read(buffer);
        });
        BOOST_FAIL("nothing was thrown");
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::connection_reset));
        BOOST_TEST(std::string(error.what()).starts_with("read: "), error.what());
    }
}

BOOST_AUTO_TEST_CASE(error_says_what_was_tried) {
    client.shutdown(Half::write);

    try {
        run([&]() -> Task<> { co_await client.write(bytes_of("a")); });
        BOOST_FAIL("nothing was thrown");
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::broken_pipe));
        BOOST_TEST(std::string(error.what()).starts_with("write: "), error.what());
    }
}

BOOST_AUTO_TEST_CASE(writing_to_a_peer_that_has_gone_ends_in_an_error) {
    server.close();
    const std::vector<std::byte> bytes = pattern(1000);
    auto write = [&]() -> Task<> {
        for (;;)
            co_await client.write_all(bytes);
    };
    auto write_vector = [&]() -> Task<> {
        for (;;) {
            std::array<ConstBuffer, 2> pieces{std::span<const std::byte>(bytes),
                                              std::span<const std::byte>(bytes)};
            co_await client.write_all(std::span<ConstBuffer>(pieces));
        }
    };

    for (const std::error_code& error : {error_of([&] { run(write); }), error_of([&] { run(write_vector); })})
        BOOST_TEST((error == std::errc::broken_pipe || error == std::errc::connection_reset));
}

BOOST_AUTO_TEST_CASE(second_read_at_the_same_time_is_busy_and_the_first_goes_on) {
    std::size_t received = 0;
    auto first = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        received = co_await server.read(buffer);
    };
    auto second = [&]() -> Task<> {
        co_await yield();
        std::array<std::byte, 16> buffer;
        Result<std::size_t> read = co_await as_result(server.read(buffer));
        Result<std::size_t> peek = co_await as_result(server.peek(buffer));
        Result<void> wait = co_await as_result(server.readable());
        BOOST_TEST((!read && read.error() == errc::busy));
        BOOST_TEST((!peek && peek.error() == errc::busy));
        BOOST_TEST((!wait && wait.error() == errc::busy));
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(first, second));

    BOOST_TEST(received == 3u);
}

BOOST_AUTO_TEST_CASE(urgent_data_does_not_end_or_spin_a_reader) {
    std::string text;
    auto read = [&]() -> Task<> { text = co_await read_to_end(server); };
    auto write = [&]() -> Task<> {
        co_await yield();
        send_urgent(client.native_handle(), '!');
        for (int i = 0; i < 10; ++i)
            co_await yield();
        co_await client.write_all(bytes_of("abc"));
        client.shutdown(Half::write);
    };

    executor.run_until(together(read, write));

    BOOST_TEST(text == "abc");
    BOOST_TEST(executor.stats().events < 10u);
}

// ---- Closing ----

BOOST_AUTO_TEST_CASE(close_ends_a_reader_and_a_writer_that_wait_once_each) {
    fill(server.native_handle());
    int ends = 0;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> result = co_await as_result(server.read(buffer));
        BOOST_TEST((!result && result.error() == errc::closed));
        ++ends;
    };
    auto write = [&]() -> Task<> {
        Result<void> result = co_await as_result(server.write_all(bytes_of("a")));
        BOOST_TEST((!result && result.error() == errc::closed));
        ++ends;
    };
    auto wait = [&]() -> Task<> { co_await together(read, write); };
    auto close = [&]() -> Task<> {
        co_await yield();
        server.close();
    };

    executor.run_until(together(wait, close));

    BOOST_TEST(ends == 2);
}

BOOST_AUTO_TEST_CASE(destroying_the_stream_ends_a_reader_that_waits) {
    int ends = 0;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> result = co_await as_result(server.read(buffer));
        BOOST_TEST((!result && result.error() == errc::closed));
        ++ends;
    };
    auto destroy = [&]() -> Task<> {
        co_await yield();
        TcpStream gone = std::move(server);
    };

    executor.run_until(together(read, destroy));

    BOOST_TEST(ends == 1);
}

BOOST_AUTO_TEST_CASE(bytes_that_had_arrived_win_over_a_close, *boost::unit_test::label("one_batch")) {
    Connected other(listener);
    std::optional<std::size_t> received;
    bool was_closed_first = false;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t bytes = co_await server.read(buffer);
        received = bytes;
    };
    // Both reads end in one batch. The one here waits first and is sent to first, so that its task is resumed first, and
    // at that time the other's bytes have left the system already.
    auto close = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        co_await other.server.read(buffer);
        was_closed_first = !received.has_value();
        server.close();
    };
    auto wait = [&]() -> Task<> { co_await together(close, read); };
    auto send = [&]() -> Task<> {
        co_await yield();
        write_text(other.client.native_handle(), "first");
        await_arrival(other.server.native_handle());
        write_text(client.native_handle(), "abc");
        await_arrival(server.native_handle());
    };

    executor.run_until(together(wait, send));

    BOOST_TEST(was_closed_first);
    BOOST_TEST((received == 3u));
}

BOOST_AUTO_TEST_CASE(operations_on_a_closed_stream_fail_with_closed) {
    server.close();

    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> read = co_await as_result(server.read(buffer));
        Result<void> write = co_await as_result(server.write_all(buffer));
        Result<void> wait = co_await as_result(server.readable());

        BOOST_TEST((!read && read.error() == errc::closed));
        BOOST_TEST((!write && write.error() == errc::closed));
        BOOST_TEST((!wait && wait.error() == errc::closed));
    });
}

BOOST_AUTO_TEST_CASE(stream_may_be_moved_while_a_read_waits) {
    std::optional<TcpStream> moved;
    std::string text;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t received = co_await server.read(buffer);
        text = text_of(std::span(buffer).first(received));
    };
    auto move = [&]() -> Task<> {
        co_await yield();
        moved = std::move(server);
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(read, move));

    BOOST_TEST(text == "abc");
    BOOST_TEST(moved->is_open());
}

BOOST_AUTO_TEST_CASE(what_was_written_before_a_close_arrives) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("last words"));
        client.close();

        std::string text = co_await read_to_end(server);

        BOOST_TEST(text == "last words");
    });
}

BOOST_AUTO_TEST_CASE(number_of_a_closed_descriptor_means_its_new_owner_only) {
    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        // Registers both, and leaves an event of the old one behind.
        co_await client.write_all(bytes_of("old"));
        std::size_t received = co_await server.read(buffer);
        BOOST_TEST(received == 3u);
        NativeHandle number = server.native_handle();
        auto wait = [&]() -> Task<> { co_await as_result(server.readable()); };
        auto replace = [&]() -> Task<> {
            co_await yield();
            co_await client.write_all(bytes_of("late"));
            server.close();
            std::deque<Connected> others;
            TcpStream* heir = nullptr;
            for (int i = 0; i < 20 && heir == nullptr; ++i) {
                Connected& other = others.emplace_back(listener);
                for (TcpStream* each : {&other.client, &other.server})
                    if (each->native_handle() == number) heir = each;
            }
            BOOST_TEST_REQUIRE(heir != nullptr);
            Result<std::size_t> nothing = co_await as_result(timeout(1ms, heir->read(buffer)));
            BOOST_TEST((!nothing && nothing.error() == errc::deadline_exceeded));
        };
        co_await together(wait, replace);
    });
}

// ---- Connecting ----

BOOST_AUTO_TEST_CASE(connect_gives_a_stream_that_knows_its_addresses) {
    run([&]() -> Task<> {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        TcpStream accepted = co_await listener.accept();

        BOOST_TEST((stream.peer_address() == listener.local_address()));
        BOOST_TEST((accepted.peer_address() == stream.local_address()));
        BOOST_TEST(stream.no_delay());
        BOOST_TEST(!is_inherited(stream.native_handle()));
    });
}

BOOST_AUTO_TEST_CASE(connect_obeys_its_options) {
    run([&]() -> Task<> {
        ConnectOptions options;
        options.local = Address::ipv4({127, 0, 0, 9}, 0);
        options.no_delay = false;
        TcpStream stream = co_await TcpStream::connect(listener.local_address(), options);

        BOOST_TEST((stream.local_address().octets() == options.local->octets()));
        BOOST_TEST(!stream.no_delay());
    });
}

BOOST_AUTO_TEST_CASE(refused_connect_names_the_address) {
    RefusingPort port;
    Address address = refusing_address(port);

    try {
        executor.run_until(connect_to(address));
        BOOST_FAIL("it was not refused");
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::connection_refused));
        BOOST_TEST(std::string(error.what()).find(to_string(address)) != std::string::npos, error.what());
    }
}

BOOST_AUTO_TEST_CASE(failed_connects_leak_no_descriptor) {
    RefusingPort port;
    Address address = refusing_address(port);
    std::set<NativeHandle> before = open_handles();

    for (int i = 0; i < 100; ++i) {
        run([&]() -> Task<> {
            Result<TcpStream> stream = co_await as_result(TcpStream::connect(address));
            BOOST_TEST((!stream && stream.error() == std::errc::connection_refused));
        });
    }

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_CASE(connect_from_an_address_of_another_machine_fails) {
    run([&]() -> Task<> {
        ConnectOptions options;
        options.local = Address::ipv4({192, 0, 2, 1}, 0);
        Result<TcpStream> stream = co_await as_result(TcpStream::connect(listener.local_address(), options));
        BOOST_TEST((!stream && stream.error() == std::errc::address_not_available));
    });
}

BOOST_AUTO_TEST_CASE(connect_without_an_answer_ends_at_its_deadline_and_closes_its_socket) {
    FullBacklog full;
    std::set<NativeHandle> before;

    run([&]() -> Task<> {
        co_await yield();
        before = open_handles();
        Result<TcpStream> stream =
            co_await as_result(timeout(10ms, TcpStream::connect(full.listener.local_address())));
        BOOST_TEST((!stream && stream.error() == errc::deadline_exceeded));
    });

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_CASE(connect_that_was_given_up_never_arrives) {
    FullBacklog full;
    std::vector<Address> expected;
    for (const TcpStream& stream : full.filling)
        expected.push_back(stream.local_address());

    run([&]() -> Task<> {
        Result<TcpStream> given_up =
            co_await as_result(timeout(100ms, TcpStream::connect(full.listener.local_address())));
        BOOST_TEST(!given_up.has_value());

        // Begun after the other, and in the same want of room: once it is there, after the system's second attempt, the
        // other one's has been made too.
        TcpStream later = TcpStream::start_connect(full.listener.local_address());
        expected.push_back(later.local_address());
        set_backlog(full.listener.native_handle(), 100);
        std::optional<Address> peer;
        while (peer != later.local_address()) {
            TcpStream stream = co_await full.listener.accept();
            peer = stream.peer_address();
            BOOST_TEST((std::find(expected.begin(), expected.end(), *peer) != expected.end()));
        }
    });
}

// ---- Cancellation ----

BOOST_AUTO_TEST_CASE(cancelled_read_leaves_the_bytes_to_the_next_one) {
    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::optional<std::size_t> none = co_await try_timeout(1ms, server.read(buffer));
        co_await client.write_all(bytes_of("abc"));
        std::size_t received = co_await server.read(buffer);

        BOOST_TEST(!none.has_value());
        BOOST_TEST(received == 3u);
    });
}

BOOST_AUTO_TEST_CASE(bytes_that_are_there_are_read_even_by_a_deadline_in_the_past) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        await_readable(server.native_handle());
        std::array<std::byte, 16> buffer;
        std::size_t received = co_await timeout(-1s, server.read(buffer));

        BOOST_TEST(received == 3u);
    });
}

BOOST_AUTO_TEST_CASE(cancelled_write_all_tells_how_far_it_came) {
    client.set_send_buffer_size(4096);
    std::vector<std::byte> sent = pattern(flood);
    Progress progress;

    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto write = [&]() -> Task<> { co_await client.write_all(sent, progress); };
            auto stop = [&]() -> Task<> {
                co_await yield();
                scope.cancel();
            };
            co_await together(write, stop);
        };
        bool finished = co_await cancel_scope(body);
        client.close();
        std::vector<std::byte> received = co_await read_all(server, 65536);

        BOOST_TEST(!finished);
        BOOST_TEST(progress.bytes > 0u);
        BOOST_TEST(progress.bytes < sent.size());
        BOOST_TEST(received.size() == progress.bytes);
        BOOST_TEST(std::equal(received.begin(), received.end(), sent.begin()));
    });
}

BOOST_AUTO_TEST_CASE(exchange_can_be_cancelled_at_every_point_and_leaks_nothing) {
    auto scenario = []() -> Task<> {
        TcpListener here = TcpListener::bind(Address::loopback(0));
        auto serve = [&]() -> Task<> {
            TcpStream stream = co_await here.accept();
            co_await echo(stream);
        };
        auto ask = [&]() -> Task<> {
            TcpStream stream = co_await TcpStream::connect(here.local_address());
            std::vector<std::byte> sent = pattern(300'000);
            std::vector<std::byte> received(sent.size());
            auto write = [&]() -> Task<> { co_await stream.write_all(sent); };
            auto read = [&]() -> Task<> { co_await stream.read_exactly(received); };
            co_await together(write, read);
            BOOST_TEST((received == sent));
        };
        co_await together(serve, ask);
    };
    std::set<NativeHandle> before = open_handles();

    sweep_all_endings(scenario);

    BOOST_TEST(open_handles() == before);
}

// ---- Fairness, memory, cost ----

BOOST_AUTO_TEST_CASE(reads_that_are_ready_at_once_neither_grow_the_stack_nor_keep_others_waiting) {
    const int reads = is_sanitized || calls_are_slow() ? 100'000 : 1'000'000;
    int done = 0;
    int seen_by_other = 0;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 1> buffer;
        for (; done < reads; ++done) {
            std::size_t seen = co_await server.peek(buffer);
            if (seen != 1) co_return;
        }
    };
    auto other = [&]() -> Task<> {
        co_await yield();
        seen_by_other = done;
    };
    write_text(client.native_handle(), "a");
    await_readable(server.native_handle());

    executor.run_until(together(read, other));

    BOOST_TEST(done == reads);
    BOOST_TEST(seen_by_other <= 1000);
}

BOOST_AUTO_TEST_CASE(input_that_nobody_reads_does_not_spin_the_loop) {
    constexpr int messages = 100;
    run([&]() -> Task<> {
        std::array<std::byte, 1> buffer;
        // Registered from here on.
        std::optional<std::size_t> none = co_await try_timeout(1ms, server.read(buffer));
        BOOST_TEST(!none.has_value());
        for (int i = 0; i < messages; ++i) {
            co_await client.write_all(bytes_of("abc"));
            co_await yield();
        }
        std::uint64_t polls = executor.stats().polls;
        co_await sleep_for(5ms);
        BOOST_TEST(executor.stats().polls - polls < 10u);
    });
}

BOOST_AUTO_TEST_CASE(messages_allocate_nothing) {
    auto serve = [&]() -> Task<> { co_await echo(server); };

    BOOST_TEST(allocations_of_messages(*this, serve) == 0u);
}

BOOST_AUTO_TEST_CASE(steady_exchange_resumes_each_task_once_a_message) {
    constexpr int messages = 1000;
    auto serve = [&]() -> Task<> { co_await echo(server); };
    auto ask = [&]() -> Task<> {
        std::array<std::byte, 64> buffer{};
        for (int i = 0; i < messages; ++i) {
            co_await client.write_all(buffer);
            co_await client.read_exactly(buffer);
        }
        client.close();
    };

    executor.run_until(together(serve, ask));

    // One on each side, and what starting, ending and the budget cost.
    BOOST_TEST(executor.stats().resumes < 2 * messages + 200u);
}

// ---- Options and addresses ----

BOOST_AUTO_TEST_CASE(no_delay_can_be_set) {
    for (bool on : {true, false, true}) {
        client.set_no_delay(on);
        BOOST_TEST(client.no_delay() == on);
    }
}

BOOST_AUTO_TEST_CASE(ttl_can_be_set_and_has_a_default) {
    BOOST_TEST(client.ttl() > 0);

    client.set_ttl(33);

    BOOST_TEST(client.ttl() == 33);
}

BOOST_AUTO_TEST_CASE(ipv6_hops_can_be_set) {
    if (!has_ipv6()) return;
    TcpListener ipv6 = TcpListener::bind(Address::loopback(0, Address::Family::ipv6));
    Connected connected(ipv6);

    connected.client.set_ttl(33);

    BOOST_TEST(connected.client.ttl() == 33);
}

// Wine does not know the times.
BOOST_AUTO_TEST_CASE(keep_alive_can_be_set_and_taken_back, *boost::unit_test::label("posix")) {
    BOOST_TEST(!client.keep_alive());
    TcpStream::KeepAlive settings;
    settings.idle = 30s;
    settings.interval = 5s;
    settings.probes = 3;

    client.set_keep_alive(settings);
    BOOST_TEST(client.keep_alive());
    KeepAliveTimes times = keep_alive_times(client.native_handle());
    BOOST_TEST(times.idle == 30);
    BOOST_TEST(times.interval == 5);
    BOOST_TEST(times.probes == 3);

    client.disable_keep_alive();
    BOOST_TEST(!client.keep_alive());
}

BOOST_AUTO_TEST_CASE(keep_alive_without_probes_is_refused) {
    TcpStream::KeepAlive settings;
    settings.probes = 0;

    BOOST_TEST((error_of([&] { client.set_keep_alive(settings); }) == std::errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(linger_is_none_or_zero_since_others_would_block) {
    BOOST_TEST(!client.linger().has_value());

    client.set_linger(0s);
    BOOST_TEST((client.linger() == std::optional(0s)));

    BOOST_TEST((error_of([&] { client.set_linger(5s); }) == std::errc::invalid_argument));
    BOOST_TEST((error_of([&] { client.set_linger(-1s); }) == std::errc::invalid_argument));
    BOOST_TEST((client.linger() == std::optional(0s)));

    client.set_linger(std::nullopt);
    BOOST_TEST(!client.linger().has_value());
}

BOOST_AUTO_TEST_CASE(buffer_sizes_are_at_least_what_was_asked_for) {
    client.set_receive_buffer_size(20'000);
    client.set_send_buffer_size(30'000);

    BOOST_TEST(client.receive_buffer_size() >= 20'000);
    BOOST_TEST(client.send_buffer_size() >= 30'000);
    BOOST_TEST((error_of([&] { client.set_send_buffer_size(-1); }) == std::errc::invalid_argument));
}

// Windows has no such option.
BOOST_AUTO_TEST_CASE(user_timeout_can_be_set, *boost::unit_test::label("posix")) {
    client.set_user_timeout(1234ms);

    BOOST_TEST((client.user_timeout() == 1234ms));
    std::chrono::milliseconds beyond = std::chrono::milliseconds(std::int64_t{1} << 40);
    BOOST_TEST((error_of([&] { client.set_user_timeout(beyond); }) == std::errc::invalid_argument));
    BOOST_TEST((client.user_timeout() == 1234ms));
}

BOOST_AUTO_TEST_CASE(addresses_of_both_ends_agree) {
    BOOST_TEST((client.local_address() == server.peer_address()));
    BOOST_TEST((client.peer_address() == server.local_address()));
}

BOOST_AUTO_TEST_CASE(peer_address_of_an_unconnected_socket_is_an_error) {
    OwnedHandle socket = tcp_socket();
    TcpStream stream = TcpStream::adopt(socket.release());

    BOOST_TEST((error_of([&] { stream.peer_address(); }) == std::errc::not_connected));
}

// ---- Handles ----

BOOST_AUTO_TEST_CASE(stream_can_be_released_and_adopted) {
    NativeHandle handle = server.release();
    BOOST_TEST(!server.is_open());

    TcpStream adopted = TcpStream::adopt(handle);

    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        client.close();
        std::string text = co_await read_to_end(adopted);
        BOOST_TEST(text == "abc");
    });
}

BOOST_AUTO_TEST_CASE(what_is_no_stream_is_not_adopted_and_stays_the_callers) {
    OwnedHandle datagrams = udp_socket();

    BOOST_TEST((error_of([&] { TcpStream::adopt(datagrams.get()); }) == std::errc::invalid_argument));
    BOOST_TEST(
        (error_of([&] { TcpStream::adopt(listener.native_handle()); }) == std::errc::invalid_argument));
    BOOST_TEST((error_of([&] { TcpStream::adopt(0x7fff'fff0); }) == std::errc::bad_file_descriptor));

    BOOST_TEST(!is_inherited(datagrams.get()));
    BOOST_TEST(listener.is_open());
}

BOOST_AUTO_TEST_CASE(stream_of_one_executor_is_refused_by_another_until_it_is_released) {
    Executor other;
    std::array<std::byte, 16> buffer;
    auto read = [&]() -> Task<std::error_code> {
        Result<std::size_t> result = co_await as_result(server.read(buffer));
        if (result) co_return std::error_code();
        co_return result.error();
    };
    client.close();
    BOOST_TEST(!run(read));

    BOOST_TEST((other.run_until(read()) == errc::already_registered));

    server = TcpStream::adopt(server.release());
    BOOST_TEST(!other.run_until(read()));
}

BOOST_AUTO_TEST_CASE(what_one_executor_released_does_everything_in_another) {
    std::array<std::byte, 8> buffer;
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        co_await server.read(buffer);
        co_await as_result(timeout(-1s, listener.accept()));
    });
    Executor other;
    TcpStream stream = TcpStream::adopt(server.release());
    TcpListener socket = TcpListener::adopt(listener.release());
    std::string greeting;
    auto serve = [&]() -> Task<> {
        std::optional<std::size_t> none = co_await try_timeout(1ms, stream.read(buffer));
        BOOST_TEST(!none.has_value());
        write_text(client.native_handle(), "12345678");
        co_await stream.read_exactly(buffer);
        BOOST_TEST(text_of(buffer) == "12345678");
        co_await stream.write_all(bytes_of("answer"));
        TcpStream accepted = co_await socket.accept();
        co_await accepted.write_all(bytes_of("hello"));
    };
    auto ask = [&]() -> Task<> {
        for (std::string answer; answer.empty();) {
            answer = is_readable(client.native_handle()) ? read_text(client.native_handle()) : "";
            co_await yield();
        }
        for (int i = 0; i < 10; ++i)
            co_await yield();
        TcpStream connected = co_await TcpStream::connect(socket.local_address());
        greeting = co_await read_to_end(connected);
    };

    other.run_until(together(serve, ask));

    BOOST_TEST(greeting == "hello");
}

BOOST_AUTO_TEST_CASE(stream_may_outlive_its_executor) {
    std::optional<TcpStream> stream;
    {
        Executor short_lived;
        auto use = [&]() -> Task<> {
            co_await server.write_all(bytes_of("abc"));
            stream = std::move(server);
        };
        short_lived.run_until(use());
    }

    run([&]() -> Task<> {
        stream.reset();
        std::string text = co_await read_to_end(client);
        BOOST_TEST(text == "abc");
    });
}

// ---- Halves ----

BOOST_AUTO_TEST_CASE(halves_of_a_stream_have_owners_of_their_own) {
    auto serve = [&]() -> Task<> { co_await echo(server); };
    auto ask = [&]() -> Task<> {
        auto [reader, writer] = std::move(client).split();
        BOOST_TEST(!client.is_open());
        auto write = [](TcpWriter half) -> Task<> { co_await half.write_all(bytes_of("hello")); };
        auto read = [](TcpReader half) -> Task<> {
            std::string text = co_await read_to_end(half.stream());
            BOOST_TEST(text == "hello");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(write, std::move(writer));
            group.spawn(read, std::move(reader));
            co_return;
        };
        co_await task_group(body);
    };

    executor.run_until(together(serve, ask));
}

BOOST_AUTO_TEST_CASE(end_of_the_writing_half_is_the_peers_end_of_stream) {
    auto [reader, writer] = std::move(client).split();
    {
        TcpWriter gone = std::move(writer);
    }

    run([&]() -> Task<> {
        std::string text = co_await read_to_end(server);
        BOOST_TEST(text == "");
        co_await server.write_all(bytes_of("still open"));
        server.close();
        std::string answer = co_await read_to_end(reader.stream());
        BOOST_TEST(answer == "still open");
    });
}

BOOST_AUTO_TEST_CASE(socket_closes_with_the_last_half) {
    NativeHandle handle = client.native_handle();
    {
        auto [reader, writer] = std::move(client).split();
        BOOST_TEST(open_handles().contains(handle));
    }

    BOOST_TEST(!open_handles().contains(handle));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::tcp_stream_test
