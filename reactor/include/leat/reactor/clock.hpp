// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <atomic>
#include <chrono>

// Polymorphic, but never deleted through a base.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// The unit of every timeout: whole nanoseconds, signed.
using Duration = std::chrono::nanoseconds;

/// An instant of a `Clock`. Only differences mean something; wall-clock changes never move it.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// `from + after`, held at the last representable instant instead of overflowing.
///
/// A negative `after` gives `from`: what was due in the past is due now.
constexpr TimePoint saturating_add(TimePoint from, Duration after) noexcept {
    if (after <= Duration::zero()) return from;
    // From before the epoch no sum passes the last instant, but the difference would.
    if (from > TimePoint() && after > TimePoint::max() - from) return TimePoint::max();
    return from + after;
}

/// How long it is from `now` until `deadline`: zero if that has passed, held at the longest instead of overflowing.
constexpr Duration time_left(TimePoint deadline, TimePoint now) noexcept {
    if (deadline <= now) return Duration::zero();
    if (now < TimePoint() && deadline > TimePoint::max() + now.time_since_epoch()) return Duration::max();
    return deadline - now;
}

/// Where a Poll or an Executor reads the time: the seam that makes time testable.
///
/// Thread-safety: `now` from any thread.
/// Lifetime:      outlives every Poll and Executor that reads it.
class Clock {
public:
    virtual ~Clock() = default;

    virtual TimePoint now() const noexcept = 0;

    /// Whether time stands still until somebody moves it; a wait then never sleeps for it.
    virtual bool is_virtual() const noexcept { return false; }

    /// Of a virtual clock: whether an idle executor moves it although another thread might have something
    /// for it.
    virtual bool is_of_one_thread() const noexcept { return false; }

    /// For an idle executor: moves a virtual clock to `to`. Other clocks move by themselves.
    virtual void jump_to(TimePoint to) const noexcept { static_cast<void>(to); }
};

/// The system's monotonic clock (CLOCK_MONOTONIC on Linux): it does not count suspended time and wall-clock
/// jumps leave it alone.
const Clock& steady_clock() noexcept;

/// A clock for tests: it moves when told, and an idle Executor moves it to its next deadline.
///
/// It stands while anything might still come from outside: while an operation is in flight, a call runs on
/// another thread (`offload`, `Remote::call`), or a `Remote` is held, since its holder may be another
/// thread. `cancel_on`, `callback`, group handles and awaitables of other libraries hold one while they
/// wait. A test that does all of it on the executor's own thread says so, and what sleeps beside them is
/// then in virtual time, too:
///
///     leat::VirtualClock clock(leat::VirtualClock::Remotes::of_one_thread);
///
/// Thread-safety: one thread moves it (the executor's); `now` from any thread.
class VirtualClock final : public Clock {
public:
    /// Starts at `start`, by default an hour after the epoch so that subtracting from it is harmless.
    explicit VirtualClock(TimePoint start = TimePoint(std::chrono::hours(1))) noexcept;

    /// Who uses what lets other threads bring an executor work.
    enum class Remotes {
        /// Any thread: the clock stands while one is held.
        of_any_thread,
        /// The executor's own: the clock does not stand for them, and a deadlock among them is reported.
        /// What another thread brings all the same arrives at whatever time it is by then.
        of_one_thread
    };
    explicit VirtualClock(Remotes remotes) noexcept;

    TimePoint now() const noexcept override;
    bool is_virtual() const noexcept override { return true; }
    bool is_of_one_thread() const noexcept override { return is_of_one_thread_; }
    void jump_to(TimePoint to) const noexcept override;

    /// Moves time forward. Timers that become due fire at the executor's next turn.
    void advance(Duration by) noexcept;

    /// Moves time to `to`; earlier instants are ignored: time never goes back.
    void advance_to(TimePoint to) noexcept;

private:
    // `now` may read it from any thread; nothing else is published through it.
    mutable std::atomic<Duration::rep> nanoseconds_;
    bool is_of_one_thread_ = false;
};

}  // namespace leat

#pragma GCC diagnostic pop
