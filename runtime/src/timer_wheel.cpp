// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/timer_wheel.hpp>

#include <algorithm>
#include <bit>

namespace leat {

namespace {

using detail::TimerLink;

void make_empty(TimerLink& list) noexcept {
    list.next = &list;
    list.previous = &list;
}

bool is_empty(const TimerLink& list) noexcept { return list.next == &list; }

void insert_before(TimerLink& position, TimerLink& link) noexcept {
    link.next = &position;
    link.previous = position.previous;
    position.previous->next = &link;
    position.previous = &link;
}

/// Moves all of `from` to the end of `to`.
void splice(TimerLink& to, TimerLink& from) noexcept {
    if (is_empty(from)) return;
    to.previous->next = from.next;
    from.next->previous = to.previous;
    from.previous->next = &to;
    to.previous = from.previous;
    make_empty(from);
}

}  // namespace

TimerWheel::TimerWheel(TimePoint now) noexcept : now_tick_(tick_of(now)) {
    make_empty(due_);
    for (auto& level : slots_)
        for (TimerLink& list : level)
            make_empty(list);
}

TimerWheel::~TimerWheel() {
    // Timers that are left must not unlink themselves from lists that are gone.
    auto disarm_all = [](TimerLink& list) {
        while (!is_empty(list))
            static_cast<Timer*>(list.next)->disarm();
    };
    disarm_all(due_);
    for (auto& level : slots_)
        for (TimerLink& list : level)
            disarm_all(list);
}

std::uint64_t TimerWheel::tick_of(TimePoint instant) noexcept {
    Duration::rep nanoseconds = instant.time_since_epoch().count();
    return nanoseconds > 0 ? static_cast<std::uint64_t>(nanoseconds) >> tick_bits : 0;
}

void TimerWheel::arm(Timer& timer, TimePoint deadline) noexcept {
    timer.disarm();
    timer.deadline_ = deadline;
    std::uint64_t tick = tick_of(deadline);
    if (tick > now_tick_)
        file(timer, tick);
    else
        insert_due(timer);
}

void TimerWheel::file(Timer& timer, std::uint64_t tick) noexcept {
    unsigned highest = 63u - static_cast<unsigned>(std::countl_zero(tick ^ now_tick_));
    unsigned level = highest / slot_bits;
    unsigned slot = static_cast<unsigned>(tick >> (level * slot_bits)) % slot_count;
    insert_before(slots_[level][slot], timer);
    occupied_[level] |= std::uint64_t{1} << slot;
    levels_ |= 1u << level;
}

void TimerWheel::insert_due(Timer& timer) noexcept {
    TimerLink* position = &due_;
    // From the back, since later arming mostly means a later deadline; equal ones stay in the order of arming.
    while (position->previous != &due_ &&
           static_cast<Timer*>(position->previous)->deadline_ > timer.deadline_)
        position = position->previous;
    insert_before(*position, timer);
}

std::optional<TimerWheel::Position> TimerWheel::first_slot() noexcept {
    while (levels_ != 0) {
        unsigned level = static_cast<unsigned>(std::countr_zero(levels_));
        std::uint64_t& occupied = occupied_[level];
        while (occupied != 0) {
            unsigned slot = static_cast<unsigned>(std::countr_zero(occupied));
            if (!is_empty(slots_[level][slot])) {
                unsigned shift = level * slot_bits;
                // Everything above this level's digit is as now; everything below is zero at the slot's start.
                std::uint64_t above =
                    shift + slot_bits >= 64 ? 0 : now_tick_ >> (shift + slot_bits) << (shift + slot_bits);
                return Position{level, slot, above | std::uint64_t{slot} << shift};
            }
            occupied &= occupied - 1;
        }
        levels_ &= levels_ - 1;
    }
    return std::nullopt;
}

/// Time has come to a slot's start: its timers move to lower levels, or become due.
void TimerWheel::open_slot(const Position& position) noexcept {
    now_tick_ = position.start;
    TimerLink opened;
    make_empty(opened);
    splice(opened, slots_[position.level][position.slot]);
    occupied_[position.level] &= ~(std::uint64_t{1} << position.slot);

    TimerLink arrived;
    make_empty(arrived);
    bool is_sorted = true;
    while (!is_empty(opened)) {
        Timer& timer = *static_cast<Timer*>(opened.next);
        timer.disarm();
        std::uint64_t tick = tick_of(timer.deadline_);
        if (tick > now_tick_) {
            file(timer, tick);
            continue;
        }
        if (!is_empty(arrived) && static_cast<Timer*>(arrived.previous)->deadline_ > timer.deadline_)
            is_sorted = false;
        insert_before(arrived, timer);
    }
    if (!is_sorted) sort(arrived);
    splice(due_, arrived);
}

/// Stable, by merging ever longer runs.
void TimerWheel::sort(TimerLink& list) noexcept {
    std::array<TimerLink, 48> runs;
    for (TimerLink& run : runs)
        make_empty(run);
    auto merge = [](TimerLink& first, TimerLink& second) {
        TimerLink merged;
        make_empty(merged);
        while (!is_empty(first) && !is_empty(second)) {
            bool from_second =
                static_cast<Timer*>(second.next)->deadline_ < static_cast<Timer*>(first.next)->deadline_;
            Timer& smallest = *static_cast<Timer*>(from_second ? second.next : first.next);
            smallest.disarm();
            insert_before(merged, smallest);
        }
        splice(merged, first);
        splice(merged, second);
        splice(first, merged);
    };
    while (!is_empty(list)) {
        TimerLink carry;
        make_empty(carry);
        Timer& timer = *static_cast<Timer*>(list.next);
        timer.disarm();
        insert_before(carry, timer);
        // Run i holds 2^i timers or none, all armed before those of the runs below it.
        std::size_t i = 0;
        for (; i + 1 < runs.size() && !is_empty(runs[i]); ++i) {
            merge(runs[i], carry);
            splice(carry, runs[i]);
        }
        splice(runs[i], carry);
    }
    for (std::size_t i = runs.size(); i-- > 0;)
        merge(list, runs[i]);
}

std::size_t TimerWheel::expire(TimePoint now) noexcept {
    std::uint64_t target = tick_of(now);
    while (std::optional<Position> first = first_slot()) {
        if (first->start > target) break;
        open_slot(*first);
    }
    now_tick_ = std::max(now_tick_, target);

    // Apart, so that what an expired timer arms waits for the next round.
    TimerLink firing;
    make_empty(firing);
    while (!is_empty(due_)) {
        Timer& timer = *static_cast<Timer*>(due_.next);
        if (timer.deadline_ > now) break;
        timer.disarm();
        insert_before(firing, timer);
    }
    std::size_t fired = 0;
    for (; !is_empty(firing); ++fired) {
        Timer& timer = *static_cast<Timer*>(firing.next);
        timer.disarm();
        timer.expired();
    }
    return fired;
}

std::optional<TimePoint> TimerWheel::next_deadline() noexcept {
    if (!is_empty(due_)) return static_cast<Timer*>(due_.next)->deadline_;
    std::optional<Position> first = first_slot();
    if (!first) return std::nullopt;
    // The earliest timer is in this slot. In a short list it is looked for, which spares a wake-up for each level that
    // it would otherwise move down; in a long one the slot's start will do.
    constexpr int short_list = 8;
    const TimerLink& list = slots_[first->level][first->slot];
    TimePoint earliest = TimePoint::max();
    int seen = 0;
    for (const TimerLink* link = list.next; link != &list; link = link->next) {
        if (++seen > short_list)
            return TimePoint(Duration(static_cast<Duration::rep>(first->start << tick_bits)));
        earliest = std::min(earliest, static_cast<const Timer*>(link)->deadline_);
    }
    return earliest;
}

}  // namespace leat
