// SPDX-License-Identifier: BSL-1.0
#include "support/stream_pair.hpp"

#include "support/system.hpp"

#include <array>
#include <system_error>
#include <utility>

namespace leat::test {

StreamPair::StreamPair() {
    Link link = stream_link();
    left = std::move(link.source);
    right = Source(link.peer.release());
}

Pipe::Pipe() {
    Link link = pipe_to_read();
    reader = std::move(link.source);
    writer = Source(link.peer.release());
}

void send_directly(const Source& source, std::string_view text) { write_text(source.native_handle(), text); }

std::string receive_directly(const Source& source) {
    std::string text;
    std::array<char, 4096> buffer;
    std::error_code error;
    while (std::size_t received = try_read(source.native_handle(), buffer, error))
        text.append(buffer.data(), received);
    return text;
}

}  // namespace leat::test
