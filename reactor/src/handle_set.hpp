// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace leat::detail {

/// The handles of a queue's sources. It finds a second source of one handle, which only Linux's epoll
/// refuses by itself.
///
/// One bit for each handle, as systems give small numbers first. It allocates when it grows, and never
/// shrinks.
///
/// Thread-safety: under the core's lock.
class HandleSet {
public:
    enum class Added { yes, is_there_already, no_memory };

    /// Of a number that is no handle, or of 2^24 and beyond, a second one is not found.
    Added add(NativeHandle handle) noexcept;
    void remove(NativeHandle handle) noexcept;

private:
    using Word = std::uint64_t;

    bool grow(std::size_t words) noexcept;

    std::unique_ptr<Word[]> words_;
    std::size_t size_ = 0;
};

}  // namespace leat::detail
