// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/condition.hpp>

namespace leat {

bool ConditionWaitOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!guard_->is_locked()) [[unlikely]]
        detail::stop_for_misuse("a task waits for a condition with a guard that holds no mutex");
    mutex_ = guard_->mutex_;
    wait_in(condition_->waiters_);
    guard_->unlock();
    return false;
}

void ConditionWaitOperation::lock_again(Stage stage) noexcept {
    stage_ = stage;
    if (mutex_->take(Mutex::holder_of(*frame_)))
        handed();
    else
        mutex_->waiters_.append(*this);
}

/// The mutex is ours.
void ConditionWaitOperation::handed() noexcept {
    guard_->mutex_ = mutex_;
    if (std::exchange(stage_, Stage::locked) == Stage::giving_up)
        withdrawn();
    else
        resume_later();
}

void ConditionWaitOperation::cancel() noexcept {
    const bool is_deadline = !environment().is_cancelled();
    if (stage_ == Stage::waiting) {
        if (!leave(condition_->waiters_)) return;
        if (is_deadline) return lock_again(Stage::giving_up);
        return withdrawn();
    }
    // It has had its notification, or waits to tell that it has had none in time.
    if (is_deadline || !leave(mutex_->waiters_)) return;
    if (stage_ == Stage::notified) condition_->notify_one();
    withdrawn();
}

std::string ConditionWaitOperation::describe() const {
    switch (stage_) {
    case Stage::waiting:
        break;
    case Stage::notified:
    case Stage::woken:
        return "a condition's mutex, notified";
    case Stage::giving_up:
        return "a condition's mutex, its deadline has passed";
    case Stage::locked:
        return "a condition, notified";
    }
    return "a condition";
}

void Condition::notify_one() noexcept {
    if (waiters_.is_empty()) return;
    auto& wait = static_cast<ConditionWaitOperation&>(waiters_.first());
    waiters_.remove(wait);
    // One of a scope that is being cancelled passes it on in turn.
    wait.lock_again(ConditionWaitOperation::Stage::notified);
}

void Condition::notify_all() noexcept {
    while (!waiters_.is_empty()) {
        auto& wait = static_cast<ConditionWaitOperation&>(waiters_.first());
        waiters_.remove(wait);
        wait.lock_again(ConditionWaitOperation::Stage::woken);
    }
}

}  // namespace leat
