// SPDX-License-Identifier: BSL-1.0
//
// The smallest server: what comes in goes out again. Try it with `nc 127.0.0.1 7777`.
#include <leat/net/serve_until_signal.hpp>

#include <array>
#include <cstddef>
#include <span>

namespace {

leat::Task<> echo(leat::TcpStream peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        std::size_t received = co_await peer.read(buffer);  // 0: the peer closed
        if (received == 0) co_return;
        co_await peer.write_all(std::span(buffer).first(received));
    }
}

}  // namespace

int main() {
    leat::TcpListener listener = leat::TcpListener::bind(leat::Address::parse("127.0.0.1:7777"));
    leat::run(leat::serve_until_signal(listener, echo));
}
