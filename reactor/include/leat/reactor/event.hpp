// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/reactor/token.hpp>

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <iterator>
#include <vector>

namespace leat {

namespace detail {
class Core;
struct Slot;
}  // namespace detail

/// Names a timer of a Poll. Never reused.
enum class TimerId : std::uint64_t {};

/// One thing that a Poll reports: a source that is ready, a timer that is due, or an operation that is done.
///
/// Readiness is a hint: the call that it announces may still find nothing. Portable are `is_readable` and
/// `is_writable`; the others may be missing (the call then finds the condition), but the two *closed* ones are
/// never wrong when set.
class Event {
public:
    /// The value given with the registration or the timer; `Token()` for an operation.
    Token token() const noexcept { return token_; }

    bool is_readable() const noexcept { return has(readable_bit); }
    bool is_writable() const noexcept { return has(writable_bit); }
    /// Urgent data waits.
    bool is_priority() const noexcept { return has(priority_bit); }
    /// The source has an error; the next call on it tells which.
    bool is_error() const noexcept { return has(error_bit); }
    /// The peer will send no more, or this side shut its reading half.
    bool is_read_closed() const noexcept { return has(read_closed_bit); }
    /// Nothing can be written any more.
    bool is_write_closed() const noexcept { return has(write_closed_bit); }

    bool is_timeout() const noexcept { return has(timeout_bit); }
    /// Which timer, if `is_timeout()`.
    TimerId timer() const noexcept { return is_timeout() ? timer_ : TimerId{}; }

    /// The operation that has ended, or null.
    Operation* operation() const noexcept { return has(operation_bit) ? operation_ : nullptr; }

private:
    friend class Events;
    friend class detail::Core;
    friend std::ostream& operator<<(std::ostream& out, const Event& event);

    static constexpr std::uint32_t readable_bit = 1, writable_bit = 2, priority_bit = 4, error_bit = 8,
                                   read_closed_bit = 16, write_closed_bit = 32, timeout_bit = 64,
                                   operation_bit = 128;

    bool has(std::uint32_t bit) const noexcept { return (flags_ & bit) != 0; }

    Token token_;
    union {
        Operation* operation_ = nullptr;
        TimerId timer_;
        // Inside `Events` only: the slot that a readiness came from, to see whether it still stands.
        const detail::Slot* slot_;
    };
    std::uint32_t flags_ = 0;
    std::uint32_t generation_ = 0;
};

std::ostream& operator<<(std::ostream& out, const Event& event);

/// Room for the events of one `Poll::poll`, filled anew by each.
///
/// While it is iterated, entries whose source was removed, modified or closed since, timers that were
/// cancelled, and operations that were destroyed, are skipped: what a handler ends is not reported to it afterwards.
///
///     Events events(64);
///     poll.poll(events);
///     for (const Event& event : events) { ... }
///
/// Thread-safety: the thread that polls.
/// Lifetime:      may outlive the Poll, which follows the ended operations of the `Events` that it filled last: iterate
///                that one before the next poll, even into another.
class Events {
public:
    /// Room for `capacity` events; what does not fit comes with the next poll.
    ///
    /// Errors: `std::invalid_argument` if `capacity` is zero.
    explicit Events(std::size_t capacity = 1024);
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;
    ~Events();

    class Iterator {
    public:
        using value_type = Event;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;

        Iterator() noexcept = default;
        const Event& operator*() const noexcept { return event_; }
        const Event* operator->() const noexcept { return &event_; }
        Iterator& operator++() noexcept {
            ++index_;
            settle();
            return *this;
        }
        void operator++(int) noexcept { ++*this; }
        friend bool operator==(const Iterator& a, const Iterator& b) noexcept { return a.index_ == b.index_; }

    private:
        friend class Events;
        Iterator(const Events& events, std::size_t index) noexcept : events_(&events), index_(index) {}

        // Moves on to the first entry that still stands.
        void settle() noexcept {
            for (; index_ < events_->size_; ++index_) {
                const Event& entry = events_->entries_[index_];
                // An operation that was destroyed since has taken its pointer away.
                bool stands =
                    entry.has(Event::operation_bit) ? entry.operation_ != nullptr : events_->stands(entry);
                if (!stands) continue;
                event_ = entry;
                return;
            }
        }

        const Events* events_ = nullptr;
        std::size_t index_ = 0;
        Event event_;
    };

    Iterator begin() const noexcept {
        Iterator first(*this, 0);
        first.settle();
        return first;
    }
    Iterator end() const noexcept { return Iterator(*this, size_); }

    /// Whether no entry stands (any more).
    bool is_empty() const noexcept { return begin() == end(); }
    std::size_t capacity() const noexcept { return entries_.size(); }
    void clear() noexcept;

private:
    friend class detail::Core;
    friend struct detail::OperationAccess;

    bool stands(const Event& entry) const noexcept;

    std::vector<Event> entries_;
    std::size_t size_ = 0;
    // Keeps the slots alive that the entries point at.
    detail::Core* core_ = nullptr;
};

}  // namespace leat
