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
    make_empty(never_);
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
    disarm_all(never_);
    for (auto& level : slots_)
        for (TimerLink& list : level)
            disarm_all(list);
}

std::uint64_t TimerWheel::tick_of(TimePoint instant) noexcept {
    Duration::rep nanoseconds = instant.time_since_epoch().count();
    return nanoseconds > 0 ? static_cast<std::uint64_t>(nanoseconds) : 0;
}

void TimerWheel::arm(Timer& timer, TimePoint deadline) noexcept {
    timer.disarm();
    timer.deadline_ = deadline;
    std::uint64_t tick = tick_of(deadline);
    if (deadline == TimePoint::max())
        insert_before(never_, timer);
    else if (tick > now_tick_)
        file(timer, tick);
    else
        insert_before(due_, timer);
}

void TimerWheel::file(Timer& timer, std::uint64_t tick) noexcept {
    unsigned highest = 63u - static_cast<unsigned>(std::countl_zero(tick ^ now_tick_));
    unsigned level = highest / slot_bits;
    unsigned slot = static_cast<unsigned>(tick >> (level * slot_bits)) % slot_count;
    insert_before(slots_[level][slot], timer);
    occupied_[level] |= std::uint64_t{1} << slot;
    levels_ |= 1u << level;
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

    if (position.level == 0) return splice(due_, opened);
    while (!is_empty(opened)) {
        Timer& timer = *static_cast<Timer*>(opened.next);
        timer.disarm();
        const std::uint64_t tick = tick_of(timer.deadline_);
        if (tick > now_tick_)
            file(timer, tick);
        else
            insert_before(due_, timer);
    }
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
    TimerLink due;
    make_empty(due);
    splice(due, due_);
    while (!is_empty(due)) {
        Timer& timer = *static_cast<Timer*>(due.next);
        timer.disarm();
        // A clock that goes back brings nobody's deadline forward.
        insert_before(timer.deadline_ <= now ? firing : due_, timer);
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
        if (++seen > short_list) return TimePoint(Duration(static_cast<Duration::rep>(first->start)));
        earliest = std::min(earliest, static_cast<const Timer*>(link)->deadline_);
    }
    return earliest;
}

}  // namespace leat
