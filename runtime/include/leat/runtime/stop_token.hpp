// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timer_wheel.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// A scope that a `std::stop_token` cancels.
class StoppableScope : public ScopeWait {
public:
    std::string describe() const override { return "a task that a stop token may end"; }

protected:
    explicit StoppableScope(std::stop_token&& token) noexcept : token_(std::move(token)) {}
    StoppableScope(StoppableScope&& other) noexcept
        : ScopeWait(static_cast<ScopeWait&&>(other)), token_(std::move(other.token_)) {}
    ~StoppableScope() { end_listening(); }

    /// Errors: std::bad_alloc, before anything has begun.
    void listen();
    void begin(TaskFrame& body) noexcept;

private:
    // What a stop that is under way and the scope share; the pointer is the executor's thread's.
    struct Link {
        StoppableScope* scope;
    };
    /// Posts: a stop may be requested on any thread, in the middle of anything.
    class PostStop {
    public:
        PostStop(std::shared_ptr<Link> link, Remote remote) noexcept
            : link_(std::move(link)), remote_(std::move(remote)) {}
        void operator()() noexcept;

    private:
        std::shared_ptr<Link> link_;
        Remote remote_;
    };

    void end_listening() noexcept {
        if (link_ != nullptr) link_->scope = nullptr;
    }

    std::stop_token token_;
    std::shared_ptr<Link> link_;
    std::optional<std::stop_callback<PostStop>> callback_;
};

template <class T>
class CancelOn : public StoppableScope {
public:
    using value_type = Maybe<T>;

    CancelOn(std::stop_token&& token, Task<T>&& task) noexcept
        : StoppableScope(std::move(token)), task_(std::move(task)) {}
    CancelOn(CancelOn&&) noexcept = default;

    void await_suspend(TaskHandle) {
        listen();
        begin(task_.release().promise());
    }

    Maybe<T> await_resume() {
        if (was_unwound()) return Maybe<T>();
        return take_maybe<T>(body());
    }
    Result<Maybe<T>> result() {
        if (was_unwound()) return Result<Maybe<T>>(Maybe<T>());
        return maybe_result<T>(take_result<T>(body()));
    }

private:
    Task<T> task_;
};

/// Requests a stop when its scope is cancelled.
class StopRequestingScope : public ScopeWait, private Timer {
public:
    TaskFrame* cancel_or_pass(CancelWalk& walk) noexcept override;
    std::string describe() const override { return "a task that holds a stop token"; }

protected:
    StopRequestingScope() = default;
    StopRequestingScope(StopRequestingScope&& other) noexcept
        : ScopeWait(static_cast<ScopeWait&&>(other)), source_(std::move(other.source_)) {}
    ~StopRequestingScope() {
        // A thread may hold the token although the body is gone.
        if (disarm()) source_.request_stop();
    }

    std::stop_source source_;

private:
    void expired() noexcept override { source_.request_stop(); }
};

template <class Body>
class WithStopToken : public StopRequestingScope {
    static_assert(check_named<Body>());
    static_assert(gives_task<Body&, std::stop_token>(),
                  "leat: the body of with_stop_token takes a std::stop_token and returns a leat::Task");

public:
    using task_type = std::invoke_result_t<Body&, std::stop_token>;
    using value_type = typename task_type::value_type;

    explicit WithStopToken(Body&& callable) : callable_(std::forward<Body>(callable)) {}
    WithStopToken(WithStopToken&& other)
        : StopRequestingScope(std::move(other)), callable_(std::forward<Body>(other.callable_)) {}

    void await_suspend(TaskHandle) {
        token_ = source_.get_token();
        // As a temporary, but a body that takes it by reference may keep it as long as it runs.
        task_type task = callable_(static_cast<std::stop_token&&>(token_));
        if (environment().is_cancelled()) source_.request_stop();
        run(task.release().promise());
    }

    value_type await_resume() { return take_outcome<value_type>(body()); }
    ResultOf<value_type> result() { return take_result<value_type>(body()); }

private:
    Body callable_;
    std::stop_token token_;
};

}  // namespace detail

/// Awaits `task` and cancels it when a stop is requested through `token`, from whatever thread. Gives nothing then (for a task
/// without a value: false).
///
///     bool finished = co_await leat::cancel_on(thread.get_stop_token(), serve(listener));
///
/// The stop only posts to the executor: nothing is cancelled inside `request_stop`. A result that comes before the executor
/// has heard of it is given. A stop that was requested before cancels the task before its first step: it ends at its first wait.
///
/// Lifetime:     while it waits, a `Remote` is held: a virtual clock stands, unless it is `of_one_thread`.
/// Errors:       the task's. `std::bad_alloc` before it has begun.
/// Cancellation: from outside, the task is unwound and then the awaiting task.
/// Complexity:   one allocation.
template <class T>
[[nodiscard]] detail::CancelOn<T> cancel_on(std::stop_token token, Task<T>&& task) noexcept {
    return detail::CancelOn<T>(std::move(token), std::move(task));
}
// What does not fit, with a sentence.
template <class A>
    requires(detail::is_named<A> || !detail::is_task<A>)
detail::RefusedTask<A> cancel_on(const std::stop_token&, A&&) noexcept {
    return detail::RefusedTask<A>();
}

/// The other direction: awaits `body(token)`, a task, whose token tells of a cancellation of the scope around it, for code that
/// knows stop tokens and no scopes.
///
///     auto body = [&](std::stop_token token) -> leat::Task<> { ... hand the token to a thread ... };
///     co_await leat::with_stop_token(body);
///
/// Whoever cancels does not call what listens to the token: the executor does, on its next round.
///
/// Lifetime:     name the body first, as above: GCC 12 destroys a capturing lambda beside an await twice.
/// Errors:       the body's.
/// Cancellation: a stop is requested; the body is unwound and then the awaiting task.
template <class Body>
[[nodiscard]] detail::WithStopToken<Body> with_stop_token(Body&& body) {
    return detail::WithStopToken<Body>(std::forward<Body>(body));
}

}  // namespace leat

#pragma GCC diagnostic pop
