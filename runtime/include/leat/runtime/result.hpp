// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/wait.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <source_location>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#if LEAT_RESULT_IS_STD_EXPECTED
#include <expected>
#else
#include <tl/expected.hpp>
#endif

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

#if LEAT_RESULT_IS_STD_EXPECTED
template <class T, class E>
using Expected = std::expected<T, E>;
template <class E>
using Unexpected = std::unexpected<E>;
#else
template <class T, class E>
using Expected = tl::expected<T, E>;
template <class E>
using Unexpected = tl::unexpected<E>;
#endif

/// A value or an error code: what `as_result` gives.
template <class T>
using Result = Expected<T, std::error_code>;

/// A value or the exception that took its place: what `as_outcome` gives.
template <class T>
using Outcome = Expected<T, std::exception_ptr>;

namespace detail {

// What stands for a `T` inside an object: a reference as a `std::reference_wrapper`.
template <class T>
using Held =
    std::conditional_t<std::is_lvalue_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>, T>;
template <class T>
using ResultOf = Result<Held<T>>;
template <class T>
using OutcomeOf = Outcome<Held<T>>;

}  // namespace detail

/// A wait that can tell its result without throwing: all of leat's leaf waits, and most of its combinators.
template <class A>
concept ResultWait = std::derived_from<A, Wait> && requires(A& awaitable) {
    typename A::value_type;
    { awaitable.result() } -> std::same_as<detail::ResultOf<typename A::value_type>>;
};

namespace detail {

// The `std::system_error` in `exception` as a code; any other exception is thrown.
std::error_code code_or_rethrow(std::exception_ptr exception);
// The same; what is attached to it, which no code can tell, becomes notices.
std::error_code code_or_tell(Executor& executor, const std::exception_ptr& failure);

/// A wait whose start may throw: the exception is kept, and becomes its result.
template <class A>
class KeptStart : public A {
public:
    explicit KeptStart(A&& awaitable) noexcept : A(std::move(awaitable)) {}

    bool await_ready() noexcept {
        try {
            return A::await_ready();
        } catch (...) {
            failure_ = std::current_exception();
            return true;
        }
    }
    bool await_suspend(TaskHandle handle,
                       std::source_location line = std::source_location::current()) noexcept {
        try {
            return start(handle, line);
        } catch (...) {
            failure_ = std::current_exception();
            return false;
        }
    }

protected:
    std::exception_ptr take_start_failure() noexcept { return std::exchange(failure_, nullptr); }

private:
    bool start(TaskHandle handle, std::source_location line) {
        A& wait = *this;
        constexpr bool takes_line = requires { wait.await_suspend(handle, line); };
        if constexpr (std::is_void_v<decltype(wait.await_suspend(handle))>) {
            if constexpr (takes_line)
                wait.await_suspend(handle, line);
            else
                wait.await_suspend(handle);
            return true;
        } else if constexpr (takes_line) {
            return wait.await_suspend(handle, line);
        } else {
            return wait.await_suspend(handle);
        }
    }

    std::exception_ptr failure_;
};

/// A wait whose start does not throw.
template <class A>
class SureStart : public A {
public:
    explicit SureStart(A&& awaitable) noexcept : A(std::move(awaitable)) {}

protected:
    std::nullptr_t take_start_failure() const noexcept { return nullptr; }
};

template <class A>
using StartOf = std::conditional_t<noexcept(std::declval<A&>().await_ready()) &&
                                       noexcept(std::declval<A&>().await_suspend(std::declval<TaskHandle>())),
                                   SureStart<A>, KeptStart<A>>;

template <ResultWait A>
class AsResult : public StartOf<A> {
public:
    using value_type = ResultOf<typename A::value_type>;

    explicit AsResult(A&& awaitable) noexcept : StartOf<A>(std::move(awaitable)) {}
    value_type await_resume() {
        if (std::exception_ptr failure = this->take_start_failure())
            return Unexpected<std::error_code>(code_or_tell(this->executor(), failure));
        return A::result();
    }
    // For a deadline around it: what has failed is a value here.
    Result<value_type> result() { return Result<value_type>(await_resume()); }
};

// What a task that has come to its end gives, once.
template <class T>
ResultOf<T> take_result(TaskFrame& ended) {
    if (std::exception_ptr exception = take_exception(ended))
        return Unexpected<std::error_code>(code_or_tell(ended.executor(), exception));
    if constexpr (std::is_void_v<T>) {
        take_value<T>(ended);
        return Result<T>();
    } else {
        return ResultOf<T>(take_value<T>(ended));
    }
}

/// What stands for a value in a tuple or an optional: where there is none, a `std::monostate`.
template <class T>
using ValueOrNone = std::conditional_t<std::is_void_v<T>, std::monostate, T>;
// The same in an object that is assigned to.
template <class T>
using HeldOrNone = Held<std::conditional_t<std::is_void_v<T>, std::monostate, std::remove_cv_t<T>>>;

/// A wait that says what awaiting it gives.
template <class A>
concept ValueWait = std::derived_from<A, Wait> && requires { typename A::value_type; };

/// A wait as a task, for those who run tasks.
template <ValueWait A>
Task<typename A::value_type> as_task(A awaitable) {
    if constexpr (std::is_void_v<typename A::value_type>) {
        co_await awaitable;
    } else {
        typename A::value_type value = co_await awaitable;
        co_return value;
    }
}
template <WaitRequest R>
auto as_task(const R& request) {
    return as_task(static_cast<typename R::operation_type>(request));
}
template <class T>
Task<T> as_task(Task<T>&& task) noexcept {
    return std::move(task);
}

/// Whatever a combinator can run: a task, a wait, or a request for one.
template <class A>
concept Awaitable = is_task<A> || ValueWait<A> || WaitRequest<A>;

/// What a combinator can run, as it was passed.
template <class A>
concept Runnable = !is_named<A> && Awaitable<A>;

/// What can be awaited for a result, as it was passed.
template <class A>
concept HasResult = WaitRequest<std::remove_cvref_t<A>> ||
                    (!is_named<A> && (is_task<A> || ResultWait<A> || IsNextOperation<A>));

/// What awaiting it gives.
template <Awaitable A>
using AwaitedValue = typename decltype(as_task(std::declval<A>()))::value_type;

template <class T>
class TaskAsResult final : public TaskAwaiter<T> {
public:
    using value_type = ResultOf<T>;

    explicit TaskAsResult(Task<T>&& task) noexcept : TaskAwaiter<T>(std::move(task)) {}

    bool await_suspend(TaskHandle handle,
                       std::source_location line = std::source_location::current()) noexcept {
        this->require_unspent();
        return TaskAwaiter<T>::await_suspend(handle, line);
    }
    value_type await_resume() {
        const OwnedFrame ended(this->release_child());
        return take_result<T>(*ended);
    }
};

template <class T>
class TaskAsOutcome final : public TaskAwaiter<T> {
public:
    using value_type = OutcomeOf<T>;

    explicit TaskAsOutcome(Task<T>&& task) noexcept : TaskAwaiter<T>(std::move(task)) {}

    bool await_suspend(TaskHandle handle,
                       std::source_location line = std::source_location::current()) noexcept {
        this->require_unspent();
        return TaskAwaiter<T>::await_suspend(handle, line);
    }
    value_type await_resume() {
        const OwnedFrame ended(this->release_child());
        if (std::exception_ptr exception = take_exception(*ended))
            return Unexpected<std::exception_ptr>(std::move(exception));
        if constexpr (std::is_void_v<T>)
            return value_type();
        else
            return value_type(detail::take_value<T>(*ended));
    }
};

template <ResultWait A>
class AsOutcome final : public StartOf<A> {
public:
    using value_type = OutcomeOf<typename A::value_type>;

    explicit AsOutcome(A&& awaitable) noexcept : StartOf<A>(std::move(awaitable)) {}

    value_type await_resume() {
        if (std::exception_ptr failure = this->take_start_failure())
            return Unexpected<std::exception_ptr>(std::move(failure));
        try {
            if constexpr (std::is_void_v<typename A::value_type>) {
                A::await_resume();
                return Outcome<void>();
            } else {
                return value_type(A::await_resume());
            }
        } catch (...) {
            return Unexpected<std::exception_ptr>(std::current_exception());
        }
    }
};

}  // namespace detail

/// Turns a failure of `awaitable` into a value: nothing is thrown for it.
///
///     leat::Result<std::size_t> received = co_await as_result(stream.read(buffer));
///     if (!received) report(received.error());
///
/// Where the value is a reference, the result holds a `std::reference_wrapper`.
///
/// Cancellation: none of its business: a cancelled wait gives no result, the task ends.
template <ResultWait A>
[[nodiscard]] detail::AsResult<A> as_result(A&& awaitable) noexcept
    requires(!std::is_reference_v<A>)
{
    return detail::AsResult<A>(std::move(awaitable));
}

template <WaitRequest R>
[[nodiscard]] auto as_result(const R& request) noexcept {
    return as_result(static_cast<typename R::operation_type>(request));
}

/// The same for a task: its `std::system_error` becomes the code, every other exception passes through. What is attached to it
/// (`attached_failures`), which no code can tell, becomes notices.
template <class T>
[[nodiscard]] detail::TaskAsResult<T> as_result(Task<T>&& task) noexcept {
    return detail::TaskAsResult<T>(std::move(task));
}

/// Turns any exception of `awaitable` into a value.
template <ResultWait A>
[[nodiscard]] detail::AsOutcome<A> as_outcome(A&& awaitable) noexcept
    requires(!std::is_reference_v<A>)
{
    return detail::AsOutcome<A>(std::move(awaitable));
}

template <WaitRequest R>
[[nodiscard]] auto as_outcome(const R& request) noexcept {
    return as_outcome(static_cast<typename R::operation_type>(request));
}

template <class T>
[[nodiscard]] detail::TaskAsOutcome<T> as_outcome(Task<T>&& task) noexcept {
    return detail::TaskAsOutcome<T>(std::move(task));
}

// What does not fit, with a sentence.
template <class A>
    requires(!detail::HasResult<A>)
detail::RefusedAwaitable<A> as_result(A&&) noexcept {
    return detail::RefusedAwaitable<A>();
}
template <class A>
    requires(!detail::HasResult<A>)
detail::RefusedAwaitable<A> as_outcome(A&&) noexcept {
    return detail::RefusedAwaitable<A>();
}

}  // namespace leat

#pragma GCC diagnostic pop
