// SPDX-License-Identifier: BSL-1.0
//
// A thread gives its blocks back through the destructor of a key (pthread_key_create(3)), not through that of
// a thread-local variable: to register the latter needs memory, and glibc aborts the process if there is
// none. A key that cannot be set is an error code, and the lists stay closed until it can.
//
// Where thread-local variables are gone before the destructors of keys run, the lists are on the heap, as on
// Windows.

#include <leat/runtime/frame_pool.hpp>

#include <atomic>
#include <cstdlib>

#include <pthread.h>

namespace leat::detail {

#if LEAT_THREAD_LOCALS_DIE_EARLY

// Nothing is ever in them, since their limits are zero.
FramePool::FreeList FramePool::no_lists_[FramePool::list_count] = {};

constinit thread_local FramePool::FreeList* FramePool::lists_ = FramePool::no_lists_;

#else

constinit thread_local FramePool::FreeList FramePool::lists_[FramePool::list_count] = {};

#endif

/// A thread's lists, from its first freed block to its end.
struct FramePoolThread {
    static void end(void* memory) {
#if LEAT_THREAD_LOCALS_DIE_EARLY
        FramePool::lists_ = FramePool::no_lists_;
        FramePool::trim(static_cast<FramePool::FreeList*>(memory));
        std::free(memory);
#else
        (void)memory;
        for (FramePool::FreeList& list : FramePool::lists_)
            list.limit = 0;
        FramePool::trim();
#endif
    }

#if !LEAT_THREAD_LOCALS_DIE_EARLY
    // Stays so: a frame that a later destructor of this thread frees goes straight to the allocator.
    static constinit thread_local bool is_open;
#endif
};

#if !LEAT_THREAD_LOCALS_DIE_EARLY
constinit thread_local bool FramePoolThread::is_open = false;
#endif

namespace {

/// Made before `main`. Deleted when the program exits, or when the library that has this code is unloaded,
/// since threads may go on after that.
class Key {
public:
    Key() noexcept : is_there_(::pthread_key_create(&key_, &FramePoolThread::end) == 0) {}
    Key(const Key&) = delete;
    ~Key() {
        if (is_there_.exchange(false)) ::pthread_key_delete(key_);
    }

    /// Has `lists` ended when this thread ends. False: there is no memory for that, or no key.
    bool set(void* lists) noexcept { return is_there_.load() && ::pthread_setspecific(key_, lists) == 0; }

private:
    pthread_key_t key_{};
    // Zero, and so false, before the constructor has run.
    std::atomic<bool> is_there_;
};

Key key;

}  // namespace

bool FramePool::open_lists() noexcept {
#if LEAT_THREAD_LOCALS_DIE_EARLY
    if (lists_ != no_lists_) return false;
    auto* lists = static_cast<FreeList*>(std::calloc(list_count, sizeof(FreeList)));
    if (lists == nullptr) return false;
    if (!key.set(lists)) {
        std::free(lists);
        return false;
    }
    set_limits(lists);
    lists_ = lists;
#else
    if (FramePoolThread::is_open) return false;
    if (!key.set(lists_)) return false;
    FramePoolThread::is_open = true;
    set_limits(lists_);
#endif
    return true;
}

}  // namespace leat::detail
