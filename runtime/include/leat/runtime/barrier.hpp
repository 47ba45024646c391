// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Barrier;

/// What `Barrier::arrive_and_wait` gives.
class [[nodiscard]] BarrierOperation : public detail::QueuedWait {
public:
    using value_type = bool;

    explicit BarrierOperation(Barrier& barrier) noexcept : barrier_(&barrier) {}
    BarrierOperation(BarrierOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    bool await_resume() const noexcept { return was_last_; }
    Result<bool> result() const noexcept { return was_last_; }

    inline void cancel() noexcept override;
    inline std::string describe() const override;

private:
    Barrier* barrier_;
    bool was_last_ = false;
};

/// A number of tasks that wait for each other, phase after phase: none goes on before all have arrived.
///
///     leat::Barrier barrier(workers);
///     for (...) {
///         compute();
///         bool was_last = co_await barrier.arrive_and_wait();
///     }
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its waiters; destroying it while a task waits ends the program.
class Barrier {
public:
    /// `participants` is how many arrivals end a phase.
    explicit Barrier(std::size_t participants) noexcept : participants_(participants) {}
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;
    ~Barrier() { waiters_.demand_empty("a barrier"); }

    /// Arrives when it is awaited, and waits until all have. True for the one whose arrival ended the phase.
    ///
    /// At a barrier that has no participants any more it is a misuse that ends the program.
    ///
    /// Cancellation: the arrival is withdrawn, so that the others wait for another one instead; one that will not come back
    ///               says so: `arrive_and_drop`. A phase that has ended is reported.
    /// Complexity:   O(1), no allocation; the last arrival is O(participants).
    BarrierOperation arrive_and_wait() noexcept { return BarrierOperation(*this); }

    /// Leaves for good: this phase and those to come need one arrival less. It may end the phase, and does not wait.
    ///
    /// From a barrier that has no participants any more it is a misuse that ends the program.
    void arrive_and_drop() noexcept {
        demand_participants();
        --participants_;
        if (arrived_ == participants_) end_phase();
    }

    /// How many phases have ended.
    std::uint64_t phase() const noexcept { return phase_; }
    /// How many arrivals end a phase.
    std::size_t participants() const noexcept { return participants_; }
    /// How many wait for the end of this one.
    std::size_t arrived() const noexcept { return arrived_; }

private:
    friend class BarrierOperation;

    // Invariant: those that have arrived are those that wait.

    void demand_participants() const noexcept {
        if (participants_ == 0) [[unlikely]]
            detail::stop_for_misuse("a task arrives at a barrier that has no participants any more");
    }
    void end_phase() noexcept {
        arrived_ = 0;
        ++phase_;
        waiters_.hand_over_to_all();
    }

    std::size_t participants_;
    std::size_t arrived_ = 0;
    std::uint64_t phase_ = 0;
    detail::WaitList waiters_;
};

inline bool BarrierOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    barrier_->demand_participants();
    ++barrier_->arrived_;
    if (barrier_->arrived_ < barrier_->participants_) return wait_in(barrier_->waiters_);
    was_last_ = true;
    barrier_->end_phase();
    return go_on();
}

inline void BarrierOperation::cancel() noexcept {
    if (!leave(barrier_->waiters_)) return;
    --barrier_->arrived_;
    withdrawn();
}

inline std::string BarrierOperation::describe() const {
    return "a barrier, " + std::to_string(barrier_->arrived()) + " of " +
           std::to_string(barrier_->participants()) + " have arrived";
}

}  // namespace leat

#pragma GCC diagnostic pop
