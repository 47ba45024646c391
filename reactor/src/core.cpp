// SPDX-License-Identifier: BSL-1.0
#include "src/core.hpp"

#include "backend/close.hpp"

#include <leat/reactor/buffer_pool.hpp>

#include <algorithm>
#include <limits>
#include <system_error>

namespace leat::detail {

Core::Core(Backend backend, const Clock& clock)
    : clock_(clock), clock_is_virtual_(clock.is_virtual()), backend_(backend) {
    Selection selection = select(backend, SelectorContext{slots_, *this, guard_});
    backend_ = selection.backend;
    passed_over_ = std::move(selection.passed_over);
    selector_ = std::move(selection.selector);
    rearms_ = selector_->rearms();
}

void Core::release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

// ---- Any thread: interest ----

namespace {

std::uint8_t wanted_bits(Interest interest) noexcept {
    unsigned bits = 0;
    if (interest.is_readable()) bits |= Slot::wanted_readable;
    if (interest.is_writable()) bits |= Slot::wanted_writable;
    if (interest.is_priority()) bits |= Slot::wanted_priority;
    return static_cast<std::uint8_t>(bits);
}

}  // namespace

std::error_code Core::add(Source& source, Token token, Interest interest, Mode mode) noexcept {
    if (interest.is_empty()) return make_error_code(std::errc::invalid_argument);
    if (!source.is_open()) return make_error_code(std::errc::bad_file_descriptor);
    if (guard_.is_forked_child()) return make_error_code(errc::forked);
    std::lock_guard lock(mutex_);
    if (is_closed()) return make_error_code(errc::closed);
    if (source.has_slot()) return make_error_code(errc::already_registered);

    std::error_code error;
    Slot* slot = take_slot(source, Slot::Use::interest, error);
    if (slot == nullptr) return error;
    slot->token = token.value();
    slot->interest = wanted_bits(interest);
    slot->is_oneshot = mode == Mode::oneshot;
    error = selector_->add(*slot);
    if (error) give_slot_back(source);
    return error;
}

std::error_code Core::modify(Source& source, Token token, Interest interest, Mode mode) noexcept {
    if (interest.is_empty()) return make_error_code(std::errc::invalid_argument);
    if (guard_.is_forked_child()) return make_error_code(errc::forked);
    std::lock_guard lock(mutex_);
    if (is_closed()) return make_error_code(errc::closed);
    Slot* slot = source.slot_;
    if (slot->queue != this || slot->use != Slot::Use::interest) return make_error_code(errc::not_registered);

    Slot before;
    before.token = slot->token;
    before.interest = slot->interest;
    before.is_oneshot = slot->is_oneshot;
    slot->token = token.value();
    slot->interest = wanted_bits(interest);
    slot->is_oneshot = mode == Mode::oneshot;
    // What was harvested under the old registration is of the past from here on.
    slot->generation.fetch_add(1, std::memory_order_release);
    std::error_code error = selector_->modify(*slot);
    if (error) {
        slot->token = before.token;
        slot->interest = before.interest;
        slot->is_oneshot = before.is_oneshot;
        slot->generation.fetch_sub(1, std::memory_order_release);
        // What the kernel has taken of the change goes back; if it refuses that too, there is no more to be done.
        [[maybe_unused]] std::error_code ignored = selector_->modify(*slot);
    }
    return error;
}

std::error_code Core::remove(Source& source) noexcept {
    if (guard_.is_forked_child()) return make_error_code(errc::forked);
    {
        std::lock_guard lock(mutex_);
        if (is_closed()) return make_error_code(errc::closed);
        Slot* slot = source.slot_;
        if (slot->queue != this || slot->use != Slot::Use::interest)
            return make_error_code(errc::not_registered);
        selector_->remove(*slot);
        give_slot_back(source);
    }
    return {};
}

void Core::rearm(Source& source, Interest interest) noexcept {
    Slot& slot = *source.slot_;
    Core& core = of(slot);
    if (!core.rearms_) return;
    std::lock_guard lock(core.mutex_);
    if (core.selector_ != nullptr && slot.use == Slot::Use::interest)
        core.selector_->rearm(slot, wanted_bits(interest));
}

void Core::retry(Slot& slot, Interest interest) noexcept {
    Core& core = of(slot);
    const bool retries_read = interest.is_readable() && slot.waiting(false) != nullptr;
    const bool retries_write = interest.is_writable() && slot.waiting(true) != nullptr;
    if (slot.use != Slot::Use::operations || (!retries_read && !retries_write)) return;
    if (core.guard_.is_forked_child()) return;
    {
        std::lock_guard lock(core.mutex_);
        if (core.selector_ == nullptr) return;
        if (retries_read) core.selector_->retry(slot, false);
        if (retries_write) core.selector_->retry(slot, true);
    }
    core.wake_foreign_loop();
}

/// Locked. The new slot holds a reference on the core for its source. Null: `error` tells why there is none.
Slot* Core::take_slot(Source& source, Slot::Use use, std::error_code& error) noexcept {
    const HandleSet::Added added = handles_.add(source.handle_);
    Slot* slot = added == HandleSet::Added::yes ? slots_.allocate(*this) : nullptr;
    if (slot == nullptr) {
        if (added == HandleSet::Added::yes) handles_.remove(source.handle_);
        const bool is_second = added == HandleSet::Added::is_there_already;
        error = make_error_code(is_second ? std::errc::file_exists : std::errc::not_enough_memory);
        return nullptr;
    }
    slot->handle = source.handle_;
    slot->is_tcp = source.is_tcp_;
    slot->use = use;
    source.slot_ = slot;
    retain();
    return slot;
}

/// Locked; the caller has a reference of its own.
void Core::give_slot_back(Source& source) noexcept {
    Slot* slot = std::exchange(source.slot_, &no_slot);
    slot->generation.fetch_add(1, std::memory_order_release);
    handles_.remove(slot->handle);
    slots_.free(*slot);
    release();
}

// ---- Any thread: timers, wake, close ----

TimerId Core::add_timer(TimePoint deadline, Token token) {
    if (guard_.is_forked_child()) throw std::system_error(make_error_code(errc::forked), "leat: add_timer");
    bool is_first = false;
    TimerId timer{};
    {
        std::lock_guard lock(mutex_);
        if (is_closed()) throw std::system_error(make_error_code(errc::closed), "leat: add_timer");
        timer = TimerId{last_timer_ + 1};
        auto [deadline_entry, added] = timer_deadlines_.emplace(last_timer_ + 1, deadline);
        try {
            auto position = timers_.emplace(std::pair(deadline, timer), token).first;
            is_first = position == timers_.begin();
        } catch (...) {
            timer_deadlines_.erase(deadline_entry);
            throw;
        }
        ++last_timer_;
        has_timers_.store(true, std::memory_order_release);
    }
    // A poll that sleeps longer than this must look again.
    if (is_first) notify(notified);
    return timer;
}

bool Core::cancel_timer(TimerId timer) {
    if (guard_.is_forked_child()) return false;
    std::lock_guard lock(mutex_);
    auto entry = timer_deadlines_.find(static_cast<std::uint64_t>(timer));
    if (entry == timer_deadlines_.end()) {
        // Others must not touch the owner's events.
        if (guard_.is_owner()) skip_event_of(timer);
        return false;
    }
    timers_.erase(std::pair(entry->second, timer));
    timer_deadlines_.erase(entry);
    has_timers_.store(!timers_.empty(), std::memory_order_release);
    return true;
}

void Core::skip_event_of(TimerId timer) noexcept {
    if (events_ == nullptr) return;
    for (std::size_t i = 0; i < events_->size_; ++i) {
        Event& entry = events_->entries_[i];
        if (entry.is_timeout() && entry.timer_ == timer) entry.flags_ = 0;
    }
}

void Core::notify(std::uint32_t bits) noexcept {
    std::uint32_t before = wake_state_.fetch_or(bits);
    // Somebody else woke it already, or it is awake and will see the bit before it sleeps.
    if ((before & (asleep | notified)) != asleep) return;
    if (guard_.is_forked_child()) return;
    std::lock_guard lock(mutex_);
    if (selector_ != nullptr) selector_->wake();
}

void Core::set_asleep() noexcept {
    selector_->flush();
    if ((wake_state_.fetch_or(asleep) & notified) == 0) return;
    // Who woke it before this found it awake and wrote nothing; who comes after finds it woken and writes nothing.
    std::lock_guard lock(mutex_);
    if (selector_ != nullptr) selector_->wake();
}

void Core::close() noexcept {
    if (guard_.is_forked_child()) return;
    {
        std::lock_guard lock(mutex_);
        is_closed_.store(true, std::memory_order_release);
    }
    notify(notified);
}

NativeHandle Core::native_handle(std::error_code& error) noexcept {
    error = own();
    if (error) return invalid_handle;
    std::lock_guard lock(mutex_);
    NativeHandle handle = selector_->native_handle(error);
    if (handle == invalid_handle) return handle;
    is_watched_ = true;
    if (owes_woken_) selector_->wake();
    return handle;
}

// ---- Owner: polling ----

errc Core::own_thread() noexcept {
    if (guard_.own()) [[likely]]
        return errc{};
    return guard_.is_forked_child() ? errc::forked : errc::busy;
}

std::error_code Core::own() noexcept {
    errc refusal = own_thread();
    return refusal == errc{} ? std::error_code() : make_error_code(refusal);
}

PollStatus Core::poll(Events& events, Limit limit, bool keep_operations) {
    if (errc refusal = own_thread(); refusal != errc{})
        throw std::system_error(make_error_code(refusal), "leat: poll");
    prepare(events);
    if (!keep_operations) report_completions();
    for (;;) {
        if (timers_come_first_ && has_timers_.load(std::memory_order_acquire)) take_due_timers();
        // Asked before the wait: what was added before the close is harvested before `closed` is told.
        bool was_closed = is_closed();
        bool is_last = limit.kind == Limit::Kind::immediate;
        std::optional<Duration> timeout;
        if (is_last || events.size_ != 0 || !completions().is_empty() || was_closed || owes_woken_)
            timeout = Duration::zero();
        else
            timeout = time_to_wait(limit);

        std::uint32_t woken = wait_once(timeout);

        if (has_timers_.load(std::memory_order_acquire) && room() != 0) take_due_timers();
        if (!keep_operations && !completions().is_empty()) report_completions();
        // Neither timers nor sources keep the others out for ever.
        if (room() == 0) timers_come_first_ = !timers_come_first_;
        if (events.size_ != 0 || !completions().is_empty()) {
            // Who polls for operations looks at what others left after each poll.
            if ((woken & user_wake) != 0 && !keep_operations) owes_woken_ = true;
            // Whoever waits for the handle finds what had no room, and a wake that is to be reported.
            if (is_watched_ && !keep_operations && (owes_woken_ || !completions().is_empty()))
                selector_->wake();
            return PollStatus::events;
        }
        if (was_closed) return PollStatus::closed;
        if (is_closed()) continue;
        if (std::exchange(owes_woken_, false) || (woken & user_wake) != 0) return PollStatus::woken;
        if (is_last) return PollStatus::timed_out;
        // A signal, a spurious wake or a new timer: wait on for what is left.
        if (limit.kind == Limit::Kind::until && clock_.now() >= limit.deadline) return PollStatus::timed_out;
    }
}

void Core::prepare(Events& events) noexcept {
    if (events_ != nullptr && events_ != &events) forget(*events_);
    if (events.core_ != nullptr) events.core_->forget(events);
    if (events.core_ != this) {
        retain();
        if (events.core_ != nullptr) events.core_->release();
        events.core_ = this;
    }
    events.size_ = 0;
    events_ = &events;
}

void Core::forget(Events& events) noexcept {
    if (events_ != &events) return;
    for (std::size_t i = 0; i < events.size_; ++i) {
        Event& entry = events.entries_[i];
        if (!entry.has(Event::operation_bit) || entry.operation_ == nullptr) continue;
        OperationAccess::state(*entry.operation_) = OperationAccess::State::ended;
        entry.operation_ = nullptr;
    }
    events_ = nullptr;
}

std::uint32_t Core::wait_once(std::optional<Duration> timeout) {
    bool sleeps = !timeout || *timeout > Duration::zero();
    if (sleeps && (wake_state_.fetch_or(asleep) & notified) != 0) timeout = Duration::zero();
    selector_->wait(*this, timeout);
    // Cheap when nobody has anything to say: a poll that does not sleep leaves no mark of its own.
    if (!sleeps && wake_state_.load(std::memory_order_acquire) == 0) return 0;
    return wake_state_.exchange(0);
}

std::optional<Duration> Core::time_to_wait(const Limit& limit) {
    std::optional<TimePoint> until;
    if (limit.kind == Limit::Kind::until) until = limit.deadline;
    if (has_timers_.load(std::memory_order_acquire)) {
        std::lock_guard lock(mutex_);
        if (!timers_.empty()) {
            TimePoint earliest = timers_.begin()->first.first;
            until = until ? std::min(*until, earliest) : earliest;
        }
    }
    if (!until) return std::nullopt;
    TimePoint now = clock_.now();
    if (*until <= now) return Duration::zero();
    // A virtual clock stands still meanwhile: only an event or a wake can end this wait.
    if (clock_is_virtual_) return std::nullopt;
    return time_left(*until, now);
}

void Core::take_due_timers() {
    TimePoint now = clock_.now();
    std::lock_guard lock(mutex_);
    while (room() != 0 && !timers_.empty() && timers_.begin()->first.first <= now) {
        auto earliest = timers_.begin();
        Event& entry = events_->entries_[events_->size_++];
        entry = Event();
        entry.token_ = earliest->second;
        entry.timer_ = earliest->first.second;
        entry.flags_ = Event::timeout_bit;
        timer_deadlines_.erase(static_cast<std::uint64_t>(earliest->first.second));
        timers_.erase(earliest);
    }
    has_timers_.store(!timers_.empty(), std::memory_order_release);
}

void Core::report_completions() noexcept {
    while (room() != 0) {
        // Whoever polls has submitted guarded ones only.
        auto* operation = static_cast<Operation*>(completions().pop());
        if (operation == nullptr) return;
        std::size_t index = events_->size_++;
        OperationAccess::state(*operation) = OperationAccess::State::harvested;
        OperationAccess::entry(*operation) = static_cast<std::uint16_t>(index);
        Event& entry = events_->entries_[index];
        entry = Event();
        entry.operation_ = operation;
        entry.flags_ = Event::operation_bit;
    }
}

void Core::ready(std::uint32_t index, std::uint32_t generation, std::uint32_t flags) noexcept {
    if (!slots_.has(index)) return;
    Slot& slot = slots_.at(index);
    if (slot.use != Slot::Use::interest || slot.generation.load(std::memory_order_relaxed) != generation)
        return;
    // An error or a hang-up comes whatever was asked for: tell it to the directions that somebody waits for.
    if ((flags & (Readiness::error | Readiness::read_closed | Readiness::write_closed)) != 0) {
        if ((flags & (Readiness::error | Readiness::read_closed)) != 0) flags |= Readiness::readable;
        if ((flags & (Readiness::error | Readiness::write_closed)) != 0) flags |= Readiness::writable;
        if ((slot.interest & Slot::wanted_readable) == 0) flags &= ~Readiness::readable;
        if ((slot.interest & Slot::wanted_writable) == 0) flags &= ~Readiness::writable;
    }
    Event& entry = events_->entries_[events_->size_++];
    entry.token_ = Token(slot.token);
    entry.slot_ = &slot;
    entry.generation_ = generation;
    entry.flags_ = flags;
}

// ---- Owner: operations ----

bool Core::submit(OperationRecord& operation) noexcept {
    Slot* slot = OperationAccess::source(operation)->slot_;
    if (slot->queue != this || slot->use != Slot::Use::operations) [[unlikely]]
        return bind_and_submit(operation);
    OperationAccess::set_slot(operation, *slot);
    return selector_->start(operation, *slot);
}

bool Core::bind_and_submit(OperationRecord& operation) noexcept {
    Source& source = *OperationAccess::source(operation);
    std::error_code error;
    if (!bind_slot(source, error)) {
        if (error.category() == error_category())
            OperationAccess::end(operation, static_cast<errc>(error.value()));
        else
            OperationAccess::end_with(operation, error_number(error));
        OperationAccess::set_slot(operation, no_slot);
        return true;
    }
    return submit(operation);
}

bool Core::bind_slot(Source& source, std::error_code& error) noexcept {
    if (!source.is_open()) {
        error = make_error_code(errc::closed);
        return false;
    }
    std::lock_guard lock(mutex_);
    if (is_closed()) {
        error = make_error_code(errc::closed);
        return false;
    }
    if (source.has_slot()) {
        error = make_error_code(errc::already_registered);
        return false;
    }
    Slot* slot = take_slot(source, Slot::Use::operations, error);
    if (slot == nullptr) return false;
    // Nothing is known yet, so the first call of each direction asks the socket itself.
    slot->bits = Slot::readable | Slot::writable;
    error = selector_->bind(*slot);
    if (error) give_slot_back(source);
    return !error;
}

std::error_code Core::bind(Source& source) noexcept {
    if (errc refusal = own_thread(); refusal != errc{}) return make_error_code(refusal);
    if (source.slot_->queue == this && source.slot_->use == Slot::Use::operations) return {};
    std::error_code error;
    bind_slot(source, error);
    return error;
}

void Core::end_reads(Slot& slot) noexcept {
    // In interest mode nobody reads here, and other threads may change what is beside this flag.
    if (slot.use != Slot::Use::operations || slot.reads_end || selector_ == nullptr) return;
    slot.reads_end = true;
    if (guard_.is_forked_child()) return;
    // An accept is no read. Without one that waits, the next one is to be tried at once.
    const OperationRecord* reader = slot.waiting(false);
    if (reader != nullptr && !OperationAccess::finds_end(*reader, slot)) return;
    selector_->end_reads(slot);
    wake_foreign_loop();
}

void Core::begin_drain(Slot& slot) noexcept {
    if (slot.use != Slot::Use::operations || slot.is_draining || selector_ == nullptr) return;
    slot.is_draining = true;
    if (guard_.is_forked_child()) return;
    const OperationRecord* reader = slot.waiting(false);
    if (reader == nullptr || !OperationAccess::finds_end(*reader, slot)) return;
    selector_->end_reads(slot);
    wake_foreign_loop();
}

bool Core::cancel(OperationRecord& operation) noexcept {
    if (!operation.is_in_flight()) return false;
    Slot& slot = OperationAccess::slot(operation);
    // A forked child's is a copy, and the kernel's queue the parent's.
    if (guard_.is_forked_child()) {
        slot.unpark(OperationAccess::is_write(operation));
    } else if (!selector_->cancel(operation, slot)) {
        flush_if_watched();
        return false;
    }
    --completions().in_flight;
    OperationAccess::end_with(operation, error_number(make_error_code(std::errc::operation_canceled)));
    return true;
}

// ---- The end of things ----

void Core::end_waiting(OperationRecord* operation) noexcept {
    if (operation == nullptr) return;
    OperationAccess::end(*operation, errc::closed);
    completions().push(*operation);
    wake_foreign_loop();
}

/// Something has ended outside a poll. In a foreign loop nobody may be polling: make the handle readable.
void Core::wake_foreign_loop() noexcept {
    if ((wake_state_.load() & asleep) != 0) notify(notified);
}

void Core::detach(Source& source) noexcept {
    Slot& slot = *source.slot_;
    Core& core = of(slot);
    // A forked child has its parent's kernel queue: whatever it took out of it would be the parent's loss. And its parent's
    // lock, which some other thread may have held.
    std::unique_lock lock(core.mutex_, std::defer_lock);
    if (!core.guard_.is_forked_child()) lock.lock();
    bool has_kernel = core.selector_ != nullptr && !core.guard_.is_forked_child();
    OperationRecord* reader = nullptr;
    OperationRecord* writer = nullptr;
    if (slot.use == Slot::Use::interest) {
        if (has_kernel) core.selector_->remove(slot);
    } else {
        const bool somebody_waits = slot.waiting(false) != nullptr || slot.waiting(true) != nullptr;
        if (has_kernel) core.selector_->detach(slot);
        reader = slot.waiting(false);
        writer = slot.waiting(true);
        slot.bits = 0;
        if (SourceWatch* watch = std::exchange(slot.watch, nullptr)) {
            if (somebody_waits) watch->note_error(-static_cast<std::int32_t>(errc::closed));
            watch->source_closed(slot.moved);
        }
    }
    core.retain();
    core.give_slot_back(source);
    if (lock.owns_lock()) lock.unlock();
    core.end_waiting(reader);
    core.end_waiting(writer);
    core.release();
}

void Core::abandon(OperationRecord& operation) noexcept {
    using State = OperationAccess::State;
    Slot& slot = OperationAccess::slot(operation);
    Core& core = of(slot);
    switch (OperationAccess::state(operation)) {
    case State::in_flight:
        if (core.cancel(operation)) return;
        core.selector_->await_end(operation);
        [[fallthrough]];
    case State::queued:
        core.completions().remove(operation);
        // Nobody has been told of the connection.
        if (operation.kind() == OperationRecord::Kind::accept && !operation.has_failed())
            close_handle(operation.accepted());
        return;
    case State::harvested: {
        std::size_t index = OperationAccess::entry(operation);
        Events* events = core.events_;
        for (; events != nullptr && index < events->size_; index += 65536) {
            Event& entry = events->entries_[index];
            if (entry.has(Event::operation_bit) && entry.operation_ == &operation) {
                entry.operation_ = nullptr;
                return;
            }
        }
        return;
    }
    default:
        return;
    }
}

void Core::end() noexcept {
    {
        // In a forked child nobody else is there; but a thread of the parent may have held the lock at that moment.
        std::unique_lock lock(mutex_, std::defer_lock);
        if (!guard_.is_forked_child()) lock.lock();
        is_closed_.store(true, std::memory_order_release);
        // What still waits never hears of its end; it only must not reach for this queue any more.
        slots_.for_each([](Slot& slot) {
            if (slot.use != Slot::Use::operations) return;
            for (bool is_write : {false, true}) {
                OperationRecord* operation = slot.waiting(is_write);
                if (operation != nullptr) OperationAccess::end(*operation, errc::closed);
            }
            slot.bits = 0;
        });
        // Under the lock: who closes a source meanwhile finds the kernel's queue there, and tells it first, or gone.
        if (guard_.is_forked_child()) selector_->leave_to_parent();
        selector_ = nullptr;
    }
    while (completions().pop() != nullptr) {
    }
    if (events_ != nullptr) forget(*events_);
    completions().in_flight = 0;
    if (buffers != nullptr) std::exchange(buffers, nullptr)->retire();
}

}  // namespace leat::detail
