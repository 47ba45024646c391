// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/reactor/native_handle.hpp>
#include <leat/reactor/source.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

namespace leat {

namespace detail {
class Core;
struct OperationAccess;
struct Completions;
}  // namespace detail

/// A piece of memory to read into; the layout is the POSIX `iovec`'s.
struct MutableBuffer {
    constexpr MutableBuffer() noexcept : data(nullptr), size(0) {}
    constexpr MutableBuffer(std::span<std::byte> bytes) noexcept : data(bytes.data()), size(bytes.size()) {}

    std::byte* data;
    std::size_t size;
};

/// A piece of memory to write from.
struct ConstBuffer {
    constexpr ConstBuffer() noexcept : data(nullptr), size(0) {}
    constexpr ConstBuffer(std::span<const std::byte> bytes) noexcept
        : data(bytes.data()), size(bytes.size()) {}

    const std::byte* data;
    std::size_t size;
};

/// One submitted piece of I/O, in memory of the caller's; the Poll tells when it is *done*.
///
/// The same record serves backends that try, wait and try again (epoll) and those that hand the work to the
/// kernel (completions). Derive from it to find your own state in `Event::operation()`.
///
/// Invariants: 1. An operation ends exactly once, on its own completion.
///             2. It is movable until submitted and immovable until it has ended.
///             3. At most one read and one write a source; accept, peek and the wait for readability count as
///                reads, connect and the wait for writability as writes. A second one ends with `errc::busy`.
///
/// Thread-safety: the Poll's owner only.
/// Lifetime:      it and its buffers outlive its end. Destroyed in flight all the same, it withdraws itself.
class Operation {
public:
    enum class Kind : std::uint8_t {
        accept,
        receive,
        /// Until the buffer is full.
        receive_all,
        receive_vector,
        peek,
        /// `read(2)` and `write(2)`, for handles that are not sockets.
        read,
        wait_readable,
        // From here on those that count as writes.
        connect,
        send,
        /// Until the buffer, or the array of them, is empty.
        send_all,
        send_vector,
        send_vector_all,
        write,
        wait_writable,
    };
    static constexpr bool is_write(Kind kind) noexcept { return kind >= Kind::connect; }

    static Operation accept(Source& listener) noexcept { return {Kind::accept, listener, nullptr, 0}; }
    /// `address` points at the system's socket address, which outlives the operation.
    static Operation connect(Source& socket, const void* address, std::size_t size) noexcept {
        return {Kind::connect, socket, const_cast<void*>(address), size};
    }
    static Operation receive(Source& socket, std::span<std::byte> buffer) noexcept {
        return {Kind::receive, socket, buffer.data(), buffer.size()};
    }
    /// Fails with `unexpected_end` if the stream ends before; `transferred` tells what came in any case.
    static Operation receive_all(Source& socket, std::span<std::byte> buffer) noexcept {
        return {Kind::receive_all, socket, buffer.data(), buffer.size()};
    }
    static Operation peek(Source& socket, std::span<std::byte> buffer) noexcept {
        return {Kind::peek, socket, buffer.data(), buffer.size()};
    }
    static Operation send(Source& socket, std::span<const std::byte> buffer) noexcept {
        return {Kind::send, socket, const_cast<std::byte*>(buffer.data()), buffer.size()};
    }
    static Operation send_all(Source& socket, std::span<const std::byte> buffer) noexcept {
        return {Kind::send_all, socket, const_cast<std::byte*>(buffer.data()), buffer.size()};
    }
    /// The array is used up on the way.
    static Operation send_all(Source& socket, std::span<ConstBuffer> buffers) noexcept {
        return {Kind::send_vector_all, socket, buffers.data(), buffers.size()};
    }
    /// The array of buffers outlives the operation, as the buffers do.
    static Operation receive(Source& socket, std::span<const MutableBuffer> buffers) noexcept {
        return {Kind::receive_vector, socket, const_cast<MutableBuffer*>(buffers.data()), buffers.size()};
    }
    static Operation send(Source& socket, std::span<const ConstBuffer> buffers) noexcept {
        return {Kind::send_vector, socket, const_cast<ConstBuffer*>(buffers.data()), buffers.size()};
    }
    static Operation read(Source& file, std::span<std::byte> buffer) noexcept {
        return {Kind::read, file, buffer.data(), buffer.size()};
    }
    static Operation write(Source& file, std::span<const std::byte> buffer) noexcept {
        return {Kind::write, file, const_cast<std::byte*>(buffer.data()), buffer.size()};
    }
    static Operation wait_readable(Source& source) noexcept {
        return {Kind::wait_readable, source, nullptr, 0};
    }
    static Operation wait_writable(Source& source) noexcept {
        return {Kind::wait_writable, source, nullptr, 0};
    }

    Operation(Operation&& other) noexcept
        : source_(other.source_),
          data_(other.data_),
          size_(other.size_),
          value_(other.value_),
          error_(other.error_),
          kind_(other.kind_) {}
    Operation& operator=(Operation&&) = delete;
    ~Operation() {
        if (state_ > State::ended) abandon();
    }

    Kind kind() const noexcept { return kind_; }
    bool is_ended() const noexcept { return state_ != State::idle && state_ != State::in_flight; }
    /// Whether it was submitted and has not ended.
    bool is_in_flight() const noexcept { return state_ == State::in_flight; }

    /// Whether it failed; the code tells why.
    bool has_failed() const noexcept { return error_ != 0; }
    std::error_code error() const noexcept;

    /// Bytes moved. Zero from a read of a stream: the peer has closed.
    std::size_t transferred() const noexcept { return value_; }

    /// The connection that was accepted, as a handle that the caller now owns.
    NativeHandle accepted() const noexcept { return static_cast<NativeHandle>(value_); }

protected:
    Operation(Kind kind, Source& source, void* data, std::size_t size) noexcept
        : source_(&source), data_(data), size_(size), kind_(kind) {}

    Operation(Kind kind, void* data, std::size_t size) noexcept
        : source_(nullptr), data_(data), size_(size), kind_(kind) {}

    /// For a source that lies in the same object and moves with it: named just before the operation is submitted.
    void set_source(Source& source) noexcept { source_ = &source; }

    /// Ends the operation without the kernel: for failures before it could be submitted. `error` is a system error number.
    void end_with_system_error(int error) noexcept {
        error_ = error;
        state_ = State::ended;
    }
    /// As if it had failed with `code` of leat's.
    void fail(errc code) noexcept {
        error_ = -static_cast<std::int32_t>(code);
        state_ = State::ended;
    }

private:
    friend struct detail::OperationAccess;
    friend struct detail::Completions;
    friend class detail::Core;

    enum class State : std::uint8_t {
        idle,
        ended,
        // Parked on its slot or in the kernel.
        in_flight,
        // Ended, and on its way to the user: in the queue's list or in an `Events`.
        queued,
        harvested,
    };

    void abandon() noexcept;

    // Until it is submitted, the source; while in flight, the slot (never the source, which may move or die).
    union {
        Source* source_;
        detail::Slot* slot_;
    };
    // What is left of the buffer; while queued, the next operation of the queue's list.
    union {
        void* data_;
        Operation* next_;
    };
    std::size_t size_;
    // Bytes, or a handle.
    std::size_t value_ = 0;
    // The system's error number if positive, a negated `leat::errc` if negative.
    std::int32_t error_ = 0;
    Kind kind_;
    State state_ = State::idle;
    // Once harvested, the index of its entry in the `Events`: up to 65 535 are found again.
    std::uint16_t entry_ = 0;
};

namespace detail {

/// Operations that have ended and that nobody has been told of, in their order.
///
/// Thread-safety: the owner's thread.
struct Completions {
    Completions() noexcept = default;
    Completions(const Completions&) = delete;
    Completions& operator=(const Completions&) = delete;

    bool is_empty() const noexcept { return first == nullptr; }

    void push(Operation& operation) noexcept {
        operation.state_ = Operation::State::queued;
        operation.next_ = nullptr;
        *tail = &operation;
        tail = &operation.next_;
        --in_flight;
    }

    /// The oldest, or null.
    Operation* pop() noexcept {
        Operation* operation = first;
        if (operation == nullptr) return nullptr;
        first = operation->next_;
        if (first == nullptr) tail = &first;
        operation->state_ = Operation::State::ended;
        return operation;
    }

    /// Takes one out from the middle.
    void remove(Operation& operation) noexcept {
        Operation** link = &first;
        while (*link != nullptr && *link != &operation)
            link = &(*link)->next_;
        if (*link == nullptr) return;
        *link = operation.next_;
        if (*link == nullptr) tail = link;
    }

    void park(Operation& operation) noexcept {
        operation.state_ = Operation::State::in_flight;
        ++in_flight;
    }

    Operation* first = nullptr;
    Operation** tail = &first;
    // Submitted and not ended; those in the list have ended.
    std::size_t in_flight = 0;
};

}  // namespace detail

}  // namespace leat
