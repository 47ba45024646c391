// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/wait.hpp>

#include <atomic>
#include <concepts>
#include <coroutine>
#include <memory>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// What a foreign awaiter's `await_cancel(handle)` answers.
enum class CancelAnswer {
    /// It has let go of the handle and will never resume it.
    cancelled_now,
    /// It will resume the handle, soon or late; the scope waits for that.
    will_resume,
};

namespace detail {

/// The handle that a foreign awaiter is given instead of the task's: a small coroutine that brings the resumption
/// to the executor's loop, from whatever thread and whatever depth of stack it came.
class ForeignBridge {
public:
    ForeignBridge() noexcept = default;
    ForeignBridge(const ForeignBridge&) = delete;
    ForeignBridge& operator=(const ForeignBridge&) = delete;
    ~ForeignBridge();

    std::coroutine_handle<> open(Wait& wait, Executor& executor);
    std::coroutine_handle<> handle() const noexcept { return handle_; }

    bool was_resumed() const noexcept { return was_resumed_.load(std::memory_order_acquire); }
    void mark_resumed() noexcept { was_resumed_.store(true, std::memory_order_release); }
    static void resume_task(Wait& wait) noexcept;

private:
    std::coroutine_handle<> handle_;
    std::atomic<bool> was_resumed_{false};
};

/// The part of a foreign wait that does not depend on the awaiter.
class ForeignWait : public Wait {
public:
    void resumed() noexcept { resume_later(); }

protected:
    ForeignWait() noexcept = default;
    ~ForeignWait() = default;
};

template <class A>
decltype(auto) awaiter_of(A&& awaitable) {
    if constexpr (requires { std::forward<A>(awaitable).operator co_await(); })
        return std::forward<A>(awaitable).operator co_await();
    else if constexpr (requires { operator co_await(std::forward<A>(awaitable)); })
        return operator co_await(std::forward<A>(awaitable));
    else
        return std::forward<A>(awaitable);
}

template <class A>
concept ForeignAwaitable = requires(A&& awaitable, std::coroutine_handle<> handle) {
    static_cast<bool>(awaiter_of(std::forward<A>(awaitable)).await_ready());
    awaiter_of(std::forward<A>(awaitable)).await_suspend(handle);
    awaiter_of(std::forward<A>(awaitable)).await_resume();
};

template <class Awaiter>
concept CancellableForeign = requires(Awaiter& awaiter, std::coroutine_handle<> handle) {
    { awaiter.await_cancel(handle) } -> std::same_as<CancelAnswer>;
};

/// Makes an awaiter of another library a wait of ours: seen in dumps, resumed by the loop, and cancellable if it
/// has `CancelAnswer await_cancel(std::coroutine_handle<>)`. One without is waited for when its scope is cancelled.
template <class A>
class ForeignAwaiter final : public ForeignWait {
public:
    ForeignAwaiter(A&& awaitable, TaskFrame& frame) : awaiter_(awaiter_of(std::forward<A>(awaitable))) {
        attach(frame);
    }
    ForeignAwaiter(const ForeignAwaiter&) = delete;

    bool await_ready() {
        if (is_stopped()) return false;
        if (awaiter_.await_ready()) return true;
        // It may have cancelled the scope.
        if (is_stopped()) return false;
        suspend();
        started_ = true;
        return false;
    }

    // Another library's await_suspend may throw, and then the task goes on with that exception; so it is called
    // here, where the coroutine is suspended.
    bool await_suspend(TaskHandle, std::source_location line = std::source_location::current()) {
        note_line(*this, line);
        if (!started_) return true;  // The scope was cancelled: the loop unwinds the task.
        try {
            const bool suspends = ask_to_suspend(bridge_.open(*this, executor()));
            // From within it was cancelled: the loop unwinds the task, whatever the answer.
            if (suspends || is_withdrawn_) return true;
        } catch (...) {
            if (is_withdrawn_) {
                notice_failure(executor(), "an await_suspend has failed after its cancellation",
                               std::current_exception());
                return true;
            }
            resume_at_once();
            throw;
        }
        resume_at_once();
        return false;
    }

    decltype(auto) await_resume() { return awaiter_.await_resume(); }

    void cancel() noexcept override {
        if constexpr (CancellableForeign<Awaiter>) {
            // Resumed already: its result wins.
            if (is_withdrawn_ || bridge_.was_resumed()) return;
            if (awaiter_.await_cancel(bridge_.handle()) != CancelAnswer::cancelled_now) return;
            is_withdrawn_ = true;
            withdrawn();
        }
    }
    std::string describe() const override { return "an awaitable of another library"; }

private:
    using Awaiter = std::remove_reference_t<decltype(awaiter_of(std::declval<A>()))>;

    bool ask_to_suspend(std::coroutine_handle<> handle) {
        using Answer = decltype(awaiter_.await_suspend(handle));
        if constexpr (std::is_void_v<Answer>) {
            awaiter_.await_suspend(handle);
            return true;
        } else if constexpr (std::is_same_v<Answer, bool>) {
            return awaiter_.await_suspend(handle);
        } else {
            std::coroutine_handle<> other = awaiter_.await_suspend(handle);
            if (other == handle) return false;
            other.resume();
            return true;
        }
    }

    decltype(awaiter_of(std::declval<A>())) awaiter_;
    ForeignBridge bridge_;
    bool started_ = false;
    bool is_withdrawn_ = false;
};

}  // namespace detail
}  // namespace leat

#pragma GCC diagnostic pop

// After, not before: the executor's header needs tasks, and tasks need this one.
#include <leat/runtime/executor.hpp>
