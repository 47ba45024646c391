// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/group_child.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/wait_list.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <source_location>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class AdmitOperation;
class GroupHandle;
class JoinOperation;
class TaskGroup;
class TaskGroupWait;
template <class T>
class StartOperation;
template <class Body>
class TaskGroupOperation;

namespace detail {
struct GroupGate;
}

/// A name for a child, and the line that gives it.
class ChildName {
public:
    template <class Text>
        requires std::convertible_to<Text, std::string>
    ChildName(Text&& text, std::source_location c = std::source_location::current())
        : name(std::forward<Text>(text)), caller(c) {}

    std::string name;
    std::source_location caller;
};

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

    /// The same for a child with a name, by which `dump_tasks` and notices call it.
    ///
    ///     group.spawn_named("session " + std::to_string(number), serve_session, std::move(peer));
    template <class Callable, class... Arguments>
    void spawn_named(ChildName name, Callable&& callable, Arguments&&... arguments);

    /// Starts a child and waits until it says that it is ready, with a value: `callable(ready, arguments…)` is given a
    /// `Ready<T>&`, which it calls once.
    ///
    ///     auto server = [](leat::Ready<std::uint16_t>& ready) -> leat::Task<> {
    ///         leat::TcpListener listener = leat::TcpListener::bind(leat::Address::loopback(0));
    ///         ready(listener.local_address().port());
    ///         co_await serve(listener);
    ///     };
    ///     std::uint16_t port = co_await group.start<std::uint16_t>(server);
    ///
    /// Until then it is the caller's: its failure is thrown here, and does not fail the group. From then on it is a child
    /// like any other.
    ///
    /// Errors:       of the child, before it was ready; `closed` if it ends without having said so; `cancelled` if the
    ///               group was cancelled meanwhile, and the caller is not in it. `std::bad_alloc` as for `spawn`.
    /// Cancellation: the child is cancelled and awaited, unless it has said that it is ready: then its value is returned.
    template <class T = void, class Callable, class... Arguments>
    StartOperation<T> start(Callable&& callable, Arguments&&... arguments);

    /// Sets how many children may run at the same time; by default as many as there are. Those that run are not touched.
    ///
    /// `spawn` and `start` do not wait, and so do not ask: `spawn_when_free` does.
    void set_limit(std::size_t limit) noexcept;
    std::size_t limit() const noexcept { return limit_; }

    /// Starts a child like `spawn`, once there are fewer than `limit()`: who has much to start is slowed down to what can be
    /// done. First come, first served.
    ///
    ///     group.set_limit(100);
    ///     for (const Url& url : urls)
    ///         co_await group.spawn_when_free(fetch, url);
    ///
    /// A child that waits so for room that only its own end makes waits for ever.
    ///
    /// Errors:       as for `spawn`.
    /// Cancellation: the child is not started, and what it was given goes.
    template <class Callable, class... Arguments>
    AdmitOperation spawn_when_free(Callable&& callable, Arguments&&... arguments);

    /// Waits until no child is left; for the body, since a child that calls it waits for itself. The group goes on after it.
    ///
    /// Cancellation: at once.
    JoinOperation join() noexcept;

    /// For other threads and executors: see `GroupHandle`.
    ///
    /// Errors: `std::bad_alloc`.
    GroupHandle handle();

    /// Cancels the children and the body. The await then ends without an error, if the body has no value to give.
    void cancel() noexcept;
    bool is_cancelled() const noexcept { return environment_.is_cancelled(); }

    /// For combinators: starts `task` with a child of their own making; the group disposes of it.
    void adopt(detail::GroupChild& child, TaskFrame& task) noexcept { adopt(child, task, environment_); }
    /// The same in a scope inside the group's.
    void adopt(detail::GroupChild& child, TaskFrame& task, Environment& inside) noexcept;
    Environment& environment() noexcept { return environment_; }
    /// The same as a child that fails.
    void fail(std::exception_ptr failure) noexcept;

    /// For combinators: what children of their own making have in common, so that not each has to keep it.
    void set_context(void* context) noexcept { context_ = context; }
    void* context() const noexcept { return context_; }

    /// For combinators: the children that have not ended, newest first; each leads to the next.
    detail::GroupChild* first_child() const noexcept { return children_; }

    /// Children that have not ended; the body is none.
    std::size_t size() const noexcept { return size_; }

private:
    friend class AdmitOperation;
    friend class detail::GroupChild;
    friend struct detail::GroupGate;
    friend class JoinOperation;
    friend class TaskGroupWait;

    TaskGroup() noexcept = default;
    ~TaskGroup() {
        waiting_for_room_.demand_empty("a task group");
        joining_.demand_empty("a task group");
    }

    void unlink(detail::GroupChild& child) noexcept;
    /// Of one that was unlinked.
    void child_ended(detail::GroupChild& child, std::exception_ptr failure, bool was_unwound) noexcept;
    bool has_room() const noexcept { return size_ < limit_ && waiting_for_room_.is_empty(); }
    /// Starts those that waited for room, as far as there is some.
    void admit() noexcept;
    TaskFrame* begin_cancelling(detail::CancelWalk& walk) noexcept;
    /// Lets nothing more in through a handle. Whether nothing is on its way either.
    bool closes_to_handles() noexcept;

    Environment environment_;
    TaskGroupWait* wait_ = nullptr;
    detail::GroupChild* children_ = nullptr;
    // While a cancellation goes through them.
    detail::GroupChild* next_to_cancel_ = nullptr;
    std::size_t size_ = 0;
    void* context_ = nullptr;
    std::size_t limit_ = std::numeric_limits<std::size_t>::max();
    detail::WaitList waiting_for_room_;
    detail::WaitList joining_;
    // Null while nobody has asked for a handle.
    std::shared_ptr<detail::GroupGate> gate_;
    std::exception_ptr failure_;
};

/// The part of `task_group`'s awaiter that does not depend on the body.
class TaskGroupWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    void cancel() noexcept override { cancel_all(); }
    TaskFrame* cancel_or_pass(detail::CancelWalk& walk) noexcept override;
    TaskFrame* next_to_cancel() noexcept override;
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
    friend struct detail::GroupGate;
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
    static_assert(detail::check_named<Body>());
    static_assert(detail::gives_task<Body&, TaskGroup&>(),
                  "leat: the body of a task_group takes a leat::TaskGroup& and returns a leat::Task");

public:
    using task_type = std::invoke_result_t<Body&, TaskGroup&>;
    using value_type = typename task_type::value_type;

    explicit TaskGroupOperation(Body&& callable) : callable_(std::forward<Body>(callable)) {}
    TaskGroupOperation(TaskGroupOperation&& other)
        : TaskGroupWait(std::move(other)), callable_(std::forward<Body>(other.callable_)) {}

    void await_suspend(TaskHandle) noexcept {
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
            return detail::take_value<value_type>(body());
        }
    }

    detail::ResultOf<value_type> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(detail::code_or_tell(executor(), failure));
        if constexpr (std::is_void_v<value_type>) {
            return Result<value_type>();
        } else {
            if (was_unwound()) return Unexpected<std::error_code>(make_error_code(errc::cancelled));
            return detail::ResultOf<value_type>(detail::take_value<value_type>(body()));
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

/// What `TaskGroup::spawn_when_free` gives.
class [[nodiscard]] AdmitOperation : public detail::QueuedWait {
public:
    using value_type = void;

    AdmitOperation(TaskGroup& group, detail::PreparedChild&& child) noexcept
        : group_(&group), child_(std::move(child)) {}
    AdmitOperation(AdmitOperation&&) noexcept = default;

    bool await_ready() const noexcept { return false; }
    // Here, since the line of the await is where the child comes from. False: there was room.
    bool await_suspend(TaskHandle, std::source_location line = std::source_location::current()) noexcept;
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override;
    std::string describe() const override;

private:
    friend class TaskGroup;

    TaskGroup* group_;
    detail::PreparedChild child_;
};

/// What `TaskGroup::join` gives.
class [[nodiscard]] JoinOperation : public detail::QueuedWait {
public:
    using value_type = void;

    explicit JoinOperation(TaskGroup& group) noexcept : group_(&group) {}
    JoinOperation(JoinOperation&&) noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        if (group_->size() != 0) return wait_in(group_->joining_);
        return go_on();
    }
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override {
        if (leave(group_->joining_)) withdrawn();
    }
    std::string describe() const override;

private:
    TaskGroup* group_;
};

inline JoinOperation TaskGroup::join() noexcept { return JoinOperation(*this); }

template <class Callable, class... Arguments>
void TaskGroup::spawn_at(std::source_location caller, Callable&& callable, Arguments&&... arguments) {
    if constexpr (detail::ChildCall<Task<void>, void(), Callable, Arguments...>::is_right) {
        detail::UnnamedChildMaker make;
        make(*this, caller, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...)
            .start_in(*this);
    }
}

template <class Callable, class... Arguments>
void TaskGroup::spawn_named(ChildName name, Callable&& callable, Arguments&&... arguments) {
    if constexpr (detail::ChildCall<Task<void>, void(), Callable, Arguments...>::is_right) {
        detail::NamedChildMaker make(std::move(name.name));
        make(*this, name.caller, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...)
            .start_in(*this);
    }
}

template <class Callable, class... Arguments>
AdmitOperation TaskGroup::spawn_when_free(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    if constexpr (detail::ChildCall<Task<void>, void(), Callable, Arguments...>::is_right) {
        detail::UnnamedChildMaker make;
        return AdmitOperation(*this, make(*this, std::source_location(), std::forward<Callable>(callable),
                                          std::forward<Arguments>(arguments)...));
    } else {
        std::terminate();
    }
}

}  // namespace leat

#pragma GCC diagnostic pop

#include <leat/runtime/group_handle.hpp>
#include <leat/runtime/group_start.hpp>
