// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>

namespace leat::detail {

/// Where coroutine frames and group children live: free lists by size, one set a thread, bounded.
///
/// A block that is freed on another thread than it came from joins that thread's lists: each is an allocation
/// of its own, so that is harmless.
///
/// Thread-safety: any thread.
/// Complexity:    a few instructions while the lists serve; else the allocator's.
class FramePool {
public:
    /// Blocks are multiples of this; nothing over-aligned is kept here.
    static constexpr std::size_t granularity = 64;
    /// Larger blocks go to the allocator.
    static constexpr std::size_t largest = 16384;
    /// What the lists of one size may hold at most: frames that come and go in a burst, not a hoard.
    static constexpr std::size_t bytes_kept_a_size = 512 * 1024;

    static void* allocate(std::size_t size) {
        std::size_t list = (size + granularity - 1) / granularity;
        if (list < list_count) {
            FreeList& free = lists_[list];
            if (Block* block = free.first) {
                free.first = block->next;
                --free.count;
                return block;
            }
        }
        return allocate_slowly(size);
    }

    static void deallocate(void* memory, std::size_t size) noexcept {
        std::size_t list = (size + granularity - 1) / granularity;
        if (list < list_count) {
            FreeList& free = lists_[list];
            // A limit of zero means that this thread has no lists yet, or has none any more.
            if (free.count < free.limit) {
                Block* block = static_cast<Block*>(memory);
                block->next = free.first;
                free.first = block;
                ++free.count;
                return;
            }
        }
        deallocate_slowly(memory, size);
    }

    /// Gives this thread's free blocks back to the allocator.
    static void trim() noexcept;

private:
    struct Block {
        Block* next;
    };
    struct FreeList {
        Block* first;
        unsigned count;
        unsigned limit;
    };
    static constexpr std::size_t list_count = largest / granularity + 1;

    static void* allocate_slowly(std::size_t size);
    static void deallocate_slowly(void* memory, std::size_t size) noexcept;

    friend struct FramePoolThread;
    static constinit thread_local FreeList lists_[list_count];
};

}  // namespace leat::detail
