// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/timer_wheel.hpp>
#include <leat/runtime/wait.hpp>

#include <optional>
#include <string>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Interval;

/// What an Interval does when nobody has awaited its ticks in time.
enum class MissedTicks {
    /// They follow one upon the other until the interval has caught up: as many ticks as periods.
    burst,
    /// The first one comes at once, late; the others are left out. The next tick is the next one on the clock's
    /// grid.
    skip,
    /// They are left out, and the grid moves: the next tick is a period after the late one. A tick is late that is taken
    /// more than 5 ms after its time, or an eighth of a period if that is less.
    delay,
};

/// How an Interval ticks.
struct IntervalOptions {
    IntervalOptions() noexcept = default;

    MissedTicks missed = MissedTicks::burst;
    /// The instant of the first tick, by the executor's clock; by default a period after `tick` is first awaited.
    std::optional<TimePoint> first;
    /// The first tick is there at once, and the periods count from when it is first awaited. `first` counts for more.
    bool ticks_at_once = false;
};

/// What `Interval::tick` gives.
class [[nodiscard]] TickOperation : public Wait, private Timer {
public:
    using value_type = TimePoint;

    explicit TickOperation(Interval& interval) noexcept : interval_(&interval) {}
    TickOperation(TickOperation&&) noexcept = default;
    ~TickOperation() = default;

    bool await_ready() noexcept;
    void await_suspend(TaskHandle) const noexcept {}
    TimePoint await_resume() const noexcept { return ideal_; }
    Result<TimePoint> result() const noexcept { return ideal_; }

    void cancel() noexcept override;
    std::string describe() const override;

private:
    friend class Interval;
    void expired() noexcept override;
    void take(TimePoint now) noexcept;

    Interval* interval_;
    TimePoint ideal_{};
};

/// Ticks at a fixed period: each at its own time, however long the work between them takes.
///
///     leat::Interval interval(1s);
///     for (;;) {
///         co_await interval.tick();
///         co_await report();
///     }
///
/// The n-th tick is due n periods after the first, so the times do not drift as those of repeated sleeps do. It has no timer
/// while nobody awaits it; what then becomes due is dealt with as `MissedTicks` says.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      outlives the waits for its ticks; awaited by one task at a time, or else the program ends. The
///                executor's clock outlives it.
class Interval {
public:
    /// Errors: `std::invalid_argument` if the period is not positive.
    explicit Interval(Duration period);
    Interval(Duration period, const IntervalOptions& options);
    Interval(const Interval&) = delete;
    Interval& operator=(const Interval&) = delete;

    /// Waits for the next tick: the instant at which it was due, which may have passed; never early.
    ///
    /// Cancellation: at once; the tick stays for the next call. One that has come is returned.
    /// Complexity:   O(1), no allocation.
    TickOperation tick() noexcept { return TickOperation(*this); }

    /// Starts anew: the next tick is a period from now. A task that waits for one waits for that.
    ///
    /// Before the first tick is awaited, "now" is that await.
    void reset() noexcept;
    /// The same with an instant of the executor's clock.
    void reset_to(TimePoint next) noexcept;

    Duration period() const noexcept { return period_; }

private:
    friend class TickOperation;

    TimePoint next_after(TimePoint ideal, TimePoint now) const noexcept;

    Duration period_;
    MissedTicks missed_;
    bool ticks_at_once_;
    // When the next tick is due; nothing before the first is awaited, unless it was said.
    std::optional<TimePoint> next_;
    // The executor's, once known.
    const Clock* clock_ = nullptr;
    // Who waits, if anybody.
    TickOperation* waiting_ = nullptr;
};

}  // namespace leat

#pragma GCC diagnostic pop
