// SPDX-License-Identifier: BSL-1.0
#include "support/loopback_pair.hpp"

#include "support/skip.hpp"
#include "support/system.hpp"

#include <array>

namespace leat::test {

Connected::Connected(TcpListener& listener) : client(TcpStream::start_connect(listener.local_address())) {
    await_readable(listener.native_handle());
    server = std::move(listener.try_accept().value());
    await_writable(client.native_handle());
}

LoopbackPair::LoopbackPair() : listener(TcpListener::bind(Address::loopback(0))) {
    Connected connected(listener);
    client = std::move(connected.client);
    server = std::move(connected.server);
}

Task<std::string> read_to_end(TcpStream& stream) {
    std::string text;
    std::array<std::byte, 4096> buffer;
    for (;;) {
        std::size_t received = co_await stream.read(buffer);
        if (received == 0) co_return text;
        text += text_of(std::span(buffer).first(received));
    }
}

std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed) {
    std::vector<std::byte> bytes(size);
    std::uint32_t state = seed * 2654435761u + 1;
    for (std::byte& byte : bytes) {
        // Numerical Recipes' generator; the high bits are the better ones.
        state = state * 1664525u + 1013904223u;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

void reset(TcpStream& stream) {
    stream.set_linger(std::chrono::seconds(0));
    stream.close();
}

bool has_ipv6() {
    try {
        (void)TcpListener::bind(Address::loopback(0, Address::Family::ipv6));
        return true;
    } catch (const std::system_error& error) {
        skip("ipv6", error.what());
        return false;
    }
}

}  // namespace leat::test
