// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace leat {

class TaskGroup;
class TaskGroupWait;
template <class Body>
class TaskGroupOperation;

namespace detail {

/// A child of a group: who runs its task, and what the task was started with.
class GroupChild : public Wait {
public:
    explicit GroupChild(TaskGroup& group) noexcept : group_(group) {}
    GroupChild(const GroupChild&) = delete;

    // Not started yet, or running: either way it goes on to its first or next wait.
    void cancel() noexcept override {}
    std::string describe() const override { return "its first turn"; }
    void child_finished(TaskFrame& task) noexcept override;
    void child_unwound() noexcept override;

    /// The line that started it.
    virtual std::source_location spawned() const noexcept = 0;
    std::optional<std::source_location> origin() const noexcept override { return spawned(); }
    TaskFrame& task() const noexcept { return *frame_; }
    GroupChild* next_sibling() const noexcept { return next_sibling_; }

protected:
    ~GroupChild() = default;

private:
    friend class leat::TaskGroup;
    friend class leat::TaskGroupWait;
    // Destroys itself.
    virtual void dispose() noexcept = 0;
    // Told of the end before that: `failure` is null for a task that finished or was cancelled. What it leaves in
    // `failure` is the group's to deal with.
    virtual void ended(std::exception_ptr& failure, bool was_unwound) noexcept;

    TaskGroup& group_;
    GroupChild* next_sibling_ = nullptr;
    GroupChild* previous_sibling_ = nullptr;
};

/// A child together with the callable and the arguments that its task may refer to.
template <class Callable, class... Arguments>
class StoredChild final : public GroupChild {
public:
    template <class C, class... A>
    StoredChild(TaskGroup& group, std::source_location spawned, C&& callable, A&&... arguments)
        : GroupChild(group),
          spawned_(spawned),
          callable_(std::forward<C>(callable)),
          arguments_(std::forward<A>(arguments)...) {}

    Task<void> begin() {
        return std::apply(
            [this](auto&... arguments) { return std::invoke(callable_, std::move(arguments)...); },
            arguments_);
    }

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }

    std::source_location spawned() const noexcept override { return spawned_; }

private:
    void dispose() noexcept override { delete this; }

    std::source_location spawned_;
    Callable callable_;
    std::tuple<Arguments...> arguments_;
};

/// A child whose coroutine holds all that it needs in its own frame.
class PlainChild final : public GroupChild {
public:
    PlainChild(TaskGroup& group, std::source_location spawned) noexcept
        : GroupChild(group), spawned_(spawned) {}

    std::source_location spawned() const noexcept override { return spawned_; }

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }

private:
    void dispose() noexcept override { delete this; }

    std::source_location spawned_;
};

// Whether a call with these parameters leaves nothing behind that refers to the caller's objects: a function or a
// stateless callable that takes its parameters by value.
template <class F>
inline constexpr bool keeps_its_parameters = false;
template <class R, class... P>
inline constexpr bool keeps_its_parameters<R (*)(P...)> = !(std::is_reference_v<P> || ...);
template <class R, class... P>
inline constexpr bool keeps_its_parameters<R (*)(P...) noexcept> = !(std::is_reference_v<P> || ...);
template <class C, class R, class... P>
inline constexpr bool keeps_its_parameters<R (C::*)(P...) const> = !(std::is_reference_v<P> || ...);

template <class Callable>
constexpr bool is_self_contained() {
    if constexpr (std::is_pointer_v<Callable>)
        return keeps_its_parameters<Callable>;
    else if constexpr (std::is_empty_v<Callable> && requires { &Callable::operator(); })
        return keeps_its_parameters<decltype(&Callable::operator())>;
    else
        return false;
}

}  // namespace detail

/// Children that run at the same time, and that all end before the group does.
///
/// It exists only inside `co_await task_group(body)`; its body and its children may spawn into it.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      the await's.
class TaskGroup {
public:
    TaskGroup(const TaskGroup&) = delete;
    TaskGroup& operator=(const TaskGroup&) = delete;

    /// Starts `callable(arguments…)`, which gives a `Task<>`, at the next turn. Callable and arguments are moved into
    /// the child, so that a capturing lambda is safe; pass `std::ref` for what is to be shared.
    ///
    ///     group.spawn(echo, std::move(peer));
    ///
    /// In a cancelled group the child still starts, and ends at its first wait.
    ///
    /// Errors:     `std::bad_alloc`, and what moving or calling throws; nothing has been started then.
    /// Complexity: two blocks of the pool of frames: the coroutine's and the child's.
    template <class Callable>
    void spawn(Callable&& callable, std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable));
    }
    template <class Callable, class A>
    void spawn(Callable&& callable, A&& a, std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a));
    }
    template <class Callable, class A, class B>
    void spawn(Callable&& callable, A&& a, B&& b,
               std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a), std::forward<B>(b));
    }
    template <class Callable, class A, class B, class C>
    void spawn(Callable&& callable, A&& a, B&& b, C&& c,
               std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a), std::forward<B>(b),
                 std::forward<C>(c));
    }
    template <class Callable, class A, class B, class C, class D>
    void spawn(Callable&& callable, A&& a, B&& b, C&& c, D&& d,
               std::source_location caller = std::source_location::current()) {
        spawn_at(caller, std::forward<Callable>(callable), std::forward<A>(a), std::forward<B>(b),
                 std::forward<C>(c), std::forward<D>(d));
    }

    /// For more arguments, or for a helper that passes its own caller on.
    template <class Callable, class... Arguments>
    void spawn_at(std::source_location caller, Callable&& callable, Arguments&&... arguments);

    /// Cancels the children and the body. The await then ends without an error, if the body has no value to give.
    void cancel() noexcept;
    bool is_cancelled() const noexcept { return environment_.is_cancelled(); }

    /// For combinators: starts `task` with a child of their own making; the group disposes of it.
    void adopt(detail::GroupChild& child, TaskFrame& task) noexcept;

    /// For combinators: the children that have not ended, newest first; each leads to the next.
    detail::GroupChild* first_child() const noexcept { return children_; }

    /// Children that have not ended; the body is none.
    std::size_t size() const noexcept { return size_; }

private:
    friend class detail::GroupChild;
    friend class TaskGroupWait;

    TaskGroup() noexcept = default;
    ~TaskGroup() = default;

    void child_ended(detail::GroupChild& child, std::exception_ptr failure) noexcept;
    void fail(std::exception_ptr failure) noexcept;
    void settle() noexcept;

    Environment environment_;
    TaskGroupWait* wait_ = nullptr;
    detail::GroupChild* children_ = nullptr;
    std::size_t size_ = 0;
    std::exception_ptr failure_;
};

/// The part of `task_group`'s awaiter that does not depend on the body.
class TaskGroupWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    void cancel() noexcept override;
    std::string describe() const override;
    void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const override;
    void child_finished(TaskFrame&) noexcept override;
    void child_unwound() noexcept override;

protected:
    TaskGroupWait() noexcept = default;
    // Movable until awaited.
    TaskGroupWait(TaskGroupWait&&) noexcept {}
    ~TaskGroupWait() {
        if (body_ != nullptr) body_->handle().destroy();
    }

    void open() noexcept;
    void run(TaskFrame& body) noexcept;
    // The body gave no task to run; children that it spawned before are waited for.
    void fail_to_run(std::exception_ptr failure) noexcept;
    bool was_unwound() const noexcept { return body_ == nullptr; }
    TaskFrame& body() const noexcept { return *body_; }
    std::exception_ptr take_failure() noexcept { return std::move(group_.failure_); }

    TaskGroup group_;

private:
    friend class TaskGroup;
    friend class detail::GroupChild;
    void end_if_settled() noexcept;

    TaskFrame* body_ = nullptr;
    bool body_runs_ = false;
    // Asked to end from outside.
    bool stopping_ = false;
    // A child or the body was cancelled, and so has no result that could win.
    bool anything_unwound_ = false;
};

/// What `task_group` gives.
template <class Body>
class [[nodiscard]] TaskGroupOperation : public TaskGroupWait {
public:
    using task_type = std::invoke_result_t<Body&, TaskGroup&>;
    using value_type = typename task_type::value_type;

    explicit TaskGroupOperation(Body&& callable) : callable_(std::forward<Body>(callable)) {}
    TaskGroupOperation(TaskGroupOperation&& other)
        : TaskGroupWait(std::move(other)), callable_(std::forward<Body>(other.callable_)) {}

    void await_suspend(std::coroutine_handle<>) noexcept {
        open();
        try {
            task_type task = callable_(group_);
            run(task.release().promise());
        } catch (...) {
            fail_to_run(std::current_exception());
        }
    }

    value_type await_resume() {
        if (std::exception_ptr failure = take_failure()) std::rethrow_exception(std::move(failure));
        if constexpr (std::is_void_v<value_type>) {
            return;
        } else {
            if (was_unwound())
                throw std::system_error(make_error_code(errc::cancelled),
                                        "leat: the body of a cancelled group");
            return static_cast<detail::TaskPromise<value_type>&>(body()).take();
        }
    }

    Result<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(detail::code_or_tell(executor(), std::move(failure)));
        if constexpr (std::is_void_v<value_type>) {
            return Result<value_type>();
        } else {
            if (was_unwound()) return Unexpected<std::error_code>(make_error_code(errc::cancelled));
            return Result<value_type>(static_cast<detail::TaskPromise<value_type>&>(body()).take());
        }
    }

private:
    Body callable_;
};

/// Runs `body(group)` and everything that is spawned into the group, until all of it has ended.
///
///     auto body = [&](leat::TaskGroup& group) -> leat::Task<> {
///         group.spawn(left);
///         group.spawn(right, argument);
///         co_return;
///     };
///     co_await leat::task_group(body);
///
/// Gives the body's value. The first failure, of a child or the body, cancels the rest; all are awaited; then it is
/// thrown. Later failures are attached to it (`attached_failures`, `describe_failure`): none is dropped.
///
/// Lifetime:     name the body first, as above: GCC 12 destroys a capturing lambda beside an await twice.
/// Errors:       the first failure; `cancelled` if `group.cancel()` ended a body that owes a value.
/// Cancellation: body and children are unwound and then the awaiting task. A failure among them is thrown instead.
template <class Body>
TaskGroupOperation<Body> task_group(Body&& body) {
    return TaskGroupOperation<Body>(std::forward<Body>(body));
}

template <class Callable, class... Arguments>
void TaskGroup::spawn_at(std::source_location caller, Callable&& callable, Arguments&&... arguments) {
    using Stored = std::decay_t<Callable>;
    if constexpr (detail::is_self_contained<Stored>()) {
        auto child = std::make_unique<detail::PlainChild>(*this, caller);
        Task<void> task =
            std::invoke(std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
        adopt(*child.release(), task.release().promise());
    } else {
        using Child = detail::StoredChild<Stored, std::decay_t<Arguments>...>;
        auto child = std::make_unique<Child>(*this, caller, std::forward<Callable>(callable),
                                             std::forward<Arguments>(arguments)...);
        Task<void> task = child->begin();
        adopt(*child.release(), task.release().promise());
    }
}

}  // namespace leat
