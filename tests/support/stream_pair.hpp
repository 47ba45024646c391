// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace leat::test {

/// Two connected stream sockets, without a network where the system has such (`stream_link`).
struct StreamPair {
    StreamPair();

    Source left;
    Source right;
};

/// The two ends of a pipe.
struct Pipe {
    Pipe();

    Source reader;
    Source writer;
};

/// Writes and reads past the executor, without blocking.
void send_directly(const Source& source, std::string_view text);
std::string receive_directly(const Source& source);

/// The smallest operations of one's own.
class [[nodiscard]] ReadSome : public IoOperation {
public:
    using value_type = std::size_t;

    ReadSome(Source& source, std::span<std::byte> buffer, bool is_socket = true) noexcept
        : IoOperation(is_socket ? Operation::receive(source, buffer) : Operation::read(source, buffer)) {}

    std::size_t await_resume() const {
        if (has_failed()) throw_error("read");
        return transferred();
    }
    Result<std::size_t> result() const {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return transferred();
    }
};

class [[nodiscard]] WriteSome : public IoOperation {
public:
    using value_type = std::size_t;

    WriteSome(Source& source, std::span<const std::byte> buffer, bool is_socket = true) noexcept
        : IoOperation(is_socket ? Operation::send(source, buffer) : Operation::write(source, buffer)) {}

    std::size_t await_resume() const {
        if (has_failed()) throw_error("write");
        return transferred();
    }
    Result<std::size_t> result() const {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return transferred();
    }
};

inline ReadSome read_some(Source& source, std::span<std::byte> buffer) noexcept {
    return ReadSome(source, buffer);
}
inline WriteSome write_some(Source& source, std::string_view text) noexcept {
    return WriteSome(source, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace leat::test
