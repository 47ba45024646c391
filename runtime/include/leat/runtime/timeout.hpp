// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/reactor/error.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timer_wheel.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class TaskGroupWait;

namespace detail {

class BranchWait;
class FinallyWait;

/// What runs tasks, such as a group: its deadline is theirs, too, so it is given a scope to keep it.
template <class A>
concept RunsTasks = std::derived_from<A, ScopeWait> || std::derived_from<A, BranchWait> ||
                    std::derived_from<A, FinallyWait> || std::derived_from<A, TaskGroupWait>;

template <class L>
inline constexpr bool is_duration = false;
template <class Rep, class Period>
inline constexpr bool is_duration<std::chrono::duration<Rep, Period>> = true;
template <class L>
inline constexpr bool is_time_point = false;
template <class Clock, class D>
inline constexpr bool is_time_point<std::chrono::time_point<Clock, D>> = true;

/// What was meant as a limit, or, by somebody who has mixed up the order, as what it limits.
template <class L>
inline constexpr bool is_meant_as_limit =
    std::is_arithmetic_v<L> || is_duration<L> || is_time_point<L> || is_task<L> || std::is_base_of_v<Wait, L>;

/// What a deadline can be set for, as it was passed.
template <class A>
concept Timeable = WaitRequest<std::remove_cvref_t<A>> || (!is_named<A> && (is_task<A> || ResultWait<A>));

template <class L>
class RefusedLimit {
    static_assert(!is_task<L> && !std::is_base_of_v<Wait, L>,
                  "leat: the limit comes first, and then what it limits: timeout(5s, task)");
    static_assert(!std::is_arithmetic_v<L>,
                  "leat: a limit has a unit: write 5s or 250ms, of std::chrono_literals");
    static_assert(!is_duration<L> || std::is_convertible_v<L, Duration>,
                  "leat: a limit is a whole number of a unit of time: write 500ms and not 0.5s, or use "
                  "std::chrono::duration_cast");
    static_assert(!is_duration<L> || !std::is_convertible_v<L, Duration>,
                  "leat: timeout_at takes an instant of the executor's clock: for a duration use timeout");
    static_assert(!std::is_convertible_v<L, TimePoint>,
                  "leat: timeout takes a duration: for an instant of the executor's clock use timeout_at");
    static_assert(
        !is_time_point<L> || std::is_convertible_v<L, TimePoint>,
        "leat: an instant of the executor's clock is a leat::TimePoint, of std::chrono::steady_clock");
};

template <class A, class Limit, class... Wanted>
class RefusedDeadline : public RefusedAwait {
    static constexpr bool is_limit_right = (std::is_convertible_v<Limit, Wanted> || ...);
    static consteval bool check() {
        if constexpr (!is_limit_right)
            static_cast<void>(sizeof(RefusedLimit<std::remove_cvref_t<Limit>>));
        else if constexpr (!Timeable<A>)
            static_cast<void>(sizeof(RefusedAwaitable<A>));
        else if constexpr (!is_task<A>)
            static_cast<void>(sizeof(RefusedTask<A>));
        return true;
    }
    static_assert(check());
};

/// A limit as the caller gave it; the clock is read when the wait begins, not before.
class TimeLimit {
public:
    explicit TimeLimit(Duration duration) noexcept : duration_(duration), is_relative_(true) {}
    explicit TimeLimit(TimePoint deadline) noexcept : deadline_(deadline) {}

    TimePoint deadline(const Executor& executor) const noexcept {
        return is_relative_ ? saturating_add(executor.now(), duration_) : deadline_;
    }

private:
    Duration duration_{};
    TimePoint deadline_{};
    bool is_relative_ = false;
};

/// A leaf wait with a deadline: the same object, with a timer beside it; no task is made for it.
template <ResultWait A>
class TimedWait : public A {
public:
    using value_type = typename A::value_type;

    TimedWait(TimeLimit limit, A&& awaitable) noexcept
        : A(std::move(awaitable)), limit_(limit), expiry_(*this) {}
    TimedWait(TimedWait&& other) noexcept
        : A(static_cast<A&&>(other)), limit_(other.limit_), expiry_(*this) {}

    bool await_ready() noexcept(noexcept(std::declval<A&>().await_ready())) {
        if (A::await_ready()) return true;
        if (!this->environment().is_cancelled()) arm();
        return false;
    }

    value_type await_resume() {
        expiry_.disarm();
        if (has_timed_out_) [[unlikely]]
            throw_late();
        return A::await_resume();
    }

    std::optional<TimePoint> expires_at() const noexcept override {
        if (!expiry_.is_armed()) return std::nullopt;
        return expiry_.deadline();
    }

    ResultOf<value_type> result() {
        expiry_.disarm();
        if (has_timed_out_) return Unexpected<std::error_code>(make_error_code(errc::deadline_exceeded));
        return A::result();
    }

protected:
    bool has_timed_out() const noexcept { return has_timed_out_; }

    // The wait has ended without a result. If the deadline asked for that, the task goes on; else it is unwound.
    void withdrawn() noexcept override {
        if (is_expired_ && !this->environment().is_cancelled()) {
            has_timed_out_ = true;
            this->resume_later();
        } else {
            expiry_.disarm();
            A::withdrawn();
        }
    }

private:
    [[noreturn]] void throw_late() const {
        const std::error_code code = make_error_code(errc::deadline_exceeded);
        try {
            throw std::system_error(code, "leat: " + A::describe());
        } catch (const std::bad_alloc&) {
            throw std::system_error(code, "leat");
        }
    }
    void arm() noexcept {
        TimePoint deadline = limit_.deadline(this->executor());
        // One around it that comes first ends this wait, too.
        if (deadline < this->environment().deadline()) this->executor().timers().arm(expiry_, deadline);
    }

    // A member, since the wait may be a timer itself.
    class Expiry final : public Timer {
    public:
        explicit Expiry(TimedWait& wait) noexcept : wait_(wait) {}
        void expired() noexcept override {
            wait_.is_expired_ = true;
            wait_.A::cancel();
        }

    private:
        TimedWait& wait_;
    };

    TimeLimit limit_;
    Expiry expiry_;
    bool is_expired_ = false;
    bool has_timed_out_ = false;
};

template <ResultWait A>
class TryTimedWait : public TimedWait<A> {
public:
    using value_type = Maybe<typename A::value_type>;
    using TimedWait<A>::TimedWait;

    value_type await_resume() {
        using Value = typename A::value_type;
        if (this->has_timed_out()) return value_type();
        return as_maybe<Value>([&]() -> Value { return TimedWait<A>::await_resume(); });
    }

    Result<value_type> result() {
        if (this->has_timed_out()) return Result<value_type>(value_type());
        return maybe_result<typename A::value_type>(TimedWait<A>::result());
    }
};

/// A task with a deadline, in a scope of its own.
template <class T>
class TimedTask : public ScopeWait, protected Timer {
public:
    using value_type = T;

    TimedTask(TimeLimit limit, Task<T>&& task) noexcept : limit_(limit), task_(std::move(task)) {}
    TimedTask(TimedTask&&) noexcept = default;

    void await_suspend(TaskHandle) noexcept {
        TimePoint deadline = limit_.deadline(executor());
        // One around it that comes first ends this scope, too: one timer serves both.
        if (deadline < environment().deadline()) executor().timers().arm(*this, deadline);
        run(task_.release().promise(), deadline);
    }

    T await_resume() {
        disarm();
        if (has_timed_out()) throw_deadline_exceeded("leat: timeout", where_.get());
        return take_outcome<T>(body());
    }

    ResultOf<T> result() {
        disarm();
        if (has_timed_out()) return Unexpected<std::error_code>(make_error_code(errc::deadline_exceeded));
        return take_result<T>(body());
    }

    std::string describe() const override { return "a task with a deadline"; }
    std::optional<TimePoint> expires_at() const noexcept override {
        if (!is_armed()) return std::nullopt;
        return deadline();
    }

protected:
    bool has_timed_out() const noexcept { return was_unwound(); }

    void expired() noexcept override {
        // Now, while what is late still waits.
        where_ = describe_inside();
        cancel_inside();
    }

private:
    TimeLimit limit_;
    Task<T> task_;
    std::unique_ptr<const std::string> where_;
};

template <class T>
class TryTimedTask : public TimedTask<T> {
public:
    using value_type = Maybe<T>;
    using TimedTask<T>::TimedTask;

    value_type await_resume() {
        if (this->has_timed_out()) return value_type();
        this->disarm();
        return take_maybe<T>(this->body());
    }

    Result<value_type> result() {
        if (this->has_timed_out()) return Result<value_type>(value_type());
        return maybe_result<T>(TimedTask<T>::result());
    }

private:
    // It is no error, and nobody asks where.
    void expired() noexcept override { this->cancel_inside(); }
};

}  // namespace detail

/// Awaits `awaitable` for at most `limit`, counted from the await by the executor's clock.
///
///     std::size_t received = co_await leat::timeout(30s, stream.read(buffer));
///
/// A result that is there at the deadline wins. Otherwise what runs is cancelled, waited for, and
/// `leat::errc::deadline_exceeded` is thrown (never the socket's ETIMEDOUT). The error's text names what was
/// waited for; for a task, the innermost wait at the deadline and its line. A limit in the past still gives
/// what is there at once.
///
/// Errors:       `deadline_exceeded`; those of the awaitable.
/// Cancellation: that of the awaitable.
/// Complexity:   for a leaf wait (a read, say) a timer and no allocation; for a task no more; for what runs tasks, such as a
///               group, also a frame.
template <ResultWait A>
[[nodiscard]] detail::TimedWait<A> timeout(Duration limit, A&& awaitable) noexcept
    requires(!std::is_reference_v<A> && !detail::RunsTasks<A>)
{
    return detail::TimedWait<A>(detail::TimeLimit(limit), std::move(awaitable));
}
template <WaitRequest R>
[[nodiscard]] auto timeout(Duration limit, const R& request) noexcept {
    return timeout(limit, static_cast<typename R::operation_type>(request));
}
template <class T>
[[nodiscard]] detail::TimedTask<T> timeout(Duration limit, Task<T>&& task) noexcept {
    return detail::TimedTask<T>(detail::TimeLimit(limit), std::move(task));
}
template <ResultWait A>
    requires(!std::is_reference_v<A> && detail::RunsTasks<A>)
[[nodiscard]] auto timeout(Duration limit, A&& awaitable) {
    return timeout(limit, detail::as_task(std::move(awaitable)));
}
// What does not fit, with a sentence.
template <class Limit, class A>
    requires(detail::is_meant_as_limit<std::remove_cvref_t<Limit>> &&
             !(std::is_convertible_v<Limit, Duration> && detail::Timeable<A>))
detail::RefusedDeadline<A, Limit, Duration> timeout(Limit&&, A&&) noexcept {
    return detail::RefusedDeadline<A, Limit, Duration>();
}

/// The same until an instant of the executor's clock.
template <ResultWait A>
[[nodiscard]] detail::TimedWait<A> timeout_at(TimePoint deadline, A&& awaitable) noexcept
    requires(!std::is_reference_v<A> && !detail::RunsTasks<A>)
{
    return detail::TimedWait<A>(detail::TimeLimit(deadline), std::move(awaitable));
}
template <WaitRequest R>
[[nodiscard]] auto timeout_at(TimePoint deadline, const R& request) noexcept {
    return timeout_at(deadline, static_cast<typename R::operation_type>(request));
}
template <class T>
[[nodiscard]] detail::TimedTask<T> timeout_at(TimePoint deadline, Task<T>&& task) noexcept {
    return detail::TimedTask<T>(detail::TimeLimit(deadline), std::move(task));
}
template <ResultWait A>
    requires(!std::is_reference_v<A> && detail::RunsTasks<A>)
[[nodiscard]] auto timeout_at(TimePoint deadline, A&& awaitable) {
    return timeout_at(deadline, detail::as_task(std::move(awaitable)));
}
// What does not fit, with a sentence.
template <class Limit, class A>
    requires(detail::is_meant_as_limit<std::remove_cvref_t<Limit>> &&
             !(std::is_convertible_v<Limit, TimePoint> && detail::Timeable<A>))
detail::RefusedDeadline<A, Limit, TimePoint> timeout_at(Limit&&, A&&) noexcept {
    return detail::RefusedDeadline<A, Limit, TimePoint>();
}

/// Like `timeout`, but a deadline that passes is no error: an empty `optional`, or false where there is no value.
template <ResultWait A>
[[nodiscard]] detail::TryTimedWait<A> try_timeout(Duration limit, A&& awaitable) noexcept
    requires(!std::is_reference_v<A> && !detail::RunsTasks<A>)
{
    return detail::TryTimedWait<A>(detail::TimeLimit(limit), std::move(awaitable));
}
template <WaitRequest R>
[[nodiscard]] auto try_timeout(Duration limit, const R& request) noexcept {
    return try_timeout(limit, static_cast<typename R::operation_type>(request));
}
template <class T>
[[nodiscard]] detail::TryTimedTask<T> try_timeout(Duration limit, Task<T>&& task) noexcept {
    return detail::TryTimedTask<T>(detail::TimeLimit(limit), std::move(task));
}
template <ResultWait A>
    requires(!std::is_reference_v<A> && detail::RunsTasks<A>)
[[nodiscard]] auto try_timeout(Duration limit, A&& awaitable) {
    return try_timeout(limit, detail::as_task(std::move(awaitable)));
}
// What does not fit, with a sentence.
template <class Limit, class A>
    requires(detail::is_meant_as_limit<std::remove_cvref_t<Limit>> &&
             !(std::is_convertible_v<Limit, Duration> && detail::Timeable<A>))
detail::RefusedDeadline<A, Limit, Duration> try_timeout(Limit&&, A&&) noexcept {
    return detail::RefusedDeadline<A, Limit, Duration>();
}

}  // namespace leat

#pragma GCC diagnostic pop
