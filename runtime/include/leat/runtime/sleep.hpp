// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/timer_wheel.hpp>

#include <string>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// What `sleep_for` and `sleep_until` give.
class [[nodiscard]] SleepOperation : public Wait, private Timer {
public:
    using value_type = void;

    explicit SleepOperation(TimePoint deadline) noexcept : deadline_(deadline) {}
    explicit SleepOperation(Duration duration) noexcept : duration_(duration), is_relative_(true) {}
    SleepOperation(SleepOperation&&) noexcept = default;

    bool await_ready() noexcept;
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override;
    std::string describe() const override;

private:
    void expired() noexcept override { resume_later(); }

    TimePoint deadline_{};
    Duration duration_{};
    bool is_relative_ = false;
};

/// Suspends the task for at least `duration`, measured from the await by the executor's clock.
///
/// Zero or less gives way once, like `yield`. The longest duration never ends.
///
/// Cancellation: at once.
/// Complexity:   O(1), no allocation.
inline SleepOperation sleep_for(Duration duration) noexcept { return SleepOperation(duration); }

/// Suspends the task until the executor's clock has reached `deadline`; never less.
inline SleepOperation sleep_until(TimePoint deadline) noexcept { return SleepOperation(deadline); }

/// What `yield` gives.
class [[nodiscard]] YieldOperation : public Wait {
public:
    using value_type = void;

    YieldOperation() noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        suspend();
        resume_later();
        return false;
    }
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    // Its result is there already: the next wait sees the cancellation.
    void cancel() noexcept override {}
    std::string describe() const override { return "its next turn"; }
};

/// Lets every other ready task run first. I/O is looked at now and then, not at each yield.
inline YieldOperation yield() noexcept { return YieldOperation(); }

}  // namespace leat

#pragma GCC diagnostic pop
