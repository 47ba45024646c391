// SPDX-License-Identifier: BSL-1.0
#include "support/watchdog.hpp"

#include <cstdlib>
#include <iostream>
#include <utility>

namespace leat::test {

Watchdog::Watchdog(std::function<std::string()> what, std::chrono::seconds patience)
    : what_(std::move(what)), patience_(patience), thread_([this] { watch(); }) {}

Watchdog::~Watchdog() {
    {
        std::lock_guard lock(mutex_);
        is_over_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Watchdog::feed() {
    std::lock_guard lock(mutex_);
    ++meals_;
    changed_.notify_one();
}

void Watchdog::watch() {
    std::unique_lock lock(mutex_);
    while (!is_over_) {
        const std::uint64_t before = meals_;
        const bool was_fed = changed_.wait_for(lock, patience_, [&] { return is_over_ || meals_ != before; });
        if (was_fed) continue;
        std::cerr << "an executor hangs: " << what_() << std::endl;
        std::abort();
    }
}

}  // namespace leat::test
