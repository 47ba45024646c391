// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace leat::detail {

/// The handles of a queue's sources: finds a second source of the same handle, which no kernel but Linux's epoll
/// refuses.
///
/// One bit for each handle, as systems number them from the smallest free one. It allocates when it grows, and never
/// shrinks.
///
/// Thread-safety: under the core's lock.
class HandleSet {
public:
    enum class Added { yes, is_there_already, no_memory };

    /// A number that is no handle is added any number of times: the kernel refuses it.
    Added add(NativeHandle handle) noexcept;
    void remove(NativeHandle handle) noexcept;

private:
    using Word = std::uint64_t;

    bool grow(std::size_t words) noexcept;

    std::unique_ptr<Word[]> words_;
    std::size_t size_ = 0;
};

}  // namespace leat::detail
