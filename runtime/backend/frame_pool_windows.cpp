// SPDX-License-Identifier: BSL-1.0
//
// GCC for Windows keeps thread-local variables in memory that it frees when the thread ends, and runs the thread's
// destructors after that. What is to be given back then must therefore be elsewhere, and the destructor be told where.

#include <leat/runtime/frame_pool.hpp>

#include <cstdlib>

#include <cxxabi.h>

// Of this program or library: its code must stay until the destructor has run.
extern "C" void* __dso_handle;

namespace leat::detail {

// Nothing is ever in them, since their limits are zero.
FramePool::FreeList FramePool::no_lists_[FramePool::list_count] = {};

constinit thread_local FramePool::FreeList* FramePool::lists_ = FramePool::no_lists_;

struct FramePoolThread {
    static void end(void* memory) {
        FramePool::lists_ = FramePool::no_lists_;
        FramePool::trim(static_cast<FramePool::FreeList*>(memory));
        std::free(memory);
    }
};

bool FramePool::open_lists() noexcept {
    if (lists_ != no_lists_) return false;
    auto* lists = static_cast<FreeList*>(std::calloc(list_count, sizeof(FreeList)));
    if (lists == nullptr) return false;
    if (abi::__cxa_thread_atexit(FramePoolThread::end, lists, &__dso_handle) != 0) {
        std::free(lists);
        return false;
    }
    set_limits(lists);
    lists_ = lists;
    return true;
}

}  // namespace leat::detail
