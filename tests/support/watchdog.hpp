// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace leat::test {

/// Ends the process, and reports what it was doing, if nobody calls `feed` for so long that the executor must
/// hang. Tests have limits of their own for tasks that hang.
///
/// Thread-safety: the thread that made it; `what` is called on another one.
class Watchdog {
public:
    explicit Watchdog(std::function<std::string()> what,
                      std::chrono::seconds patience = std::chrono::seconds(100));
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;
    ~Watchdog();

    /// The time is counted from here.
    void feed();

private:
    void watch();

    const std::function<std::string()> what_;
    const std::chrono::seconds patience_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t meals_ = 0;
    bool is_over_ = false;
    std::thread thread_;
};

}  // namespace leat::test
