// SPDX-License-Identifier: BSL-1.0
//
// Who watches that no task keeps its executor's thread for too long. The loop counts a step when a task begins to run and one
// when it has stopped; a thread of the watch's looks at the count now and then, and an odd one that does not change is a
// task that goes on and on. Neither ever waits for the other.
//
// What the thread then tells it has from atomic copies, since the task itself may end at any moment, and, where the system can
// interrupt a thread, from the executor's own thread: that stands still in the middle of the task.
#pragma once

#include "backend/thread_stack.hpp"

#include <leat/reactor/clock.hpp>
#include <leat/runtime/wait.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <source_location>
#include <string>
#include <string_view>
#include <thread>

namespace leat::detail {

/// Thread-safety: `begin` and `end` are the executor's thread's, which also makes and destroys it; `report` is called on another.
class StallWatch {
public:
    StallWatch(Duration threshold, const std::function<void(std::string_view)>& report);
    StallWatch(const StallWatch&) = delete;
    StallWatch& operator=(const StallWatch&) = delete;
    ~StallWatch();

    void begin(const TaskFrame& task) noexcept {
        definition_.store(task.definition(), std::memory_order_relaxed);
        line_.store(task.line(), std::memory_order_relaxed);
        begin(&task);
    }
    /// Something else of the application's: a posted function, a destructor.
    void begin() noexcept {
        definition_.store(std::source_location(), std::memory_order_relaxed);
        begin(nullptr);
    }
    void end() noexcept { step(); }

private:
    /// What the executor's thread tells of itself in the middle of a task.
    struct Sample {
        bool is_there = false;
        std::source_location definition;
        std::source_location line;
        char name[64] = "";
    };

    void begin(const TaskFrame* task) noexcept {
        // Read by a handler on this very thread.
        task_.store(task, std::memory_order_relaxed);
        step();
    }
    void step() noexcept {
        // Acquired by `watch` and `tell`: who sees the step sees what was written before.
        steps_.store(steps_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

    static void note(void* watch) noexcept;
    void take_sample() noexcept;
    void watch() noexcept;
    bool may_tell(TimePoint now) noexcept;
    void tell(std::uint64_t steps, Duration lasted);
    std::string text_of(const std::source_location& definition, const std::source_location& line,
                        std::string_view name, Duration lasted, const std::string& stack);

    const Duration threshold_;
    const std::function<void(std::string_view)>& report_;

    std::atomic<std::uint64_t> steps_{0};
    std::atomic<const TaskFrame*> task_{nullptr};
    std::atomic<std::source_location> definition_{std::source_location()};
    std::atomic<std::source_location> line_{std::source_location()};

    // Written on the executor's thread while this one waits for it.
    Sample sample_;
    ThreadStack stack_;
    TimePoint window_{};
    unsigned told_in_window_ = 0;
    std::uint64_t left_out_ = 0;

    std::mutex lock_;
    std::condition_variable changed_;
    bool ends_ = false;
    // Last: it uses all of the above.
    std::thread thread_;
};

}  // namespace leat::detail
