// SPDX-License-Identifier: BSL-1.0
//
// A call that crosses threads. What both sides share is one object: the callable and its arguments, later the result, and the
// task that runs on the other side, the callee. One side has it at a time: the caller until it has posted it, the callee's
// executor from the moment it takes it, the caller again once it is told of the end. In between, while it lies in the other
// executor's inbox, either may have it, and `stage_` says who was first.
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/root.hpp>
#include <leat/runtime/stored_call.hpp>
#include <leat/runtime/task.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// What a call of the stored callable with the stored arguments gives, once a task of it has ended.
template <class Callable, class... Arguments>
struct CallValue {
    static_assert(
        std::is_invocable_v<Callable&, Arguments...>,
        "leat: the function cannot be called with these arguments, which it is given as temporaries: "
        "let it take values, or pass std::ref(x)");
    using Value = ValueOfCall<std::invoke_result_t<Callable&, Arguments...>>;
    static constexpr bool is_task = Value::is_task;
    using type = typename Value::type;
};

/// Who waits for a call.
class CallEnd {
public:
    /// On the callee's thread, when nothing of the call is left there.
    virtual void call_ended() noexcept = 0;

protected:
    ~CallEnd() = default;
};

/// The part of a call that does not depend on its types.
class CallState {
public:
    explicit CallState(Remote&& target) noexcept : target_(std::move(target)) {}
    CallState(const CallState&) = delete;
    CallState& operator=(const CallState&) = delete;
    virtual ~CallState() = default;

    // ---- The caller's. ----

    /// Hands `self` to the other executor. False if that refuses it, now or later for the reason that `refusal` gives. A
    /// failure has changed nothing.
    bool send(const std::shared_ptr<CallState>& self, CallEnd& end, std::source_location caller);
    std::error_code refusal() const noexcept;
    /// True: it has not begun there, and never will; `CallEnd` is not told.
    bool take_back() noexcept;
    /// In a forked child, where nobody is left to end the callee: it tells nobody, if its executor's copy unwinds it.
    void leave_in_child() noexcept { end_ = nullptr; }
    /// Whether the caller, who asks, is on another thread.
    bool goes_elsewhere() const noexcept { return !target_.is_own_thread(); }
    /// Asks the callee to end. `CallEnd` is told when it has.
    void ask_to_end(const std::shared_ptr<CallState>& self) noexcept;

    // ---- The caller's, after the end. ----

    /// Why there is neither a value nor an exception, if so.
    std::error_code missing() const noexcept;
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }

protected:
    /// Gives the task to run, or null for a plain callable, which has been called. Throws what that throws.
    virtual TaskFrame* invoke() = 0;
    /// The task has ended with a value. What this throws is the call's failure.
    virtual void keep_result(TaskFrame& task) = 0;
    virtual void drop_callable() noexcept = 0;

private:
    enum class Stage : std::uint8_t { posted, begun, taken_back };
    enum class Outcome : std::uint8_t { none, settled, unwound, refused };

    /// The task on the other side: a root there.
    class Callee final : public Root {
    public:
        Callee(Executor& executor, TaskFrame& task, std::shared_ptr<CallState>&& call) noexcept
            : Root(executor, task, std::string(), call->caller_), call_(std::move(call)) {}

        void child_finished(TaskFrame& task) noexcept override;
        void child_unwound() noexcept override;

    private:
        void keep_result(TaskFrame& task) override { call_->keep_result(task); }

        std::shared_ptr<CallState> call_;
    };

    void begin(std::shared_ptr<CallState>&& self, Executor& executor) noexcept;
    void finish() noexcept;

    Remote target_;
    CallEnd* end_ = nullptr;
    std::source_location caller_;
    std::atomic<Stage> stage_ = Stage::posted;
    Outcome outcome_ = Outcome::none;
    std::exception_ptr failure_;
    std::optional<Callee> callee_;
};

template <class T>
inline constexpr bool is_running = false;
template <class T>
inline constexpr bool is_running<Running<T>> = true;

template <class Callable, class... Arguments>
class TypedCall final : public CallState {
public:
    using Value = CallValue<Callable, Arguments...>;
    using value_type = typename Value::type;
    static_assert(
        !is_running<value_type>,
        "leat: a Running cannot leave its executor's thread: let the call return the task, or keep the "
        "Running there");

    template <class C, class... A>
    TypedCall(Remote&& target, C&& callable, A&&... arguments)
        : CallState(std::move(target)),
          stored_(std::in_place, std::in_place, std::forward<C>(callable), std::forward<A>(arguments)...) {}
    // Also if what was given has a destructor that may throw: that ends the program.
    ~TypedCall() noexcept override {}

    value_type take() { return result_.take(); }

private:
    TaskFrame* invoke() override {
        if constexpr (Value::is_task) {
            return &(*stored_)().release().promise();
        } else {
            if constexpr (std::is_void_v<value_type>)
                (*stored_)();
            else
                result_.return_value((*stored_)());
            return nullptr;
        }
    }

    void keep_result([[maybe_unused]] TaskFrame& task) override {
        if constexpr (Value::is_task) move_result(task, result_);
    }

    void drop_callable() noexcept override { stored_.reset(); }

    std::optional<StoredCall<Callable, Arguments...>> stored_;
    TaskResult<value_type> result_;
};

/// The part of `Remote::call`'s awaiter that does not depend on the types.
class RemoteCallWait : public Wait, private CallEnd {
public:
    bool await_ready() const noexcept { return false; }
    // Here, where the line is known that the callee is started at.
    bool await_suspend(TaskHandle, std::source_location line = std::source_location::current());

    void cancel() noexcept override;
    std::string describe() const override { return "a call on another executor"; }

protected:
    explicit RemoteCallWait(std::shared_ptr<CallState>&& call) noexcept : call_(std::move(call)) {}
    // Movable until awaited.
    RemoteCallWait(RemoteCallWait&& other) noexcept
        : Wait(static_cast<Wait&&>(other)), call_(std::move(other.call_)) {}
    ~RemoteCallWait() = default;

    CallState& call() const noexcept { return *call_; }
    std::error_code missing() const noexcept { return refusal_ ? refusal_ : call_->missing(); }
    void throw_if_missing() const;

private:
    void call_ended() noexcept override;
    void ended() noexcept;
    void leave() noexcept;

    std::shared_ptr<CallState> call_;
    std::optional<Remote> caller_;
    std::error_code refusal_;
    // Between the sending and the end.
    bool is_under_way_ = false;
    bool is_elsewhere_ = false;
    bool was_asked_ = false;
};

/// A thread that waits.
class BlockingCallEnd final : public CallEnd {
public:
    BlockingCallEnd() : signal_(std::make_shared<Signal>()) {}

    void call_ended() noexcept override;
    void wait();

private:
    // Outlives the waiting thread's part in it.
    struct Signal {
        std::mutex mutex;
        std::condition_variable condition;
        bool has_come = false;
    };
    std::shared_ptr<Signal> signal_;
};

[[noreturn]] void throw_call_error(const std::error_code& error);

}  // namespace detail

/// What `Remote::call` gives.
template <class Callable, class... Arguments>
class [[nodiscard]] RemoteCallOperation : public detail::RemoteCallWait {
    using Call = detail::TypedCall<Callable, Arguments...>;

public:
    using value_type = typename Call::value_type;

    explicit RemoteCallOperation(std::shared_ptr<Call> call) noexcept : RemoteCallWait(std::move(call)) {}
    RemoteCallOperation(RemoteCallOperation&&) noexcept = default;

    value_type await_resume() {
        throw_if_missing();
        if (std::exception_ptr failure = call().take_failure()) std::rethrow_exception(std::move(failure));
        return static_cast<Call&>(call()).take();
    }

    detail::ResultOf<value_type> result() {
        if (std::error_code error = missing()) return Unexpected<std::error_code>(error);
        if (std::exception_ptr failure = call().take_failure())
            return Unexpected<std::error_code>(detail::code_or_tell(this->executor(), failure));
        if constexpr (std::is_void_v<value_type>)
            return Result<value_type>();
        else
            return detail::ResultOf<value_type>(static_cast<Call&>(call()).take());
    }
};

/// Runs `callable(arguments…)`, a plain function or one that gives a `Task`, on the executor's thread, as a task there, and
/// gives its value or throws its exception.
///
///     auto count = [&table] { return table.size(); };          // `table` belongs to that executor
///     std::size_t size = co_await there.call(count);
///     leat::Report report = co_await there.call(collect, name);  // a coroutine
///
/// Callable and arguments are moved, and live there until the task has ended; what they refer to in the caller's frame
/// lives as long as the await. The task is destroyed on its own thread, before the await ends. It is a task of the other
/// executor: neither scopes nor deadlines of the caller are around it, but for a cancellation, which is passed on.
///
/// Thread-safety: the caller's executor's thread. The executor that is called may be the same one.
/// Lifetime:      name a capturing lambda first, as above: GCC 12 destroys it twice beside an await.
/// Errors:        the callable's; `closed` if the executor has gone, or goes before the call has begun; `cancelled` if
///                it goes afterwards; `forked` in a child.
/// Cancellation:  what has not begun is taken back at once. What runs is cancelled there, and waited for until it has
///                unwound; a result that came all the same is returned.
/// Complexity:    a post there and one back, an allocation and the callee's frame.
template <class Callable, class... Arguments>
RemoteCallOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
Remote::call(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    using Call = detail::TypedCall<std::decay_t<Callable>, std::decay_t<Arguments>...>;
    return RemoteCallOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>(std::make_shared<Call>(
        Remote(*this), std::forward<Callable>(callable), std::forward<Arguments>(arguments)...));
}

/// The same for a thread without an executor: blocks it until the task has ended.
///
///     std::thread worker([remote = executor.remote()]() mutable {
///         int answer = remote.block_on(ask, 42);
///     });
///
/// Somebody must run the executor: one that is alive and never runs again leaves the thread waiting. A thread that runs another
/// executor holds that one up: use `call` there.
///
/// Thread-safety: any thread but the executor's own.
/// Errors:        as `call`; `deadlock`, at once, on the executor's own thread, which would wait for itself.
template <class Callable, class... Arguments>
typename detail::CallValue<std::decay_t<Callable>, std::decay_t<Arguments>...>::type
Remote::block_on(Callable&& callable, Arguments&&... arguments) {
    using Call = detail::TypedCall<std::decay_t<Callable>, std::decay_t<Arguments>...>;
    if (is_own_thread()) detail::throw_call_error(make_error_code(errc::deadlock));
    auto call = std::make_shared<Call>(Remote(*this), std::forward<Callable>(callable),
                                       std::forward<Arguments>(arguments)...);
    detail::BlockingCallEnd end;
    if (!call->send(call, end, std::source_location::current())) detail::throw_call_error(call->refusal());
    end.wait();
    if (std::error_code error = call->missing()) detail::throw_call_error(error);
    if (std::exception_ptr failure = call->take_failure()) std::rethrow_exception(std::move(failure));
    return call->take();
}

}  // namespace leat

#pragma GCC diagnostic pop
