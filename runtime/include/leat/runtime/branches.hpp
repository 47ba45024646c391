// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat::detail {

/// Several tasks and waits, or a vector of tasks, as they were passed.
template <class... A>
inline constexpr bool are_runnable = sizeof...(A) != 0 && (Runnable<A> && ...);
template <class T>
inline constexpr bool are_runnable<std::vector<Task<T>>> = true;

/// One of these does not fit.
template <class A>
inline constexpr bool is_named_vector = false;
template <class T>
inline constexpr bool is_named_vector<std::vector<Task<T>>&> = true;
template <class T>
inline constexpr bool is_named_vector<const std::vector<Task<T>>&> = true;
template <class... A>
class RefusedAwaitables : public RefusedAwait {
    template <class One>
    static consteval bool check() {
        if constexpr (!Runnable<One> && !is_named_vector<One>)
            static_cast<void>(sizeof(RefusedAwaitable<One>));
        return true;
    }
    static_assert(sizeof...(A) != 0, "leat: when_all and when_any run at least one task or wait");
    static_assert(!(is_named_vector<A> || ...),
                  "leat: a combinator takes over the tasks that it runs: pass std::move(tasks)");
    static_assert((check<A>() && ...));
};

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
    /// When the others are asked to end, a failure apart; and so what there must be for the task to go on.
    enum class Ends { with_the_first, with_the_last };

    bool await_ready() const noexcept { return false; }

    void cancel() noexcept override { cancel_all(); }
    TaskFrame* cancel_or_pass(CancelWalk& walk) noexcept override;
    TaskFrame* next_to_cancel() noexcept override;
    std::string describe() const override;
    void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const override;

protected:
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
    TaskFrame* begin_cancelling(CancelWalk& walk) noexcept;
    void settle() noexcept;

    const Ends ends_;
    std::span<Branch> branches_;
    std::size_t running_ = 0;
    // How many branches were asked to end, or had.
    std::size_t asked_ = 0;
    std::exception_ptr failure_;
    // Asked to end from outside.
    bool is_stopping_ = false;
    Environment inside_;
};

/// Tasks of any kinds: `Rule` says what they make together.
///
///     struct Rule {
///         static constexpr BranchWait::Ends ends;
///         static constexpr const char* name;                         // for a dump
///         template <class T> using Value;                            // what a branch with a `Task<T>` gives
///         template <class T> static Value<T> take(Branch& branch);
///         template <class T> using Values;                           // what any number of them give
///     };
template <class Rule, class... T>
class TupleOfBranches : public BranchWait {
public:
    using value_type = std::tuple<typename Rule::template Value<T>...>;

    explicit TupleOfBranches(Task<T>&&... tasks) noexcept
        : BranchWait(Rule::ends), tasks_(std::move(tasks)...) {}
    TupleOfBranches(TupleOfBranches&& other) noexcept
        : BranchWait(std::move(other)), tasks_(std::move(other.tasks_)) {}

    void await_suspend(TaskHandle) noexcept {
        open(branches_);
        start_all(std::index_sequence_for<T...>());
    }

    value_type await_resume() {
        throw_failure();
        return take_all(std::index_sequence_for<T...>());
    }
    Result<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(executor(), failure));
        return Result<value_type>(take_all(std::index_sequence_for<T...>()));
    }

    std::string describe() const override { return Rule::name + BranchWait::describe(); }

private:
    template <std::size_t... index>
    void start_all(std::index_sequence<index...>) noexcept {
        (start(branches_[index], std::get<index>(tasks_).release().promise()), ...);
    }
    template <std::size_t... index>
    value_type take_all(std::index_sequence<index...>) {
        return value_type(Rule::template take<T>(branches_[index])...);
    }

    std::tuple<Task<T>...> tasks_;
    std::array<Branch, sizeof...(T)> branches_;
};

/// The same for any number of tasks of one kind.
template <class Rule, class T>
class RangeOfBranches : public BranchWait {
public:
    using value_type = typename Rule::template Values<T>;

    explicit RangeOfBranches(std::vector<Task<T>>&& tasks)
        : BranchWait(Rule::ends),
          tasks_(std::move(tasks)),
          branches_(std::make_unique<Branch[]>(tasks_.size())) {}
    RangeOfBranches(RangeOfBranches&&) noexcept = default;

    void await_suspend(TaskHandle) noexcept {
        open(std::span(branches_.get(), tasks_.size()));
        for (std::size_t i = 0; i < tasks_.size(); ++i)
            start(branches_[i], tasks_[i].release().promise());
    }

    value_type await_resume() {
        throw_failure();
        return take_all();
    }
    Result<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(executor(), failure));
        if constexpr (std::is_void_v<value_type>)
            return Result<value_type>();
        else
            return Result<value_type>(take_all());
    }

    std::string describe() const override { return Rule::name + BranchWait::describe(); }

private:
    value_type take_all() {
        if constexpr (!std::is_void_v<value_type>) {
            value_type values;
            values.reserve(tasks_.size());
            for (std::size_t i = 0; i < tasks_.size(); ++i)
                values.push_back(Rule::template take<T>(branches_[i]));
            return values;
        }
    }

    std::vector<Task<T>> tasks_;
    std::unique_ptr<Branch[]> branches_;
};

}  // namespace leat::detail

#pragma GCC diagnostic pop
