// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>

namespace leat::detail {

void ScopeWait::run(TaskFrame& body) noexcept { run(body, TimePoint::max()); }

void ScopeWait::run(TaskFrame& body, TimePoint deadline) noexcept {
    stopping_ = environment().is_cancelled();
    inside_.enter(environment());
    inside_.limit_deadline(deadline);
    begin(body);
}

void ScopeWait::run_apart(TaskFrame& body) noexcept {
    inside_.stand_apart(environment());
    begin(body);
}

void ScopeWait::begin(TaskFrame& body) noexcept {
    // Awaited before.
    if (body_ != nullptr || has_ended_) [[unlikely]]
        stop_for_spent_task();
    body_ = &body;
    begin_task(body, inside_, *this);
    suspend();
    executor().run_next(body);
}

TaskFrame* ScopeWait::cancel_or_pass(CancelWalk&) noexcept {
    stopping_ = true;
    return mark_inside();
}

void ScopeWait::cancel_inside() noexcept {
    if (TaskFrame* body = mark_inside()) cancel_waits(*body);
}

std::unique_ptr<const std::string> ScopeWait::describe_inside() const noexcept {
    if (has_ended_ || body_ == nullptr) return nullptr;
    return describe_innermost_wait(*body_);
}

/// The task whose waits are still to be asked; null if there is none, or they were asked before.
TaskFrame* ScopeWait::mark_inside() noexcept {
    if (has_ended_ || body_ == nullptr || !inside_.mark_cancelled()) return nullptr;
    return body_;
}

void ScopeWait::visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const {
    if (body_ != nullptr && !has_ended_) visit(*body_, argument);
}

void ScopeWait::child_finished(TaskFrame&) noexcept {
    has_ended_ = true;
    executor().run_next_or_later(*this);
}

void ScopeWait::child_unwound() noexcept {
    has_ended_ = true;
    body_ = nullptr;
    if (stopping_)
        withdrawn();
    else
        resume_later();
}

}  // namespace leat::detail
