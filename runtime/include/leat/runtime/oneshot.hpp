// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <new>
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
class Oneshot;
template <class T>
class OneshotSender;
template <class T>
class OneshotReceiver;

namespace detail {

/// What both ends share; whoever is the last to go destroys it.
template <class T>
struct OneshotState {
    OneshotState() noexcept = default;
    OneshotState(const OneshotState&) = delete;

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }
    // The pool keeps nothing over-aligned.
    static void* operator new(std::size_t size, std::align_val_t alignment) {
        return ::operator new(size, alignment);
    }
    static void operator delete(void* memory, std::size_t, std::align_val_t alignment) noexcept {
        ::operator delete(memory, alignment);
    }

    void sender_gone() noexcept {
        has_sender = false;
        if (!has_receiver) {
            delete this;
            return;
        }
        receiving.hand_over_to_all();
    }
    void receiver_gone() noexcept {
        has_receiver = false;
        watching.hand_over_to_all();
        if (!has_sender) delete this;
    }

    std::optional<T> value;
    bool has_sender = true;
    bool has_receiver = true;
    WaitList receiving;
    WaitList watching;
};

}  // namespace detail

/// What `OneshotReceiver::receive` gives.
template <class T>
class [[nodiscard]] OneshotReceiveOperation : public detail::QueuedWait {
public:
    using value_type = T;

    explicit OneshotReceiveOperation(detail::OneshotState<T>& state) noexcept : state_(&state) {}
    OneshotReceiveOperation(OneshotReceiveOperation&&) noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        if (!state_->value && state_->has_sender) return wait_in(state_->receiving);
        if (state_->value) value_.emplace(std::move(*state_->value));
        state_->value.reset();
        return go_on();
    }
    T await_resume() {
        if (!value_) throw std::system_error(make_error_code(errc::closed), "leat: receive from a oneshot");
        return std::move(*value_);
    }
    Result<T> result() noexcept {
        if (!value_) return Unexpected<std::error_code>(make_error_code(errc::closed));
        return std::move(*value_);
    }

    void cancel() noexcept override {
        if (leave(state_->receiving)) withdrawn();
    }
    std::string describe() const override { return "a oneshot's value"; }

private:
    friend class OneshotSender<T>;

    detail::OneshotState<T>* state_;
    std::optional<T> value_;
};

/// What `OneshotSender::receiver_gone` gives.
template <class T>
class [[nodiscard]] OneshotGoneOperation : public detail::QueuedWait {
public:
    using value_type = void;

    explicit OneshotGoneOperation(detail::OneshotState<T>& state) noexcept : state_(&state) {}
    OneshotGoneOperation(OneshotGoneOperation&&) noexcept = default;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        if (state_->has_receiver) return wait_in(state_->watching);
        return go_on();
    }
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override {
        if (leave(state_->watching)) withdrawn();
    }
    std::string describe() const override { return "a oneshot's receiver to go"; }

private:
    detail::OneshotState<T>* state_;
};

/// The end of a oneshot that gives the value, once. One that goes without having sent tells the receiver so.
///
/// Thread-safety: the tasks of one executor.
template <class T>
class OneshotSender {
public:
    OneshotSender(OneshotSender&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    OneshotSender& operator=(OneshotSender&& other) noexcept {
        OneshotSender former(std::move(*this));
        state_ = std::exchange(other.state_, nullptr);
        return *this;
    }
    ~OneshotSender() { close(); }

    /// Gives `value` to the receiver, and is done. False, with `value` untouched: the receiver has gone.
    ///
    /// A second time is a misuse that ends the program.
    [[nodiscard]] bool send(T&& value) noexcept {
        detail::OneshotState<T>& state = demand_state();
        if (!state.has_receiver) return false;
        if (state.receiving.is_empty()) {
            state.value.emplace(std::move(value));
        } else {
            static_cast<OneshotReceiveOperation<T>&>(state.receiving.first())
                .value_.emplace(std::move(value));
            state.receiving.hand_over();
        }
        close();
        return true;
    }

    /// Waits until the receiver has gone: what is being prepared for it is no longer wanted. Goes on waiting for that if
    /// the value is sent meanwhile, or this is destroyed.
    ///
    /// Cancellation: withdrawn at once.
    /// Complexity:   O(1), no allocation.
    OneshotGoneOperation<T> receiver_gone() noexcept { return OneshotGoneOperation<T>(demand_state()); }

    /// Whether somebody can still receive.
    bool has_receiver() const noexcept { return state_ != nullptr && state_->has_receiver; }
    /// Whether it has sent, was closed, or was moved from.
    bool is_done() const noexcept { return state_ == nullptr; }

    /// Goes without a value, now. Twice is harmless.
    void close() noexcept {
        if (detail::OneshotState<T>* state = std::exchange(state_, nullptr)) state->sender_gone();
    }

private:
    friend class Oneshot<T>;
    explicit OneshotSender(detail::OneshotState<T>& state) noexcept : state_(&state) {}

    detail::OneshotState<T>& demand_state() const noexcept {
        if (state_ == nullptr) [[unlikely]]
            detail::stop_for_misuse("a oneshot's sender is used that has sent, was closed or was moved from");
        return *state_;
    }

    detail::OneshotState<T>* state_;
};

/// The end of a oneshot that gets the value.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      stays while a task waits with it, but may be moved; destroying it then ends the program. A value that it
///                has not received goes with it.
template <class T>
class OneshotReceiver {
public:
    OneshotReceiver(OneshotReceiver&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    OneshotReceiver& operator=(OneshotReceiver&& other) noexcept {
        OneshotReceiver former(std::move(*this));
        state_ = std::exchange(other.state_, nullptr);
        return *this;
    }
    ~OneshotReceiver() { close(); }

    /// Waits for the value.
    ///
    /// Errors:       `closed` if the sender has gone without a value, or the value was received before.
    /// Cancellation: a value that comes later stays for the next call; one that was handed over is returned first.
    /// Complexity:   O(1), no allocation.
    OneshotReceiveOperation<T> receive() noexcept { return OneshotReceiveOperation<T>(demand_state()); }

    /// Without waiting. Empty: nothing is there.
    [[nodiscard]] std::optional<T> try_receive() noexcept {
        std::optional<T>& there = demand_state().value;
        std::optional<T> value(std::move(there));
        there.reset();
        return value;
    }

    /// Whether a value is there, or may still come.
    bool is_open() const noexcept {
        return state_ != nullptr && (state_->has_sender || state_->value.has_value());
    }

    /// Goes, now: the sender learns of it. Twice is harmless.
    void close() noexcept {
        if (detail::OneshotState<T>* state = std::exchange(state_, nullptr)) {
            state->receiving.demand_empty("a oneshot's receiver");
            state->receiver_gone();
        }
    }

private:
    friend class Oneshot<T>;
    explicit OneshotReceiver(detail::OneshotState<T>& state) noexcept : state_(&state) {}

    detail::OneshotState<T>& demand_state() const noexcept {
        if (state_ == nullptr) [[unlikely]]
            detail::stop_for_misuse("a oneshot's receiver is used that was closed or moved from");
        return *state_;
    }

    detail::OneshotState<T>* state_;
};

/// Both ends of a way for one value, from one task to another: see `oneshot`.
template <class T>
class Oneshot {
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "leat: a value that could fail to move could be lost: send a std::unique_ptr of it");

public:
    /// Errors: `std::bad_alloc`; nothing is allocated later.
    Oneshot() : Oneshot(*new detail::OneshotState<T>()) {}

    OneshotSender<T> sender;
    OneshotReceiver<T> receiver;

private:
    explicit Oneshot(detail::OneshotState<T>& state) noexcept : sender(state), receiver(state) {}
};

/// A way for one value: an answer, say, of which each side learns when the other has gone.
///
///     auto [sender, receiver] = leat::oneshot<Answer>();
///     co_await requests.send(Request(question, std::move(sender)));
///     Answer answer = co_await receiver.receive();
///
/// Complexity: one block of the pool of frames.
template <class T>
[[nodiscard]] Oneshot<T> oneshot() {
    return Oneshot<T>();
}

}  // namespace leat

#pragma GCC diagnostic pop
