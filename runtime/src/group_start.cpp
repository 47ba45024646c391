// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/group_start.hpp>

#include <leat/reactor/error.hpp>

#include <utility>

namespace leat::detail {

TaskFrame* StartedChild::task_to_cancel() noexcept { return inside_.mark_cancelled() ? frame_ : nullptr; }

void StartedChild::tell_starter() noexcept {
    if (StartWait* starter = std::exchange(starter_, nullptr)) starter->child_is_ready();
}

void StartedChild::ended(std::exception_ptr& failure, bool was_unwound) noexcept {
    if (StartWait* starter = std::exchange(starter_, nullptr))
        starter->child_ended(std::move(failure), was_unwound);
}

void StartWait::await_suspend(TaskHandle, std::source_location line) noexcept {
    if (is_stopped()) return;
    child_ = static_cast<StartedChild*>(&prepared_.child());
    child_->starter_ = this;
    child_->note_spawned(line);
    suspend();
    child_->inside_.enter(group_->environment());
    prepared_.start_in(*group_, child_->inside_);
}

void StartWait::child_is_ready() noexcept {
    state_ = State::ready;
    resume_later();
}

void StartWait::child_ended(std::exception_ptr&& failure, bool was_unwound) noexcept {
    failure_ = std::move(failure);
    failure = nullptr;
    state_ = was_unwound ? State::unwound : State::ended;
    if (was_unwound && is_stopping_)
        withdrawn();
    else
        resume_later();
}

TaskFrame* StartWait::cancel_or_pass(CancelWalk&) noexcept {
    if (state_ != State::waiting) return nullptr;
    is_stopping_ = true;
    return child_->task_to_cancel();
}

std::exception_ptr StartWait::take_failure() {
    if (failure_ != nullptr) return std::move(failure_);
    if (state_ == State::unwound)
        return std::make_exception_ptr(std::system_error(make_error_code(errc::cancelled), "leat: start"));
    if (state_ == State::ended)
        return std::make_exception_ptr(
            std::system_error(make_error_code(errc::closed), "leat: the task ended before it was ready"));
    return nullptr;
}

}  // namespace leat::detail
