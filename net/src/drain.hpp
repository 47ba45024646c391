// SPDX-License-Identifier: BSL-1.0
//
// A server's drain, as far as it is a matter of time. It has two phases (docs/adr/0015). As a lame duck the
// server goes on as before, and only says that it drains. Then it finishes: it accepts what the system has
// accepted, closes its listener, and ends connections that are quiet. `ServeOptions::drain_timeout` bounds
// the second phase.
#pragma once

#include <leat/net/serve.hpp>
#include <leat/reactor/clock.hpp>
#include <leat/runtime/timer_wheel.hpp>
#include <leat/runtime/wait_list.hpp>

#include <cstddef>
#include <string>

namespace leat::detail {

/// What the tasks of a server's handlers find in their environment: whether the server drains, and who waits
/// for that.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      outlives the server's group.
class DrainSignal final : public TaskContext {
public:
    DrainSignal() noexcept;
    ~DrainSignal() { waiters_.demand_empty("a server"); }

    /// That of the innermost server around; null if there is none.
    static DrainSignal* find(const Environment& environment) noexcept;

    bool is_set() const noexcept { return is_set_; }
    void set() noexcept {
        is_set_ = true;
        waiters_.hand_over_to_all();
    }
    WaitList& waiters() noexcept { return waiters_; }

private:
    bool is_set_ = false;
    WaitList waiters_;
};

/// A server as its drain sees it.
class DrainTarget {
public:
    /// Ends the lame duck and begins the second phase.
    virtual void begin_to_finish() noexcept = 0;

protected:
    ~DrainTarget() = default;
};

/// The phases of a server's drain, each of which begins once.
class Drain final : private Timer {
public:
    Drain(Executor& executor, const ServeOptions& options, DrainTarget& server) noexcept
        : executor_(executor), options_(options), server_(server) {}

    DrainSignal& signal() noexcept { return signal_; }

    /// Begins the lame duck; without one, the second phase.
    void begin() noexcept;
    /// Begins the second phase at once.
    void finish() noexcept;
    /// The same for a server that stops: no task learns of a drain, since all are cancelled.
    void stop() noexcept;
    /// Nothing begins any more: the server's task has ended.
    void cancel() noexcept { disarm(); }
    /// Bounds what the server still waits for, for a server that ends without a drain.
    void set_deadline() noexcept;

    bool is_finishing() const noexcept { return is_finishing_; }
    /// `TimePoint::max()` before `finish` and `set_deadline`.
    TimePoint deadline() const noexcept { return deadline_; }
    bool is_over() const noexcept { return executor_.now() >= deadline_; }

private:
    void expired() noexcept override { finish(); }

    Executor& executor_;
    const ServeOptions& options_;
    DrainTarget& server_;
    DrainSignal signal_;
    bool is_finishing_ = false;
    TimePoint deadline_ = TimePoint::max();
};

/// What remained of a server at the deadline of its drain, for a diagnostic message: "cancels 3 connections
/// (…)".
///
/// Errors: `std::bad_alloc`.
class Remainder {
public:
    void add(NativeHandle connection);
    void add_lingering(std::size_t count) noexcept { lingering_ = count; }
    std::string describe() const;

private:
    // As many as fit into a line.
    static constexpr std::size_t most_names = 4;

    std::size_t connections_ = 0;
    std::size_t lingering_ = 0;
    std::string names_;
};

}  // namespace leat::detail
