// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Latch;

/// What `Latch::wait` and `Latch::arrive_and_wait` give.
class [[nodiscard]] LatchWaitOperation : public detail::QueuedWait {
public:
    using value_type = void;

    LatchWaitOperation(Latch& latch, std::size_t arrivals) noexcept : latch_(&latch), arrivals_(arrivals) {}
    LatchWaitOperation(LatchWaitOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    inline void cancel() noexcept override;
    inline std::string describe() const override;

private:
    Latch* latch_;
    // What it counts down itself, first.
    std::size_t arrivals_;
};

/// Counts down to zero, once; who waits goes on then.
///
///     leat::Latch started(3);
///     started.count_down();       // each of three
///     co_await started.wait();
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its waiters; destroying it while a task waits ends the program.
class Latch {
public:
    explicit Latch(std::size_t count) noexcept : count_(count) {}
    Latch(const Latch&) = delete;
    Latch& operator=(const Latch&) = delete;
    ~Latch() { waiters_.demand_empty("a latch"); }

    /// More than is left is a misuse that ends the program.
    void count_down(std::size_t arrivals = 1) noexcept {
        if (arrivals > count_) [[unlikely]]
            detail::stop_for_misuse("a latch is counted down below zero");
        count_ -= arrivals;
        if (count_ == 0) waiters_.hand_over_to_all();
    }

    /// Waits until the count is zero.
    ///
    /// Cancellation: withdrawn at once.
    /// Complexity:   O(1), no allocation; the last `count_down` is O(waiters).
    LatchWaitOperation wait() noexcept { return LatchWaitOperation(*this, 0); }

    /// Counts down when it is awaited, and waits until the count is zero.
    ///
    /// Cancellation: the wait is withdrawn at once, and what was counted down stays so: the task has arrived. In a scope that
    ///               is cancelled already nothing is counted.
    LatchWaitOperation arrive_and_wait(std::size_t arrivals = 1) noexcept {
        return LatchWaitOperation(*this, arrivals);
    }

    /// Whether the count is zero.
    bool is_open() const noexcept { return count_ == 0; }
    /// What is left to count down.
    std::size_t count() const noexcept { return count_; }

private:
    friend class LatchWaitOperation;

    std::size_t count_;
    detail::WaitList waiters_;
};

inline bool LatchWaitOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (arrivals_ != 0) latch_->count_down(arrivals_);
    if (!latch_->is_open()) return wait_in(latch_->waiters_);
    return go_on();
}

inline void LatchWaitOperation::cancel() noexcept {
    if (leave(latch_->waiters_)) withdrawn();
}

inline std::string LatchWaitOperation::describe() const {
    return "a latch, " + std::to_string(latch_->count()) + " to come";
}

}  // namespace leat

#pragma GCC diagnostic pop
