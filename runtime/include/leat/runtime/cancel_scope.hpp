// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// Runs one task in a scope of its own: what `cancel_scope`, `timeout` of a task, `shield` and others have in common.
class ScopeWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    // A scope that takes a cancellation otherwise overrides `cancel_or_pass`.
    void cancel() noexcept final { cancel_all(); }
    TaskFrame* cancel_or_pass(CancelWalk& walk) noexcept override;
    std::string describe() const override { return "the end of a scope"; }
    void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const override;
    void child_finished(TaskFrame&) noexcept override;
    void child_unwound() noexcept override;

    /// Cancels what is inside; the awaiting task goes on when that has ended.
    void cancel_inside() noexcept;

    /// `describe_innermost_wait` of the body; null if that has ended.
    std::unique_ptr<const std::string> describe_inside() const noexcept;

protected:
    ScopeWait() noexcept = default;
    // Movable until awaited.
    ScopeWait(ScopeWait&&) noexcept {}
    ~ScopeWait() {
        if (body_ != nullptr) body_->handle().destroy();
    }

    /// Starts `body`, whose frame it owns from now on.
    void run(TaskFrame& body) noexcept;
    /// The same with a deadline that all inside can see; whoever derives keeps it.
    void run(TaskFrame& body, TimePoint deadline) noexcept;
    /// The same in a scope that nothing around it reaches; whoever derives does not pass a cancellation on.
    void run_apart(TaskFrame& body) noexcept;

    /// Whether the body was cancelled, and so has no result.
    bool was_unwound() const noexcept { return body_ == nullptr; }
    TaskFrame& body() const noexcept { return *body_; }

private:
    void begin(TaskFrame& body) noexcept;
    TaskFrame* mark_inside() noexcept;

    Environment inside_;
    TaskFrame* body_ = nullptr;
    bool has_ended_ = false;
    // Asked to end by the scope around: when the body has gone, so does the awaiting task.
    bool stopping_ = false;
};

template <class T>
struct MaybeValue {
    using type = std::optional<T>;
};
template <>
struct MaybeValue<void> {
    using type = bool;
};
template <class T>
struct MaybeValue<T&> {
    using type = T*;
};

}  // namespace detail

/// A value that may be missing: `std::optional<T>`; for void a bool that says whether the end was reached;
/// for a reference a pointer, null if it is missing.
template <class T>
using Maybe = typename detail::MaybeValue<T>::type;

namespace detail {

/// What `give()`, which gives a `T`, makes of a value that may be missing, and is not.
template <class T, class Give>
Maybe<T> as_maybe(Give give) {
    if constexpr (std::is_void_v<T>) {
        give();
        return true;
    } else if constexpr (std::is_reference_v<T>) {
        return std::addressof(give());
    } else {
        return Maybe<T>(give());
    }
}

/// `take_outcome` of a task whose end may be missing, and was not.
template <class T>
Maybe<T> take_maybe(TaskFrame& ended) {
    return as_maybe<T>([&]() -> T { return take_outcome<T>(ended); });
}

/// A result that may be missing, and was not.
template <class T>
Result<Maybe<T>> maybe_result(ResultOf<T>&& result) {
    if (!result) return Unexpected<std::error_code>(result.error());
    if constexpr (std::is_void_v<T>)
        return Result<Maybe<T>>(true);
    else if constexpr (std::is_reference_v<T>)
        return Result<Maybe<T>>(std::addressof(result->get()));
    else
        return Result<Maybe<T>>(Maybe<T>(std::move(*result)));
}

}  // namespace detail

template <class Body>
class CancelScopeOperation;

/// What the body of a `cancel_scope` is given: the means to cancel it.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      the await's.
class CancelScope {
public:
    CancelScope(const CancelScope&) = delete;
    CancelScope& operator=(const CancelScope&) = delete;

    /// Cancels everything in the scope: each wait in it ends, and the tasks that wait are destroyed by the loop after
    /// this has returned. A task that cancels its own scope goes on to its next wait. Twice is harmless.
    void cancel() noexcept {
        is_cancelled_ = true;
        wait_.cancel_inside();
    }
    bool is_cancelled() const noexcept { return is_cancelled_; }

private:
    template <class Body>
    friend class CancelScopeOperation;
    explicit CancelScope(detail::ScopeWait& wait) noexcept : wait_(wait) {}

    detail::ScopeWait& wait_;
    bool is_cancelled_ = false;
};

/// What `cancel_scope` gives.
template <class Body>
class [[nodiscard]] CancelScopeOperation final : public detail::ScopeWait {
    static_assert(detail::check_named<Body>());
    static_assert(detail::gives_task<Body&, CancelScope&>(),
                  "leat: the body of a cancel_scope takes a leat::CancelScope& and returns a leat::Task");

public:
    using task_type = std::invoke_result_t<Body&, CancelScope&>;
    using body_value = typename task_type::value_type;
    using value_type = Maybe<body_value>;

    explicit CancelScopeOperation(Body&& callable) : callable_(std::forward<Body>(callable)), scope_(*this) {}
    CancelScopeOperation(CancelScopeOperation&& other)
        : ScopeWait(std::move(other)), callable_(std::forward<Body>(other.callable_)), scope_(*this) {}

    void await_suspend(TaskHandle) {
        task_type task = callable_(scope_);
        run(task.release().promise());
        // By the callable, before there was a body.
        if (scope_.is_cancelled()) cancel_inside();
    }

    Maybe<body_value> await_resume() {
        if (was_unwound()) return Maybe<body_value>();
        return detail::take_maybe<body_value>(body());
    }

private:
    // The callable itself if it was a temporary, else a reference to it.
    Body callable_;
    CancelScope scope_;
};

/// Runs `body(scope)`, a task that `scope.cancel()` can end, and waits for its end.
///
/// Gives the body's value, or nothing if it was cancelled through `scope` (for a body without a value: true or
/// false). A result that came all the same is given.
///
///     auto body = [&](leat::CancelScope& scope) -> leat::Task<> { ... };
///     bool finished = co_await leat::cancel_scope(body);
///
/// Lifetime:     name the body first, as above: GCC 12 destroys a capturing lambda beside an await twice.
/// Errors:       the body's exception.
/// Cancellation: from outside, the body is unwound and then the awaiting task.
template <class Body>
CancelScopeOperation<Body> cancel_scope(Body&& body) {
    return CancelScopeOperation<Body>(std::forward<Body>(body));
}

}  // namespace leat

#pragma GCC diagnostic pop
