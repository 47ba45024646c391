// SPDX-License-Identifier: BSL-1.0
#include "src/stall_watch.hpp"

#include "src/places.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace leat::detail {

namespace {

constexpr unsigned most_told_a_minute = 5;

}  // namespace

StallWatch::StallWatch(Duration threshold, const std::function<void(std::string_view)>& report)
    : threshold_(threshold), report_(report), stack_(&StallWatch::note, this), thread_([this] { watch(); }) {}

StallWatch::~StallWatch() {
    {
        std::lock_guard guard(lock_);
        ends_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

// ---- On the executor's thread, whatever it is in the middle of ----

void StallWatch::note(void* watch) noexcept { static_cast<StallWatch*>(watch)->take_sample(); }

void StallWatch::take_sample() noexcept {
    const TaskFrame* task = task_.load(std::memory_order_relaxed);
    if (task == nullptr || steps_.load(std::memory_order_relaxed) % 2 == 0) return;
    // What runs on top of its parent is what keeps the thread.
    while (const Wait* wait = task->wait()) {
        const TaskFrame* below = wait->awaited_task();
        if (below == nullptr || !below->has_parent()) break;
        task = below;
    }
    sample_.definition = task->definition();
    sample_.line = task->line();
    std::string_view name = task->parent().task_name();
    sample_.name[name.copy(sample_.name, sizeof sample_.name - 1)] = '\0';
    sample_.is_there = true;
}

// ---- On the watch's own ----

void StallWatch::watch() noexcept {
    refuse_signals();
    const Duration period = std::max<Duration>(threshold_ / 4, std::chrono::milliseconds(1));
    std::uint64_t seen = 0;
    bool is_told = false;
    TimePoint since = steady_clock().now();
    TimePoint last = since;
    std::unique_lock guard(lock_);
    while (!changed_.wait_for(guard, period, [this] { return ends_; })) {
        const TimePoint now = steady_clock().now();
        // Where even this thread does not get its turn, the other cannot be blamed.
        const bool is_late = now - last > period + threshold_ / 2;
        last = now;
        const std::uint64_t steps = steps_.load(std::memory_order_acquire);
        if (steps != seen || steps % 2 == 0) is_told = false;
        if (steps != seen || steps % 2 == 0 || is_late) {
            seen = steps;
            since = now;
            continue;
        }
        if (is_told || now - since < threshold_) continue;
        is_told = true;
        if (!may_tell(now)) continue;
        guard.unlock();
        try {
            tell(steps, now - since);
        } catch (...) {
            // Without memory, or with a diagnostic that fails, there is nobody else to tell.
            ++left_out_;
        }
        guard.lock();
        last = steady_clock().now();
    }
}

bool StallWatch::may_tell(TimePoint now) noexcept {
    if (told_in_window_ == 0 || now - window_ >= std::chrono::minutes(1)) {
        window_ = now;
        told_in_window_ = 0;
    }
    if (told_in_window_ == most_told_a_minute) {
        ++left_out_;
        return false;
    }
    ++told_in_window_;
    return true;
}

void StallWatch::tell(std::uint64_t steps, Duration lasted) {
    std::source_location definition = definition_.load(std::memory_order_relaxed);
    std::source_location line = line_.load(std::memory_order_relaxed);
    sample_ = Sample();
    const std::string stack = stack_.take();
    // It has gone on meanwhile: what was copied may be the next one's.
    if (steps_.load(std::memory_order_acquire) != steps) return;
    if (sample_.is_there)
        report_(text_of(sample_.definition, sample_.line, sample_.name, lasted, stack));
    else
        report_(text_of(definition, line, {}, lasted, stack));
}

std::string StallWatch::text_of(const std::source_location& definition, const std::source_location& line,
                                std::string_view name, Duration lasted, const std::string& stack) {
    std::string text = "leat: a stall: ";
    if (definition.line() == 0) {
        text += "a posted function, a timer or a destructor";
    } else {
        text += "task ";
        if (!name.empty()) text += "\"" + std::string(name) + "\" ";
        text += definition.function_name();
        text += " (" + place_of(definition) + ")";
        if (line.line() != 0) text += ", which went on from its await at " + place_of(line) + ",";
    }
    text += " has kept its executor for " +
            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(lasted).count()) +
            " ms, and still does";
    if (left_out_ != 0)
        text += " (" + std::to_string(std::exchange(left_out_, 0)) + " stalls before were left out)";
    if (!stack.empty()) text += "; it is at\n" + stack;
    return text;
}

}  // namespace leat::detail
