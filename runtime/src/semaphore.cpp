// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/semaphore.hpp>

namespace leat {

void AcquireOperation::cancel() noexcept {
    if (!leave(semaphore_->waiters_)) return;
    // Who stood behind may have wanted less.
    semaphore_->hand_over();
    withdrawn();
}

std::string AcquireOperation::describe() const {
    return "a semaphore, " + std::to_string(semaphore_->available()) + " of " + std::to_string(count_) +
           " permits there";
}

void Semaphore::hand_over() noexcept {
    // Who is about to leave is handed nothing, and calls this again when it has left.
    while (!waiters_.is_empty() && !waiters_.first_is_leaving()) {
        std::size_t wanted = static_cast<AcquireOperation&>(waiters_.first()).count_;
        if (wanted > available_) return;
        available_ -= wanted;
        waiters_.hand_over();
    }
}

}  // namespace leat
