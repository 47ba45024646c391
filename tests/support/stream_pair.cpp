// SPDX-License-Identifier: BSL-1.0
#include "support/stream_pair.hpp"

#include <array>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace leat::test {

StreamPair::StreamPair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw std::system_error(errno, std::system_category(), "socketpair");
    left = Source(ends[0]);
    right = Source(ends[1]);
}

Pipe::Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0)
        throw std::system_error(errno, std::system_category(), "pipe2");
    reader = Source(ends[0]);
    writer = Source(ends[1]);
}

void send_directly(const Source& source, std::string_view text) {
    if (::write(source.native_handle(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        throw std::system_error(errno, std::system_category(), "write");
}

std::string receive_directly(const Source& source) {
    std::string text;
    std::array<char, 4096> buffer;
    for (;;) {
        ssize_t received = ::read(source.native_handle(), buffer.data(), buffer.size());
        if (received <= 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(received));
    }
}

}  // namespace leat::test
