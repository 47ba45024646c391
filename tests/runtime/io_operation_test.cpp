// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/allocations.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/system.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace io_operation_test {

namespace {

struct Conversation {
    // Runs `body()`, a task, to its end.
    template <class Body>
    void run(Body&& body) {
        executor.run_until(body());
    }

    StreamPair pair;
    Executor executor;
};

// Where the stack has come to. A coroutine's own variables are in its frame; a called function's are not.
[[gnu::noinline]] std::uintptr_t stack_here() {
    return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

Task<std::string> receive(Source& source, std::size_t most = 64) {
    std::vector<std::byte> buffer(most);
    std::size_t received = co_await read_some(source, buffer);
    co_return std::string(reinterpret_cast<const char*>(buffer.data()), received);
}

Task<> receive_all(Source& source, std::string& text) {
    std::array<std::byte, 64> buffer;
    for (;;) {
        std::size_t received = co_await read_some(source, buffer);
        if (received == 0) co_return;
        text.append(reinterpret_cast<const char*>(buffer.data()), received);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(io_operation)

BOOST_FIXTURE_TEST_CASE(what_waits_already_is_read_without_a_suspension, Conversation) {
    send_directly(pair.right, "hello");
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        std::array<std::byte, 64> buffer;
        std::size_t received = co_await read_some(pair.left, buffer);
        BOOST_TEST(received == 5u);
        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(read_waits_for_data_that_comes_later, Conversation) {
    std::string text;
    auto reader = [&]() -> Task<> { text = co_await receive(pair.left); };
    Running<void> reading = executor.start(reader());
    while (executor.turn()) {
    }
    BOOST_TEST(executor.poll().in_flight() == 1u);

    send_directly(pair.right, "later");
    executor.run();

    BOOST_TEST(text == "later");
    BOOST_TEST(executor.poll().in_flight() == 0u);
}

BOOST_FIXTURE_TEST_CASE(data_from_another_thread_wakes_the_sleeping_loop, Conversation) {
    std::thread other([&] {
        for (int i = 0; i < 1000; ++i)
            std::this_thread::yield();
        send_directly(pair.right, "x");
    });
    run([&]() -> Task<> {
        std::string text = co_await receive(pair.left);
        BOOST_TEST(text == "x");
    });

    other.join();
}

BOOST_FIXTURE_TEST_CASE(every_byte_arrives_in_order_through_a_small_buffer, Conversation) {
    std::string sent;
    for (int i = 0; i < 20'000; ++i)
        sent += static_cast<char>('a' + i % 26);
    std::string received;
    run([&]() -> Task<> {
        auto writer = [&]() -> Task<> {
            std::string_view rest = sent;
            while (!rest.empty()) {
                std::size_t written = co_await write_some(pair.right, rest.substr(0, 997));
                rest.remove_prefix(written);
            }
            pair.right.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(writer);
            co_await receive_all(pair.left, received);
        };
        co_await task_group(body);
    });

    BOOST_TEST((received == sent));
}

BOOST_FIXTURE_TEST_CASE(write_waits_until_the_peer_has_read, Conversation) {
    run([&]() -> Task<> {
        std::string block(65'536, 'x');
        std::size_t sent = 0;
        bool is_full = false;
        auto writer = [&]() -> Task<> {
            for (int i = 0; i < 64; ++i) {
                std::size_t written = co_await write_some(pair.right, block);
                sent += written;
            }
            pair.right.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(writer);
            for (int i = 0; i < 1000 && !is_full; ++i) {
                co_await yield();
                is_full = executor.poll().in_flight() != 0;
            }
            BOOST_TEST(is_full);
            std::string received;
            co_await receive_all(pair.left, received);
            BOOST_TEST(received.size() == sent);
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(read_of_a_closed_peer_gives_what_was_sent_and_then_zero, Conversation) {
    send_directly(pair.right, "abc");
    pair.right.close();
    run([&]() -> Task<> {
        std::string first = co_await receive(pair.left, 10);
        std::string second = co_await receive(pair.left, 10);
        std::string third = co_await receive(pair.left, 10);
        BOOST_TEST(first == "abc");
        BOOST_TEST(second == "");
        BOOST_TEST(third == "");
    });
}

BOOST_FIXTURE_TEST_CASE(half_closed_stream_still_carries_the_other_direction, Conversation) {
    shut(pair.right.native_handle(), Direction::writing);
    run([&]() -> Task<> {
        std::string end = co_await receive(pair.left);
        std::size_t written = co_await write_some(pair.left, "back");
        std::string answer = co_await receive(pair.right);
        BOOST_TEST(end == "");
        BOOST_TEST(written == 4u);
        BOOST_TEST(answer == "back");
    });
}

// Over TCP the first write only learns that nobody is there: `connection_that_was_closed_refuses_writes_in_the_end`.
BOOST_FIXTURE_TEST_CASE(write_to_a_closed_peer_is_an_error_and_no_signal, Conversation,
                        *boost::unit_test::label("posix")) {
    pair.right.close();
    run([&]() -> Task<> {
        Result<std::size_t> written = co_await as_result(write_some(pair.left, "x"));
        BOOST_TEST_REQUIRE(!written.has_value());
        BOOST_TEST((written.error() == std::errc::broken_pipe));
    });
}

BOOST_AUTO_TEST_CASE(connection_that_was_closed_refuses_writes_in_the_end) {
    Link link = tcp_link();
    link.peer.reset();
    leat::run([](Source& source) -> Task<> {
        Result<std::size_t> written = 0u;
        while (written.has_value())
            written = co_await as_result(write_some(source, "x"));
        BOOST_TEST((written.error() == std::errc::broken_pipe ||
                    written.error() == std::errc::connection_reset ||
                    written.error() == std::errc::connection_aborted));
    }(link.source));
}

BOOST_AUTO_TEST_CASE(pipe_carries_read_and_write_operations) {
    Pipe pipe;
    leat::run([](Pipe& ends) -> Task<> {
        auto reader = [&]() -> Task<> {
            std::array<std::byte, 16> buffer;
            ReadSome read(ends.reader, buffer, false);
            std::size_t received = co_await std::move(read);
            BOOST_TEST(received == 4u);
            ReadSome again(ends.reader, buffer, false);
            std::size_t end = co_await std::move(again);
            BOOST_TEST(end == 0u);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(reader);
            co_await yield();
            std::array<std::byte, 4> four{};
            WriteSome write(ends.writer, four, false);
            std::size_t written = co_await std::move(write);
            BOOST_TEST(written == 4u);
            ends.writer.close();
        };
        co_await task_group(body);
    }(pipe));
}

BOOST_AUTO_TEST_CASE(write_to_a_pipe_without_reader_is_an_error_and_no_signal) {
    Pipe pipe;
    pipe.reader.close();
    leat::run([](Pipe& ends) -> Task<> {
        std::array<std::byte, 4> four{};
        WriteSome write(ends.writer, four, false);
        Result<std::size_t> written = co_await as_result(std::move(write));
        BOOST_TEST_REQUIRE(!written.has_value());
        BOOST_TEST((written.error() == std::errc::broken_pipe));
    }(pipe));
}

BOOST_FIXTURE_TEST_CASE(readable_is_told_and_nothing_is_read, Conversation) {
    run([&]() -> Task<> {
        auto sender = [&]() -> Task<> {
            co_await yield();
            send_directly(pair.right, "data");
        };
        Running<void> sending = executor.start(sender());
        co_await readable(pair.left);
        co_await readable(pair.left);
        std::string text = co_await receive(pair.left);
        BOOST_TEST(text == "data");
    });
}

BOOST_FIXTURE_TEST_CASE(readable_is_told_of_the_peer_s_end, Conversation) {
    run([&]() -> Task<> {
        auto closer = [&]() -> Task<> {
            co_await yield();
            pair.right.close();
        };
        Running<void> closing = executor.start(closer());
        co_await readable(pair.left);
        std::string text = co_await receive(pair.left);
        BOOST_TEST(text == "");
    });
}

BOOST_FIXTURE_TEST_CASE(writable_is_told_at_once_for_an_idle_stream, Conversation) {
    run([&]() -> Task<> {
        co_await writable(pair.left);
        co_await writable(pair.left);
    });
}

BOOST_FIXTURE_TEST_CASE(second_reader_is_refused_as_busy_and_the_first_goes_on, Conversation) {
    std::string text;
    auto reader = [&]() -> Task<> { text = co_await receive(pair.left); };
    Running<void> first = executor.start(reader());
    run([&]() -> Task<> {
        co_await yield();
        std::array<std::byte, 16> buffer;
        Result<std::size_t> second = co_await as_result(read_some(pair.left, buffer));
        Result<void> readiness = co_await as_result(readable(pair.left));
        std::size_t written = co_await write_some(pair.left, "a writer may");

        BOOST_TEST(second.error() == errc::busy);
        BOOST_TEST(readiness.error() == errc::busy);
        BOOST_TEST(written == 12u);
        send_directly(pair.right, "first");
    });
    executor.run();

    BOOST_TEST(text == "first");
}

BOOST_FIXTURE_TEST_CASE(reader_is_told_once_that_its_source_was_closed, Conversation) {
    int ended = 0;
    std::error_code code;
    auto reader = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(read_some(pair.left, buffer));
        ++ended;
        if (!received) code = received.error();
    };
    Running<void> reading = executor.start(reader());
    run([&]() -> Task<> {
        co_await yield();
        pair.left.close();
        pair.left.close();
        co_await yield();
        co_await yield();
    });
    executor.run();

    BOOST_TEST(ended == 1);
    BOOST_TEST(code == errc::closed);
}

BOOST_FIXTURE_TEST_CASE(source_may_move_while_a_read_waits, Conversation) {
    std::string text;
    auto reader = [&]() -> Task<> { text = co_await receive(pair.left); };
    Running<void> reading = executor.start(reader());
    while (executor.turn()) {
    }

    auto moved = std::make_unique<Source>(std::move(pair.left));
    send_directly(pair.right, "moved");
    executor.run();

    BOOST_TEST(text == "moved");
}

BOOST_FIXTURE_TEST_CASE(data_that_arrives_with_the_close_of_its_source_is_given_or_closed_but_never_both,
                        Conversation) {
    int ended = 0;
    auto reader = [&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(read_some(pair.left, buffer));
        ++ended;
        BOOST_TEST((received.has_value() || received.error() == errc::closed));
    };
    Running<void> reading = executor.start(reader());
    while (executor.turn()) {
    }

    send_directly(pair.right, "x");
    pair.left.close();
    executor.run();

    BOOST_TEST(ended == 1);
}

BOOST_FIXTURE_TEST_CASE(cancelled_read_withdraws_and_the_bytes_stay, Conversation) {
    Log log;
    auto reader = [&]() -> Task<> {
        Guard guard(log, "reader");
        std::array<std::byte, 16> buffer;
        co_await read_some(pair.left, buffer);
        log.note("resumed");
    };
    Running<void> reading = executor.start(reader());
    while (executor.turn()) {
    }

    reading.cancel();
    executor.run();
    send_directly(pair.right, "kept");

    BOOST_TEST(log.text() == "reader!");
    BOOST_TEST(executor.poll().in_flight() == 0u);
    run([&]() -> Task<> {
        std::string text = co_await receive(pair.left);
        BOOST_TEST(text == "kept");
    });
}

BOOST_FIXTURE_TEST_CASE(bytes_that_were_delivered_before_the_cancellation_win, Conversation) {
    // Two readers are told in one batch; the first cancels the second.
    StreamPair second_pair;
    std::array<std::string, 2> texts;
    std::optional<Running<void>> first;
    std::optional<Running<void>> second;
    auto reader = [&](Source& source, std::string& text, std::optional<Running<void>>& other) -> Task<> {
        text = co_await receive(source);
        if (other && !other->has_ended()) other->cancel();
        co_await yield();
    };
    first.emplace(executor.start(reader(pair.left, texts[0], second)));
    second.emplace(executor.start(reader(second_pair.left, texts[1], first)));
    while (executor.turn()) {
    }
    send_directly(pair.right, "one");
    send_directly(second_pair.right, "two");

    executor.run();

    std::string rest = receive_directly(pair.left) + receive_directly(second_pair.left);
    BOOST_TEST(texts[0].size() + texts[1].size() + rest.size() == 6u);
}

BOOST_FIXTURE_TEST_CASE(task_may_close_another_ones_source_within_the_batch, Conversation) {
    StreamPair second_pair;
    int ended = 0;
    auto reader = [&](Source& ours, Source& theirs) -> Task<> {
        std::array<std::byte, 16> buffer;
        Result<std::size_t> received = co_await as_result(read_some(ours, buffer));
        ++ended;
        theirs.close();
        BOOST_TEST((received.has_value() || received.error() == errc::closed));
    };
    Running<void> first = executor.start(reader(pair.left, second_pair.left));
    Running<void> second = executor.start(reader(second_pair.left, pair.left));
    while (executor.turn()) {
    }
    send_directly(pair.right, "one");
    send_directly(second_pair.right, "two");

    executor.run();

    BOOST_TEST(ended == 2);
}

BOOST_FIXTURE_TEST_CASE(zero_length_transfers_are_no_wait_and_no_end, Conversation) {
    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        std::size_t nothing = co_await read_some(pair.left, std::span(buffer).first(0));
        std::size_t none = co_await write_some(pair.left, "");
        BOOST_TEST(nothing == 0u);
        BOOST_TEST(none == 0u);
        send_directly(pair.right, "x");
        nothing = co_await read_some(pair.left, std::span(buffer).first(0));
        std::size_t one = co_await read_some(pair.left, buffer);
        BOOST_TEST(nothing == 0u);
        BOOST_TEST(one == 1u);
    });
}

BOOST_FIXTURE_TEST_CASE(firehose_does_not_starve_another_stream, Conversation) {
    // A pair that never would block, since each write is read at once, beside one message on another.
    StreamPair other_pair;
    bool other_was_served = false;
    int rounds = 0;
    auto firehose = [&]() -> Task<> {
        std::array<std::byte, 64> buffer;
        while (!other_was_served && rounds < 100'000) {
            ++rounds;
            co_await write_some(pair.right, "data");
            co_await read_some(pair.left, buffer);
        }
    };
    auto other = [&]() -> Task<> {
        std::string text = co_await receive(other_pair.left);
        other_was_served = true;
    };
    Running<void> waiting = executor.start(other());
    while (executor.turn()) {
    }
    send_directly(other_pair.right, "x");

    run(firehose);

    BOOST_TEST(other_was_served);
    BOOST_TEST(rounds <= 20'000);
}

BOOST_FIXTURE_TEST_CASE(a_million_ready_operations_give_way_and_keep_the_stack_flat, Conversation) {
    const int count = calls_are_slow() ? 10'000 : is_sanitized ? 100'000 : 1'000'000;
    // Far less than one call after the other would take.
    constexpr std::uintptr_t most_stack = 64 * 1024;
    int turns_of_the_other = 0;
    bool is_over = false;
    std::uintptr_t first = 0;
    std::uintptr_t lowest = 0;
    auto other = [&]() -> Task<> {
        while (!is_over) {
            ++turns_of_the_other;
            co_await yield();
        }
    };
    Running<void> running = executor.start(other());
    run([&]() -> Task<> {
        first = lowest = stack_here();
        for (int i = 0; i < count; ++i) {
            co_await writable(pair.left);
            lowest = std::min(lowest, stack_here());
        }
        is_over = true;
    });
    executor.run();

    BOOST_TEST(turns_of_the_other >= count / 1000);
    BOOST_TEST(first - lowest <= most_stack);
}

BOOST_FIXTURE_TEST_CASE(conversation_allocates_nothing, Conversation) {
    run([&]() -> Task<> {
        std::array<std::byte, 64> buffer;
        auto once = [&]() -> Task<> {
            co_await write_some(pair.right, "ping");
            co_await read_some(pair.left, buffer);
        };
        auto parked = [&]() -> Task<> {
            auto sender = [&]() -> Task<> {
                co_await yield();
                co_await write_some(pair.right, "ping");
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(sender);
                co_await read_some(pair.left, buffer);
            };
            co_await task_group(body);
        };
        for (int i = 0; i < 3; ++i) {
            co_await once();
            co_await parked();
        }
        std::size_t before = allocations_made();

        for (int i = 0; i < 100; ++i) {
            co_await once();
            co_await parked();
        }

        BOOST_TEST(allocations_made() == before);
    });
}

BOOST_FIXTURE_TEST_CASE(operation_that_is_never_awaited_does_nothing, Conversation) {
    send_directly(pair.right, "x");
    run([&]() -> Task<> {
        std::array<std::byte, 16> buffer;
        {
            ReadSome never = read_some(pair.left, buffer);
            (void)never;
        }
        std::string text = co_await receive(pair.left);
        BOOST_TEST(text == "x");
    });
}

BOOST_FIXTURE_TEST_CASE(source_of_another_executor_is_refused, Conversation) {
    run([&]() -> Task<> { co_await writable(pair.left); });

    Executor other;
    std::error_code code;
    other.run_until([](Source& source, std::error_code& error) -> Task<> {
        Result<void> result = co_await as_result(writable(source));
        if (!result) error = result.error();
    }(pair.left, code));

    BOOST_TEST(code == errc::already_registered);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace io_operation_test
