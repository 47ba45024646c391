// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/ring.hpp>

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T>
class RemoteChannel;

namespace detail {

class ChannelTask;

/// Wakes who was taken out of a list, once the channel's lock is no longer held. One that was a thread is awake already.
class Wakeup {
public:
    Wakeup() noexcept = default;
    Wakeup(const Wakeup&) = delete;
    Wakeup& operator=(const Wakeup&) = delete;

    void set(const Remote& executor, ChannelTask& task) noexcept {
        executor_.emplace(executor);
        task_ = &task;
    }
    void operator()() noexcept {
        if (executor_) post();
    }

private:
    void post() noexcept;

    std::optional<Remote> executor_;
    ChannelTask* task_ = nullptr;
};

/// Who waits at a channel, a task or a thread.
///
/// Thread-safety: under the channel's lock.
class ChannelWaiter {
public:
    ChannelWaiter() noexcept = default;
    ChannelWaiter(const ChannelWaiter&) = delete;
    ChannelWaiter& operator=(const ChannelWaiter&) = delete;

    bool is_queued() const noexcept { return is_queued_; }

protected:
    ~ChannelWaiter() = default;

private:
    friend class ChannelWaiters;
    /// It has what it waited for. Afterwards it may go as soon as it is woken, or as the lock is given back.
    virtual void handed_over(Wakeup& wakeup) noexcept = 0;

    // Its SenderPart or ReceiverPart, whichever the list is of.
    void* part_ = nullptr;
    ChannelWaiter* next_ = nullptr;
    ChannelWaiter* previous_ = nullptr;
    bool is_queued_ = false;
};

/// First come, first served.
class ChannelWaiters {
public:
    bool is_empty() const noexcept { return first_ == nullptr; }
    /// Of a list that is not empty: the part of its first one.
    void* first() const noexcept { return first_->part_; }
    void append(ChannelWaiter& waiter, void* part) noexcept;
    void remove(ChannelWaiter& waiter) noexcept;
    void hand_over(Wakeup& wakeup) noexcept;
    /// For the destructor: ends the program if anybody still stands here.
    void demand_empty() const noexcept;

private:
    ChannelWaiter* first_ = nullptr;
    ChannelWaiter* last_ = nullptr;
};

/// A task that waits at a channel.
class ChannelTask : public Wait, protected ChannelWaiter {
public:
    /// On its executor's thread, once it has been handed what it waited for.
    void resumed() noexcept {
        is_waiting_ = false;
        resume_later();
    }

protected:
    ChannelTask() noexcept = default;
    // Movable until awaited: it stands nowhere yet.
    ChannelTask(ChannelTask&& other) noexcept : Wait(std::move(other)), ChannelWaiter() {}
    ~ChannelTask() = default;

    /// Before it stands in a list, from where others may wake it.
    void prepare_to_wait() noexcept {
        executor_.emplace(executor().remote());
        is_waiting_ = true;
        suspend();
    }
    /// For `cancel`.
    void leave(ChannelWaiters& list, std::mutex& mutex) noexcept;

private:
    void handed_over(Wakeup& wakeup) noexcept override { wakeup.set(*executor_, *this); }

    std::optional<Remote> executor_;
    // From then on until it is resumed or has left. Its executor's thread's.
    bool is_waiting_ = false;
};

/// A thread that waits at a channel.
class ChannelThread : public ChannelWaiter {
public:
    void wait(std::unique_lock<std::mutex>& lock) {
        condition_.wait(lock, [this] { return !is_queued(); });
    }

protected:
    ~ChannelThread() = default;

private:
    // While the lock is held, so that this is still there.
    void handed_over(Wakeup&) noexcept override { condition_.notify_one(); }

    std::condition_variable condition_;
};

/// What a channel and its waiters look at: a value that is to be sent, or a place for one that is received.
template <class T>
struct SenderPart {
    explicit SenderPart(T&& v) noexcept : item(std::move(v)) {}
    T item;
    bool found_closed = false;
};
template <class T>
struct ReceiverPart {
    ReceiverPart() noexcept = default;
    std::optional<T> item;
};

[[noreturn]] void throw_channel_closed();

}  // namespace detail

/// What `RemoteChannel::send` gives.
template <class T>
class [[nodiscard]] RemoteSendOperation : public detail::ChannelTask, private detail::SenderPart<T> {
public:
    using value_type = void;

    RemoteSendOperation(RemoteChannel<T>& channel, T&& value) noexcept
        : detail::SenderPart<T>(std::move(value)), channel_(&channel) {}
    RemoteSendOperation(RemoteSendOperation&& other) noexcept
        : detail::ChannelTask(std::move(other)),
          detail::SenderPart<T>(std::move(other.item)),
          channel_(other.channel_),
          is_spent_(std::exchange(other.is_spent_, true)) {}

    bool await_ready() noexcept;
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const {
        if (this->found_closed) detail::throw_channel_closed();
    }
    Result<void> result() const noexcept {
        if (this->found_closed) return Unexpected<std::error_code>(make_error_code(errc::closed));
        return Result<void>();
    }

    void cancel() noexcept override;
    std::string describe() const override { return "room in a channel between threads"; }

private:
    friend class RemoteChannel<T>;

    RemoteChannel<T>* channel_;
    bool is_spent_ = false;
};

/// What `RemoteChannel::receive` gives.
template <class T>
class [[nodiscard]] RemoteReceiveOperation : public detail::ChannelTask, private detail::ReceiverPart<T> {
public:
    using value_type = std::optional<T>;

    explicit RemoteReceiveOperation(RemoteChannel<T>& channel) noexcept : channel_(&channel) {}
    RemoteReceiveOperation(RemoteReceiveOperation&&) noexcept = default;

    bool await_ready() noexcept;
    void await_suspend(TaskHandle) const noexcept {}
    std::optional<T> await_resume() noexcept { return std::move(this->item); }
    Result<std::optional<T>> result() noexcept { return std::move(this->item); }

    void cancel() noexcept override;
    std::string describe() const override { return "the next value of a channel between threads"; }

private:
    friend class RemoteChannel<T>;

    RemoteChannel<T>* channel_;
};

/// A `Channel` whose ends may be on different executors, and on threads without one.
///
///     leat::RemoteChannel<Job> jobs(64);
///     co_await jobs.send(std::move(job));                        // in a task of any executor
///     std::optional<Job> job = jobs.blocking_receive();          // on a thread; empty: closed, and nothing is left
///
/// Values arrive in the order of sending, each at one receiver; first come, first served, tasks and threads alike. With a
/// capacity of zero a value goes from hand to hand. An executor is told only when one of its tasks waits.
///
/// `T` is moved without throwing. Its move, and the destructor of what was moved from, do not use the channel: a lock is held
/// meanwhile.
///
/// Thread-safety: any thread.
/// Lifetime:      outlives all calls, its waiters' too; destroying it while somebody waits ends the program. Values that nobody
///                has received go with it.
template <class T>
class RemoteChannel {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "leat: a value that could fail to move could be lost: send a std::unique_ptr of it");

public:
    /// Errors: `std::bad_alloc`: the room is taken here, and nothing is allocated later.
    explicit RemoteChannel(std::size_t capacity) : values_(capacity) {}
    RemoteChannel(const RemoteChannel&) = delete;
    RemoteChannel& operator=(const RemoteChannel&) = delete;
    ~RemoteChannel() {
        senders_.demand_empty();
        receivers_.demand_empty();
    }

    /// Waits until there is room, or somebody who receives.
    ///
    /// Errors:       `closed` if the channel is, or is closed before there was room: the value is not sent.
    /// Cancellation: the value is not sent; if it was taken already, the task goes on to its next wait.
    /// Complexity:   O(1) and a lock, no allocation; a post if somebody on another executor waits for it.
    RemoteSendOperation<T> send(T value) noexcept { return RemoteSendOperation<T>(*this, std::move(value)); }

    /// Waits for the next value; empty once the channel is closed and nothing is left.
    ///
    /// Cancellation: no value is lost: one that was handed over already is returned.
    /// Complexity:   as `send`.
    RemoteReceiveOperation<T> receive() noexcept { return RemoteReceiveOperation<T>(*this); }

    /// Without waiting. False, with `value` untouched: there is no room, or the channel is closed.
    [[nodiscard]] bool try_send(T& value) noexcept {
        detail::Wakeup wakeup;
        std::unique_lock lock(mutex_);
        bool is_sent = !is_closed_ && put(value, wakeup);
        lock.unlock();
        wakeup();
        return is_sent;
    }

    /// Without waiting. Empty: nothing is there.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        detail::Wakeup wakeup;
        std::optional<T> value;
        std::unique_lock lock(mutex_);
        take(value, wakeup);
        lock.unlock();
        wakeup();
        return value;
    }

    /// The same as `send` and `receive` for a thread without an executor, which they block: an executor's own would hold up all
    /// its tasks, perhaps for ever.
    ///
    /// Errors: `closed`.
    void blocking_send(T value) {
        BlockingSender sender(std::move(value));
        detail::Wakeup wakeup;
        std::unique_lock lock(mutex_);
        if (is_closed_) detail::throw_channel_closed();
        if (!put(sender.item, wakeup)) {
            wait_to_send(sender, sender);
            sender.wait(lock);
        }
        lock.unlock();
        wakeup();
        if (sender.found_closed) detail::throw_channel_closed();
    }
    [[nodiscard]] std::optional<T> blocking_receive() {
        BlockingReceiver receiver;
        detail::Wakeup wakeup;
        std::unique_lock lock(mutex_);
        if (!take(receiver.item, wakeup) && !is_closed_) {
            wait_to_receive(receiver, receiver);
            receiver.wait(lock);
        }
        lock.unlock();
        wakeup();
        return std::move(receiver.item);
    }

    /// From here on nothing can be sent: who waits to send is told so; who receives gets what is left, then the end.
    /// Twice is harmless.
    void close() noexcept {
        // One at a time, so that each is woken without the lock; a closed channel gets no more of them.
        for (bool is_done = false; !is_done;) {
            detail::Wakeup wakeup;
            std::unique_lock lock(mutex_);
            is_closed_ = true;
            is_done = !end_one_wait(wakeup);
            lock.unlock();
            wakeup();
        }
    }

    bool is_closed() const noexcept {
        std::lock_guard lock(mutex_);
        return is_closed_;
    }
    /// Values that are there to be received without a sender's help; so it was a moment ago.
    std::size_t size() const noexcept {
        std::lock_guard lock(mutex_);
        return values_.size();
    }
    std::size_t capacity() const noexcept { return values_.capacity(); }

private:
    friend class RemoteSendOperation<T>;
    friend class RemoteReceiveOperation<T>;

    // Invariants: 1. Receivers wait only while nothing is there, and senders only while there is no room: never both.
    //             2. A closed channel gets no waiters.

    struct BlockingSender final : detail::ChannelThread, detail::SenderPart<T> {
        explicit BlockingSender(T&& value) noexcept : detail::SenderPart<T>(std::move(value)) {}
    };
    struct BlockingReceiver final : detail::ChannelThread, detail::ReceiverPart<T> {};

    void wait_to_send(detail::ChannelWaiter& waiter, detail::SenderPart<T>& part) noexcept {
        senders_.append(waiter, &part);
    }
    void wait_to_receive(detail::ChannelWaiter& waiter, detail::ReceiverPart<T>& part) noexcept {
        receivers_.append(waiter, &part);
    }
    detail::SenderPart<T>& first_sender() const noexcept {
        return *static_cast<detail::SenderPart<T>*>(senders_.first());
    }
    detail::ReceiverPart<T>& first_receiver() const noexcept {
        return *static_cast<detail::ReceiverPart<T>*>(receivers_.first());
    }

    /// False: no room, and nobody who waits.
    bool put(T& value, detail::Wakeup& wakeup) noexcept {
        if (!receivers_.is_empty()) {
            first_receiver().item.emplace(std::move(value));
            receivers_.hand_over(wakeup);
            return true;
        }
        if (values_.is_full()) return false;
        values_.push(std::move(value));
        return true;
    }

    /// False: nothing is there.
    bool take(std::optional<T>& value, detail::Wakeup& wakeup) noexcept {
        if (!values_.is_empty()) {
            values_.pop(value);
            // Room for who has waited longest.
            if (!senders_.is_empty()) {
                values_.push(std::move(first_sender().item));
                senders_.hand_over(wakeup);
            }
            return true;
        }
        if (senders_.is_empty()) return false;
        // From hand to hand.
        value.emplace(std::move(first_sender().item));
        senders_.hand_over(wakeup);
        return true;
    }

    bool end_one_wait(detail::Wakeup& wakeup) noexcept {
        if (!senders_.is_empty()) {
            first_sender().found_closed = true;
            senders_.hand_over(wakeup);
            return true;
        }
        if (receivers_.is_empty()) return false;
        receivers_.hand_over(wakeup);
        return true;
    }

    mutable std::mutex mutex_;
    detail::Ring<T> values_;
    bool is_closed_ = false;
    detail::ChannelWaiters senders_;
    detail::ChannelWaiters receivers_;
};

template <class T>
bool RemoteSendOperation<T>::await_ready() noexcept {
    if (std::exchange(is_spent_, true)) detail::stop_for_spent_operation();
    if (is_stopped()) return false;
    detail::Wakeup wakeup;
    std::unique_lock lock(channel_->mutex_);
    this->found_closed = channel_->is_closed_;
    if (!this->found_closed && !channel_->put(this->item, wakeup)) {
        prepare_to_wait();
        channel_->wait_to_send(*this, *this);
        return false;
    }
    lock.unlock();
    wakeup();
    return go_on();
}

template <class T>
void RemoteSendOperation<T>::cancel() noexcept {
    leave(channel_->senders_, channel_->mutex_);
}

template <class T>
bool RemoteReceiveOperation<T>::await_ready() noexcept {
    if (is_stopped()) return false;
    // If awaited again: drops the value of the last await.
    this->item.reset();
    detail::Wakeup wakeup;
    std::unique_lock lock(channel_->mutex_);
    if (!channel_->take(this->item, wakeup) && !channel_->is_closed_) {
        prepare_to_wait();
        channel_->wait_to_receive(*this, *this);
        return false;
    }
    lock.unlock();
    wakeup();
    return go_on();
}

template <class T>
void RemoteReceiveOperation<T>::cancel() noexcept {
    leave(channel_->receivers_, channel_->mutex_);
}

}  // namespace leat

#pragma GCC diagnostic pop
