// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

#include <cstddef>
#include <memory>

namespace leat::detail {

/// The handles of a queue's sources: finds a second source of the same handle, which no kernel but Linux's
/// epoll refuses.
///
/// Open addressing with linear probing. It allocates when it grows, and never shrinks.
///
/// Thread-safety: under the core's lock.
class HandleSet {
public:
    enum class Added { yes, is_there_already, no_memory };

    /// `handle` is open: `invalid_handle` marks a free place.
    Added add(NativeHandle handle) noexcept;
    void remove(NativeHandle handle) noexcept;

private:
    std::size_t home_of(NativeHandle handle) const noexcept;
    std::size_t after(std::size_t place) const noexcept { return (place + 1) & (capacity_ - 1); }
    /// Where `handle` is, or would be added.
    std::size_t find(NativeHandle handle) const noexcept;
    bool grow() noexcept;

    std::unique_ptr<NativeHandle[]> places_;
    // A power of two, at least twice `size_`; or zero.
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
};

}  // namespace leat::detail
