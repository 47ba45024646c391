// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/task.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace leat::test {

/// Fixture: an executor whose clock jumps to the next deadline when it is idle, and which keeps its notices.
struct VirtualTime {
    explicit VirtualTime(VirtualClock::Remotes remotes = VirtualClock::Remotes::of_any_thread)
        : clock(remotes), executor(options()) {}

    /// Runs `body()`, a task, to its end.
    template <class Body>
    auto run(Body&& body) {
        return executor.run_until(body());
    }

    /// What has passed on the virtual clock since the beginning.
    Duration elapsed() const noexcept { return clock.now() - beginning; }

    /// Options of an executor on this clock, with its notices kept.
    ExecutorOptions options() {
        ExecutorOptions options;
        options.clock = &clock;
        options.diagnostic = [this](std::string_view text) { notices.emplace_back(text); };
        return options;
    }

    VirtualClock clock;
    TimePoint beginning = clock.now();
    std::vector<std::string> notices;
    Executor executor;
};

}  // namespace leat::test
