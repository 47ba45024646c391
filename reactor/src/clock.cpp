// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/clock.hpp>

namespace leat {

namespace {

class SteadyClock final : public Clock {
public:
    TimePoint now() const noexcept override {
        return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
    }
};

}  // namespace

const Clock& steady_clock() noexcept {
    static const SteadyClock clock;
    return clock;
}

VirtualClock::VirtualClock(TimePoint start) noexcept : nanoseconds_(start.time_since_epoch().count()) {}

VirtualClock::VirtualClock(Remotes remotes) noexcept : VirtualClock() {
    is_of_one_thread_ = remotes == Remotes::of_one_thread;
}

TimePoint VirtualClock::now() const noexcept {
    return TimePoint(Duration(nanoseconds_.load(std::memory_order_relaxed)));
}

void VirtualClock::jump_to(TimePoint to) const noexcept {
    if (to > now()) nanoseconds_.store(to.time_since_epoch().count(), std::memory_order_relaxed);
}

void VirtualClock::advance(Duration by) noexcept { jump_to(saturating_add(now(), by)); }

void VirtualClock::advance_to(TimePoint to) noexcept { jump_to(to); }

}  // namespace leat
