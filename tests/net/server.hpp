// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace leat::test::net {

/// Sends back what comes.
inline Task<> echo(TcpStream peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        std::size_t received = co_await peer.read(buffer);
        if (received == 0) co_return;
        co_await peer.write_all(std::span(buffer).first(received));
    }
}

/// Fixture: a server, and clients in the same executor. Its drain does not wait for connections to be quiet:
/// see drain_test.cpp.
struct Server {
    explicit Server(const Clock& clock = steady_clock()) : executor(keep_notices(clock)) {
        options.drain_quiet = Duration::zero();
    }

    ExecutorOptions keep_notices(const Clock& clock) {
        ExecutorOptions settings;
        settings.clock = &clock;
        settings.diagnostic = [this](std::string_view text) { notices.emplace_back(text); };
        return settings;
    }

    /// Serves until `clients()`, a task, has ended; then drains.
    template <class Clients>
    ServeReport serve_during(ConnectionHandler handler, Clients clients) {
        auto then_drain = [&]() -> Task<> {
            co_await clients();
            control.drain();
        };
        auto body = [&](TaskGroup& group) -> Task<ServeReport> {
            group.spawn(std::ref(then_drain));
            ServeReport report = co_await serve(listener, handler, options, control);
            co_return report;
        };
        auto all = [&]() -> Task<ServeReport> {
            ServeReport report = co_await task_group(body);
            co_return report;
        };
        return executor.run_until(all());
    }

    Task<TcpStream> connect() {
        TcpStream stream = co_await TcpStream::connect(listener.local_address());
        co_return stream;
    }

    /// Sends `text` and reads as much back.
    Task<std::string> ask(TcpStream& stream, std::string_view text) {
        co_await stream.write_all(bytes_of(text));
        std::string answer(text.size(), ' ');
        co_await stream.read_exactly(std::as_writable_bytes(std::span(answer)));
        co_return answer;
    }

    Task<> wait_for_connections(std::size_t count) {
        while (control.connections() != count)
            co_await yield();
    }

    Task<> wait_for_failures(std::size_t count) {
        while (control.report().failed != count)
            co_await yield();
    }

    std::vector<std::string> notices;
    Executor executor;
    TcpListener listener = TcpListener::bind(Address::loopback(0));
    ServeOptions options;
    ServeControl control;
};

struct HasClock {
    VirtualClock clock;
};

/// Fixture: the same, in a time that only the test moves, as there is always an operation in flight.
struct ServerInVirtualTime : HasClock, Server {
    ServerInVirtualTime() : Server(clock) {}
};

}  // namespace leat::test::net
