// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <exception>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// The exception, unless it says that something was cancelled: then null, and other failures that are attached to it become
/// notices.
std::exception_ptr unless_cancelled(Executor& executor, std::exception_ptr exception);

template <class T>
class CatchCancelled final : public TaskAwaiter<T> {
public:
    using value_type = Maybe<T>;

    explicit CatchCancelled(Task<T>&& task) noexcept : TaskAwaiter<T>(std::move(task)) {}

    bool await_suspend(TaskHandle handle,
                       std::source_location line = std::source_location::current()) noexcept {
        this->require_unspent();
        return TaskAwaiter<T>::await_suspend(handle, line);
    }
    Maybe<T> await_resume() {
        const OwnedFrame ended(this->release_child());
        if (std::exception_ptr exception = take_exception(*ended)) {
            if (std::exception_ptr other = unless_cancelled(this->executor(), std::move(exception)))
                std::rethrow_exception(std::move(other));
            return Maybe<T>();
        }
        return take_maybe<T>(*ended);
    }
};

}  // namespace detail

/// Awaits `task`; gives nothing if that, or what it waited for, was cancelled by a scope of its own.
///
///     std::optional<Page> page = co_await leat::catch_cancelled(fetch(url));   // empty: somebody has cancelled it
///
/// A scope inside that owes a value and is cancelled has none to give: `task_group` throws `leat::errc::cancelled` then, as do
/// calls to another executor whose task was cancelled there. Here that becomes a value.
///
/// Errors:       the task's, other than `leat::errc::cancelled`. What failed beside that, and is attached to it, becomes notices.
/// Cancellation: one from outside is none of its business: it goes on outwards, and this gives no value.
template <class T>
[[nodiscard]] detail::CatchCancelled<T> catch_cancelled(Task<T>&& task) noexcept {
    return detail::CatchCancelled<T>(std::move(task));
}
// What does not fit, with a sentence.
template <class A>
    requires(detail::is_named<A> || !detail::is_task<A>)
detail::RefusedTask<A> catch_cancelled(A&&) noexcept {
    return detail::RefusedTask<A>();
}

}  // namespace leat

#pragma GCC diagnostic pop
