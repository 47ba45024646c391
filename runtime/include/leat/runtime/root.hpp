// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_result.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// A task that no other task awaits: the root of a tree.
class Root : public Wait {
public:
    Root(Executor& executor, TaskFrame& task, std::string name, std::source_location started) noexcept;
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;
    // A root is destroyed through `orphan` or by its owner, after its end.
    virtual ~Root();

    bool has_ended() const noexcept { return state_ != State::running; }
    bool was_unwound() const noexcept { return state_ == State::unwound; }
    Executor& owner() const noexcept { return *executor_; }

    /// Cancels everything below.
    void cancel() noexcept override;
    std::string describe() const override;
    std::optional<std::source_location> origin() const noexcept override { return origin_; }
    std::string_view task_name() const noexcept override { return name_; }
    std::optional<TimePoint> task_started() const noexcept override { return started_; }
    TaskFrame* awaited_task() const noexcept override { return task_; }
    void child_finished(TaskFrame&) noexcept override;
    void child_unwound() noexcept override;

    /// Leaves an ended or cancelled root to the executor, which deletes it after its end.
    void orphan() noexcept;

    /// The executor goes, and somebody still has this: says so.
    void outlive_executor() noexcept;

    Root* next_root = nullptr;
    Root* previous_root = nullptr;

protected:
    /// Before the result is taken, for which there is one time.
    void throw_if_failed();
    /// Why the task has failed, or null: from then on the caller's to deal with.
    std::exception_ptr take_failure() noexcept { return std::exchange(failure_, nullptr); }

private:
    enum class State { running, finished, unwound, spent };

    /// The task has come to its end without an exception, and its frame goes next. What this throws is the
    /// task's failure.
    virtual void keep_result(TaskFrame& task) = 0;

    /// For misuse: ends the program, naming the task.
    void demand_own_thread() const noexcept;

    void end(State state) noexcept;
    void tell_failure() noexcept;

    // Null once it has gone.
    Executor* executor_;
    Environment environment_;
    // Null once its frame goes, or has gone.
    TaskFrame* task_;
    std::exception_ptr failure_;
    std::string name_;
    std::source_location origin_;
    TimePoint started_;
    State state_ = State::running;
    bool is_orphan_ = false;
};

template <class T>
class TypedRoot final : public Root {
public:
    TypedRoot(Executor& executor, Task<T>&& task, std::string name, std::source_location started) noexcept
        : Root(executor, task.release().promise(), std::move(name), started) {}

    T take() {
        throw_if_failed();
        return result_.take();
    }

private:
    void keep_result(TaskFrame& task) override { move_result(task, result_); }

    TaskResult<T> result_;
};

}  // namespace detail

/// A task that was started with `Executor::start`. Destroying it before the task has ended cancels the task.
///
/// When the task ends, its frame is destroyed, with the arguments that it was called with. The result is kept
/// here.
///
/// The failure of a task whose result nobody has taken is told when this goes, as a notice. One that outlives its executor is
/// harmless, but told too, with the line that started it.
///
/// What was moved from can only be destroyed or assigned to, and a result taken only once: anything else says so and aborts.
///
/// Thread-safety: the executor's thread; on another one its functions and its destructor say so and abort.
/// Lifetime:      ends before the executor.
template <class T>
class [[nodiscard("destroying it cancels the task")]] Running {
public:
    Running(Running&&) noexcept = default;
    Running& operator=(Running&& other) noexcept {
        std::swap(root_, other.root_);
        return *this;
    }
    ~Running() {
        if (root_ == nullptr || root_->has_ended()) return;
        root_->cancel();
        root_.release()->orphan();
    }

    bool has_ended() const noexcept { return root().has_ended(); }

    /// Asks the task to end; it unwinds while the executor runs.
    void cancel() noexcept { root().cancel(); }

    /// The result, once, after the end. Errors: the task's exception; `leat::errc::cancelled`; `busy` before the end.
    T get() { return root().take(); }

private:
    friend class Executor;
    explicit Running(std::unique_ptr<detail::TypedRoot<T>> root) noexcept : root_(std::move(root)) {}

    detail::TypedRoot<T>& root() const noexcept {
        if (root_ == nullptr) [[unlikely]]
            detail::stop_for_spent_task();
        return *root_;
    }

    std::unique_ptr<detail::TypedRoot<T>> root_;
};

template <class T>
T Executor::run_until(Task<T> task, std::source_location caller) {
    begin_running();
    detail::TypedRoot<T> root(*this, std::move(task), std::string(), caller);
    run_until_ended(&root);
    return root.take();
}

template <class T>
Running<T> Executor::start(Task<T> task, std::source_location caller) {
    return start(std::move(task), std::string(), caller);
}

template <class T>
Running<T> Executor::start(Task<T> task, std::string name, std::source_location caller) {
    own_thread();
    return Running<T>(
        std::make_unique<detail::TypedRoot<T>>(*this, std::move(task), std::move(name), caller));
}

template <class T>
T run(Task<T> task, std::source_location caller) {
    Executor executor;
    return executor.run_until(std::move(task), caller);
}

template <class T>
T run(Task<T> task, ExecutorOptions options, std::source_location caller) {
    Executor executor(std::move(options));
    return executor.run_until(std::move(task), caller);
}

}  // namespace leat

#pragma GCC diagnostic pop
