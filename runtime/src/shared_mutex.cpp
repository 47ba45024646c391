// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/shared_mutex.hpp>

namespace leat {

namespace detail {

void SharedMutexWait::cancel() noexcept {
    if (!leave(mutex_->waiters_)) return;
    // Readers who stood behind a writer may go ahead.
    mutex_->hand_over();
    withdrawn();
}

std::string SharedMutexWait::describe() const {
    std::string what = is_shared_ ? "a shared mutex, to read; " : "a shared mutex, to write; ";
    if (mutex_->is_exclusive_) return what + "one writes";
    return what + std::to_string(mutex_->shares_) + (mutex_->shares_ == 1 ? " reads" : " read");
}

}  // namespace detail

void SharedMutex::hand_over() noexcept {
    // Who is about to leave is handed nothing, and calls this again when it has left.
    while (!waiters_.is_empty() && !waiters_.first_is_leaving() && !is_exclusive_) {
        if (static_cast<detail::SharedMutexWait&>(waiters_.first()).is_shared_) {
            ++shares_;
        } else {
            if (shares_ != 0) return;
            is_exclusive_ = true;
        }
        waiters_.hand_over();
    }
}

}  // namespace leat
