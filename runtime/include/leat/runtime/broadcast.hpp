// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T>
class Broadcast;
template <class T>
class BroadcastSubscriber;

/// What a subscriber receives: a value, and how many before it were pushed out before this subscriber came to see them.
template <class T>
class BroadcastItem {
public:
    BroadcastItem(const T& v, std::uint64_t m) : value(v), missed(m) {}

    T value;
    std::uint64_t missed;
};

/// What `BroadcastSubscriber::receive` gives.
template <class T>
class [[nodiscard]] BroadcastOperation : public detail::QueuedWait {
public:
    using value_type = std::optional<BroadcastItem<T>>;

    explicit BroadcastOperation(BroadcastSubscriber<T>& subscriber) noexcept : subscriber_(&subscriber) {}
    BroadcastOperation(BroadcastOperation&&) noexcept = default;

    bool await_ready() noexcept;
    std::optional<BroadcastItem<T>> await_resume();
    Result<std::optional<BroadcastItem<T>>> result();

    void cancel() noexcept override;
    std::string describe() const override { return "a broadcast's next value"; }

private:
    BroadcastSubscriber<T>* subscriber_;
    bool is_second_ = false;
};

/// One that sees each value sent to a `Broadcast` since it subscribed, in order.
///
/// Thread-safety: the tasks of one executor; one waits at a time.
/// Lifetime:      the broadcast outlives it. Destroying or moving it while a task waits with it ends the program.
template <class T>
class [[nodiscard]] BroadcastSubscriber {
public:
    BroadcastSubscriber(BroadcastSubscriber&& other) noexcept : next_(other.next_) {
        other.demand_unused();
        broadcast_ = std::exchange(other.broadcast_, nullptr);
    }
    BroadcastSubscriber& operator=(BroadcastSubscriber&& other) noexcept {
        other.demand_unused();
        unsubscribe();
        broadcast_ = std::exchange(other.broadcast_, nullptr);
        next_ = other.next_;
        return *this;
    }
    ~BroadcastSubscriber() { unsubscribe(); }

    /// Waits for the next value, of which it gets a copy; empty once the broadcast is closed and it has seen everything.
    ///
    /// One that is too slow for the broadcast's capacity misses the oldest values, and is told how many: `missed`.
    ///
    /// Errors:       `busy` if another task waits with it; what copying a `T` throws: the value is still there then.
    /// Cancellation: no value is lost: the next call gives it.
    /// Complexity:   O(1), no allocation but of the copy.
    BroadcastOperation<T> receive() noexcept {
        demand_broadcast();
        return BroadcastOperation<T>(*this);
    }

    /// Without waiting. Empty: it has seen everything, or a task waits with it.
    [[nodiscard]] std::optional<BroadcastItem<T>> try_receive() {
        demand_broadcast();
        return is_waiting_ ? std::nullopt : take();
    }

    /// How many values it has not seen, those that it has missed included.
    std::uint64_t pending() const noexcept { return broadcast_ != nullptr ? broadcast_->next_ - next_ : 0; }

    /// Sees nothing from now on. Twice is harmless.
    void unsubscribe() noexcept {
        demand_unused();
        if (Broadcast<T>* broadcast = std::exchange(broadcast_, nullptr)) broadcast->drop_subscriber();
    }

private:
    friend class Broadcast<T>;
    friend class BroadcastOperation<T>;
    explicit BroadcastSubscriber(Broadcast<T>& broadcast) noexcept
        : broadcast_(&broadcast), next_(broadcast.next_) {}

    void demand_broadcast() const noexcept {
        if (broadcast_ == nullptr) [[unlikely]]
            detail::stop_for_misuse("a subscriber is used that has unsubscribed or was moved from");
    }
    void demand_unused() const noexcept {
        if (is_waiting_) [[unlikely]]
            detail::stop_for_misuse("a subscriber is destroyed or moved while a task waits with it");
    }

    /// Empty: it has seen everything.
    std::optional<BroadcastItem<T>> take() {
        std::optional<BroadcastItem<T>> item;
        if (next_ == broadcast_->next_) return item;
        const std::uint64_t seen = std::max(next_, broadcast_->oldest_);
        item.emplace(*broadcast_->place(seen), seen - next_);
        // Last, since copying may throw.
        next_ = seen + 1;
        return item;
    }

    Broadcast<T>* broadcast_;
    // The number of the value that it sees next.
    std::uint64_t next_;
    bool is_waiting_ = false;
};

/// Values for everybody who listens: each subscriber sees each value that is sent after it subscribed.
///
///     leat::Broadcast<std::shared_ptr<const News>> news(64);
///     leat::BroadcastSubscriber<std::shared_ptr<const News>> subscriber = news.subscribe();
///     news.send(latest);
///     ...
///     std::optional<leat::BroadcastItem<...>> item = co_await subscriber.receive();   // empty: closed
///
/// Sending never waits. The last `capacity` values are kept, whether everybody has seen them or not, and the oldest is pushed
/// out by the next one: who is slower than that misses some, and is told how many. Each subscriber gets a copy, so what is
/// large is best sent as a `std::shared_ptr` to const.
///
/// `T` is moved without throwing, and can be copied.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its subscribers; destroying it while there are some ends the program.
template <class T>
class Broadcast {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "leat: a value that could fail to move could be lost: send a std::unique_ptr of it");
    static_assert(std::is_copy_constructible_v<T>, "leat: each subscriber gets a copy");

public:
    /// A capacity of zero is a misuse that ends the program.
    ///
    /// Errors: `std::bad_alloc`: the room is taken here, and nothing is allocated later.
    explicit Broadcast(std::size_t capacity) : places_(capacity) {
        if (capacity == 0) [[unlikely]]
            detail::stop_for_misuse("a broadcast that keeps no value would give none");
    }
    Broadcast(const Broadcast&) = delete;
    Broadcast& operator=(const Broadcast&) = delete;
    ~Broadcast() {
        waiters_.demand_empty("a broadcast");
        if (subscribers_ != 0) [[unlikely]]
            detail::stop_for_misuse("a broadcast is destroyed while it has subscribers");
    }

    /// Sees what is sent from now on.
    BroadcastSubscriber<T> subscribe() noexcept {
        ++subscribers_;
        return BroadcastSubscriber<T>(*this);
    }

    /// Gives `value` to all subscribers. Without any it goes at once.
    ///
    /// Errors:     `closed`.
    /// Complexity: O(subscribers that wait), no allocation.
    void send(T value) {
        if (is_closed_) throw std::system_error(make_error_code(errc::closed), "leat: send to a broadcast");
        if (subscribers_ == 0) return;
        std::optional<T>& place = places_[end_];
        // Goes last, since what a destructor does may come back here.
        [[maybe_unused]] std::optional<T> pushed_out(std::move(place));
        place.emplace(std::move(value));
        if (++end_ == places_.size()) end_ = 0;
        if (++next_ - oldest_ > places_.size()) ++oldest_;
        waiters_.hand_over_to_all();
    }

    /// From here on nothing can be sent: subscribers see what is left for them, and then the end. Twice is harmless.
    void close() noexcept {
        is_closed_ = true;
        waiters_.hand_over_to_all();
    }

    bool is_closed() const noexcept { return is_closed_; }
    std::size_t capacity() const noexcept { return places_.size(); }
    std::size_t subscribers() const noexcept { return subscribers_; }

private:
    friend class BroadcastSubscriber<T>;
    friend class BroadcastOperation<T>;

    // Invariant: the values that are kept have the numbers `oldest_` to `next_` - 1; without subscribers there are none.

    /// Of a value that is kept.
    std::optional<T>& place(std::uint64_t number) noexcept {
        std::size_t back = static_cast<std::size_t>(next_ - number);
        return places_[back <= end_ ? end_ - back : end_ + places_.size() - back];
    }
    void drop_subscriber() noexcept {
        --subscribers_;
        while (subscribers_ == 0 && oldest_ != next_) {
            std::optional<T>& place = this->place(oldest_);
            ++oldest_;
            [[maybe_unused]] std::optional<T> dropped(std::move(place));
            place.reset();
            // With the last value whoever owns this may go.
            if (oldest_ == next_) return;
        }
    }

    std::vector<std::optional<T>> places_;
    // Where the next one goes.
    std::size_t end_ = 0;
    std::uint64_t oldest_ = 0;
    std::uint64_t next_ = 0;
    std::size_t subscribers_ = 0;
    bool is_closed_ = false;
    detail::WaitList waiters_;
};

template <class T>
bool BroadcastOperation<T>::await_ready() noexcept {
    if (is_stopped()) return false;
    is_second_ = subscriber_->is_waiting_;
    if (is_second_) return go_on();
    subscriber_->is_waiting_ = true;
    Broadcast<T>& broadcast = *subscriber_->broadcast_;
    if (subscriber_->next_ != broadcast.next_ || broadcast.is_closed_) return go_on();
    return wait_in(broadcast.waiters_);
}

template <class T>
std::optional<BroadcastItem<T>> BroadcastOperation<T>::await_resume() {
    if (is_second_) throw std::system_error(make_error_code(errc::busy), "leat: receive from a broadcast");
    subscriber_->is_waiting_ = false;
    return subscriber_->take();
}

template <class T>
Result<std::optional<BroadcastItem<T>>> BroadcastOperation<T>::result() {
    if (is_second_) return Unexpected<std::error_code>(make_error_code(errc::busy));
    return await_resume();
}

template <class T>
void BroadcastOperation<T>::cancel() noexcept {
    if (is_second_ || !leave(subscriber_->broadcast_->waiters_)) return;
    subscriber_->is_waiting_ = false;
    withdrawn();
}

}  // namespace leat

#pragma GCC diagnostic pop
