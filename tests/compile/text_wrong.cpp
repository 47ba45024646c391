// SPDX-License-Identifier: BSL-1.0
// clang-format off
// What is no text.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/task.hpp>

leat::Task<> writes(leat::TcpStream& stream) {
    char buffer[64] = "how much of this is text?";
    co_await stream.write_all(buffer);  // says: leat: how much of an array of char is text?
}
