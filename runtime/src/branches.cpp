// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/branches.hpp>

#include "src/failure.hpp"

#include <string>
#include <utility>

namespace leat::detail {

void Branch::child_finished(TaskFrame&) noexcept {
    has_failed_ = has_exception(*task_);
    owner_->ended(*this);
}

void Branch::child_unwound() noexcept {
    task_ = nullptr;
    owner_->ended(*this);
}

void BranchWait::open(std::span<Branch> branches) noexcept {
    is_stopping_ = environment().is_cancelled();
    inside_.enter(environment());
    branches_ = branches;
    suspend();
    if (branches_.empty()) resume_later();
}

void BranchWait::start(Branch& branch, TaskFrame& task) noexcept {
    branch.owner_ = this;
    branch.task_ = &task;
    branch.is_running_ = true;
    ++running_;
    branch.attach(task);
    begin_task(task, inside_, branch);
    executor().make_ready(branch);
}

void BranchWait::ended(Branch& branch) noexcept {
    branch.is_running_ = false;
    --running_;
    if (branch.has_failed_) {
        std::exception_ptr failure = take_exception(branch.task());
        if (failure_ == nullptr)
            failure_ = std::move(failure);
        else
            attach_or_tell(executor(), failure_, failure);
        cancel_inside();
    } else if (branch.has_value() && ends_ == Ends::with_the_first) {
        cancel_inside();
    }
    if (running_ == 0) settle();
}

void BranchWait::settle() noexcept {
    bool has_result = failure_ != nullptr;
    if (!has_result) {
        std::size_t values = 0;
        for (const Branch& branch : branches_)
            values += branch.has_value();
        has_result = ends_ == Ends::with_the_first ? values != 0 : values == branches_.size();
    }
    // What was cancelled from inside has a reason, and so a result.
    if (has_result || !is_stopping_)
        resume_later();
    else
        withdrawn();
}

TaskFrame* BranchWait::cancel_or_pass(CancelWalk& walk) noexcept {
    is_stopping_ = true;
    return begin_cancelling(walk);
}

void BranchWait::cancel_inside() noexcept {
    CancelWalk walk;
    walk.run(begin_cancelling(walk));
}

TaskFrame* BranchWait::begin_cancelling(CancelWalk& walk) noexcept {
    if (running_ == 0 || !inside_.mark_cancelled()) return nullptr;
    if (running_ > 1) walk.come_back_to(*this);
    return next_to_cancel();
}

TaskFrame* BranchWait::next_to_cancel() noexcept {
    while (asked_ != branches_.size()) {
        const Branch& branch = branches_[asked_++];
        if (branch.is_running_) return branch.task_;
    }
    return nullptr;
}

std::string BranchWait::describe() const {
    return std::to_string(branches_.size()) + " (" + std::to_string(running_) + " still running)";
}

void BranchWait::visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const {
    for (const Branch& branch : branches_)
        if (branch.is_running_) visit(*branch.task_, argument);
}

}  // namespace leat::detail
