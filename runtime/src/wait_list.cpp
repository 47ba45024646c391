// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/wait_list.hpp>

#include "backend/diagnostic.hpp"
#include "src/joined_text.hpp"

#include <cstdlib>
#include <new>
#include <string>

namespace leat::detail {

bool QueuedWait::leave(WaitList& list) noexcept {
    if (!is_queued_) return false;
    list.remove(*this);
    return true;
}

namespace {

[[noreturn]] void stop_for_second_executor(const Wait& waiting) noexcept {
    std::string what;
    try {
        what = waiting.describe();
    } catch (const std::bad_alloc&) {
        what = "a primitive";
    }
    write_notice(
        JoinedText({"leat: ", what,
                    ": tasks of one executor wait for it, and another executor or thread uses it too"})
            .text());
    std::abort();
}

}  // namespace

void WaitList::demand_same_executor(const QueuedWait& wait) const noexcept {
    if (first_ != nullptr && &first_->executor() != &wait.executor()) stop_for_second_executor(wait);
}

void WaitList::demand_own_executor(const Executor* executor) const noexcept {
    Executor& own = first_->executor();
    if ((executor != nullptr && executor != &own) || own.poll().has_other_owner())
        stop_for_second_executor(*first_);
}

void WaitList::stop_for_waiters(const char* what) noexcept {
    write_notice(JoinedText({"leat: ", what, " is destroyed while tasks wait for it"}).text());
    std::abort();
}

}  // namespace leat::detail
