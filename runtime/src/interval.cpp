// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/interval.hpp>

#include <leat/runtime/executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>

namespace leat {

namespace {

/// What lies between, of any two instants in this order.
std::uint64_t nanoseconds_between(TimePoint from, TimePoint to) noexcept {
    return static_cast<std::uint64_t>(to.time_since_epoch().count()) -
           static_cast<std::uint64_t>(from.time_since_epoch().count());
}

}  // namespace

Interval::Interval(Duration period) : Interval(period, IntervalOptions()) {}

Interval::Interval(Duration period, const IntervalOptions& options)
    : period_(period), missed_(options.missed), ticks_at_once_(options.ticks_at_once), next_(options.first) {
    if (period <= Duration::zero())
        throw std::invalid_argument("leat: the period of an interval is positive");
}

TimePoint Interval::next_after(TimePoint ideal, TimePoint now) const noexcept {
    const auto period = static_cast<std::uint64_t>(period_.count());
    const std::uint64_t late_by = nanoseconds_between(ideal, now);
    switch (missed_) {
    case MissedTicks::burst:
        break;
    case MissedTicks::skip:
        return saturating_add(now, Duration(static_cast<Duration::rep>(period - late_by % period)));
    case MissedTicks::delay:
        // What a timer is late by itself is no reason to drift.
        constexpr std::uint64_t tolerated = 5'000'000;
        if (late_by > std::min(tolerated, period / 8)) return saturating_add(now, period_);
        break;
    }
    return saturating_add(ideal, period_);
}

void Interval::reset() noexcept {
    if (clock_ != nullptr) return reset_to(saturating_add(clock_->now(), period_));
    next_.reset();
    ticks_at_once_ = false;
}

void Interval::reset_to(TimePoint next) noexcept {
    next_ = next;
    if (waiting_ != nullptr) waiting_->executor().timers().arm(*waiting_, next);
}

void TickOperation::take(TimePoint now) noexcept {
    ideal_ = *interval_->next_;
    interval_->next_ = interval_->next_after(ideal_, now);
}

bool TickOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    Interval& interval = *interval_;
    interval.clock_ = &executor().clock();
    const TimePoint now = executor().now();
    if (!interval.next_)
        interval.next_ = interval.ticks_at_once_ ? now : saturating_add(now, interval.period_);
    if (*interval.next_ <= now) {
        take(now);
        return go_on();
    }
    if (interval.waiting_ != nullptr) [[unlikely]]
        detail::stop_for_misuse("a task awaits a tick of an interval while another one waits for it");
    suspend();
    interval.waiting_ = this;
    executor().timers().arm(*this, *interval.next_);
    return false;
}

void TickOperation::expired() noexcept {
    interval_->waiting_ = nullptr;
    take(executor().now());
    resume_later();
}

void TickOperation::cancel() noexcept {
    if (!disarm()) return;
    interval_->waiting_ = nullptr;
    withdrawn();
}

std::string TickOperation::describe() const {
    return "a tick of an interval of " +
           std::to_string(std::chrono::duration<double>(interval_->period_).count()) + " s";
}

}  // namespace leat
