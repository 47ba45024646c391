// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/task_group.hpp>

#include "src/failure.hpp"
#include "src/unwinding.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace leat {

namespace detail {

void GroupChild::ended(std::exception_ptr&, bool) noexcept {}

void GroupChild::child_finished(TaskFrame& task) noexcept {
    std::exception_ptr failure = take_exception(task);
    // From here on nobody who looks at the children finds this one, whose task goes.
    group_.unlink(*this);
    task.handle().destroy();
    ended(failure, false);
    group_.child_ended(*this, std::move(failure), false);
}

void GroupChild::child_unwound() noexcept {
    group_.unlink(*this);
    std::exception_ptr failure;
    ended(failure, true);
    group_.wait_->anything_unwound_ = true;
    group_.child_ended(*this, std::move(failure), true);
}

void PreparedChild::start_in(TaskGroup& group) noexcept { start_in(group, group.environment()); }

void PreparedChild::start_in(TaskGroup& group, Environment& inside) noexcept {
    TaskFrame& task = task_.release().promise();
    group.adopt(*child_.release(), task, inside);
}

}  // namespace detail

void TaskGroup::adopt(detail::GroupChild& child, TaskFrame& task, Environment& inside) noexcept {
    if constexpr (detail::checks_executors) {
        if (environment_.executor().poll().has_other_owner())
            detail::stop_for_misuse(
                "a task group is used on another thread than its executor's: spawn with its handle()");
    }
    child.attach(task);
    begin_task(task, inside, child);
    child.note_started(environment_.executor().round_time());
    child.next_sibling_ = children_;
    if (children_ != nullptr) children_->previous_sibling_ = &child;
    children_ = &child;
    ++size_;
    environment_.executor().make_ready(child);
}

void TaskGroup::unlink(detail::GroupChild& child) noexcept {
    if (child.previous_sibling_ != nullptr)
        child.previous_sibling_->next_sibling_ = child.next_sibling_;
    else
        children_ = child.next_sibling_;
    if (child.next_sibling_ != nullptr) child.next_sibling_->previous_sibling_ = child.previous_sibling_;
}

void TaskGroup::child_ended(detail::GroupChild& child, std::exception_ptr failure,
                            bool was_unwound) noexcept {
    --size_;
    // What it holds may reach for the group in its destructor, so the group goes on until that is over.
    {
        detail::UnwindingScope unwinding(was_unwound);
        child.dispose();
    }
    if (failure != nullptr) fail(std::move(failure));
    admit();
    while (size_ == 0 && !joining_.is_empty())
        joining_.hand_over();
    wait_->end_if_settled();
}

void TaskGroup::set_limit(std::size_t limit) noexcept {
    limit_ = std::max<std::size_t>(limit, 1);
    admit();
}

void TaskGroup::admit() noexcept {
    // Who is about to leave starts nothing, and calls this again when it has left.
    while (size_ < limit_ && !waiting_for_room_.is_empty() && !waiting_for_room_.first_is_leaving()) {
        static_cast<AdmitOperation&>(waiting_for_room_.first()).child_.start_in(*this);
        waiting_for_room_.hand_over();
    }
}

void TaskGroup::fail(std::exception_ptr failure) noexcept {
    if (failure_ == nullptr) {
        failure_ = std::move(failure);
        cancel();
        return;
    }
    detail::attach_or_tell(environment_.executor(), failure_, failure);
}

void TaskGroup::cancel() noexcept {
    detail::CancelWalk walk;
    walk.run(begin_cancelling(walk));
}

/// Gives the body, or else the youngest child.
TaskFrame* TaskGroup::begin_cancelling(detail::CancelWalk& walk) noexcept {
    if (!environment_.mark_cancelled()) return nullptr;
    closes_to_handles();
    // One that is started from now on ends by itself, at its first wait.
    next_to_cancel_ = children_;
    TaskFrame* first = wait_->body_runs_ ? wait_->body_ : wait_->next_to_cancel();
    if (next_to_cancel_ != nullptr) walk.come_back_to(*wait_);
    return first;
}

// ---- Waiting for room, and for the end ----

bool AdmitOperation::await_suspend(TaskHandle, std::source_location line) noexcept {
    if (is_stopped()) return true;
    child_.child().note_spawned(line);
    if (!group_->has_room()) {
        wait_in(group_->waiting_for_room_);
        return true;
    }
    child_.start_in(*group_);
    return !go_on();
}

void AdmitOperation::cancel() noexcept {
    if (!leave(group_->waiting_for_room_)) return;
    group_->admit();
    withdrawn();
}

std::string AdmitOperation::describe() const {
    return "room in a group of " + std::to_string(group_->size()) + " tasks";
}

std::string JoinOperation::describe() const {
    return "the end of a group's " + std::to_string(group_->size()) + " tasks";
}

// ---- The group's own wait ----

void TaskGroupWait::open() noexcept {
    if (group_.wait_ != nullptr) [[unlikely]]
        detail::stop_for_spent_task();
    stopping_ = environment().is_cancelled();
    group_.environment_.enter(environment());
    group_.wait_ = this;
}

void TaskGroupWait::run(TaskFrame& body) noexcept {
    body_ = &body;
    body_runs_ = true;
    begin_task(body, group_.environment_, *this);
    suspend();
    executor().run_next(body);
    // By the callable that gave the body, which nobody could tell of it.
    if (environment().is_cancelled()) cancel();
}

void TaskGroupWait::fail_to_run(std::exception_ptr failure) noexcept {
    suspend();
    group_.fail(std::move(failure));
    end_if_settled();
}

TaskFrame* TaskGroupWait::cancel_or_pass(detail::CancelWalk& walk) noexcept {
    stopping_ = true;
    return group_.begin_cancelling(walk);
}

TaskFrame* TaskGroupWait::next_to_cancel() noexcept {
    TaskFrame* task = nullptr;
    while (task == nullptr && group_.next_to_cancel_ != nullptr)
        task = std::exchange(group_.next_to_cancel_, group_.next_to_cancel_->next_sibling_)->task_to_cancel();
    return task;
}

std::string TaskGroupWait::describe() const {
    std::string text =
        "a group of " + std::to_string(group_.size()) + (group_.size() == 1 ? " task" : " tasks");
    if (group_.limit() != std::numeric_limits<std::size_t>::max())
        text += ", " + std::to_string(group_.limit()) + " at most";
    return text;
}

void TaskGroupWait::visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const {
    if (body_runs_) visit(*body_, argument);
    for (detail::GroupChild* child = group_.children_; child != nullptr; child = child->next_sibling_)
        visit(child->task(), argument);
}

void TaskGroupWait::child_finished(TaskFrame& body) noexcept {
    body_runs_ = false;
    if (std::exception_ptr failure = take_exception(body)) group_.fail(std::move(failure));
    end_if_settled();
}

void TaskGroupWait::child_unwound() noexcept {
    body_ = nullptr;
    body_runs_ = false;
    anything_unwound_ = true;
    end_if_settled();
}

void TaskGroupWait::end_if_settled() noexcept {
    if (body_runs_ || group_.size_ != 0 || !group_.closes_to_handles()) return;
    if (stopping_ && anything_unwound_ && group_.failure_ == nullptr)
        withdrawn();
    else
        resume_later();
}

}  // namespace leat
