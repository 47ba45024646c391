// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/foreign.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/task_result.hpp>
#include <leat/runtime/wait.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

// A finished task only says so, and suspends. A header cannot know whether the program was built so that symmetric
// transfer is a tail call, so nothing relies on it.
struct FinalSuspend {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) const noexcept;
    void await_resume() const noexcept {}
};

/// The frame of a task that has ended.
struct DestroyFrame {
    void operator()(TaskFrame* ended) const noexcept { ended->handle().destroy(); }
};
using OwnedFrame = std::unique_ptr<TaskFrame, DestroyFrame>;

class TaskAwaiterBase : public Wait {
public:
    TaskAwaiterBase(TaskAwaiterBase&& other) noexcept : child_(std::exchange(other.child_, nullptr)) {}

    bool await_ready() const noexcept { return false; }
    // False: the child has ended already, without a wait, and the task goes on.
    bool await_suspend(TaskHandle, std::source_location line = std::source_location::current()) noexcept {
        note_line(*this, line);
        begin_task(*child_, environment(), *this);
        suspend();
        Executor& executor = this->executor();
        if (!executor.may_nest()) [[unlikely]] {
            child_->parent_ |= TaskFrame::is_awaited;
            executor.run_next(*child_);
            return true;
        }
        child_->parent_ |= TaskFrame::is_awaited | TaskFrame::is_starting;
        child_->handle().resume();
        if (child_->has_parent()) {
            child_->parent_ &= ~TaskFrame::is_starting;
            return true;
        }
        if (!executor.consume_budget()) [[unlikely]] {
            // A dump may come before this task goes on, and asks the child whose it is.
            child_->parent_ |= reinterpret_cast<std::uintptr_t>(static_cast<Wait*>(this));
            executor.give_way(*this);
            return true;
        }
        resume_at_once();
        return false;
    }

    // `co_await task` alone is no cancellation point; whoever cancels goes on to what the child waits for.
    void cancel() noexcept override {}
    std::string describe() const override;
    TaskFrame* awaited_task() const noexcept override { return child_; }
    void child_unwound() noexcept override;

    void child_ended() noexcept { executor().run_next_or_later(*this); }

protected:
    // One that learns later whom it awaits.
    TaskAwaiterBase() noexcept : child_(nullptr) {}
    explicit TaskAwaiterBase(TaskFrame& child) noexcept : child_(&child) {}
    ~TaskAwaiterBase() {
        if (child_ != nullptr) child_->handle().destroy();
    }

    /// For one that a program may name, and so await a second time: `release_child` makes it spent.
    void require_unspent() const noexcept {
        if (child_ == nullptr) [[unlikely]]
            stop_for_spent_task();
    }
    TaskFrame* release_child() noexcept { return std::exchange(child_, nullptr); }

    // Owned.
    TaskFrame* child_;
};

template <class T>
class TaskAwaiter : public TaskAwaiterBase {
public:
    explicit TaskAwaiter(Task<T>&& task) noexcept;
    TaskAwaiter(Task<T>&& task, TaskFrame& parent) noexcept : TaskAwaiter(std::move(task)) { attach(parent); }
    TaskAwaiter(TaskAwaiter&&) noexcept = default;

    using value_type = T;

    T await_resume() {
        if (has_exception(*child_)) [[unlikely]]
            std::rethrow_exception(take_exception(*child_));
        return static_cast<TaskPromise<T>*>(child_)->take();
    }
};

template <class A>
concept LeatAwaitable = std::derived_from<std::remove_cvref_t<A>, Wait>;

/// Stands for a wait that the caller's expression holds. GCC 12 moves (or copies) the object that an `await_transform`
/// returns by reference into the frame, behind the back of whoever has noted its address; so it returns this instead.
template <class A>
class Awaited {
    static_assert(
        requires(A& wait, TaskHandle handle) { wait.await_suspend(handle); },
        "leat: the await_suspend of a leat::Wait takes a leat::TaskHandle, so that other coroutines cannot "
        "await it");

public:
    explicit Awaited(A& wait) noexcept : wait_(&wait) {}

    auto await_ready() noexcept(noexcept(std::declval<A&>().await_ready())) { return wait_->await_ready(); }
    // The default argument gives the line of the await, and only a task that suspends needs it.
    auto
    await_suspend(TaskHandle handle, std::source_location line = std::source_location::current()) noexcept(
        noexcept(std::declval<A&>().await_suspend(handle))) {
        note_line(*wait_, line);
        // One that notes the line itself would take its own.
        if constexpr (requires { wait_->await_suspend(handle, line); })
            return wait_->await_suspend(handle, line);
        else
            return wait_->await_suspend(handle);
    }
    decltype(auto) await_resume() { return wait_->await_resume(); }

private:
    A* wait_;
};

template <class T>
class TaskPromise : public TaskFrame, public TaskResult<T> {
public:
    Task<T> get_return_object(std::source_location definition = std::source_location::current()) noexcept;
    std::suspend_always initial_suspend() const noexcept { return {}; }
    FinalSuspend final_suspend() const noexcept { return {}; }
    void unhandled_exception() noexcept {
        std::exception_ptr failure = std::current_exception();
        note_passage(failure, *this);
        fail(std::move(failure));
    }

    template <class U>
    TaskAwaiter<U> await_transform(Task<U>&& task) noexcept {
        return TaskAwaiter<U>(std::move(task), *this);
    }
    template <class A>
        requires(is_task<std::remove_cvref_t<A>> && is_named<A>)
    RefusedTaskAwait<A> await_transform(A&&) noexcept {
        return RefusedTaskAwait<A>();
    }

    template <LeatAwaitable A>
        requires(!std::is_const_v<std::remove_reference_t<A>>)
    Awaited<std::remove_reference_t<A>> await_transform(A&& awaitable) noexcept {
        awaitable.attach(*this);
        return Awaited<std::remove_reference_t<A>>(awaitable);
    }

    // The short way of a message: see io_request.hpp.
    template <class R>
        requires WaitRequest<std::remove_cvref_t<R>>
    [[gnu::always_inline]] auto await_transform(R&& request) noexcept {
        return request.await_in(*this);
    }

    template <class A>
        requires(!LeatAwaitable<A> && !is_task<std::remove_cvref_t<A>> &&
                 !WaitRequest<std::remove_cvref_t<A>> && ForeignAwaitable<A>)
    ForeignAwaiter<A> await_transform(A&& awaitable) {
        return ForeignAwaiter<A>(std::forward<A>(awaitable), *this);
    }
    template <class A>
        requires(!is_task<std::remove_cvref_t<A>> && !WaitRequest<std::remove_cvref_t<A>> &&
                 (LeatAwaitable<A> ? std::is_const_v<std::remove_reference_t<A>> : !ForeignAwaitable<A>))
    RefusedForeignAwait<A> await_transform(A&&) noexcept {
        return RefusedForeignAwait<A>();
    }

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }
};

}  // namespace detail

/// A coroutine that starts when it is awaited and whose frame the task owns.
///
///     leat::Task<int> answer() { co_return 42; }
///     leat::Task<> ask() { int value = co_await answer(); ... }
///
/// It runs on the executor of whoever awaits it, in the same scope: if that is cancelled, the task and then its
/// awaiter are destroyed, innermost first, and nothing in them is resumed.
///
/// `T` may be void, a reference, or a type that can only be moved.
///
/// Thread-safety: the executor's thread, once awaited.
/// Lifetime:      reference parameters outlive the task, as for every coroutine. Started, it cannot be destroyed
///                from outside; not started, destroying it destroys its parameters.
/// Errors:        an exception that leaves the coroutine comes out of `co_await`. One that leaves a destructor while the
///                frame is destroyed, as by a cancellation, is std::terminate, as destructors are noexcept: do
///                what can fail before the scope ends.
/// Complexity:    starting, finishing and awaiting are O(1), allocate nothing while the pool of frames serves, and
///                take no more than 16 KiB of stack, however long a chain of awaits is.
template <class T>
class [[nodiscard("a task does nothing until it is awaited")]] Task {
public:
    using promise_type = detail::TaskPromise<T>;
    using value_type = T;

    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Task& operator=(Task&& other) noexcept {
        if (this != &other) {
            if (handle_) handle_.destroy();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~Task() {
        if (handle_) handle_.destroy();
    }

    /// For a coroutine of another kind, which cannot await it: says so when it is compiled.
    detail::TaskOnlyAwait<T> operator co_await() const noexcept { return detail::TaskOnlyAwait<T>(); }

    /// For combinators: gives up the frame, which has not started. Whoever takes it destroys it.
    std::coroutine_handle<promise_type> release() noexcept {
        if (!handle_) [[unlikely]]
            detail::stop_for_spent_task();
        return std::exchange(handle_, nullptr);
    }

private:
    friend promise_type;
    explicit Task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

    std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
Task<T> TaskPromise<T>::get_return_object(std::source_location definition) noexcept {
    static_assert(alignof(TaskPromise) <= 2 * sizeof(void*),
                  "a result of a larger alignment would move the promise in the frame");
    definition_ = definition;
    return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

}  // namespace detail

inline void TaskFrame::end() noexcept {
    if ((parent_ & is_starting) != 0) [[likely]]
        parent_ &= has_failed;
    else if ((parent_ & is_awaited) != 0)
        static_cast<detail::TaskAwaiterBase&>(parent()).child_ended();
    else
        executor().task_ended(*this);
}

namespace detail {

template <class Promise>
void FinalSuspend::await_suspend(std::coroutine_handle<Promise> handle) const noexcept {
    static_cast<TaskFrame&>(handle.promise()).end();
}

template <class T>
TaskAwaiter<T>::TaskAwaiter(Task<T>&& task) noexcept : TaskAwaiterBase(task.release().promise()) {}

/// What a task that has come to its end gives, once.
template <class T>
T take_value(TaskFrame& ended) {
    return static_cast<TaskPromise<T>&>(ended).take();
}
/// The same, or it throws what the task threw.
template <class T>
T take_outcome(TaskFrame& ended) {
    if (std::exception_ptr exception = take_exception(ended)) std::rethrow_exception(std::move(exception));
    return take_value<T>(ended);
}
/// Moves what it gives to a place that outlives the task's frame.
template <class T>
void move_result(TaskFrame& ended, TaskResult<T>& result) {
    if constexpr (!std::is_void_v<T>) result.return_value(take_value<T>(ended));
}

}  // namespace detail

}  // namespace leat

#pragma GCC diagnostic pop
