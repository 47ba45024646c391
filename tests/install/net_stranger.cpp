// SPDX-License-Identifier: BSL-1.0
// One message through a connection to ourselves: enough to need every layer of the installed libraries.
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/config.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <array>
#include <cstddef>
#include <cstdio>
#include <span>

#if defined(STRANGER_WANTS_STD_EXPECTED)
#include <expected>
#include <system_error>
#include <type_traits>
static_assert(std::is_same_v<leat::Result<int>, std::expected<int, std::error_code>>);
#endif

namespace {

leat::Task<std::size_t> send_to_ourselves() {
    leat::TcpListener listener = leat::TcpListener::bind(leat::Address::loopback(0));
    leat::TcpStream client = co_await leat::TcpStream::connect(listener.local_address());
    leat::TcpStream server = co_await listener.accept();

    std::array<std::byte, 4> message;
    message.fill(std::byte(42));
    co_await client.write_all(message);

    std::array<std::byte, 16> buffer;
    std::size_t received = co_await server.read(buffer);
    co_return received;
}

}  // namespace

int main() {
    std::size_t received = leat::run(send_to_ourselves());
    std::printf("leat %s: %zu bytes\n", LEAT_VERSION_STRING, received);
    return received == 4 ? 0 : 1;
}
