// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <span>
#include <string>

namespace leat::detail {

class BranchWait;

/// Who runs one of several tasks that are awaited together.
class Branch final : public Wait {
public:
    Branch() noexcept = default;
    Branch(const Branch&) = delete;
    Branch& operator=(const Branch&) = delete;
    ~Branch() {
        if (task_ != nullptr) task_->handle().destroy();
    }

    /// Whether its task has come to its end without an exception.
    bool has_value() const noexcept { return task_ != nullptr && !is_running_ && !has_failed_; }
    TaskFrame& task() const noexcept { return *task_; }

    // It goes on to its first wait.
    void cancel() noexcept override {}
    std::string describe() const override { return "its first turn"; }
    void child_finished(TaskFrame& task) noexcept override;
    void child_unwound() noexcept override;

private:
    friend class BranchWait;

    BranchWait* owner_ = nullptr;
    // Owned from its start on; null once unwound.
    TaskFrame* task_ = nullptr;
    bool is_running_ = false;
    bool has_failed_ = false;
};

/// Runs several tasks in one scope until all of them have ended: the part of `when_all` and `when_any` that does not depend
/// on what they give.
class BranchWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    void cancel() noexcept override;
    std::string describe() const override;
    void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const override;

protected:
    /// When the others are asked to end, a failure apart; and so what there must be for the task to go on.
    enum class Ends { with_the_first, with_the_last };

    explicit BranchWait(Ends ends) noexcept : ends_(ends) {}
    // Movable until awaited.
    BranchWait(BranchWait&& other) noexcept : Wait(static_cast<Wait&&>(other)), ends_(other.ends_) {}
    ~BranchWait() = default;

    /// Before the first `start`.
    void open(std::span<Branch> branches) noexcept;
    /// Each branch has one task. They begin in this order, at the next turn.
    void start(Branch& branch, TaskFrame& task) noexcept;

    /// The first failure; the others are attached to it.
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }
    void throw_failure() {
        if (std::exception_ptr failure = take_failure()) std::rethrow_exception(std::move(failure));
    }

private:
    friend class Branch;
    void ended(Branch& branch) noexcept;
    void cancel_inside() noexcept;
    void settle() noexcept;

    const Ends ends_;
    std::span<Branch> branches_;
    std::size_t running_ = 0;
    std::exception_ptr failure_;
    // Asked to end from outside.
    bool is_stopping_ = false;
    Environment inside_;
};

}  // namespace leat::detail
