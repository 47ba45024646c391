// SPDX-License-Identifier: BSL-1.0
// Reads that lend a buffer. How many of its buffers the executor has lent tells whether one was taken too early, or
// forgotten.
#include "support/allocations.hpp"
#include "support/loopback_pair.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/reactor/buffer_pool.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::receive_test {
namespace {

constexpr std::size_t mebibyte = 1024 * 1024;

std::size_t lent_by(Executor& executor) {
    const detail::BufferPool* pool = executor.poll().completions().buffers;
    return pool != nullptr ? pool->lent() : 0;
}

struct Fixture : LoopbackPair {
    ~Fixture() { BOOST_TEST(lent() == 0u); }

    std::size_t lent() { return lent_by(executor); }
};

/// Allocations, without the frames that are kept for the next task.
std::size_t outstanding() {
    detail::FramePool::trim();
    return outstanding_allocations();
}

Task<> echo_pooled(TcpStream& stream) {
    for (;;) {
        LentBuffer chunk = co_await stream.receive();
        if (chunk.empty()) break;
        co_await stream.write_all(chunk);
    }
    stream.shutdown(Half::write);
}

Task<std::vector<std::byte>> receive_all(TcpStream& stream) {
    std::vector<std::byte> all;
    for (;;) {
        LentBuffer chunk = co_await stream.receive();
        if (chunk.empty()) co_return all;
        all.insert(all.end(), chunk.begin(), chunk.end());
    }
}

/// Some turns, in each of which the executor looks what the kernel has.
Task<> let_the_kernel_work() {
    for (int turn = 0; turn < 10; ++turn)
        co_await yield();
}

Task<std::string> receive_text(TcpStream& stream) {
    LentBuffer chunk = co_await stream.receive();
    std::string text = text_of(chunk.bytes());
    co_return text;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(receive, Fixture)

// ---- What it gives ----

BOOST_AUTO_TEST_CASE(what_is_written_is_received) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("hello"));
        LentBuffer chunk = co_await server.receive();

        BOOST_TEST(chunk.size() == 5u);
        BOOST_TEST(!chunk.empty());
        BOOST_TEST(text_of(chunk.bytes()) == "hello");
        BOOST_TEST(lent() == 1u);
    });
}

BOOST_AUTO_TEST_CASE(receive_that_waits_holds_no_buffer) {
    std::string text;
    auto receive = [&]() -> Task<> { text = co_await receive_text(server); };
    auto write = [&]() -> Task<> {
        co_await yield();
        BOOST_TEST(lent() == 0u);
        co_await client.write_all(bytes_of("a"));
    };

    executor.run_until(together(receive, write));

    BOOST_TEST(text == "a");
}

BOOST_AUTO_TEST_CASE(end_of_the_stream_is_an_empty_chunk_again_and_again) {
    client.close();

    run([&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            LentBuffer chunk = co_await server.receive();
            BOOST_TEST(chunk.empty());
            BOOST_TEST(chunk.data() == nullptr);
        }
    });
}

BOOST_AUTO_TEST_CASE(end_that_follows_a_chunk_is_not_lost) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        client.shutdown(Half::write);
        std::vector<std::byte> all = co_await receive_all(server);

        BOOST_TEST(text_of(all) == "abc");
    });
}

BOOST_AUTO_TEST_CASE(chunks_are_as_long_as_a_buffer_at_most) {
    const std::vector<std::byte> sent = pattern(10'000);
    std::vector<LentBuffer> chunks;

    run([&]() -> Task<> {
        co_await client.write_all(sent);
        std::size_t received = 0;
        while (received < sent.size()) {
            LentBuffer chunk = co_await server.receive();
            received += chunk.size();
            chunks.push_back(std::move(chunk));
        }
    });

    // All of them at the same time, and none in another one's place.
    BOOST_TEST(lent() == chunks.size());
    BOOST_TEST(chunks.size() >= 3u);
    std::vector<std::byte> all;
    for (const LentBuffer& chunk : chunks) {
        BOOST_TEST(chunk.size() <= detail::BufferPool::buffer_size);
        all.insert(all.end(), chunk.begin(), chunk.end());
    }
    BOOST_TEST((all == sent));
}

BOOST_AUTO_TEST_CASE(bytes_of_both_directions_arrive_in_order) {
    const std::vector<std::byte> of_client = pattern(mebibyte, 1);
    const std::vector<std::byte> of_server = pattern(mebibyte, 2);
    std::vector<std::byte> at_client;
    std::vector<std::byte> at_server;
    auto send_both = [&]() -> Task<> {
        auto of_one = [&]() -> Task<> {
            co_await client.write_all(of_client);
            client.shutdown(Half::write);
        };
        auto of_other = [&]() -> Task<> {
            co_await server.write_all(of_server);
            server.shutdown(Half::write);
        };
        co_await together(of_one, of_other);
    };
    auto receive_both = [&]() -> Task<> {
        auto at_one = [&]() -> Task<> { at_client = co_await receive_all(client); };
        auto at_other = [&]() -> Task<> { at_server = co_await receive_all(server); };
        co_await together(at_one, at_other);
    };

    executor.run_until(together(send_both, receive_both));

    BOOST_TEST((at_server == of_client));
    BOOST_TEST((at_client == of_server));
}

BOOST_AUTO_TEST_CASE(echoed_mebibyte_is_what_was_sent) {
    const std::vector<std::byte> sent = pattern(mebibyte);
    std::vector<std::byte> echoed;
    auto serve = [&]() -> Task<> { co_await echo_pooled(server); };
    auto ask = [&]() -> Task<> {
        auto write = [&]() -> Task<> {
            co_await client.write_all(sent);
            client.shutdown(Half::write);
        };
        auto read = [&]() -> Task<> { echoed = co_await receive_all(client); };
        co_await together(write, read);
    };

    executor.run_until(together(serve, ask));

    BOOST_TEST((echoed == sent));
}

BOOST_AUTO_TEST_CASE(receive_and_read_take_turns_on_one_stream) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abcdef"));
        await_readable(server.native_handle());
        std::array<std::byte, 2> buffer;
        std::size_t received = co_await server.read(buffer);
        std::string rest = co_await receive_text(server);
        co_await client.write_all(bytes_of("gh"));
        co_await server.read_exactly(buffer);

        BOOST_TEST(received == 2u);
        BOOST_TEST(rest == "cdef");
        BOOST_TEST(text_of(buffer) == "gh");
    });
}

// ---- Nothing is received that nobody waits for ----

BOOST_AUTO_TEST_CASE(next_read_of_any_kind_goes_on_after_a_receive) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("ab"));
        std::string first = co_await receive_text(server);
        for (const char* piece : {"cd", "ef", "gh", "ij", "kl", "m"}) {
            co_await client.write_all(bytes_of(piece));
            co_await let_the_kernel_work();
        }
        std::array<std::byte, 3> bytes;
        std::size_t peeked = co_await server.peek(std::span(bytes).first(2));
        std::string seen = text_of(std::span(bytes).first(peeked));
        std::size_t read = co_await server.read(bytes);
        std::string taken = text_of(std::span(bytes).first(read));
        co_await server.read_exactly(bytes);
        std::string whole = text_of(bytes);
        std::array<MutableBuffer, 2> places{std::span(bytes).first(1), std::span(bytes).last(2)};
        std::size_t scattered = co_await server.read(std::span<const MutableBuffer>(places));
        std::string pieces = text_of(std::span(bytes).first(scattered));
        co_await server.readable();
        std::optional<std::size_t> tried = server.try_read(std::span(bytes).first(1));
        std::string one = text_of(std::span(bytes).first(tried.value_or(0)));
        std::string last = co_await receive_text(server);

        BOOST_TEST(first == "ab");
        BOOST_TEST(seen == "cd");
        BOOST_TEST(taken == "cde");
        BOOST_TEST(whole == "fgh");
        BOOST_TEST(pieces == "ijk");
        BOOST_TEST(one == "l");
        BOOST_TEST(last == "m");
    });
}

BOOST_AUTO_TEST_CASE(stream_that_nobody_reads_holds_no_buffer) {
    std::size_t held = 0;
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("ab"));
        std::string first = co_await receive_text(server);
        co_await client.write_all(bytes_of("cd"));
        for (int i = 0; i < 10; ++i)
            co_await let_the_kernel_work();

        held = lent();

        std::string rest = co_await receive_text(server);
        BOOST_TEST(rest == "cd");
    });
    BOOST_TEST(held == 0u);
}

// On io_uring the kernel has two buffers then, and has handed them out long before all were served.
BOOST_AUTO_TEST_CASE(two_buffers_serve_a_hundred_clients) {
    constexpr std::size_t count = 100;
    const std::vector<std::byte> sent = pattern(10'000);
    std::deque<Connected> connections;
    for (std::size_t i = 0; i < count; ++i)
        connections.emplace_back(listener);
    set_environment("LEAT_IO_URING_ENTRIES", "2");
    Executor few;
    set_environment("LEAT_IO_URING_ENTRIES", nullptr);
    std::size_t equal = 0;
    auto ask = [&](TcpStream& stream) -> Task<> {
        auto write = [&]() -> Task<> {
            co_await stream.write_all(sent);
            stream.shutdown(Half::write);
        };
        std::vector<std::byte> echo;
        auto read = [&]() -> Task<> { echo = co_await receive_all(stream); };
        co_await together(write, read);
        if (echo == sent) ++equal;
    };
    auto all = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (Connected& each : connections) {
                group.spawn(echo_pooled, std::ref(each.server));
                group.spawn(std::ref(ask), std::ref(each.client));
            }
            co_return;
        };
        co_await task_group(body);
    };

    few.run_until(all());

    BOOST_TEST(equal == count);
    BOOST_TEST(lent_by(few) == 0u);
}

// ---- Halves ----

BOOST_AUTO_TEST_CASE(reading_half_receives_too) {
    auto [reader, writer] = std::move(server).split();

    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        LentBuffer chunk = co_await reader.receive();
        co_await writer.write_all(chunk);
        std::string echoed = co_await receive_text(client);

        BOOST_TEST(echoed == "abc");
    });
}

// ---- Errors ----

BOOST_AUTO_TEST_CASE(second_read_while_it_waits_is_busy_and_it_goes_on) {
    std::string text;
    auto first = [&]() -> Task<> { text = co_await receive_text(server); };
    auto second = [&]() -> Task<> {
        co_await yield();
        std::array<std::byte, 16> buffer;
        Result<std::size_t> read = co_await as_result(server.read(buffer));
        Result<LentBuffer> chunk = co_await as_result(server.receive());
        BOOST_TEST((!read && read.error() == errc::busy));
        BOOST_TEST((!chunk && chunk.error() == errc::busy));
        co_await client.write_all(bytes_of("abc"));
    };

    executor.run_until(together(first, second));

    BOOST_TEST(text == "abc");
}

BOOST_AUTO_TEST_CASE(close_ends_a_receive_that_waits) {
    std::error_code error;
    auto receive = [&]() -> Task<> {
        Result<LentBuffer> chunk = co_await as_result(server.receive());
        if (!chunk) error = chunk.error();
    };
    auto close = [&]() -> Task<> {
        co_await yield();
        server.close();
    };

    executor.run_until(together(receive, close));

    BOOST_TEST((error == errc::closed));
}

// Wine gives the end where a reset was polled for.
BOOST_AUTO_TEST_CASE(reset_is_thrown_and_says_what_was_tried, *boost::unit_test::label("posix")) {
    auto receive = [&]() -> Task<> { LentBuffer chunk = co_await server.receive(); };
    auto leave = [&]() -> Task<> {
        co_await yield();
        reset(client);
    };

    try {
        executor.run_until(together(receive, leave));
        BOOST_FAIL("nothing was thrown");
    } catch (const std::system_error& error) {
        BOOST_TEST((error.code() == std::errc::connection_reset));
        BOOST_TEST(std::string(error.what()).starts_with("receive: "), error.what());
    }
}

BOOST_AUTO_TEST_CASE(reset_that_nobody_waited_for_is_told_by_whatever_reads_next,
                     *boost::unit_test::label("posix")) {
    for (bool tries : {false, true}) {
        Connected pair(listener);
        std::error_code error;
        run([&]() -> Task<> {
            co_await pair.client.write_all(bytes_of("abc"));
            std::string first = co_await receive_text(pair.server);
            BOOST_TEST(first == "abc");
            reset(pair.client);
            await_readable(pair.server.native_handle());
            co_await let_the_kernel_work();
            std::array<std::byte, 4> buffer;
            if (tries) {
                pair.server.try_read(buffer, error);
            } else {
                Result<std::size_t> received = co_await as_result(pair.server.read(buffer));
                if (!received) error = received.error();
            }
        });
        BOOST_TEST((error == std::errc::connection_reset));
    }
}

BOOST_AUTO_TEST_CASE(outcome_has_the_chunk_or_the_exception) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        Outcome<LentBuffer> chunk = co_await as_outcome(server.receive());
        server.close();
        Outcome<LentBuffer> failure = co_await as_outcome(server.receive());

        BOOST_TEST((chunk && text_of(chunk->bytes()) == "abc"));
        BOOST_TEST(!failure);
    });
}

BOOST_AUTO_TEST_CASE(receive_without_memory_fails_and_the_next_one_has_the_bytes) {
    run([&]() -> Task<> {
        std::array<std::byte, 1> buffer;
        co_await client.write_all(bytes_of("abcd"));
        // The first use of the stream makes what it needs.
        co_await server.read_exactly(buffer);
        ReceiveOperation operation = server.receive();
        std::optional<FailingAllocation> failing(std::in_place, 1);
        Result<LentBuffer> failure = co_await as_result(std::move(operation));
        failing.reset();
        std::string text = co_await receive_text(server);

        BOOST_TEST((!failure && failure.error() == std::errc::not_enough_memory));
        BOOST_TEST(text == "bcd");
    });
}

// ---- Cancellation and the end ----

BOOST_AUTO_TEST_CASE(deadline_ends_it_and_bytes_that_come_later_are_received_next) {
    run([&]() -> Task<> {
        std::optional<LentBuffer> none = co_await try_timeout(1ms, server.receive());
        BOOST_TEST(!none.has_value());
        BOOST_TEST(lent() == 0u);
        co_await client.write_all(bytes_of("abc"));
        std::string text = co_await receive_text(server);

        BOOST_TEST(text == "abc");
    });
}

BOOST_AUTO_TEST_CASE(bytes_that_are_there_win_over_a_deadline_in_the_past) {
    run([&]() -> Task<> {
        co_await client.write_all(bytes_of("abc"));
        await_readable(server.native_handle());
        LentBuffer chunk = co_await timeout(-1s, server.receive());

        BOOST_TEST(text_of(chunk.bytes()) == "abc");
    });
}

BOOST_AUTO_TEST_CASE(deadline_that_passes_is_an_error) {
    run([&]() -> Task<> {
        Result<LentBuffer> late = co_await as_result(timeout(1ms, server.receive()));

        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
    });
}

BOOST_AUTO_TEST_CASE(scope_that_is_cancelled_leaves_the_bytes_alone) {
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto receive = [&]() -> Task<> { LentBuffer chunk = co_await server.receive(); };
            auto stop = [&]() -> Task<> {
                co_await yield();
                scope.cancel();
            };
            co_await together(receive, stop);
        };
        bool finished = co_await cancel_scope(body);
        co_await client.write_all(bytes_of("abc"));
        std::string text = co_await receive_text(server);

        BOOST_TEST(!finished);
        BOOST_TEST(text == "abc");
    });
}

BOOST_AUTO_TEST_CASE(reads_that_end_give_an_empty_chunk_to_who_waits) {
    std::optional<LentBuffer> chunk;
    auto receive = [&]() -> Task<> { chunk = co_await server.receive(); };
    auto end = [&]() -> Task<> {
        co_await yield();
        SourceWatch watch(server.source());
        watch.end_reads();
    };

    executor.run_until(together(receive, end));

    BOOST_TEST(chunk.has_value());
    BOOST_TEST(chunk->empty());
}

BOOST_AUTO_TEST_CASE(drain_lets_a_handler_that_receives_end) {
    ServeControl control;
    auto serve = [&]() -> Task<> {
        auto handler = [](TcpStream peer) -> Task<> { co_await echo_pooled(peer); };
        ServeReport report = co_await leat::serve(listener, handler, ServeOptions(), control);
        BOOST_TEST(report.finished == 1u);
    };
    auto ask = [&]() -> Task<> {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        co_await stream.write_all(bytes_of("abc"));
        std::string text = co_await receive_text(stream);
        BOOST_TEST(text == "abc");
        control.drain();
        std::string rest = co_await read_to_end(stream);
        BOOST_TEST(rest == "");
    };

    executor.run_until(together(serve, ask));
}

// ---- Memory ----

BOOST_AUTO_TEST_CASE(idle_connections_hold_no_buffer_between_them) {
    constexpr std::size_t count = 100;
    std::deque<Connected> connections;
    for (std::size_t i = 0; i < count; ++i)
        connections.emplace_back(listener);
    std::size_t largest = 0;

    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (Connected& each : connections)
                group.spawn(echo_pooled, std::ref(each.server));
            std::array<std::byte, 3> buffer;
            // Every one of them has waited, was of use once, and waits again.
            for (Connected& each : connections) {
                co_await each.client.write_all(bytes_of("abc"));
                co_await each.client.read_exactly(buffer);
                co_await yield();
                largest = std::max(largest, lent());
            }
            co_await yield();
            BOOST_TEST(lent() == 0u);
            for (Connected& each : connections)
                each.client.close();
        };
        co_await task_group(body);
    });

    BOOST_TEST(largest <= 1u);
}

BOOST_AUTO_TEST_CASE(messages_allocate_nothing) {
    auto serve = [&]() -> Task<> { co_await echo_pooled(server); };

    BOOST_TEST(allocations_of_messages(*this, serve) == 0u);
}

BOOST_AUTO_TEST_CASE(chunk_outlives_the_executor) {
    const std::size_t before = outstanding();
    {
        LentBuffer chunk;
        {
            Connected connected(listener);
            Executor short_lived;
            auto use = [&]() -> Task<> {
                co_await connected.client.write_all(bytes_of("abc"));
                chunk = co_await connected.server.receive();
            };
            short_lived.run_until(use());
            BOOST_TEST(lent_by(short_lived) == 1u);
        }
        BOOST_TEST(text_of(chunk.bytes()) == "abc");
    }

    BOOST_TEST(outstanding() == before);
}

BOOST_AUTO_TEST_CASE(executor_that_ends_has_the_chunks_of_its_tasks_back) {
    const std::size_t before = outstanding();
    {
        Connected connected(listener);
        Executor short_lived;
        auto hold_and_wait = [&]() -> Task<> {
            LentBuffer chunk = co_await connected.server.receive();
            LentBuffer never = co_await connected.server.receive();
        };
        Running<void> running = short_lived.start(hold_and_wait());
        write_text(connected.client.native_handle(), "abc");
        while (lent_by(short_lived) == 0)
            short_lived.turn();
    }

    BOOST_TEST(outstanding() == before);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::receive_test
