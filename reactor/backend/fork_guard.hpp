// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstdint>

namespace leat::detail {

/// Knows which thread owns a queue, and that a forked child owns none: its word is emptied in the child, so that one
/// comparison answers both. The kernel empties it where it has pages for that (madvise(2), MADV_WIPEONFORK; minherit(2)),
/// else a handler of pthread_atfork(3).
///
/// Thread-safety: any thread.
class ForkGuard {
public:
    /// Errors: the kernel's, as `std::system_error`.
    ForkGuard();
    ForkGuard(const ForkGuard&) = delete;
    ForkGuard& operator=(const ForkGuard&) = delete;
    ~ForkGuard();

    /// Whether the calling thread is the owner; the first one that asks becomes it.
    bool own() noexcept {
        std::uintptr_t owner = word_->load(std::memory_order_relaxed);
        if (owner == this_thread()) [[likely]]
            return true;
        return owner == unowned && word_->compare_exchange_strong(owner, this_thread());
    }

    bool is_forked_child() const noexcept { return word_->load(std::memory_order_relaxed) == wiped; }

private:
    static constexpr std::uintptr_t wiped = 0, unowned = 1;

    static std::uintptr_t this_thread() noexcept {
        static constinit thread_local char here = 0;
        return reinterpret_cast<std::uintptr_t>(&here);
    }

    std::atomic<std::uintptr_t>* word_;
};

}  // namespace leat::detail
