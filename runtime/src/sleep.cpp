// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/sleep.hpp>

#include <cstdio>

namespace leat {

bool SleepOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    suspend();
    // The clock is read now, not when the loop last looked: a task that has computed since would else wake early.
    if (is_relative_) deadline_ = saturating_add(executor().now(), duration_);
    if (is_relative_ && duration_ <= Duration::zero())
        resume_later();
    else
        executor().timers().arm(*this, deadline_);
    return false;
}

void SleepOperation::cancel() noexcept {
    if (disarm()) withdrawn();
}

std::string SleepOperation::describe() const {
    Duration left = time_left(deadline_, executor().now());
    char text[64];
    std::snprintf(text, sizeof text, "sleep, %.3f s left", std::chrono::duration<double>(left).count());
    return text;
}

}  // namespace leat
