// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/frame_pool.hpp>

namespace leat::detail {

constinit thread_local FramePool::FreeList FramePool::lists_[FramePool::list_count] = {};

/// Opens a thread's lists with its first freed block and gives the blocks back at its end.
struct FramePoolThread {
    FramePoolThread() noexcept { FramePool::set_limits(FramePool::lists_); }
    FramePoolThread(const FramePoolThread&) = delete;
    ~FramePoolThread() {
        for (FramePool::FreeList& list : FramePool::lists_)
            list.limit = 0;
        FramePool::trim();
    }

    // Stays so: a frame that a later destructor of this thread frees goes straight to the allocator.
    static constinit thread_local bool is_open;
};

constinit thread_local bool FramePoolThread::is_open = false;

bool FramePool::open_lists() noexcept {
    if (FramePoolThread::is_open) return false;
    FramePoolThread::is_open = true;
    static thread_local FramePoolThread thread;
    return true;
}

}  // namespace leat::detail
