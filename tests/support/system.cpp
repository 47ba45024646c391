// SPDX-License-Identifier: BSL-1.0
#include "support/system.hpp"

namespace leat::test {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::size_t drain(Source& source) {
    std::size_t drained = drain(source.native_handle());
    source.rearm(Interest::readable);
    return drained;
}

std::size_t fill(Source& source) {
    std::size_t filled = fill(source.native_handle());
    source.rearm(Interest::writable);
    return filled;
}

std::string read_text(Source& source, std::size_t most) {
    std::string text = read_text(source.native_handle(), most);
    source.rearm(Interest::readable);
    return text;
}

}  // namespace leat::test
