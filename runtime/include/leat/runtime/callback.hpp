// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>

#include <atomic>
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

/// What a callback and the task that waits for it share. There is no lock, as moving a value may run anybody's code, which
/// may call again.
template <class T>
struct CallbackState {
    explicit CallbackState(Remote&& executor) noexcept : remote(std::move(executor)) {}

    /// Whose `value` is: the first call's while it is coming, the task's once it has come.
    enum class Stage { none, coming, come };

    bool has_come() const noexcept { return stage.load(std::memory_order_acquire) == Stage::come; }

    std::atomic<Stage> stage = Stage::none;
    std::optional<T> value;
    Remote remote;
    // The executor's thread only. Null once nobody waits.
    Wait* waiting = nullptr;
    void (*resume)(Wait&) = nullptr;
};

}  // namespace detail

/// The function that a C interface is given: the first call hands its value to the task that waits, from whatever
/// thread; later calls, and calls after a cancellation, do nothing. One whose value cannot be moved does not count.
///
/// Thread-safety: any thread. Copies are one callback.
/// Lifetime:      may outlive the task and the executor. If all copies go without a call, the task waits on.
template <class T>
class Callback {
public:
    void operator()(T value) const {
        using Stage = typename detail::CallbackState<T>::Stage;
        // What the value's constructor runs may end this object.
        std::shared_ptr<detail::CallbackState<T>> state = state_;
        Stage none = Stage::none;
        if (!state->stage.compare_exchange_strong(none, Stage::coming, std::memory_order_acquire)) return;
        try {
            state->value.emplace(std::move(value));
        } catch (...) {
            state->stage.store(Stage::none, std::memory_order_release);
            throw;
        }
        // Seen by `has_come`.
        state->stage.store(Stage::come, std::memory_order_release);
        // An executor that is gone has no task to tell. The caller is C code, which nothing may be thrown
        // through, and the value has come: the post waits for memory.
        (void)state->remote.post_surely([state]() noexcept {
            if (Wait* waiting = std::exchange(state->waiting, nullptr)) state->resume(*waiting);
        });
    }

private:
    template <class U, class Start>
    friend class CallbackOperation;
    explicit Callback(std::shared_ptr<detail::CallbackState<T>> state) noexcept : state_(std::move(state)) {}

    std::shared_ptr<detail::CallbackState<T>> state_;
};

/// What `callback` gives.
template <class T, class Start>
class [[nodiscard]] CallbackOperation : public Wait {
    static_assert(detail::check_named<Start>());
    static_assert(std::is_invocable_v<Start&, Callback<T>>,
                  "leat: what callback<T> calls takes a leat::Callback<T>");

public:
    using value_type = T;

    explicit CallbackOperation(Start&& start) : start_(std::forward<Start>(start)) {}
    CallbackOperation(CallbackOperation&& other) : start_(std::forward<Start>(other.start_)) {}
    ~CallbackOperation() {
        if (state_) state_->waiting = nullptr;
    }

    bool await_ready() {
        if (is_stopped()) return false;
        state_ = std::make_shared<detail::CallbackState<T>>(executor().remote());
        state_->waiting = this;
        state_->resume = [](Wait& wait) { static_cast<CallbackOperation&>(wait).resume_later(); };
        // First, so that a cancellation from within `start` reaches this wait.
        suspend();
        try {
            start_(Callback<T>(state_));
        } catch (...) {
            if (was_cancelled()) {
                detail::notice_failure(executor(),
                                       "the start of a callback has failed after its cancellation",
                                       std::current_exception());
                return false;
            }
            // A call that was made already must not end the task's next wait.
            state_->waiting = nullptr;
            state_.reset();
            resume_at_once();
            throw;
        }
        return false;
    }
    void await_suspend(TaskHandle) const noexcept {}

    T await_resume() { return std::move(*state_->value); }
    Result<T> result() { return Result<T>(await_resume()); }

    void cancel() noexcept override {
        // A value that has come wins, even if the executor has not been told yet.
        if (was_cancelled() || state_->has_come()) return;
        state_->waiting = nullptr;
        this->withdrawn();
    }
    std::string describe() const override { return "a callback"; }

private:
    bool was_cancelled() const noexcept { return state_->waiting == nullptr; }

    Start start_;
    std::shared_ptr<detail::CallbackState<T>> state_;
};

/// Waits for a C-style callback: calls `start(done)` and gives the value of the first call of `done`.
///
///     auto start = [&](leat::Callback<int> done) { library_begin(..., done); };
///     int answer = co_await leat::callback<int>(start);
///
/// Lifetime:     name `start` first, as above: GCC 12 destroys a capturing lambda beside an await twice.
/// Errors:       what `start` throws.
/// Cancellation: the task ends at once; the callback then does nothing. Whatever `start` began goes on: stop it
///               in a destructor of the task, if it can be stopped. `start` may cancel its own scope; what it
///               throws after that is logged.
template <class T, class Start>
CallbackOperation<T, Start> callback(Start&& start) {
    return CallbackOperation<T, Start>(std::forward<Start>(start));
}

}  // namespace leat

#pragma GCC diagnostic pop
