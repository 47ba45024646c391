// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "support/allocations.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/task_group.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace leat::test {

/// A connection over loopback that no queue knows yet.
struct Connected {
    explicit Connected(TcpListener& listener);

    TcpStream client;
    TcpStream server;
};

/// Fixture: both ends of a TCP connection, and an executor to await them on.
struct LoopbackPair {
    LoopbackPair();

    /// Runs `body()`, a task, to its end.
    template <class Body>
    auto run(Body&& body) {
        return executor.run_until(body());
    }

    Executor executor;
    TcpListener listener;
    TcpStream client;
    TcpStream server;
};

/// Runs `a()` and `b()`, tasks, at the same time.
template <class A, class B>
Task<> together(A& a, B& b) {
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(std::ref(a));
        group.spawn(std::ref(b));
        co_return;
    };
    co_await task_group(body);
}

/// How many allocations a thousand messages make that the client sends and `serve()`, a task, sends back.
template <class Serve>
std::size_t allocations_of_messages(LoopbackPair& pair, Serve& serve) {
    std::size_t allocations = 0;
    auto ask = [&]() -> Task<> {
        std::array<std::byte, 64> buffer{};
        std::size_t before = 0;
        for (int i = 0; i < 1000; ++i) {
            // Past the first rounds, which register, and make what is used from then on.
            if (i == 10) before = allocations_made();
            co_await pair.client.write_all(buffer);
            co_await pair.client.read_exactly(buffer);
        }
        allocations = allocations_made() - before;
        pair.client.close();
    };
    pair.executor.run_until(together(serve, ask));
    return allocations;
}

/// Reads until the end of the stream.
Task<std::string> read_to_end(TcpStream& stream);

/// Bytes of which no two stretches are alike, for finding what was lost, doubled or exchanged.
std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed = 1);

/// The code that `call` throws as a `std::system_error`; none if it throws nothing.
template <class Call>
std::error_code error_of(Call&& call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

/// Closes it so that the peer is sent a reset.
void reset(TcpStream& stream);

/// Whether the loopback interface has an IPv6 address; if not, says that the running case is skipped.
bool has_ipv6();

}  // namespace leat::test
