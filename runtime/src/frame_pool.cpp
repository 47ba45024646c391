// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/frame_pool.hpp>

#include <algorithm>
#include <new>

namespace leat::detail {

constinit thread_local FramePool::FreeList FramePool::lists_[FramePool::list_count] = {};

/// Opens a thread's lists with its first freed block and gives the blocks back at its end.
struct FramePoolThread {
    FramePoolThread() noexcept {
        for (std::size_t i = 1; i < FramePool::list_count; ++i) {
            std::size_t kept = FramePool::bytes_kept_a_size / (i * FramePool::granularity);
            FramePool::lists_[i].limit = std::max<std::size_t>(kept, 8);
        }
    }
    FramePoolThread(const FramePoolThread&) = delete;
    ~FramePoolThread() {
        for (FramePool::FreeList& list : FramePool::lists_)
            list.limit = 0;
        FramePool::trim();
        is_over = true;
    }

    static constinit thread_local bool is_open;
    // A frame that a later destructor of this thread frees goes straight to the allocator.
    static constinit thread_local bool is_over;
};

constinit thread_local bool FramePoolThread::is_open = false;
constinit thread_local bool FramePoolThread::is_over = false;

void* FramePool::allocate_slowly(std::size_t size) {
    std::size_t list = list_of(size);
    // The whole block, so that it serves every frame of this list later.
    return ::operator new(list < list_count ? block_size(list) : size);
}

void FramePool::deallocate_slowly(void* memory, std::size_t size) noexcept {
    if (!FramePoolThread::is_open && !FramePoolThread::is_over && size <= largest) {
        FramePoolThread::is_open = true;
        static thread_local FramePoolThread thread;
        deallocate(memory, size);
        return;
    }
    ::operator delete(memory);
}

void FramePool::trim() noexcept {
    for (FreeList& list : lists_) {
        while (Block* block = list.first) {
            list.first = block->next;
            ::operator delete(block);
        }
    }
}

}  // namespace leat::detail
