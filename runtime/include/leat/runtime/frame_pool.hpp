// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <algorithm>
#include <cstddef>
#include <new>

// A program with the address sanitizer and a leat without it: each frame is an allocation, so that a use after its
// end is seen. Blocks may come from one and go to the other.
#if LEAT_IS_ADDRESS_SANITIZED
#define LEAT_FRAME_POOL_STEPS_ASIDE 0
#elif defined(__SANITIZE_ADDRESS__)
#define LEAT_FRAME_POOL_STEPS_ASIDE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAT_FRAME_POOL_STEPS_ASIDE 1
#endif
#endif
#ifndef LEAT_FRAME_POOL_STEPS_ASIDE
#define LEAT_FRAME_POOL_STEPS_ASIDE 0
#endif

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
    /// Blocks are a header less than multiples of this, as the C library's allocator puts one before each; nothing
    /// over-aligned is kept here.
    static constexpr std::size_t granularity = 16;
    static constexpr std::size_t header = sizeof(void*);
    /// Larger blocks go to the allocator.
    static constexpr std::size_t largest = 8192;
    /// What the lists of one size may hold at most: frames that come and go in a burst, not a hoard.
    static constexpr std::size_t bytes_kept_a_size = 512 * 1024;

    static void* allocate(std::size_t size) {
#if LEAT_FRAME_POOL_STEPS_ASIDE
        return allocate_slowly(size);
#else
        std::size_t list = list_of(size);
        if (list < list_count) {
            FreeList& free = lists_[list];
            if (Block* block = free.first) {
                free.first = block->next;
#if LEAT_IS_ADDRESS_SANITIZED
                unpoison(block, block_size(list));
#endif
                return block;
            }
        }
        return allocate_slowly(size);
#endif
    }

    static void deallocate(void* memory, [[maybe_unused]] std::size_t size) noexcept {
#if LEAT_FRAME_POOL_STEPS_ASIDE
        ::operator delete(memory);
#else
        std::size_t list = list_of(size);
        if (list < list_count) {
            FreeList& free = lists_[list];
            // A limit of zero means that this thread has no lists yet, or has none any more.
            std::size_t count = free.first != nullptr ? free.first->count : 0;
            if (count < free.limit) {
                free.first = ::new (memory) Block{free.first, count + 1};
#if LEAT_IS_ADDRESS_SANITIZED
                poison(static_cast<Block*>(memory) + 1, block_size(list) - sizeof(Block));
#endif
                return;
            }
        }
        deallocate_slowly(memory, size);
#endif
    }

    /// Gives this thread's free blocks back to the allocator.
    static void trim() noexcept;

private:
    struct Block {
        Block* next;
        // This one and those behind it. Kept here, so that taking a block is one store.
        std::size_t count;
    };
    struct FreeList {
        Block* first;
        std::size_t limit;
    };
    static constexpr std::size_t list_of(std::size_t size) noexcept {
        return (size + header + granularity - 1) / granularity;
    }
    // The smallest list's blocks would not hold what a free block says of itself.
    static constexpr std::size_t block_size(std::size_t list) noexcept {
        return std::max(list * granularity - header, sizeof(Block));
    }
    static constexpr std::size_t list_count = largest / granularity + 1;

#if LEAT_IS_ADDRESS_SANITIZED
    // For the address sanitizer: nobody may use a free block, but for what it says of itself.
    static void poison(void* memory, std::size_t size) noexcept;
    static void unpoison(void* memory, std::size_t size) noexcept;
#endif
    static void* allocate_slowly(std::size_t size);
    static void deallocate_slowly(void* memory, std::size_t size) noexcept;

    /// Gives this thread its lists, which it keeps until its end. False: it has or had them, or there is no memory.
    static bool open_lists() noexcept;
    static void set_limits(FreeList* lists) noexcept;
    static void trim(FreeList* lists) noexcept;

    friend struct FramePoolThread;
#if LEAT_THREAD_LOCALS_DIE_EARLY
    // Not the lists themselves, which would be gone before the thread's destructors can empty them.
    static constinit thread_local FreeList* lists_;
    static FreeList no_lists_[list_count];
#else
    static constinit thread_local FreeList lists_[list_count];
#endif
};

}  // namespace leat::detail
