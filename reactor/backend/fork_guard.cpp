// SPDX-License-Identifier: BSL-1.0
#include "backend/fork_guard.hpp"

namespace leat::detail {

namespace {

std::atomic<std::uintptr_t> numbers_given{2};

}  // namespace

thread_local constinit std::uintptr_t ForkGuard::thread_number = no_number;

bool ForkGuard::become_owner() noexcept {
    if (thread_number == no_number) thread_number = numbers_given.fetch_add(1, std::memory_order_relaxed) + 1;
    std::uintptr_t owner = unowned;
    return word_->compare_exchange_strong(owner, thread_number);
}

}  // namespace leat::detail
