// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/poll.hpp>

#include "backend/fork_guard.hpp"
#include "src/handle_set.hpp"
#include "src/selector.hpp"
#include "src/slot.hpp"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

namespace leat::detail {

/// What a Poll, its Registrators, its bound Sources and its Events share.
///
/// Invariants: 1. `is_closed_` changes once, under the lock; registering looks at it under the lock: whatever is
///                registered was registered before the close.
///             2. The selector is used by other threads under the lock only, and dies under it.
///             3. A slot's generation moves whenever a registration ends or changes.
class Core final : public Completions, private Harvest {
public:
    Core(Backend backend, const Clock& clock);
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept;

    Backend backend() const noexcept { return backend_; }
    const std::string& passed_over() const noexcept { return passed_over_; }
    const Clock& clock() const noexcept { return clock_; }

    // Any thread.
    std::error_code add(Source& source, Token token, Interest interest, Mode mode) noexcept;
    std::error_code modify(Source& source, Token token, Interest interest, Mode mode) noexcept;
    std::error_code remove(Source& source) noexcept;
    TimerId add_timer(TimePoint deadline, Token token);
    bool cancel_timer(TimerId timer);
    void wake() noexcept { notify(notified | user_wake); }
    void close() noexcept;
    bool is_closed() const noexcept { return is_closed_.load(std::memory_order_acquire); }
    bool is_forked() const noexcept { return guard_.is_forked_child(); }
    bool is_owner() const noexcept { return guard_.is_owner(); }
    bool has_other_owner() const noexcept { return guard_.has_other_owner(); }

    // Owner.
    struct Limit {
        enum class Kind { none, immediate, until } kind = Kind::none;
        TimePoint deadline{};
    };
    std::error_code own() noexcept;
    /// With `keep_operations`, those that end stay in the `Completions` instead of becoming events.
    PollStatus poll(Events& events, Limit limit, bool keep_operations);
    bool submit(OperationRecord& operation) noexcept;
    bool cancel(OperationRecord& operation) noexcept;
    Completions& completions() noexcept { return *this; }
    std::error_code bind(Source& source) noexcept;
    void end_reads(Slot& slot) noexcept;
    void begin_drain(Slot& slot) noexcept;
    NativeHandle native_handle(std::error_code& error) noexcept;
    void set_asleep() noexcept;
    /// Where another loop waits for the native handle: what was queued for the kernel is not to wait for a poll.
    void flush_if_watched() noexcept {
        if (is_watched_) selector_->flush();
    }

    /// The end of the Poll: closed, and the kernel's queue given back.
    void end() noexcept;

    /// Called before `events` is destroyed, emptied or filled anew: the operations that it lists no longer
    /// know of it.
    void forget(Events& events) noexcept;

    // Of sources and operations.
    static Core& of(const Slot& slot) noexcept { return static_cast<Core&>(*slot.queue); }
    static void detach(Source& source) noexcept;
    static void rearm(Source& source, Interest interest) noexcept;
    static void retry(Slot& slot, Interest interest) noexcept;
    static void abandon(OperationRecord& operation) noexcept;

private:
    ~Core() = default;

    // Bits of `wake_state_`.
    static constexpr std::uint32_t asleep = 1, notified = 2, user_wake = 4;

    std::size_t room() const noexcept override { return events_->entries_.size() - events_->size_; }
    void begin_readiness() noexcept override { mutex_.lock(); }
    void end_readiness() noexcept override { mutex_.unlock(); }
    void ready(std::uint32_t index, std::uint32_t generation, std::uint32_t flags) noexcept override;

    errc own_thread() noexcept;
    [[gnu::noinline, gnu::cold]] bool bind_and_submit(OperationRecord& operation) noexcept;
    bool bind_slot(Source& source, std::error_code& error) noexcept;
    Slot* take_slot(Source& source, Slot::Use use, std::error_code& error) noexcept;
    void give_slot_back(Source& source) noexcept;
    void end_waiting(OperationRecord* operation) noexcept;
    void notify(std::uint32_t bits) noexcept;
    void wake_foreign_loop() noexcept;
    void skip_event_of(TimerId timer) noexcept;
    void prepare(Events& events) noexcept;
    void report_completions() noexcept;
    void take_due_timers();
    std::optional<Duration> time_to_wait(const Limit& limit);
    std::uint32_t wait_once(std::optional<Duration> timeout);

    std::atomic<std::uint32_t> references_{1};
    // Pairs with itself: a wake that sets `notified` sees `asleep`, or the poll sees `notified` before it sleeps.
    std::atomic<std::uint32_t> wake_state_{0};
    std::atomic<bool> is_closed_{false};
    std::atomic<bool> has_timers_{false};
    ForkGuard guard_;
    const Clock& clock_;
    const bool clock_is_virtual_;

    // The owner's.
    Events* events_ = nullptr;
    // A poll gave events, and was woken as well.
    bool owes_woken_ = false;
    // Somebody has asked for the native handle.
    bool is_watched_ = false;
    // Whose turn it is when a batch has room for one kind only.
    bool timers_come_first_ = true;

    mutable std::mutex mutex_;
    SlotTable slots_;
    HandleSet handles_;
    Backend backend_;
    std::string passed_over_;
    std::unique_ptr<Selector> selector_;
    bool rearms_ = false;
    // By deadline, then by the order of adding.
    std::map<std::pair<TimePoint, TimerId>, Token> timers_;
    std::unordered_map<std::uint64_t, TimePoint> timer_deadlines_;
    std::uint64_t last_timer_ = 0;
};

}  // namespace leat::detail
