// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/mistakes.hpp>

#include <concepts>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

// A wait is polymorphic, and never deleted through a base: it has no virtual destructor to be slow by.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Executor;
class TaskFrame;
class Wait;

namespace detail {
struct Completions;
template <class T>
class TaskPromise;
class CancelWalk;
class TaskAwaiterBase;

// For misuse: says `sentence`, and aborts.
[[noreturn]] void stop_for_misuse(const char* sentence) noexcept;
// What was to give a task or its result has none: it was moved from, or has given it before.
[[noreturn]] void stop_for_spent_task() noexcept;
// For an operation (a read, a send, …) that is awaited a second time or was moved from: logs that, and aborts.
[[noreturn]] void stop_for_spent_operation() noexcept;
// A destructor has thrown `failure` while its coroutine is destroyed: says so, and terminates the program.
[[noreturn]] void stop_for_throwing_destructor(const std::exception_ptr& failure) noexcept;

// Keeps `other` beside `failure`, which is the one that is thrown; or else gives a notice of it.
void attach_or_tell(Executor& executor, const std::exception_ptr& failure,
                    const std::exception_ptr& other) noexcept;
// Logs `what` and the exception, whatever the rate limit is.
void notice_failure(Executor& executor, const char* what, const std::exception_ptr& exception) noexcept;
// For `async_trace`: the exception has left the task.
void note_passage(const std::exception_ptr& failure, const TaskFrame& task) noexcept;

// For the text of a deadline that has passed: what `task` waits for, or the innermost task that it runs, and
// where: "store.cpp:12 waits for a sleep". Null when memory runs out.
std::unique_ptr<const std::string> describe_innermost_wait(const TaskFrame& task) noexcept;
// Throws `deadline_exceeded` with `what`, and behind it what `describe_innermost_wait` gave, if anything.
[[noreturn]] void throw_deadline_exceeded(const char* what, const std::string* where);
}  // namespace detail

/// The coroutine that awaits a wait: a `Task` or an `AsyncGenerator`, and nothing else, as a wait finds its
/// executor and its scope in their frames. So the coroutine of another library does not compile if it
/// awaits one.
///
/// Whoever writes a wait takes one in `await_suspend`. It holds nothing: the wait has its task from `attach`.
class TaskHandle {
public:
    template <class Promise>
    TaskHandle(std::coroutine_handle<Promise>) noexcept {
        static_assert(std::derived_from<Promise, TaskFrame>,
                      "leat: only a leat::Task or leat::AsyncGenerator can await this, and this coroutine is "
                      "neither: let it return a leat::Task, or start a task with Executor::start");
    }
};

/// For libraries: something that every task in a scope can find, such as the server that runs it.
///
/// `kind` is the address of an object of the library's own, so that nobody else finds it by chance. Around a
/// scope there may be several of one kind; the innermost is found.
///
/// Thread-safety: the executor's thread only.
/// Lifetime:      outlives the tasks of the scope that it was added to.
class TaskContext {
public:
    explicit TaskContext(const void* kind) noexcept : kind_(kind) {}
    TaskContext(const TaskContext&) = delete;
    TaskContext& operator=(const TaskContext&) = delete;

private:
    friend class Environment;

    const void* kind_;
    TaskContext* outer_ = nullptr;
};

/// What a task inherits from whoever awaits it: its executor and the scope that a cancellation reaches.
///
/// Combinators that open a scope own one; `leat::Wait`s read it.
///
/// Thread-safety: the executor's thread only.
/// Lifetime:      outlives the frames in it.
class Environment {
public:
    Environment() noexcept = default;
    explicit inline Environment(Executor& executor) noexcept;
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    Executor& executor() const noexcept { return *executor_; }

    /// Whether this scope, or one around it, was cancelled: every leaf wait then ends instead of waiting.
    bool is_cancelled() const noexcept { return queue_ == nullptr; }

    /// The executor's queue, for operations that start; null in a cancelled scope.
    detail::Completions* queue() const noexcept { return queue_; }

    /// Becomes a scope inside `outer`.
    void enter(Environment& outer) noexcept {
        executor_ = outer.executor_;
        outer_ = &outer;
        queue_ = outer.queue_;
        deadline_ = outer.deadline_;
        context_ = outer.context_;
    }

    /// Becomes a scope on the executor of `other` that no cancellation and no deadline around it reaches.
    inline void stand_apart(const Environment& other) noexcept;

    /// The instant at which this scope, or one around it, is cancelled; the last instant there is if none was set.
    TimePoint deadline() const noexcept { return deadline_; }
    /// Never later than what is around it.
    void limit_deadline(TimePoint deadline) noexcept {
        if (deadline < deadline_) deadline_ = deadline;
    }

    /// Lets tasks that begin in this scope from now on find `context`.
    void add_context(TaskContext& context) noexcept { context.outer_ = std::exchange(context_, &context); }
    /// The innermost context of that kind; null if there is none.
    TaskContext* find_context(const void* kind) const noexcept {
        TaskContext* found = context_;
        while (found != nullptr && found->kind_ != kind)
            found = found->outer_;
        return found;
    }

    /// Whether a scope around this one was cancelled.
    bool is_cancelled_from_outside() const noexcept { return outer_ != nullptr && outer_->is_cancelled(); }

    /// Marks the scope. Who owns it then asks the waits in it to end: `cancel_waits(frame)`. False if it was
    /// marked already.
    bool mark_cancelled() noexcept { return std::exchange(queue_, nullptr) != nullptr; }

private:
    // Null once cancelled, so that who starts an operation looks once.
    detail::Completions* queue_ = nullptr;
    Executor* executor_ = nullptr;
    Environment* outer_ = nullptr;
    TimePoint deadline_ = TimePoint::max();
    TaskContext* context_ = nullptr;
};

/// What a suspended task waits for; lives in the awaiter, and so in the waiting task's frame.
///
/// Leaf waits (a read, a sleep, a lock) derive from it to be cancellable and to be seen in a dump. So does all
/// that runs tasks and learns of their end (an awaited task, a group's child).
///
/// Invariants: 1. Between being handed to `Executor::make_ready` and the frame's next step, nothing else
///                touches it: a result that has arrived wins over a cancellation.
///             2. It is unwound only through `withdrawn`, after whatever it had started has ended.
///
/// A leaf's protocol: whoever awaits it calls `attach`. `await_ready` asks `is_stopped()` first and, if so,
/// returns false at once; otherwise it starts. It returns true with a result, or calls `suspend()` and returns
/// false. `await_suspend(TaskHandle)` does nothing. Later, on the executor's thread, the leaf calls
/// `resume_later()` once.
///
/// Thread-safety: the executor's thread only.
class alignas(8) Wait {
public:
    Wait() noexcept {}
    // Movable until awaited: a wait that moves is attached to nothing yet.
    Wait(Wait&&) noexcept {}
    Wait& operator=(Wait&&) = delete;

    /// Asks the wait to end because its scope was cancelled. It withdraws what it started and then calls
    /// `withdrawn()`, now or when that has ended; a result that is there already is delivered instead.
    virtual void cancel() noexcept = 0;

    /// Like `cancel`, for waits that run tasks: returns the first task to cancel, or null, and does not
    /// cancel it itself. So a tree is cancelled in a loop, however deep it is. A wait with more tasks calls
    /// `walk.come_back_to(*this)` first.
    virtual TaskFrame* cancel_or_pass(detail::CancelWalk& walk) noexcept {
        static_cast<void>(walk);
        cancel();
        return nullptr;
    }
    /// For a wait that called `come_back_to`: the next task to cancel, or null. None of its tasks ends
    /// meanwhile.
    virtual TaskFrame* next_to_cancel() noexcept { return nullptr; }

    /// The wait in a few words, for a reader at night: "sleep, 25.8 s left".
    virtual std::string describe() const = 0;

    /// When it gives up, if a timeout surrounds it. Said beside `describe`.
    virtual std::optional<TimePoint> expires_at() const noexcept { return std::nullopt; }
    /// Calls `visit` for every task that holds what this wait waits for, as far as that is known. Such a task may have ended
    /// since: its address is to be compared with those of tasks that are there, and no more.
    virtual void visit_holders(void (*visit)(const TaskFrame*, void*), void* argument) const {
        static_cast<void>(visit);
        static_cast<void>(argument);
    }

    /// Where the task that this wait runs was started, if that was not an await.
    virtual std::optional<std::source_location> origin() const noexcept { return std::nullopt; }
    /// The name of the task that this wait runs; empty if it has none.
    virtual std::string_view task_name() const noexcept { return {}; }
    /// When the task that this wait runs was started, as nearly as the loop knew; nothing of one that is awaited.
    virtual std::optional<TimePoint> task_started() const noexcept { return std::nullopt; }
    /// The task that this wait runs and that alone decides its end, if it is of that kind.
    virtual TaskFrame* awaited_task() const noexcept { return nullptr; }
    /// Calls `visit` for every task below this wait.
    virtual void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const {
        if (TaskFrame* task = awaited_task()) visit(*task, argument);
    }

    /// A task that this wait runs has come to its end; its frame is still there.
    virtual void child_finished(TaskFrame&) noexcept { std::terminate(); }
    /// A task that this wait runs was cancelled; its frame is gone.
    virtual void child_unwound() noexcept { std::terminate(); }

    void attach(TaskFrame& frame) noexcept { frame_ = &frame; }

protected:
    ~Wait() = default;

    inline Environment& environment() const noexcept;
    inline Executor& executor() const noexcept;

    /// First line of a leaf's `await_ready`. True: the scope is cancelled, the task will be unwound from here.
    inline bool is_stopped() noexcept;
    /// Marks the task as waiting here.
    inline void suspend() noexcept;
    /// Queues the task; it goes on at the executor's next opportunity.
    inline void resume_later() noexcept;
    /// Takes `suspend` back: the task goes on without the loop.
    inline void resume_at_once() noexcept;
    /// For `await_ready`, of one that need not wait: true, or it gives way, so that one that never waits lets others run now
    /// and then, too.
    inline bool go_on() noexcept;
    /// Implements `cancel` for a wait that overrides `cancel_or_pass`.
    void cancel_all() noexcept;
    /// Ends a cancelled wait, when nothing of it is under way any more: the task is unwound.
    virtual void withdrawn() noexcept;

    // Set by `attach`.
    TaskFrame* frame_;

private:
    friend class Executor;
    friend class detail::CancelWalk;
    friend class detail::TaskAwaiterBase;
    friend void note_line(Wait& wait, std::source_location line) noexcept;
    // The next in the executor's queue of ready or unwinding waits, or in a `CancelWalk`; else not
    // initialised.
    Wait* next_;
};

/// The part of a coroutine frame that does not depend on its result: where it stands in the tree of tasks.
class TaskFrame {
public:
    TaskFrame() noexcept : wait_(nullptr) {}
    TaskFrame(const TaskFrame&) = delete;
    TaskFrame& operator=(const TaskFrame&) = delete;

    Environment& environment() const noexcept { return *environment_; }
    Executor& executor() const noexcept { return environment_->executor(); }

    /// Where the coroutine is defined.
    std::source_location definition() const noexcept { return definition_; }
    /// The line of the `co_await` that it stands at, or last stood at.
    std::source_location line() const noexcept { return line_; }
    /// What it waits for; null while it runs, or before it has started.
    Wait* wait() const noexcept { return (parent_ & has_failed) == 0 ? wait_ : nullptr; }

    /// Who runs it.
    Wait& parent() const noexcept { return *reinterpret_cast<Wait*>(parent_ & ~marks); }

    /// False between its end on top of the task that awaits it, and the moment at which that goes on.
    bool has_parent() const noexcept { return (parent_ & ~marks) != 0; }

    // Valid since promises of tasks are no more aligned than this base (asserted where they are defined).
    std::coroutine_handle<> handle() noexcept {
        return std::coroutine_handle<TaskFrame>::from_promise(*this);
    }

    /// It has come to its end, and suspends for the last time.
    inline void end() noexcept;

protected:
    ~TaskFrame() {
        if ((parent_ & has_failed) != 0) [[unlikely]]
            std::destroy_at(&exception_);
    }

    /// It has come to its end with an exception, and suspends for the last time.
    void fail(std::exception_ptr&& exception) noexcept {
        std::construct_at(&exception_, std::move(exception));
        parent_ |= has_failed;
    }

private:
    friend class Executor;
    friend class Wait;
    friend class detail::TaskAwaiterBase;
    template <class T>
    friend class detail::TaskPromise;
    friend void note_line(Wait& wait, std::source_location line) noexcept;
    friend void begin_task(TaskFrame& task, Environment& environment, Wait& parent) noexcept;
    friend bool has_exception(const TaskFrame& task) noexcept;
    friend std::exception_ptr take_exception(TaskFrame& task) noexcept;

    // Set when it begins.
    Environment* environment_;
    // Who runs this task and learns of its end, with marks in the low bits. `is_awaited`: that is no more
    // than a task which awaits it, so nobody need be asked what to do then. `is_starting`: that task is
    // still on the stack, and goes on by itself; no parent: the end came while it was. `has_failed`:
    // `exception_` is there.
    std::uintptr_t parent_ = 0;
    static constexpr std::uintptr_t is_awaited = 1, is_starting = 2, has_failed = 4;
    static constexpr std::uintptr_t marks = is_awaited | is_starting | has_failed;
    static_assert(alignof(Wait) > marks);
    std::source_location definition_;
    std::source_location line_;
    // A task that has failed waits no more.
    union {
        Wait* wait_;
        std::exception_ptr exception_;
    };
};

/// For awaiters: the task stands at `line`.
inline void note_line(Wait& wait, std::source_location line) noexcept { wait.frame_->line_ = line; }

/// Ties a task that has not started to the wait that runs it.
inline void begin_task(TaskFrame& task, Environment& environment, Wait& parent) noexcept {
    task.environment_ = &environment;
    task.parent_ = reinterpret_cast<std::uintptr_t>(&parent);
}

/// Whether an exception ended the task.
inline bool has_exception(const TaskFrame& task) noexcept {
    return (task.parent_ & TaskFrame::has_failed) != 0;
}

/// The exception that ended the task, or null.
inline std::exception_ptr take_exception(TaskFrame& task) noexcept {
    if (!has_exception(task)) [[likely]]
        return nullptr;
    std::exception_ptr exception = std::move(task.exception_);
    std::destroy_at(&task.exception_);
    task.wait_ = nullptr;
    task.parent_ &= ~TaskFrame::has_failed;
    return exception;
}

/// Asks whatever the task waits for, however deep, to end. The other half of `Environment::mark_cancelled`.
void cancel_waits(TaskFrame& task) noexcept;

namespace detail {

/// A cancellation on its way down a tree of tasks, depth first. What it has to come back to is in a list
/// through the waits themselves, so it takes neither stack nor memory for a level.
///
/// A wait is in one at most, since its scope is marked once; and it is in no queue of the executor's, since
/// it waits for its tasks.
class CancelWalk {
public:
    CancelWalk() noexcept = default;
    CancelWalk(const CancelWalk&) = delete;
    CancelWalk& operator=(const CancelWalk&) = delete;

    /// When everything below the task that is asked now has been asked, `wait.next_to_cancel()` is next.
    void come_back_to(Wait& wait) noexcept {
        wait.next_ = pending_;
        pending_ = &wait;
    }
    /// From `task` on, if there is one, until nothing is left to come back to.
    void run(TaskFrame* task) noexcept {
        // One that has not begun ends by itself.
        if (pending_ != nullptr || (task != nullptr && task->wait() != nullptr)) go_down(task);
    }

private:
    void go_down(TaskFrame* task) noexcept;

    Wait* pending_ = nullptr;
};

}  // namespace detail

inline Environment& Wait::environment() const noexcept { return frame_->environment(); }
inline Executor& Wait::executor() const noexcept { return frame_->executor(); }
inline void Wait::suspend() noexcept { frame_->wait_ = this; }
inline void Wait::resume_at_once() noexcept { frame_->wait_ = nullptr; }
inline bool Wait::is_stopped() noexcept {
    if (!frame_->environment_->is_cancelled()) [[likely]]
        return false;
    suspend();
    Wait::withdrawn();
    return true;
}

namespace detail {

/// `co_await CurrentEnvironment()`: what the task inherited, without a suspension and without being a cancellation point.
class [[nodiscard]] CurrentEnvironment : public Wait {
public:
    CurrentEnvironment() noexcept = default;
    CurrentEnvironment(CurrentEnvironment&&) noexcept = default;

    bool await_ready() const noexcept { return true; }
    void await_suspend(TaskHandle) const noexcept {}
    Environment& await_resume() const noexcept { return environment(); }

    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};

}  // namespace detail

namespace detail {

/// What a `Task` and a request are in a coroutine that does not know them: it does not compile, with a
/// sentence.
template <class T>
class TaskOnlyAwait {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(TaskHandle) const noexcept {}
    T await_resume() const noexcept { std::terminate(); }
};

}  // namespace detail

/// What stands for a wait and becomes one when it is awaited or wrapped: see `leat/runtime/io_request.hpp`.
template <class R>
concept WaitRequest = requires(const R& request, TaskFrame& frame) {
    static_cast<typename R::operation_type>(request);
    request.await_in(frame);
};

/// Whether the current thread is destroying a cancelled task: its destructors run, its `catch` blocks do not.
///
/// A guard that asks `std::uncaught_exceptions()` takes a cancellation for success; ask this too.
bool unwinding() noexcept;

}  // namespace leat

#pragma GCC diagnostic pop
