// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/ring.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
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
class Channel;

/// What `Channel::send` gives.
template <class T>
class [[nodiscard]] ChannelSendOperation : public detail::QueuedWait {
public:
    using value_type = void;

    ChannelSendOperation(Channel<T>& channel, T&& value) noexcept
        : channel_(&channel), value_(std::move(value)) {}
    ChannelSendOperation(ChannelSendOperation&& other) noexcept
        : detail::QueuedWait(std::move(other)),
          channel_(other.channel_),
          value_(std::move(other.value_)),
          is_spent_(std::exchange(other.is_spent_, true)) {}

    bool await_ready() noexcept;
    void await_resume() const {
        if (found_closed_) throw std::system_error(make_error_code(errc::closed), "leat: send");
    }
    Result<void> result() const noexcept {
        if (found_closed_) return Unexpected<std::error_code>(make_error_code(errc::closed));
        return Result<void>();
    }

    void cancel() noexcept override;
    std::string describe() const override {
        return "room in a channel of " + std::to_string(channel_->capacity());
    }

private:
    friend class Channel<T>;

    Channel<T>* channel_;
    T value_;
    bool found_closed_ = false;
    bool is_spent_ = false;
};

namespace detail {

/// Who waits for a channel's next value, and has it handed here.
template <class T>
class ChannelReceiver : public QueuedWait {
public:
    bool await_ready() noexcept;

    void cancel() noexcept override;
    std::string describe() const override { return "a channel's next value"; }

protected:
    explicit ChannelReceiver(Channel<T>& channel) noexcept : channel_(&channel) {}
    ChannelReceiver(ChannelReceiver&&) noexcept = default;
    ~ChannelReceiver() = default;

    /// For `await_ready`.
    bool take_or_wait() noexcept;

    Channel<T>* channel_;
    // Empty at the end: closed, and nothing is left.
    std::optional<T> value_;

private:
    friend class Channel<T>;
};

}  // namespace detail

/// What `Channel::receive` gives.
template <class T>
class [[nodiscard]] ChannelReceiveOperation : public detail::ChannelReceiver<T> {
public:
    using value_type = std::optional<T>;

    explicit ChannelReceiveOperation(Channel<T>& channel) noexcept : detail::ChannelReceiver<T>(channel) {}
    ChannelReceiveOperation(ChannelReceiveOperation&&) noexcept = default;

    // Not a copy of the whole, whose load would wait for the two stores that have made it.
    std::optional<T> await_resume() noexcept {
        if (!this->value_) return std::nullopt;
        return std::optional<T>(std::move(*this->value_));
    }
    Result<std::optional<T>> result() noexcept { return await_resume(); }
};

/// What `Channel::receive_many` gives.
template <class T>
class [[nodiscard]] ChannelReceiveManyOperation : public detail::ChannelReceiver<T> {
public:
    using value_type = std::size_t;

    ChannelReceiveManyOperation(Channel<T>& channel, std::vector<T>& into, std::size_t limit) noexcept
        : detail::ChannelReceiver<T>(channel), into_(&into), limit_(limit) {}
    ChannelReceiveManyOperation(ChannelReceiveManyOperation&&) noexcept = default;

    bool await_ready() noexcept;
    std::size_t await_resume();
    Result<std::size_t> result() { return await_resume(); }

private:
    void make_room();

    std::vector<T>* into_;
    std::size_t limit_;
    // Why there is no room for even one value.
    std::exception_ptr failure_;
};

/// Values in the order of sending, from any number of tasks to any number of tasks, with a bound: who sends into a full
/// channel waits until there is room.
///
///     leat::Channel<Job> jobs(16);
///     co_await jobs.send(std::move(job));
///     ...
///     std::optional<Job> job = co_await jobs.receive();   // empty: closed, and nothing is left
///
/// Each value is received by one task. First come, first served, on both sides. With a capacity of zero a value goes
/// from hand to hand: `send` waits until somebody receives it.
///
/// `T` is moved without throwing.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its waiters; destroying it while a task waits ends the program. Values that nobody has received
///                go with it.
template <class T>
class Channel {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "leat: a value that could fail to move could be lost: send a std::unique_ptr of it");

public:
    /// Errors: `std::bad_alloc`: the room is taken here, and nothing is allocated later.
    explicit Channel(std::size_t capacity) : values_(capacity) {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel() {
        senders_.demand_empty("a channel");
        receivers_.demand_empty("a channel");
    }

    /// Waits until there is room, or somebody who receives.
    ///
    /// A value that is not sent goes with the operation; `try_send` leaves it with its owner.
    ///
    /// Errors:       `closed` if the channel is, or is closed before there was room: the value is not sent.
    /// Cancellation: the value is not sent; if it was taken already, the task goes on to its next wait.
    /// Complexity:   O(1), no allocation.
    ChannelSendOperation<T> send(T value) noexcept {
        return ChannelSendOperation<T>(*this, std::move(value));
    }

    /// Waits for the next value; empty once the channel is closed and nothing is left.
    ///
    /// Cancellation: no value is lost: one that was handed over already is returned.
    /// Complexity:   O(1), no allocation.
    ChannelReceiveOperation<T> receive() noexcept { return ChannelReceiveOperation<T>(*this); }

    /// Waits for the next value, and appends it to `into`, along with what else is there by the time the task goes on: at
    /// most `limit` values, in the order of sending. Gives how many; zero once the channel is closed and nothing is left.
    ///
    ///     std::size_t count = co_await jobs.receive_many(batch, 64);
    ///
    /// Values come from the channel and from those who wait to send, so this serves a channel without room, too. A
    /// `limit` of zero is a misuse that ends the program.
    ///
    /// Lifetime:     `into` outlives the await, and is not touched meanwhile.
    /// Errors:       what `into` throws when it grows: what it has by then it keeps, everything else stays in the channel.
    /// Cancellation: no value is lost: one that was handed over already is returned.
    /// Complexity:   O(values); allocates only if `into` has too little room.
    ChannelReceiveManyOperation<T> receive_many(std::vector<T>& into, std::size_t limit) noexcept {
        return ChannelReceiveManyOperation<T>(*this, into, limit);
    }

    /// Without waiting. False, with `value` untouched: there is no room, or the channel is closed.
    [[nodiscard]] bool try_send(T& value) noexcept { return !is_closed_ && put(value); }

    /// Without waiting. Empty: nothing is there.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        std::optional<T> value;
        take(value);
        return value;
    }

    /// From here on nothing can be sent: who waits to send is told so; who receives gets what is left, then the end.
    /// Twice is harmless.
    void close() noexcept {
        is_closed_ = true;
        while (!senders_.is_empty()) {
            static_cast<ChannelSendOperation<T>&>(senders_.first()).found_closed_ = true;
            senders_.hand_over();
        }
        while (!receivers_.is_empty())
            receivers_.hand_over();
    }

    bool is_closed() const noexcept { return is_closed_; }
    /// Values that are there to be received without a sender's help.
    std::size_t size() const noexcept { return values_.size(); }
    std::size_t capacity() const noexcept { return values_.capacity(); }

private:
    friend class ChannelSendOperation<T>;
    friend class detail::ChannelReceiver<T>;
    friend class ChannelReceiveManyOperation<T>;

    // Invariants: 1. Receivers wait only while nothing is there, and senders only while there is no room: never both.
    //             2. A closed channel has no waiters.

    bool has_values() const noexcept { return !values_.is_empty() || !senders_.is_empty(); }

    /// False: no room, and nobody who waits.
    bool put(T& value, Executor* executor = nullptr) noexcept {
        if (!receivers_.is_empty()) {
            static_cast<detail::ChannelReceiver<T>&>(receivers_.first()).value_.emplace(std::move(value));
            receivers_.hand_over(executor);
            return true;
        }
        if (values_.is_full()) return false;
        values_.push(std::move(value));
        return true;
    }

    /// False: nothing is there.
    bool take(std::optional<T>& value, Executor* executor = nullptr) noexcept {
        if (!values_.is_empty()) {
            values_.pop(value);
            // Room for who has waited longest, unless a destructor has come back here and taken it.
            if (!values_.is_full() && !senders_.is_empty()) {
                values_.push(std::move(static_cast<ChannelSendOperation<T>&>(senders_.first()).value_));
                senders_.hand_over(executor);
            }
            return true;
        }
        if (senders_.is_empty()) return false;
        // From hand to hand.
        value.emplace(std::move(static_cast<ChannelSendOperation<T>&>(senders_.first()).value_));
        senders_.hand_over(executor);
        return true;
    }

    detail::Ring<T> values_;
    bool is_closed_ = false;
    detail::WaitList senders_;
    detail::WaitList receivers_;
};

template <class T>
bool ChannelSendOperation<T>::await_ready() noexcept {
    if (std::exchange(is_spent_, true)) detail::stop_for_spent_operation();
    if (is_stopped()) return false;
    found_closed_ = channel_->is_closed_;
    if (found_closed_ || channel_->put(value_, &this->executor())) return go_on();
    return wait_in(channel_->senders_);
}

template <class T>
void ChannelSendOperation<T>::cancel() noexcept {
    if (leave(channel_->senders_)) withdrawn();
}

template <class T>
bool detail::ChannelReceiver<T>::await_ready() noexcept {
    return !is_stopped() && take_or_wait();
}

template <class T>
bool detail::ChannelReceiver<T>::take_or_wait() noexcept {
    if (channel_->take(value_, &this->executor())) return go_on();
    // Of one that is awaited again, what it brought last.
    value_.reset();
    if (!channel_->is_closed_) return wait_in(channel_->receivers_);
    return go_on();
}

template <class T>
void detail::ChannelReceiver<T>::cancel() noexcept {
    if (leave(channel_->receivers_)) withdrawn();
}

template <class T>
bool ChannelReceiveManyOperation<T>::await_ready() noexcept {
    if (limit_ == 0) [[unlikely]]
        detail::stop_for_misuse("a channel is asked for at most zero values");
    if (this->is_stopped()) return false;
    // Now, since a value that is handed over must find it.
    try {
        make_room();
    } catch (...) {
        failure_ = std::current_exception();
        return this->go_on();
    }
    return this->take_or_wait();
}

template <class T>
std::size_t ChannelReceiveManyOperation<T>::await_resume() {
    if (failure_ != nullptr) [[unlikely]]
        std::rethrow_exception(std::move(failure_));
    if (!this->value_) return 0;
    into_->push_back(std::move(*this->value_));
    std::size_t count = 1;
    for (std::optional<T> next; count != limit_ && this->channel_->has_values(); ++count) {
        make_room();
        this->channel_->take(next);
        into_->push_back(std::move(*next));
    }
    return count;
}

/// For one more.
template <class T>
void ChannelReceiveManyOperation<T>::make_room() {
    if (into_->size() == into_->capacity()) into_->reserve(into_->size() + into_->size() / 2 + 1);
}

}  // namespace leat

#pragma GCC diagnostic pop
