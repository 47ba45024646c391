// SPDX-License-Identifier: BSL-1.0
// What nobody asked for stays in the kernel: connections and bytes are there for whoever has the handle next,
// and for calls on the handle itself.
#include "server.hpp"
#include "support/loopback_pair.hpp"
#include "support/other_thread.hpp"
#include "support/posix.hpp"
#include "support/system.hpp"
#include "support/watchdog.hpp"

#include <leat/net/serve.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::hand_over_test {
namespace {

/// Some loop iterations, each with a poll for I/O.
Task<> let_the_kernel_work(const Executor& executor) {
    const std::uint64_t before = executor.stats().polls;
    while (executor.stats().polls < before + 5)
        co_await yield();
}

/// Connections that wait in the backlog.
std::vector<TcpStream> queue_clients(const TcpListener& listener, std::size_t count) {
    std::vector<TcpStream> clients;
    for (std::size_t i = 0; i < count; ++i)
        clients.push_back(TcpStream::start_connect(listener.local_address()));
    for (const TcpStream& client : clients)
        await_writable(client.native_handle());
    return clients;
}

std::size_t accept_without_waiting(TcpListener& listener) {
    std::size_t accepted = 0;
    for (;;) {
        std::optional<TcpStream> stream = listener.try_accept();
        if (!stream) return accepted;
        ++accepted;
    }
}

/// What calls on the handle find, past everything of ours.
std::string read_without_waiting(NativeHandle handle) {
    std::array<char, 64> buffer{};
    std::error_code error;
    const std::size_t received = try_read(handle, buffer, error);
    return error ? error.message() : std::string(buffer.data(), received);
}

struct Listening {
    std::unique_ptr<Executor> executor = std::make_unique<Executor>();
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    std::vector<TcpStream> clients;

    /// Eight clients connect, and one accept takes one of them, for which it waited or which was there.
    void accept_one_of_eight(bool waits_first) {
        auto story = [&]() -> Task<> {
            auto accept = [&]() -> Task<> { TcpStream accepted = co_await listener.accept(); };
            auto arrive = [&]() -> Task<> {
                co_await let_the_kernel_work(*executor);
                if (waits_first) clients = queue_clients(listener, 8);
            };
            if (!waits_first) clients = queue_clients(listener, 8);
            co_await together(accept, arrive);
            co_await let_the_kernel_work(*executor);
        };
        executor->run_until(story());
    }
};

/// Both ends of a connection of which the server has received something once, and then more has come.
struct ReceivedOnce {
    ReceivedOnce() {
        auto story = [&]() -> Task<> {
            auto receive = [&]() -> Task<> {
                LentBuffer chunk = co_await server.receive();
                BOOST_TEST(text_of(chunk.bytes()) == "ab");
            };
            auto write = [&]() -> Task<> {
                co_await let_the_kernel_work(*executor);
                write_text(client.native_handle(), "ab");
            };
            co_await together(receive, write);
            write_text(client.native_handle(), "cdef");
            co_await let_the_kernel_work(*executor);
        };
        TcpListener listener = TcpListener::bind(Address::loopback(0));
        Connected connected(listener);
        client = std::move(connected.client);
        server = std::move(connected.server);
        executor->run_until(story());
    }

    std::unique_ptr<Executor> executor = std::make_unique<Executor>();
    TcpStream client;
    TcpStream server;
};

Task<std::string> read_once(TcpStream& stream) {
    std::array<std::byte, 64> buffer;
    std::optional<std::size_t> received = co_await try_timeout(10s, stream.read(buffer));
    if (!received) co_return "nothing";
    co_return text_of(std::span(buffer).first(*received));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(hand_over)

// ---- Connections ----

BOOST_FIXTURE_TEST_CASE(try_accept_finds_what_an_accept_that_waited_has_left, Listening) {
    accept_one_of_eight(true);

    BOOST_TEST(accept_without_waiting(listener) == 7u);
}

BOOST_FIXTURE_TEST_CASE(try_accept_finds_what_an_accept_without_a_wait_has_left, Listening) {
    accept_one_of_eight(false);

    BOOST_TEST(accept_without_waiting(listener) == 7u);
}

BOOST_FIXTURE_TEST_CASE(calls_on_the_handle_of_a_listener_find_what_accept_has_left, Listening) {
    accept_one_of_eight(true);

    TcpListener other = TcpListener::adopt(checked(::dup(listener.native_handle()), "dup"));
    BOOST_TEST(accept_without_waiting(other) == 7u);
}

BOOST_FIXTURE_TEST_CASE(next_owner_of_a_released_listener_accepts_the_rest, Listening) {
    accept_one_of_eight(true);

    TcpListener next = TcpListener::adopt(listener.release());
    std::size_t accepted = 0;
    auto accept = [&]() -> Task<> {
        for (std::size_t i = 0; i < 7; ++i) {
            std::optional<TcpStream> stream = co_await try_timeout(10s, next.accept());
            if (!stream) co_return;
            ++accepted;
        }
    };
    Executor other;
    other.run_until(accept());

    BOOST_TEST(accepted == 7u);
    BOOST_TEST(accept_without_waiting(next) == 0u);
}

BOOST_FIXTURE_TEST_CASE(listener_that_was_released_while_it_waits_has_taken_nothing, Listening) {
    auto story = [&]() -> Task<> {
        auto accept = [&]() -> Task<> {
            Result<TcpStream> accepted = co_await as_result(listener.accept());
            BOOST_TEST(!accepted);
        };
        NativeHandle handle = invalid_handle;
        auto release = [&]() -> Task<> {
            co_await let_the_kernel_work(*executor);
            handle = listener.release();
        };
        co_await together(accept, release);
        TcpListener next = TcpListener::adopt(handle);
        clients = queue_clients(next, 8);
        co_await let_the_kernel_work(*executor);
        BOOST_TEST(accept_without_waiting(next) == 8u);
    };

    executor->run_until(story());
}

BOOST_FIXTURE_TEST_CASE(next_owner_of_a_listener_whose_executor_has_ended_accepts_the_rest, Listening) {
    accept_one_of_eight(true);

    executor.reset();

    TcpListener next = TcpListener::adopt(listener.release());
    BOOST_TEST(accept_without_waiting(next) == 7u);
}

BOOST_FIXTURE_TEST_CASE(executor_that_ends_while_an_accept_waits_has_taken_one_connection_at_most,
                        Listening) {
    auto wait = [&]() -> Task<> { TcpStream accepted = co_await listener.accept(); };
    Running<void> waiting = executor->start(wait());
    executor->run_until(let_the_kernel_work(*executor));
    clients = queue_clients(listener, 8);

    executor.reset();

    TcpListener next = TcpListener::adopt(listener.release());
    // One may have been accepted for the task that waited, and was closed with its result.
    BOOST_TEST(accept_without_waiting(next) >= 7u);
}

BOOST_FIXTURE_TEST_CASE(cancelled_accept_leaves_the_connection_to_the_next, Listening) {
    auto story = [&]() -> Task<> {
        auto accept = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            TcpStream accepted = co_await listener.accept();
        };
        auto accept_for_a_while = [&]() -> Task<> { TcpStream accepted = co_await listener.accept(); };
        bool has_accepted = co_await cancel_scope(accept);
        BOOST_TEST(!has_accepted);
        bool is_in_time = co_await try_timeout(1ms, accept_for_a_while());
        BOOST_TEST(!is_in_time);
        clients = queue_clients(listener, 3);
        co_await let_the_kernel_work(*executor);
    };

    executor->run_until(story());

    BOOST_TEST(accept_without_waiting(listener) == 3u);
}

BOOST_FIXTURE_TEST_CASE(accept_that_is_cancelled_as_connections_come_loses_none, Listening) {
    constexpr std::size_t rounds = 50;
    std::size_t accepted = 0;
    auto story = [&]() -> Task<> {
        for (std::size_t round = 0; round < rounds; ++round) {
            auto body = [&](CancelScope& scope) -> Task<> {
                auto accept = [&]() -> Task<> {
                    TcpStream stream = co_await listener.accept();
                    ++accepted;
                };
                auto cancel = [&]() -> Task<> {
                    co_await yield();
                    std::vector<TcpStream> client = queue_clients(listener, 1);
                    clients.push_back(std::move(client.front()));
                    for (std::size_t turn = round % 4; turn != 0; --turn)
                        co_await yield();
                    scope.cancel();
                };
                co_await together(accept, cancel);
            };
            co_await cancel_scope(body);
            accepted += accept_without_waiting(listener);
        }
    };

    executor->run_until(story());

    BOOST_TEST(accepted == rounds);
}

// As two processes have it after a fork. One of the executors has asked for a single connection, and is busy
// with something else when twenty come.
BOOST_FIXTURE_TEST_CASE(busy_executor_takes_no_more_than_it_has_asked_for_from_another_one, Listening) {
    constexpr std::size_t count = 20;
    TcpListener of_a = TcpListener::adopt(checked(::dup(listener.native_handle()), "dup"));
    TcpListener of_b = TcpListener::adopt(checked(::dup(listener.native_handle()), "dup"));
    OtherThread a;
    OtherThread b;
    std::atomic<bool> waits = false;
    auto accept_one = [&of_a, &waits]() -> Task<> {
        waits = true;
        TcpStream stream = co_await of_a.accept();
    };
    std::future<void> accepted_by_a =
        std::async(std::launch::async, [&] { a.remote().block_on(accept_one); });
    while (!waits)
        std::this_thread::yield();
    // Its accept is with the kernel by then.
    for (int i = 0; i < 3; ++i)
        a.settle();
    std::promise<void> is_free;
    a.remote().post([&is_free] { is_free.get_future().wait(); });
    clients = queue_clients(listener, count);

    auto accept_the_others = [&of_b]() -> Task<std::size_t> {
        std::size_t accepted = 0;
        while (accepted < count - 1) {
            std::optional<TcpStream> stream = co_await try_timeout(5s, of_b.accept());
            if (!stream) break;
            ++accepted;
        }
        co_return accepted;
    };
    std::size_t accepted = b.remote().block_on(accept_the_others);

    BOOST_TEST(accepted == count - 1);
    is_free.set_value();
    // The last one is the first executor's.
    BOOST_TEST((accepted_by_a.wait_for(5s) == std::future_status::ready));
    std::vector<TcpStream> another = queue_clients(listener, 1);
    accepted_by_a.get();
    a.remote().post([&of_a] { of_a.close(); });
    b.remote().post([&of_b] { of_b.close(); });
    a.settle();
    b.settle();
}

BOOST_FIXTURE_TEST_CASE(server_at_its_limit_leaves_the_other_clients_in_the_backlog, Server) {
    constexpr std::size_t count = 300;
    constexpr std::size_t few = 16;
    Watchdog watchdog([] { return std::string("serve with a limit of two connections"); });
    raise_handle_limit(2 * count + 200);
    std::vector<TcpStream> clients = queue_clients(listener, count);
    ManualResetEvent may_end;
    std::size_t most = 0;
    std::size_t served = 0;
    const auto count_handles = [&] { most = std::max(most, open_handles().size()); };
    const ConnectionHandler handler = [&](TcpStream) -> Task<> {
        co_await may_end.wait();
        if (++served % 20 == 0) count_handles();
    };
    options.max_connections = 2;
    // The executor's own are open by now.
    executor.run_until(let_the_kernel_work(executor));
    const std::size_t before = open_handles().size();
    auto look = [&]() -> Task<> {
        co_await wait_for_connections(2);
        for (int i = 0; i < 5; ++i) {
            co_await sleep_for(1ms);
            count_handles();
        }
        BOOST_TEST(control.connections() == 2u);
        BOOST_TEST(control.report().accepted == 2u);
        may_end.set();
        while (control.report().finished < count)
            co_await yield();
    };

    ServeReport report = serve_during(handler, look);

    BOOST_TEST(most <= before + 2 + few);
    BOOST_TEST(report.finished == count);
}

// ---- Bytes ----

BOOST_FIXTURE_TEST_CASE(released_stream_has_what_came_after_a_receive, ReceivedOnce) {
    OwnedHandle handle(server.release());

    BOOST_TEST(read_without_waiting(handle.get()) == "cdef");
}

BOOST_FIXTURE_TEST_CASE(next_owner_of_a_released_stream_reads_what_came_after_a_receive, ReceivedOnce) {
    TcpStream next = TcpStream::adopt(server.release());
    Executor other;

    std::string text = other.run_until(read_once(next));

    BOOST_TEST(text == "cdef");
}

BOOST_FIXTURE_TEST_CASE(stream_adopted_by_the_same_executor_has_what_came_after_a_receive, ReceivedOnce) {
    TcpStream next = TcpStream::adopt(server.release());

    std::string text = executor->run_until(read_once(next));

    BOOST_TEST(text == "cdef");
}

BOOST_FIXTURE_TEST_CASE(stream_whose_executor_has_ended_has_what_came_after_a_receive, ReceivedOnce) {
    executor.reset();
    OwnedHandle handle(server.release());

    BOOST_TEST(read_without_waiting(handle.get()) == "cdef");
}

BOOST_FIXTURE_TEST_CASE(calls_on_the_handle_find_what_came_after_a_receive, ReceivedOnce) {
    BOOST_TEST(is_readable(server.native_handle()));
    BOOST_TEST(read_without_waiting(server.native_handle()) == "cdef");
}

BOOST_FIXTURE_TEST_CASE(handle_of_a_readable_stream_has_what_came_after_a_receive, ReceivedOnce) {
    auto wait = [&]() -> Task<> { co_await server.readable(); };
    executor->run_until(wait());

    BOOST_TEST(read_without_waiting(server.native_handle()) == "cdef");
}

BOOST_FIXTURE_TEST_CASE(peeked_bytes_are_in_the_handle_after_a_receive, ReceivedOnce) {
    auto peek = [&]() -> Task<std::string> {
        std::array<std::byte, 64> buffer;
        std::size_t seen = co_await server.peek(buffer);
        co_return text_of(std::span(buffer).first(seen));
    };
    std::string seen = executor->run_until(peek());

    BOOST_TEST(seen == "cdef");
    BOOST_TEST(read_without_waiting(server.native_handle()) == "cdef");
}

BOOST_FIXTURE_TEST_CASE(close_with_unread_bytes_resets_the_peer_after_a_receive, ReceivedOnce) {
    server.close();
    executor->run_until(let_the_kernel_work(*executor));

    std::error_code error;
    std::array<char, 16> buffer{};
    await_end(client.native_handle());
    (void)try_read(client.native_handle(), buffer, error);
    BOOST_TEST((error == std::errc::connection_reset));
}

BOOST_FIXTURE_TEST_CASE(executor_that_ends_resets_no_peer_whose_bytes_can_still_be_read, ReceivedOnce) {
    executor.reset();
    TcpStream next = TcpStream::adopt(server.release());
    write_text(client.native_handle(), "gh");
    Executor other;
    auto read = [&]() -> Task<std::string> {
        std::string text(6, ' ');
        bool is_full = co_await try_timeout(10s, next.read_exactly(std::as_writable_bytes(std::span(text))));
        co_return is_full ? text : std::string("too little");
    };

    std::string text = other.run_until(read());

    BOOST_TEST(text == "cdefgh");
}

// While no receive waits, the system's buffer slows the peer down, whatever had been received before.
BOOST_FIXTURE_TEST_CASE(nothing_is_received_that_nobody_waits_for, ReceivedOnce) {
    std::size_t sent = 0;
    auto write = [&]() -> Task<> {
        for (int turn = 0; turn < 20; ++turn) {
            write_text(client.native_handle(), std::string(1000, 'x'));
            sent += 1000;
            co_await let_the_kernel_work(*executor);
        }
    };
    executor->run_until(write());

    BOOST_TEST(drain(server.native_handle()) == sent + 4);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::hand_over_test
