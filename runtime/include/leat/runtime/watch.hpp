// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T>
class Watch;
template <class T>
class WatchReceiver;

/// What `WatchReceiver::changed` gives.
template <class T>
class [[nodiscard]] WatchOperation : public detail::QueuedWait {
public:
    using value_type = bool;

    explicit WatchOperation(WatchReceiver<T>& receiver) noexcept : receiver_(&receiver) {}
    WatchOperation(WatchOperation&&) noexcept = default;

    bool await_ready() noexcept;
    bool await_resume() noexcept;
    Result<bool> result() noexcept { return await_resume(); }

    void cancel() noexcept override;
    std::string describe() const override { return "a change of a watched value"; }

private:
    WatchReceiver<T>* receiver_;
    // What had been seen when it began to wait.
    std::uint64_t seen_ = 0;
};

/// One that learns of changes of a `Watch`.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      the watch outlives it. Destroying or moving it while a task waits with it ends the program.
template <class T>
class [[nodiscard]] WatchReceiver {
public:
    WatchReceiver(WatchReceiver&& other) noexcept : seen_(other.seen_) {
        other.demand_unused();
        watch_ = std::exchange(other.watch_, nullptr);
    }
    WatchReceiver& operator=(WatchReceiver&& other) noexcept {
        other.demand_unused();
        unsubscribe();
        watch_ = std::exchange(other.watch_, nullptr);
        seen_ = other.seen_;
        return *this;
    }
    ~WatchReceiver() { unsubscribe(); }

    /// Waits until the value is another than it has learnt of; false once the watch is closed and there is nothing new.
    ///
    /// Changes that come before the task goes on count as one: it then finds the last of them in `value()`.
    ///
    /// Cancellation: no change is lost: the next call tells of it.
    /// Complexity:   O(1), no allocation.
    WatchOperation<T> changed() noexcept {
        demand_watch();
        return WatchOperation<T>(*this);
    }

    /// The latest value, whether this has learnt of it or not. Valid until the next await: copy what is to stay.
    const T& value() const noexcept {
        demand_watch();
        return watch_->value_;
    }

    /// Whether `changed` would not wait for a change.
    bool has_changed() const noexcept { return watch_ != nullptr && seen_ != watch_->version_; }

    /// Learns of nothing from now on. Twice is harmless.
    void unsubscribe() noexcept {
        demand_unused();
        if (Watch<T>* watch = std::exchange(watch_, nullptr)) --watch->receivers_;
    }

private:
    friend class Watch<T>;
    friend class WatchOperation<T>;
    explicit WatchReceiver(Watch<T>& watch) noexcept : watch_(&watch), seen_(watch.version_) {}

    void demand_watch() const noexcept {
        if (watch_ == nullptr) [[unlikely]]
            detail::stop_for_misuse("a watch's receiver is used that has unsubscribed or was moved from");
    }
    void demand_unused() const noexcept {
        if (waiting_ != 0) [[unlikely]]
            detail::stop_for_misuse("a watch's receiver is destroyed or moved while a task waits with it");
    }

    Watch<T>* watch_;
    std::uint64_t seen_;
    std::size_t waiting_ = 0;
};

/// A value that changes, of which only the latest counts: a configuration, a state.
///
///     leat::Watch<Level> level(Level::normal);
///     leat::WatchReceiver<Level> receiver = level.subscribe();
///     for (;;) {
///         bool is_open = co_await receiver.changed();
///         if (!is_open) co_return;
///         apply(receiver.value());
///     }
///
/// A receiver never misses the last change, however slow it is; those before it may be passed over. Setting never waits.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its receivers; destroying it while there are some ends the program.
template <class T>
class Watch {
public:
    explicit Watch(T value) : value_(std::move(value)) {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        waiters_.demand_empty("a watch");
        if (receivers_ != 0) [[unlikely]]
            detail::stop_for_misuse("a watch is destroyed while it has receivers");
    }

    /// Learns of changes from now on, and has the value that is there.
    WatchReceiver<T> subscribe() noexcept {
        ++receivers_;
        return WatchReceiver<T>(*this);
    }

    /// A change, also to an equal value.
    ///
    /// Errors:     `closed`; what assigning a `T` throws.
    /// Complexity: O(receivers that wait), no allocation.
    void set(T value) {
        demand_open();
        value_ = std::move(value);
        tell();
    }

    /// The same by `change(value)`, where it is. One that throws is no change, as far as receivers learn.
    template <class F>
    void modify(F&& change) {
        demand_open();
        std::forward<F>(change)(value_);
        tell();
    }

    /// The latest value. Valid until the next await.
    const T& value() const noexcept { return value_; }

    /// From here on nothing changes: receivers learn of a change that is new to them, and then of the end. Twice is harmless.
    void close() noexcept {
        is_closed_ = true;
        waiters_.hand_over_to_all();
    }

    bool is_closed() const noexcept { return is_closed_; }
    std::size_t receivers() const noexcept { return receivers_; }

private:
    friend class WatchReceiver<T>;
    friend class WatchOperation<T>;

    void demand_open() const {
        if (is_closed_) throw std::system_error(make_error_code(errc::closed), "leat: change of a watch");
    }
    void tell() noexcept {
        ++version_;
        waiters_.hand_over_to_all();
    }

    T value_;
    std::uint64_t version_ = 0;
    std::size_t receivers_ = 0;
    bool is_closed_ = false;
    detail::WaitList waiters_;
};

template <class T>
bool WatchOperation<T>::await_ready() noexcept {
    if (is_stopped()) return false;
    ++receiver_->waiting_;
    seen_ = receiver_->seen_;
    if (receiver_->has_changed() || receiver_->watch_->is_closed_) return go_on();
    return wait_in(receiver_->watch_->waiters_);
}

template <class T>
bool WatchOperation<T>::await_resume() noexcept {
    --receiver_->waiting_;
    receiver_->seen_ = receiver_->watch_->version_;
    return seen_ != receiver_->seen_;
}

template <class T>
void WatchOperation<T>::cancel() noexcept {
    if (!leave(receiver_->watch_->waiters_)) return;
    --receiver_->waiting_;
    withdrawn();
}

}  // namespace leat

#pragma GCC diagnostic pop
