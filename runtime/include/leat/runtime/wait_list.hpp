// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/wait.hpp>

#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat::detail {

class WaitList;

/// Debug builds find a primitive that two executors use. Fixed when leat was configured, not by NDEBUG: a
/// program and the library agree on it.
inline constexpr bool checks_executors = LEAT_CHECKS_EXECUTORS != 0;

/// A wait that stands in a queue until somebody hands it what it waits for.
class QueuedWait : public Wait {
public:
    void await_suspend(TaskHandle) const noexcept {}

protected:
    QueuedWait() noexcept {}
    // Movable until awaited, as every wait: it stands nowhere yet.
    QueuedWait(QueuedWait&& other) noexcept : Wait(std::move(other)) {}
    ~QueuedWait() = default;

    /// The other answer: it suspends, and stands in `list`. False.
    bool wait_in(WaitList& list) noexcept;
    /// For one that has more to do when it is handed what it waits for than to go on: `handed` is called instead.
    void tell_when_handed() noexcept { is_told_ = true; }
    virtual void handed() noexcept {}

    /// For `cancel`: takes it out of `list`. False if it stands there no more: what it waited for is on its way, and wins.
    bool leave(WaitList& list) noexcept;

private:
    friend class WaitList;
    void hand_over(Executor& executor) noexcept {
        if (is_told_) [[unlikely]]
            handed();
        else
            executor.make_ready(*this);
    }

    // Of a value only in a queue.
    QueuedWait* next_waiter_;
    QueuedWait* previous_waiter_;
    bool is_queued_ = false;
    bool is_told_ = false;
};

/// First come, first served.
///
/// Thread-safety: the executor's thread; with `checks_executors`, another use ends the program with a
///                sentence if a task waits.
class WaitList {
public:
    WaitList() noexcept = default;
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;

    bool is_empty() const noexcept { return first_ == nullptr; }
    /// Of a list that is not empty.
    QueuedWait& first() const noexcept { return *first_; }
    /// Of a list that is not empty: the task that waits in its first one.
    TaskFrame& first_task() const noexcept { return *first_->frame_; }
    /// Of a list that is not empty: whether its first one is in a cancelled scope, and about to leave.
    bool first_is_leaving() const noexcept { return first_->environment().is_cancelled(); }

    void append(QueuedWait& wait) noexcept {
        if constexpr (checks_executors) demand_same_executor(wait);
        wait.is_queued_ = true;
        wait.next_waiter_ = nullptr;
        wait.previous_waiter_ = last_;
        (last_ != nullptr ? last_->next_waiter_ : first_) = &wait;
        last_ = &wait;
    }
    void remove(QueuedWait& wait) noexcept {
        wait.is_queued_ = false;
        (wait.previous_waiter_ != nullptr ? wait.previous_waiter_->next_waiter_ : first_) = wait.next_waiter_;
        (wait.next_waiter_ != nullptr ? wait.next_waiter_->previous_waiter_ : last_) = wait.previous_waiter_;
    }
    /// The first one has what it waited for, and goes on. A task that calls this names its executor, which is the same:
    /// found through the one that waits, it comes four loads later.
    void hand_over(Executor* executor = nullptr) noexcept {
        if constexpr (checks_executors) demand_own_executor(executor);
        QueuedWait& wait = *first_;
        wait.is_queued_ = false;
        first_ = wait.next_waiter_;
        (first_ != nullptr ? first_->previous_waiter_ : last_) = nullptr;
        wait.hand_over(executor != nullptr ? *executor : wait.executor());
    }

    void hand_over_to_all() noexcept {
        while (first_ != nullptr)
            hand_over();
    }

    /// For destructors: whoever still stood here would wait for ever, so the program ends, naming `what`.
    void demand_empty(const char* what) const noexcept {
        if (first_ != nullptr) [[unlikely]]
            stop_for_waiters(what);
    }

private:
    /// Before `wait` is appended.
    void demand_same_executor(const QueuedWait& wait) const noexcept;
    /// Before the first one goes on; `executor` is the caller's, or null if that is not known.
    void demand_own_executor(const Executor* executor) const noexcept;
    [[noreturn]] static void stop_for_waiters(const char* what) noexcept;

    QueuedWait* first_ = nullptr;
    QueuedWait* last_ = nullptr;
};

inline bool QueuedWait::wait_in(WaitList& list) noexcept {
    suspend();
    list.append(*this);
    return false;
}

}  // namespace leat::detail

#pragma GCC diagnostic pop
