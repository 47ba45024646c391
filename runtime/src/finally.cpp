// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/finally.hpp>

#include <leat/reactor/error.hpp>

#include <system_error>
#include <utility>

namespace leat::detail {

void FinallyWait::run(TaskFrame& body) noexcept {
    body_ = &body;
    body_runs_ = true;
    inside_.enter(environment());
    begin_task(body, inside_, *this);
    suspend();
    executor().run_next(body);
}

TaskFrame* FinallyWait::cancel_or_pass(CancelWalk&) noexcept {
    return body_runs_ && inside_.mark_cancelled() ? body_ : nullptr;
}

void FinallyWait::child_finished(TaskFrame&) noexcept {
    body_runs_ = false;
    failure_ = take_exception(*body_);
    clean_up();
}

void FinallyWait::child_unwound() noexcept {
    body_runs_ = false;
    body_ = nullptr;
    clean_up();
}

void FinallyWait::clean_up() noexcept {
    try {
        Task<void> task = make_cleanup();
        cleanup_.begin(task.release().promise());
    } catch (...) {
        fail(std::current_exception());
        settle();
    }
}

void FinallyWait::fail(std::exception_ptr failure) noexcept {
    if (failure_ == nullptr)
        failure_ = std::move(failure);
    else
        attach_or_tell(executor(), failure_, failure);
}

void FinallyWait::settle() noexcept {
    if (body_ != nullptr || failure_ != nullptr)
        resume_later();
    else
        withdrawn();
}

void FinallyWait::Cleanup::begin(TaskFrame& task) noexcept {
    Executor& executor = owner_.executor();
    TimePoint deadline = saturating_add(executor.now(), owner_.limit_);
    inside_.stand_apart(owner_.environment());
    inside_.limit_deadline(deadline);
    executor.timers().arm(*this, deadline);
    task_ = &task;
    attach(task);
    begin_task(task, inside_, *this);
    executor.make_ready(*this);
}

void FinallyWait::Cleanup::child_finished(TaskFrame& task) noexcept {
    disarm();
    task_ = nullptr;
    if (std::exception_ptr failure = take_exception(task)) owner_.fail(std::move(failure));
    task.handle().destroy();
    owner_.settle();
}

void FinallyWait::Cleanup::child_unwound() noexcept {
    task_ = nullptr;
    try {
        throw_deadline_exceeded("leat: a clean-up took too long", where_.get());
    } catch (...) {
        // It, or that there was no memory for it.
        owner_.fail(std::current_exception());
    }
    owner_.settle();
}

void FinallyWait::Cleanup::expired() noexcept {
    if (!inside_.mark_cancelled()) return;
    where_ = describe_innermost_wait(*task_);
    cancel_waits(*task_);
}

std::string FinallyWait::describe() const { return body_runs_ ? "a task with a clean-up" : "a clean-up"; }

void FinallyWait::visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const {
    if (body_runs_)
        visit(*body_, argument);
    else if (cleanup_.task_ != nullptr)
        visit(*cleanup_.task_, argument);
}

}  // namespace leat::detail
