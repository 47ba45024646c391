// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/reactor/lent_buffer.hpp>
#include <leat/reactor/native_handle.hpp>
#include <leat/reactor/slot.hpp>
#include <leat/reactor/source.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

namespace leat {

namespace detail {
class BufferPool;
class Core;
struct OperationAccess;
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

namespace detail {

/// The record of one submitted piece of I/O, without the guard that `Operation` has: for owners who never let go of one
/// in flight, as a task's frame does not.
///
/// Invariants: 1. An operation ends exactly once, on its own completion.
///             2. It is movable until submitted and immovable until it has ended.
///             3. At most one read and one write a source; accept, peek and the wait for readability count as
///                reads, connect and the wait for writability as writes. A second one ends with `errc::busy`.
///
/// Thread-safety: the Poll's owner only.
/// Lifetime:      it and its buffers outlive its end.
class OperationRecord {
public:
    enum class Kind : std::uint8_t {
        accept,
        receive,
        /// Until the buffer is full.
        receive_all,
        receive_vector,
        /// Into a buffer of the queue's, which it takes once there is something to receive.
        receive_lent,
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

    OperationRecord(OperationRecord&& other) noexcept
        : source_(other.source_),
          value_(other.value_),
          data_(other.data_),
          size_(other.size_),
          kind_(other.kind_),
          // One that has ended stays so, and is not taken for one that is yet to be submitted.
          state_(other.state_ == State::idle ? State::idle : State::ended),
          error_(other.error_) {
        if (kind() == Kind::receive_lent) other.lent_ = nullptr;
    }
    OperationRecord& operator=(OperationRecord&&) = delete;

    Kind kind() const noexcept { return static_cast<Kind>(static_cast<unsigned>(kind_) & kind_bits); }
    /// Whether it is a read that ends when its source drains (`SourceWatch::begin_drain`), as at the end of
    /// the stream.
    bool ends_in_drain() const noexcept { return (static_cast<unsigned>(kind_) & until_drain_bit) != 0; }
    /// Whether it has its result. Its event may still be to come; until then, do not move it.
    bool is_ended() const noexcept { return state_ != State::idle && state_ != State::in_flight; }
    /// Whether it was submitted and has not ended.
    bool is_in_flight() const noexcept { return state_ == State::in_flight; }

    /// The handle that it waits on; `invalid_handle` before it was submitted and once it has ended.
    NativeHandle handle() const noexcept { return is_in_flight() ? slot_->handle : invalid_handle; }

    /// Whether it failed; the code tells why.
    bool has_failed() const noexcept { return error_ != 0; }
    std::error_code error() const noexcept;

    /// Bytes moved. Zero from a read of a stream: the peer has closed.
    std::size_t transferred() const noexcept { return value_; }

    /// The connection that was accepted, as a handle that the caller now owns.
    NativeHandle accepted() const noexcept { return static_cast<NativeHandle>(value_); }

    /// What was received into a buffer of the queue's, once: from then on the caller has the buffer. Empty at the end of the
    /// stream.
    LentBuffer take_buffer() noexcept {
        if (kind() != Kind::receive_lent || lent_ == nullptr) return LentBuffer();
        return LentBuffer(std::exchange(lent_, nullptr), value_);
    }

protected:
    OperationRecord(Kind kind, Source& source, void* data, std::size_t size) noexcept
        : source_(&source), value_(0), data_(data), size_(size), kind_(kind) {}
    /// A receive into a buffer that it does not have yet.
    explicit OperationRecord(Source& source) noexcept
        : source_(&source), value_(0), data_(nullptr), lent_(nullptr), kind_(Kind::receive_lent) {}
    /// A receive on an idle source begins its life parked, as `submit` would do it: see `Slot::idle`.
    OperationRecord(Slot& idle, std::span<std::byte> buffer) noexcept
        : slot_(&idle),
          value_(0),
          data_(buffer.data()),
          size_(buffer.size()),
          kind_(Kind::receive),
          state_(State::in_flight) {
        idle.reader = this;
        idle.bits = Slot::waits_for_message;
    }
    ~OperationRecord() = default;

    /// Ends the operation without the kernel, with the system's `error`: for failures before it could be submitted.
    void fail(const std::error_code& error) noexcept {
        error_ = error_number(error);
        state_ = State::ended;
    }
    /// As if it had failed with `code` of leat's.
    void fail(errc code) noexcept {
        error_ = -static_cast<std::int32_t>(code);
        state_ = State::ended;
    }

    /// Of a `send` or `send_all` that has not been submitted, and whose buffer was tried on an idle source: notes what that
    /// brought. True: it has ended. False: it is to be submitted, for what is left.
    bool go_on_after_send(std::ptrdiff_t sent) noexcept;

    void end_in_drain() noexcept {
        kind_ = static_cast<Kind>(static_cast<unsigned>(kind_) | until_drain_bit);
    }

    /// Whether it was submitted once, or has failed before: it is of no use a second time.
    bool is_spent() const noexcept { return state_ != State::idle; }
    bool is_out_of_hands() const noexcept { return state_ > State::ended; }

    /// For awaiters, of a read that has ended at once: whether such reads of its source end. A task that
    /// reads on then gives way by its budget alone, or a peer that never stops sending would always be a read
    /// ahead of the end.
    bool is_of_ending_source() const noexcept {
        return !has_failed() && (slot_->reads_end || (slot_->is_draining && ends_in_drain()));
    }

    /// For awaiters, of one that was submitted and has failed: lets who watches its source know why
    /// (`SourceWatch::last_error`).
    void note_failure() const noexcept;

    // For awaiters: whether the task need not wait. It shares its place with what only an `Events` uses.
    bool is_ready() const noexcept { return (entry_ & ready_bit) != 0; }
    /// What the backend keeps in the other bits stays.
    void set_ready(bool ready) noexcept {
        if (ready) entry_ = ready_bit;
    }

private:
    friend struct OperationAccess;
    friend struct Completions;
    friend class Core;

    enum class State : std::uint8_t {
        idle,
        ended,
        // Parked on its slot or in the kernel.
        in_flight,
        // Ended, and on its way to the user: in the queue's list or in an `Events`.
        queued,
        harvested,
    };

    // Until it is submitted, the source; from then on the slot (never the source, which may move or die), or
    // `no_slot` if the queue has refused it.
    union {
        Source* source_;
        Slot* slot_;
    };
    // Bytes, or a handle.
    std::size_t value_;
    // What is left of the buffer; while queued, the next operation of the queue's list.
    union {
        void* data_;
        OperationRecord* next_;
    };
    // How much that is; of a `receive_lent`, the buffer, if it has ended with one that nobody has taken.
    union {
        std::size_t size_;
        std::byte* lent_;
    };
    static constexpr std::uint16_t ready_bit = 0x8000;
    static constexpr unsigned kind_bits = 0x7f, until_drain_bit = 0x80;
    // In this order, so that one store of a small number begins all four. `kind_` holds `until_drain_bit`
    // too.
    Kind kind_;
    State state_ = State::idle;
    // Once harvested, the index of its entry in the `Events`: up to 65 535 are found again. Of an awaiter: see `is_ready`.
    std::uint16_t entry_ = 0;
    // The system's error number if positive, a negated `leat::errc` if negative.
    std::int32_t error_ = 0;
};

/// What the running task may still do before it gives way.
struct InlineBudget {
    // How many operations may still end at once, and one more.
    std::uint32_t left = 0;
    // Since the task was resumed: how many of its reads have ended at once, and how often this was renewed.
    std::uint16_t reads_at_once = 0;
    std::uint16_t renewals = 0;

    /// As one word, so that a resume costs one store.
    using Word = std::uint64_t;
    Word word() const noexcept { return std::bit_cast<Word>(*this); }
    void begin(Word word) noexcept { *this = std::bit_cast<InlineBudget>(word); }
};

/// What the owner's thread has of a queue: the operations that have ended and that nobody has been told of, in their
/// order, and two counts.
///
/// Thread-safety: the owner's thread.
struct Completions {
    class Batch;
    static constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

    Completions() noexcept = default;
    Completions(const Completions&) = delete;
    Completions& operator=(const Completions&) = delete;

    bool is_empty() const noexcept { return first == nullptr; }

    void push(OperationRecord& operation) noexcept {
        operation.state_ = OperationRecord::State::queued;
        operation.next_ = nullptr;
        *tail = &operation;
        tail = &operation.next_;
    }

    /// The oldest, or null.
    OperationRecord* pop() noexcept {
        OperationRecord* operation = first;
        if (operation == nullptr) return nullptr;
        first = operation->next_;
        if (first == nullptr) tail = &first;
        operation->state_ = OperationRecord::State::ended;
        --in_flight;
        return operation;
    }

    /// Takes one out from the middle.
    void remove(OperationRecord& operation) noexcept {
        OperationRecord** link = &first;
        while (*link != nullptr && *link != &operation)
            link = &(*link)->next_;
        if (*link == nullptr) return;
        *link = operation.next_;
        if (*link == nullptr) tail = link;
        --in_flight;
    }

    /// Calls `deliver(operation)` for those that are there now, the oldest first, and at most `limit` of them; whatever
    /// ends meanwhile comes behind them. Gives how many there were.
    template <class Deliver>
    std::size_t deliver(std::size_t limit, Deliver deliver) noexcept {
        OperationRecord* operation = take(limit);
        std::size_t delivered = 0;
        while (operation != nullptr) {
            OperationRecord& current = *operation;
            operation = current.next_;
            ++delivered;
            deliver(current);
        }
        in_flight -= delivered;
        return delivered;
    }

    /// False: the task is to give way.
    bool consume_budget() noexcept {
        if (budget.left <= 1) return false;
        --budget.left;
        return true;
    }

    void park(OperationRecord& operation) noexcept {
        operation.state_ = OperationRecord::State::in_flight;
        ++in_flight;
    }

    OperationRecord* first = nullptr;
    OperationRecord** tail = &first;
    // Submitted, and nobody has been told of their end.
    std::size_t in_flight = 0;
    // An executor's, which sets it anew for each task that it resumes.
    InlineBudget budget;
    // The backend's: sends on an idle source, with one call. Gives what that gave (or a negated error number) less `size`; if
    // that is not zero, `OperationRecord::go_on_after_send` is to hear of it.
    std::ptrdiff_t (*send)(Slot& idle, const void* data, std::size_t size) noexcept = nullptr;
    // What the queue lends; null until the first buffer is wanted.
    BufferPool* buffers = nullptr;

    /// A buffer to lend, or null if there is no memory. `BufferPool::of` gives it back.
    std::byte* take_buffer() noexcept;

private:
    /// The first of a list of at most `limit`.
    OperationRecord* take(std::size_t limit) noexcept {
        if (limit == 0 || first == nullptr) return nullptr;
        OperationRecord* taken = first;
        OperationRecord** end = tail;
        if (limit != unlimited) {
            end = &first;
            for (; limit != 0 && *end != nullptr; --limit)
                end = &(*end)->next_;
        }
        first = std::exchange(*end, nullptr);
        if (first == nullptr) tail = &first;
        return taken;
    }
};

/// Pushes many one after the other, with the list's end in a register. Between `interrupt` and `resume`, and after the
/// last `interrupt`, the list is as others expect it.
class Completions::Batch {
public:
    explicit Batch(const Completions& completions) noexcept : tail_(completions.tail) {}
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    void push(OperationRecord& operation) noexcept {
        operation.state_ = OperationRecord::State::queued;
        *tail_ = &operation;
        tail_ = &operation.next_;
    }
    void interrupt(Completions& completions) const noexcept {
        *tail_ = nullptr;
        completions.tail = tail_;
    }
    void resume(const Completions& completions) noexcept { tail_ = completions.tail; }

private:
    OperationRecord** tail_;
};

}  // namespace detail

/// One submitted piece of I/O, in memory of the caller's; the Poll tells when it is *done*.
///
/// The same record serves backends that try, wait and try again (epoll) and those that hand the work to the
/// kernel (completions). Derive from it to find your own state in `Event::operation()`.
///
/// It ends exactly once; it is movable until submitted and immovable until it has ended. At most one read and one write
/// a source: accept, peek and the wait for readability count as reads, connect and the wait for writability as writes;
/// a second one ends with `errc::busy`.
///
/// Thread-safety: the Poll's owner only.
/// Lifetime:      it and its buffers outlive its end. Destroyed in flight all the same, it withdraws itself, and
///                waits until the kernel has let go of it; bytes that it had been given meanwhile are lost.
class Operation : public detail::OperationRecord {
public:
    static Operation accept(Source& listener) noexcept { return {Kind::accept, listener, nullptr, 0}; }
    /// `address` points at the system's socket address, which outlives the operation.
    static Operation connect(Source& socket, const void* address, std::size_t size) noexcept {
        return {Kind::connect, socket, const_cast<void*>(address), size};
    }
    static Operation receive(Source& socket, std::span<std::byte> buffer) noexcept {
        return {Kind::receive, socket, buffer.data(), buffer.size()};
    }
    /// At most 4096 bytes into a buffer of the queue's, which `take_buffer` gives: while it waits it has none.
    /// Without memory for one it fails with `not_enough_memory`, and takes nothing from the socket.
    static Operation receive_lent(Source& socket) noexcept { return Operation(socket); }
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

    /// The same read, but while its source drains (`SourceWatch::begin_drain`) it does not wait: it gives
    /// what has arrived, or the end of the stream. For reads that wait for the beginning of something, which
    /// a drain need not wait for.
    ///
    ///     Operation first = Operation::receive(socket, buffer).until_drain();
    Operation until_drain() && noexcept {
        end_in_drain();
        return std::move(*this);
    }

    Operation(Operation&&) noexcept = default;
    Operation& operator=(Operation&&) = delete;
    ~Operation() {
        if (is_out_of_hands()) abandon();
        LentBuffer unclaimed = take_buffer();
    }

protected:
    using OperationRecord::OperationRecord;

private:
    void abandon() noexcept;
};

}  // namespace leat
