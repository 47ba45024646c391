// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <string>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class ManualResetEvent;

/// What `ManualResetEvent::wait` gives.
class [[nodiscard]] EventWaitOperation : public detail::QueuedWait {
public:
    using value_type = void;

    explicit EventWaitOperation(ManualResetEvent& event) noexcept : event_(&event) {}
    EventWaitOperation(EventWaitOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    inline void cancel() noexcept override;
    std::string describe() const override { return "an event that is not set"; }

private:
    ManualResetEvent* event_;
};

/// Something that has happened or not: tasks wait until it has.
///
///     leat::ManualResetEvent ready;
///     co_await ready.wait();      // goes on at once if it is set
///     ready.set();                // everybody who waits goes on
///
/// It stays set until somebody resets it. For one that lets a single task pass each time, take a `Semaphore` without
/// permits and `add()` to it. What the reactor calls an `Event` is another thing.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its waiters; destroying it while a task waits ends the program.
class ManualResetEvent {
public:
    explicit ManualResetEvent(bool is_set = false) noexcept : is_set_(is_set) {}
    ManualResetEvent(const ManualResetEvent&) = delete;
    ManualResetEvent& operator=(const ManualResetEvent&) = delete;
    ~ManualResetEvent() { waiters_.demand_empty("an event"); }

    /// Lets everybody who waits now go on, and who comes until `reset`. Twice is harmless.
    void set() noexcept {
        is_set_ = true;
        waiters_.hand_over_to_all();
    }
    /// From here on tasks wait. Those that `set` has let go on do so all the same.
    void reset() noexcept { is_set_ = false; }

    bool is_set() const noexcept { return is_set_; }
    bool has_waiters() const noexcept { return !waiters_.is_empty(); }

    /// Waits until it is set. It may have been reset again by the time the task goes on.
    ///
    /// Cancellation: withdrawn at once.
    /// Complexity:   O(1), no allocation; `set` is O(waiters).
    EventWaitOperation wait() noexcept { return EventWaitOperation(*this); }

private:
    friend class EventWaitOperation;

    bool is_set_;
    detail::WaitList waiters_;
};

inline bool EventWaitOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!event_->is_set_) return wait_in(event_->waiters_);
    return go_on();
}

inline void EventWaitOperation::cancel() noexcept {
    if (leave(event_->waiters_)) withdrawn();
}

}  // namespace leat

#pragma GCC diagnostic pop
