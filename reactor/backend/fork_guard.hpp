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
        if (word_->load(std::memory_order_relaxed) == thread_number) [[likely]]
            return true;
        return become_owner();
    }

    /// The same without becoming it.
    bool is_owner() const noexcept { return word_->load(std::memory_order_relaxed) == thread_number; }

    /// Whether a thread is the owner, and another one than the caller.
    bool has_other_owner() const noexcept {
        const std::uintptr_t word = word_->load(std::memory_order_relaxed);
        return word != thread_number && word != unowned && word != wiped;
    }

    bool is_forked_child() const noexcept { return word_->load(std::memory_order_relaxed) == wiped; }

private:
    // What is neither is the number of a thread; no two have the same, and none has that of one that has ended.
    static constexpr std::uintptr_t wiped = 0, unowned = 1, no_number = 2;

    bool become_owner() noexcept;

    static thread_local constinit std::uintptr_t thread_number;

    std::atomic<std::uintptr_t>* word_;
};

}  // namespace leat::detail
