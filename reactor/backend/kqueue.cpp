// SPDX-License-Identifier: BSL-1.0
//
// The backend of macOS and the BSDs, on kqueue(2).
//
// A source has an entry (a "knote") for each direction, edge-triggered (EV_CLEAR). Implementations differ in what they
// do beyond their manual pages, so this keeps to what holds on all of them:
//
// - Entries are deleted before their descriptor is closed.
// - `udata` is the slot's index and generation, never an address, and is given again with every change, since some systems
//   take it from each.
// - A flag is never changed by adding again, which only updates `udata` and reports what is ready. So oneshot is not the
//   kernel's: once such a source was reported, its entries are deleted.
// - EV_EOF says no more than "ready": the call itself tells an end from an error. `data` is not looked at.
// - An event may be spurious.
// - Changes are made with EV_RECEIPT and room for an answer to each, so that one which fails does not hide the others.
// - Urgent data is told of sockets at most: other descriptors refuse that filter, and an operation does without it.
// - A child of fork(2) has no queue. Its number is free there, and may be another descriptor's by the time it is given back.

#include "backend/descriptor_posix.hpp"
#include "backend/readiness_selector.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <system_error>

#include <fcntl.h>
#include <sys/types.h>

// After <sys/types.h>, which some systems need for it.
#include <sys/event.h>

namespace leat::detail {

namespace {

static_assert(sizeof(void*) >= sizeof(std::uint64_t), "an event brings back 64 bits in its udata");

// A system without it does not tell of urgent data; what then is short of the mark is taken for all there was.
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
constexpr bool tells_of_urgent_data = true;
constexpr std::int16_t filter_urgent = EVFILT_EXCEPT;
constexpr std::uint32_t note_urgent = NOTE_OOB;
#else
constexpr bool tells_of_urgent_data = false;
constexpr std::int16_t filter_urgent = EVFILT_READ;
constexpr std::uint32_t note_urgent = 0;
#endif

std::uint64_t mark_of(const struct kevent& event) noexcept {
    return reinterpret_cast<std::uintptr_t>(event.udata);
}

/// Changes to the entries of one descriptor, made in one call.
class Changes {
public:
    Changes(int queue, NativeHandle handle, std::uint64_t mark) noexcept
        : queue_(queue), handle_(handle), mark_(mark) {}

    void add(std::int16_t filter, std::uint32_t notes = 0) noexcept {
        append(filter, EV_ADD | EV_CLEAR | EV_RECEIPT, notes);
    }
    void remove(std::int16_t filter) noexcept { append(filter, EV_DELETE | EV_RECEIPT, 0); }
    void remove_all() noexcept {
        remove(EVFILT_READ);
        remove(EVFILT_WRITE);
        if (tells_of_urgent_data) remove(filter_urgent);
    }

    /// The same for urgent data, if the descriptor has any to tell of.
    void add_urgent_if_any() noexcept {
        urgent_is_optional_ = true;
        add(filter_urgent, note_urgent);
    }

    /// The first failure to add. That there is nothing to delete is none: it is gone already, which is what we want.
    std::error_code make() noexcept {
        int count = static_cast<int>(count_);
        int answers = -1;
        do
            answers = ::kevent(queue_, changes_.data(), count, answers_.data(), count, &no_time);
        while (answers < 0 && errno == EINTR);
        if (answers < 0) return last_error();
        for (std::size_t i = 0; i < static_cast<std::size_t>(answers); ++i) {
            int error = static_cast<int>(answers_[i].data);
            bool has_none = error == EINVAL || error == EOPNOTSUPP;
            if (urgent_is_optional_ && answers_[i].filter == filter_urgent && has_none) continue;
            if ((answers_[i].flags & EV_ERROR) != 0 && error != 0 && was_to_be_added(answers_[i].filter))
                return std::error_code(error, std::system_category());
        }
        return {};
    }

    static constexpr timespec no_time{};

private:
    void append(std::int16_t filter, int flags, std::uint32_t notes) noexcept {
        struct kevent& change = changes_[count_++];
        change = {};
        change.ident = static_cast<std::uintptr_t>(handle_);
        change.filter = filter;
        change.flags = static_cast<std::uint16_t>(flags);
        change.fflags = notes;
        change.udata = reinterpret_cast<void*>(static_cast<std::uintptr_t>(mark_));
    }
    bool was_to_be_added(std::int16_t filter) const noexcept {
        return std::any_of(changes_.begin(), changes_.begin() + static_cast<std::ptrdiff_t>(count_),
                           [filter](const struct kevent& change) {
                               return change.filter == filter && (change.flags & EV_ADD) != 0;
                           });
    }

    int queue_;
    NativeHandle handle_;
    std::uint64_t mark_;
    std::size_t count_ = 0;
    bool urgent_is_optional_ = false;
    std::array<struct kevent, 3> changes_;
    std::array<struct kevent, 3> answers_;
};

std::uint32_t readiness_of(const struct kevent& event) noexcept {
    bool has_ended = (event.flags & EV_EOF) != 0;
    std::uint32_t flags = 0;
    if (event.filter == EVFILT_READ)
        flags = Readiness::readable | (has_ended ? Readiness::read_closed : 0);
    else if (event.filter == EVFILT_WRITE)
        flags = Readiness::writable | (has_ended ? Readiness::write_closed : 0);
    else
        flags = Readiness::readable | Readiness::priority;
    // With an end, `fflags` holds the socket's pending error.
    bool tells_of_error = !tells_of_urgent_data || event.filter != filter_urgent;
    if (has_ended && event.fflags != 0 && tells_of_error) flags |= Readiness::error;
    return flags;
}

int open_queue() noexcept {
    int queue = ::kqueue();
    // A child of fork(2) does not inherit it anyway; a program that this one becomes would.
    if (queue >= 0) ::fcntl(queue, F_SETFD, FD_CLOEXEC);
    return queue;
}

class KqueueSelector final : public ReadinessSelector {
public:
    explicit KqueueSelector(const SelectorContext& context)
        : ReadinessSelector(context), queue_(open_queue(), "leat: kqueue") {
        struct kevent change = wake_event();
        change.flags = EV_ADD | EV_CLEAR;
        if (::kevent(queue_.get(), &change, 1, nullptr, 0, nullptr) != 0)
            throw std::system_error(last_error(), "leat: kevent");
    }

    std::error_code add(Slot& slot) noexcept override {
        // Counted before an event of it can come.
        interests_.fetch_add(1, std::memory_order_relaxed);
        std::error_code error = state_interest(slot);
        if (error) remove(slot);
        return error;
    }
    std::error_code modify(Slot& slot) noexcept override { return state_interest(slot); }
    void remove(Slot& slot) noexcept override {
        forget(slot);
        interests_.fetch_sub(1, std::memory_order_relaxed);
    }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        int wanted = static_cast<int>(std::min(harvest.room(), events_.size()));
        if (wanted == 0) return;
        int count = wait_for_events(wanted, timeout);
        if (count < 0) {
            if (errno == EINTR) return;
            throw std::system_error(last_error(), "leat: kevent");
        }
        // Readiness first: there is room for one entry an event, and what operations add beyond that can wait.
        if (interests_.load(std::memory_order_relaxed) != 0)
            report_readiness(harvest, static_cast<std::size_t>(count));
        advance_operations(static_cast<std::size_t>(count));
    }

    void wake() noexcept override {
        struct kevent change = wake_event();
        change.fflags = NOTE_TRIGGER;
        while (::kevent(queue_.get(), &change, 1, nullptr, 0, nullptr) < 0 && errno == EINTR) {
        }
    }

    NativeHandle native_handle(std::error_code&) noexcept override { return queue_.get(); }
    void leave_to_parent() noexcept override { queue_.release(); }

private:
    static struct kevent wake_event() noexcept {
        struct kevent event{};
        event.filter = EVFILT_USER;
        event.udata = reinterpret_cast<void*>(static_cast<std::uintptr_t>(wake_mark));
        return event;
    }

    std::error_code state_interest(const Slot& slot) noexcept {
        Changes changes(queue_.get(), slot.handle, detail::mark_of(slot, interest_bit));
        auto state = [&](std::uint8_t wanted, std::int16_t filter, std::uint32_t notes) {
            if ((slot.interest & wanted) != 0)
                changes.add(filter, notes);
            else
                changes.remove(filter);
        };
        state(Slot::wanted_readable, EVFILT_READ, 0);
        state(Slot::wanted_writable, EVFILT_WRITE, 0);
        if (tells_of_urgent_data)
            state(Slot::wanted_priority, filter_urgent, note_urgent);
        else if (slot.interest == Slot::wanted_priority)
            return std::make_error_code(std::errc::operation_not_supported);
        return changes.make();
    }

    std::error_code watch(Slot& slot, bool is_listener) noexcept override {
        std::error_code error = watch_anew(slot, is_listener);
        if (error) forget(slot);
        return error;
    }
    std::error_code watch_anew(Slot& slot, bool is_listener) noexcept override {
        Changes changes(queue_.get(), slot.handle, detail::mark_of(slot, 0));
        changes.add(EVFILT_READ);
        // A listener is never written to.
        if (!is_listener) {
            changes.add(EVFILT_WRITE);
            if (tells_of_urgent_data) changes.add_urgent_if_any();
        }
        return changes.make();
    }
    void forget(Slot& slot) noexcept override {
        Changes changes(queue_.get(), slot.handle, 0);
        changes.remove_all();
        // What cannot be deleted is gone already, with its descriptor.
        [[maybe_unused]] std::error_code ignored = changes.make();
    }

    void advance_operations(std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            const struct kevent& event = events_[i];
            std::uint64_t mark = mark_of(event);
            std::uint32_t index = index_of(mark);
            if ((index & interest_bit) != 0) continue;  // The wake mark has this bit too.
            Slot& slot = slots_.at(index);
            if (slot.generation.load(std::memory_order_relaxed) != generation_of(mark)) continue;
            // What a message brings.
            if (event.filter == EVFILT_READ && (event.flags & EV_EOF) == 0 &&
                slot.bits == Slot::waits_for_message && receive_message(slot)) {
                completions_.push(*slot.reader);
                continue;
            }
            advance(slot, event);
        }
    }

    /// Keeps what one event of a slot in operation mode says, and lets who waits try again.
    void advance(Slot& slot, const struct kevent& event) noexcept {
        bool has_ended = (event.flags & EV_EOF) != 0;
        if (event.filter == EVFILT_WRITE) {
            slot.set(Slot::writable);
            if (has_ended) slot.set(Slot::write_closed);
            try_again(slot, true);
            return;
        }
        slot.set(Slot::readable);
        // A read stops at the mark of urgent data: however short it was, from then on it does not prove that nothing is
        // left, as at an end.
        if (has_ended || event.filter != EVFILT_READ) slot.set(Slot::read_closed);
        try_again(slot, false);
    }

    /// A source's directions come apart; they are put together again, so that one batch has one event of it.
    void report_readiness(Harvest& harvest, std::size_t count) noexcept {
        harvest.begin_readiness();
        for (std::size_t i = 0; i < count; ++i) {
            if (Slot* slot = interested(events_[i]))
                slot->gathered = static_cast<std::uint8_t>(slot->gathered | readiness_of(events_[i]));
        }
        for (std::size_t i = 0; i < count; ++i) {
            Slot* slot = interested(events_[i]);
            if (slot == nullptr || slot->gathered == 0) continue;
            std::uint64_t mark = mark_of(events_[i]);
            harvest.ready(index_of(mark) & ~interest_bit, generation_of(mark), slot->gathered);
            slot->gathered = 0;
            if (slot->is_oneshot) forget(*slot);
        }
        harvest.end_readiness();
    }

    /// The slot in interest mode that the event is of, if it still is. Locked.
    Slot* interested(const struct kevent& event) const noexcept {
        std::uint64_t mark = mark_of(event);
        std::uint32_t index = index_of(mark);
        if (mark == wake_mark || (index & interest_bit) == 0) return nullptr;
        Slot& slot = slots_.at(index & ~interest_bit);
        bool is_of_today = slot.use == Slot::Use::interest &&
                           slot.generation.load(std::memory_order_relaxed) == generation_of(mark);
        return is_of_today ? &slot : nullptr;
    }

    int wait_for_events(int wanted, std::optional<Duration> timeout) noexcept {
        // More than some systems take; who waits longer is woken for nothing, and waits again.
        constexpr Duration longest = std::chrono::hours(24);
        if (!timeout) return ::kevent(queue_.get(), nullptr, 0, events_.data(), wanted, nullptr);
        Duration limit = std::clamp(*timeout, Duration::zero(), longest);
        auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
        timespec time{};
        time.tv_sec = static_cast<std::time_t>(seconds.count());
        time.tv_nsec = static_cast<long>((limit - seconds).count());
        return ::kevent(queue_.get(), nullptr, 0, events_.data(), wanted, &time);
    }

    Descriptor queue_;
    // Slots in interest mode; an executor has none, and then no event is looked at twice.
    std::atomic<std::uint32_t> interests_{0};
    std::array<struct kevent, 256> events_;
};

}  // namespace

std::unique_ptr<Selector> make_selector_kqueue(const SelectorContext& context) {
    return std::make_unique<KqueueSelector>(context);
}

}  // namespace leat::detail
