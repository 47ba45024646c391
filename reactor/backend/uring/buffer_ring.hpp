// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/uring/ring.hpp"

#include <leat/reactor/operation.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace leat::detail::uring {

/// Buffers of the queue's pool that the kernel has, to put into them what streams bring (io_uring_register(2),
/// IORING_REGISTER_PBUF_RING, from Linux 5.19 on). A request that selects one names `group`.
///
/// The kernel's are no more than what one wait may fill: before each, those that it has handed out are replaced. So however
/// many are lent, there are always some, unless there is no memory.
///
/// Thread-safety: the owner's thread.
class BufferRing {
public:
    static constexpr std::uint16_t group = 0;

    BufferRing(Ring& ring, Completions& completions) noexcept
        : ring_(ring), completions_(completions), size_(std::min(largest_size, ring.entries())) {}
    BufferRing(const BufferRing&) = delete;
    BufferRing& operator=(const BufferRing&) = delete;
    ~BufferRing();

    /// Tells the kernel of the ring, unless it knows. False: it does not take one.
    bool open() noexcept;
    /// Replaces what was handed out. False: there is not one buffer, because memory has run out.
    bool top_up() noexcept {
        // None were asked for, or all are there.
        if (unused_count_ == 0) [[likely]]
            return true;
        return fill();
    }

    /// The buffer that the end of a request names, which is lent from here on.
    std::byte* take(std::uint32_t completion_flags) noexcept;

private:
    bool fill() noexcept;

    static constexpr std::uint32_t largest_size = 64;
    static constexpr std::size_t bytes = largest_size * sizeof(io_uring_buf);

    Ring& ring_;
    Completions& completions_;
    // A power of two.
    const std::uint32_t size_;
    io_uring_buf_ring* shared_ = nullptr;
    // For good: who asks twice gets the same answer.
    bool is_refused_ = false;
    // By the number that the kernel knows it by; and the numbers that stand for none.
    std::array<std::byte*, largest_size> buffers_{};
    std::array<std::uint16_t, largest_size> unused_{};
    std::uint32_t unused_count_ = 0;
};

}  // namespace leat::detail::uring
