// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timer_wheel.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// The part of `finally`'s awaiter that does not depend on body and clean-up.
class FinallyWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }

    void cancel() noexcept override { cancel_all(); }
    TaskFrame* cancel_or_pass(CancelWalk&) noexcept override;
    std::string describe() const override;
    void visit_tasks(void (*visit)(TaskFrame&, void*), void* argument) const override;
    void child_finished(TaskFrame& body) noexcept override;
    void child_unwound() noexcept override;

protected:
    explicit FinallyWait(Duration limit) noexcept : limit_(limit), cleanup_(*this) {}
    // Movable until awaited.
    FinallyWait(FinallyWait&& other) noexcept
        : Wait(static_cast<Wait&&>(other)), limit_(other.limit_), cleanup_(*this) {}
    ~FinallyWait() {
        if (body_ != nullptr) body_->handle().destroy();
    }

    void run(TaskFrame& body) noexcept;
    /// Calls the clean-up for its task.
    virtual Task<void> make_cleanup() = 0;

    /// What is to be thrown, if anything: the body's exception, or else the clean-up's.
    std::exception_ptr take_failure() noexcept { return std::move(failure_); }
    TaskFrame& body() const noexcept { return *body_; }

private:
    /// Who runs the clean-up, and its deadline.
    class Cleanup final : public Wait, public Timer {
    public:
        explicit Cleanup(FinallyWait& owner) noexcept : owner_(owner) {}
        void begin(TaskFrame& task) noexcept;

        void cancel() noexcept override {}
        std::string describe() const override { return "its first turn"; }
        void child_finished(TaskFrame& task) noexcept override;
        void child_unwound() noexcept override;
        void expired() noexcept override;

        FinallyWait& owner_;
        Environment inside_;
        // While it runs.
        TaskFrame* task_ = nullptr;
        // What it waited for at its deadline.
        std::unique_ptr<const std::string> where_;
    };

    void clean_up() noexcept;
    void fail(std::exception_ptr failure) noexcept;
    void settle() noexcept;

    Duration limit_;
    // The body's: a deadline on the whole ends it, too.
    Environment inside_;
    // Owned from its start on; null once unwound.
    TaskFrame* body_ = nullptr;
    bool body_runs_ = false;
    std::exception_ptr failure_;
    Cleanup cleanup_;
};

/// What `finally` can call, as it was passed.
template <class F>
concept IsCleanup = std::same_as<std::invoke_result_t<F&>, Task<void>>;

template <class A, class... Rest>
inline constexpr bool fits_finally = false;
template <class A, class F>
inline constexpr bool fits_finally<A, F> = !is_named<A> && is_task<A> && IsCleanup<F>;
template <class A, class L, class F>
inline constexpr bool fits_finally<A, L, F> =
    !is_named<A> && is_task<A> && std::is_convertible_v<L, Duration> && IsCleanup<F>;

template <class A, class... Rest>
class RefusedFinally : public RefusedAwait {
    static consteval bool check() {
        if constexpr (is_named<A> || !is_task<A>) static_cast<void>(sizeof(RefusedTask<A>));
        return true;
    }
    static_assert(check());
    static_assert(
        is_named<A> || !is_task<A>,
        "leat: finally takes a task, a limit if there is to be another one, and a function that takes "
        "nothing and returns leat::Task<>: finally(task, clean_up) or finally(task, 5s, clean_up)");
};

template <class T, class Function>
class Finally : public FinallyWait {
    static_assert(check_named<Function>());

public:
    using value_type = T;

    Finally(Task<T>&& body, Duration limit, Function&& cleanup)
        : FinallyWait(limit), task_(std::move(body)), function_(std::forward<Function>(cleanup)) {}
    Finally(Finally&& other)
        : FinallyWait(std::move(other)),
          task_(std::move(other.task_)),
          function_(std::forward<Function>(other.function_)) {}

    void await_suspend(TaskHandle) noexcept { run(task_.release().promise()); }

    T await_resume() {
        if (std::exception_ptr failure = take_failure()) std::rethrow_exception(std::move(failure));
        return take_value<T>(body());
    }
    ResultOf<T> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(executor(), failure));
        return take_result<T>(body());
    }

private:
    Task<void> make_cleanup() override { return function_(); }

    Task<T> task_;
    // The callable itself if it was a temporary, else a reference to it.
    Function function_;
};

}  // namespace detail

/// How long a clean-up may take where nothing else is said.
inline constexpr Duration cleanup_limit = std::chrono::seconds(5);

/// Awaits `body`, and then `cleanup()`, a task, however the body ended: by its value, by an exception, or by a cancellation.
///
///     auto roll_back = [&]() -> leat::Task<> { co_await connection.send("ROLLBACK"); };
///     co_await leat::finally(transfer(connection), roll_back);
///
/// For clean-up that has to wait, which no destructor can. It runs shielded: no cancellation and no deadline around it stops
/// it, only its own `limit`, after which it is cancelled.
///
/// Gives the body's value.
///
/// Lifetime:     name `cleanup` first, as above: GCC 12 destroys a capturing lambda beside an await twice. What it refers to
///               outlives the await, and is not the body's own.
/// Errors:       the body's exception, with that of the clean-up attached (`attached_failures`); else the clean-up's, also
///               where the body was cancelled: then it is thrown, and the task ends at its next wait. A clean-up that is cut
///               short fails with `deadline_exceeded`.
/// Cancellation: the body is unwound, the clean-up runs to its end, and then the awaiting task ends.
/// Complexity:   O(1), a timer, and the frames of both.
template <class T, class Function>
    requires detail::IsCleanup<Function>
[[nodiscard]] detail::Finally<T, Function> finally(Task<T>&& body, Function&& cleanup) {
    return detail::Finally<T, Function>(std::move(body), cleanup_limit, std::forward<Function>(cleanup));
}

/// The same with another limit for the clean-up.
template <class T, class Function>
    requires detail::IsCleanup<Function>
[[nodiscard]] detail::Finally<T, Function> finally(Task<T>&& body, Duration limit, Function&& cleanup) {
    return detail::Finally<T, Function>(std::move(body), limit, std::forward<Function>(cleanup));
}
// What does not fit, with a sentence.
template <class A, class... Rest>
    requires(!detail::fits_finally<A, Rest...>)
detail::RefusedFinally<A, Rest...> finally(A&&, Rest&&...) noexcept {
    return detail::RefusedFinally<A, Rest...>();
}

}  // namespace leat

#pragma GCC diagnostic pop
