// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/task.hpp>

#include <cstddef>
#include <functional>

namespace leat::test {

/// How a sweep ends a scenario at a suspension point.
enum class Ending {
    /// Through a `cancel_scope` around it.
    scope,
    /// The same, asked for a second time at once and a third time after the next step.
    scope_repeatedly,
    /// The same, when the results that the tasks wait for have come but no task has been told yet.
    scope_after_results,
    /// By cancelling the task that was started with `Executor::start`.
    root,
    /// By destroying the executor.
    executor,
};

struct SweepOptions {
    SweepOptions() noexcept = default;
    explicit SweepOptions(Ending e) noexcept : ending(e) {}

    Ending ending = Ending::scope;
    /// Called before and after each run: to make what the scenario uses, and to check what it leaves. What `before`
    /// allocates, `after` gives back.
    std::function<void()> before;
    std::function<void()> after;
};

/// What a sweep saw.
struct SweepReport {
    /// Suspension points of the undisturbed run: K.
    std::size_t points = 0;
    /// Of the runs that were cancelled: those that came to their end all the same, and those that did not.
    std::size_t finished = 0;
    std::size_t unwound = 0;
};

/// Cancels `scenario` at each of its suspension points.
///
/// Runs it once and counts its suspension points, K: the moments at which it has not ended and every task of it waits
/// or is queued. They are found from outside, by letting an executor resume one task at a time. Then it runs it K + 1
/// times more, each in an executor of its own, and cancels it before it has begun, and after its first, second,
/// … K-th suspension.
///
/// After each run, checks with Boost.Test that the executor still works, that no `Counted` object is left and none was
/// destroyed twice, and that every allocation, frames included, has been given back. Prints one line with K on standard
/// output; fails if K is zero.
///
/// The clock is virtual: it jumps to the next deadline when neither a task nor an event is ready.
///
///     leat::test::sweep([]() -> leat::Task<> { co_await leat::sleep_for(1s); });
///
/// `scenario` makes all that it needs anew in each call, and must end without an exception when left alone.
SweepReport sweep(const std::function<Task<>()>& scenario, const SweepOptions& options);
SweepReport sweep(const std::function<Task<>()>& scenario);

/// The same with each way of ending in turn. The report is the first one's.
SweepReport sweep_all_endings(const std::function<Task<>()>& scenario);
/// The same with what is to be done before and after each run.
SweepReport sweep_all_endings(const std::function<Task<>()>& scenario, SweepOptions options);

}  // namespace leat::test
