// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/reactor/lent_buffer.hpp>
#include <leat/reactor/operation.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/io_request.hpp>
#include <leat/runtime/result.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class TcpStream;
class TcpReader;
class TcpWriter;

/// Marks a read that ends when the server drains: see `TcpStream::read`.
struct UntilDrain {
    explicit constexpr UntilDrain() noexcept {}
};
inline constexpr UntilDrain until_drain;

/// How far an operation of several steps came, for whoever must know after an error or a cancellation.
///
/// Lifetime: outlives the scope that may cancel the operation.
struct Progress {
    Progress() noexcept : bytes(0) {}
    std::size_t bytes;
};

/// What reads give: the number of bytes, zero at the end of the stream.
class [[nodiscard]] ReadOperation : public IoOperation {
public:
    using value_type = std::size_t;

    explicit ReadOperation(Operation&& operation) noexcept : IoOperation(std::move(operation)) {}
    /// For `ReadRequest`.
    ReadOperation(detail::Slot& idle, std::span<std::byte> buffer) noexcept : IoOperation(idle, buffer) {}

    std::size_t await_resume() const {
        if (has_failed()) [[unlikely]]
            throw_error("read");
        return transferred();
    }
    Result<std::size_t> result() const noexcept {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return transferred();
    }
    std::string describe() const override;
};

/// What `receive` gives: a lent buffer, empty at the end of the stream.
class [[nodiscard]] ReceiveOperation : public IoOperation {
public:
    using value_type = LentBuffer;

    explicit ReceiveOperation(Operation&& operation) noexcept : IoOperation(std::move(operation)) {}
    ReceiveOperation(ReceiveOperation&&) noexcept = default;
    ~ReceiveOperation() { LentBuffer unclaimed = take_buffer(); }

    LentBuffer await_resume() {
        if (has_failed()) [[unlikely]]
            throw_error("receive");
        return take_buffer();
    }
    Result<LentBuffer> result() noexcept {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return take_buffer();
    }
    std::string describe() const override;
};

/// What `write` gives: the number of bytes taken.
class [[nodiscard]] WriteOperation : public IoOperation {
public:
    using value_type = std::size_t;

    explicit WriteOperation(Operation&& operation) noexcept : IoOperation(std::move(operation)) {}

    std::size_t await_resume() const {
        if (has_failed()) [[unlikely]]
            throw_error("write");
        return transferred();
    }
    Result<std::size_t> result() const noexcept {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return transferred();
    }
    std::string describe() const override;
};

/// What `read_exactly` and `write_all` give: one operation that ends when the whole buffer is done.
class [[nodiscard]] TransferOperation : public IoOperation {
public:
    using value_type = void;

    explicit TransferOperation(Operation&& operation) noexcept : IoOperation(std::move(operation)) {}

    void await_resume() const {
        if (has_failed()) [[unlikely]]
            throw_transfer_error();
    }
    Result<void> result() const noexcept {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return Result<void>();
    }
    std::string describe() const override;

private:
    [[noreturn]] void throw_transfer_error() const;
};

/// The same, which tells how far it came, also when it fails or is cancelled.
class [[nodiscard]] TrackedTransferOperation : public TransferOperation {
public:
    TrackedTransferOperation(Operation&& operation, Progress& progress) noexcept
        : TransferOperation(std::move(operation)), progress_(&progress) {}
    TrackedTransferOperation(TrackedTransferOperation&& other) noexcept
        : TransferOperation(static_cast<TransferOperation&&>(other)),
          progress_(std::exchange(other.progress_, nullptr)) {}
    ~TrackedTransferOperation() {
        if (progress_ != nullptr) progress_->bytes = transferred();
    }

private:
    Progress* progress_;
};

class ConnectOperation;

/// Which half of a connection to shut down.
enum class Half { read, write, both };

/// Options set on a socket before it connects.
struct ConnectOptions {
    ConnectOptions() noexcept = default;

    /// Where to connect from; chosen by the system if missing.
    std::optional<Address> local;
    /// Sends small writes at once (TCP_NODELAY).
    bool no_delay = true;
};

/// A read or write that is wanted: to be awaited, or wrapped in `as_result`, `as_outcome` or `timeout`.
/// Until then it has done nothing, and the stream stays where it is.
using TcpRead = ReadRequest<ReadOperation>;
using TcpWrite = WriteRequest<WriteOperation, Operation::Kind::send>;
using TcpWriteAll = WriteRequest<TransferOperation, Operation::Kind::send_all>;

/// A TCP connection.
///
/// Awaitable on an executor, to which it binds at its first await; or a `Source` for a bare `Poll`, with
/// the `try_` forms. A stream bound to one queue cannot be used with another until `release`.
///
/// Thread-safety: one thread at a time; once it awaits, the executor's thread. One read and one write may overlap;
///                a second one of a direction fails with `leat::errc::busy`.
/// Lifetime:      may outlive the executor. Closing or destroying it ends operations that wait with
///                `leat::errc::closed`. Moving it is harmless, also while an operation waits.
class TcpStream {
public:
    TcpStream() noexcept = default;

    /// Connects to `address`.
    ///
    ///     leat::TcpStream stream = co_await leat::TcpStream::connect(leat::Address::parse("127.0.0.1:7777"));
    ///
    /// Errors:       the system's (connection_refused, timed_out, network_unreachable, …), EMFILE.
    /// Cancellation: the socket is closed; a connection that came all the same is returned if it came first.
    static ConnectOperation connect(const Address& address);
    static ConnectOperation connect(const Address& address, const ConnectOptions& options);

    /// Takes over a connected socket and makes it non-blocking and close-on-exec.
    ///
    /// Errors: `std::system_error` if it is no stream socket; the handle then stays the caller's.
    static TcpStream adopt(NativeHandle handle);
    /// Gives the socket away, still non-blocking; the stream is closed then.
    [[nodiscard]] NativeHandle release() noexcept { return source_.release(); }

    bool is_open() const noexcept { return source_.is_open(); }
    NativeHandle native_handle() const noexcept { return source_.native_handle(); }
    /// For a `Registrator`, or for operations of your own.
    Source& source() noexcept { return source_; }

    /// Reads what has arrived, at most `buffer.size()` bytes; zero means that the peer closed.
    ///
    /// Returns after the first bytes rather than waiting to fill the buffer. An empty buffer gives zero at
    /// once.
    ///
    /// Lifetime:      `buffer` outlives the await; closing the stream ends it with `leat::errc::closed`.
    /// Errors:        the socket's, as `std::system_error`; `connection_reset` is the common one.
    /// Cancellation:  nothing is lost: bytes that have arrived are returned first.
    /// Complexity:    one system call when data waits; no allocation.
    ///
    ///     std::size_t received = co_await stream.read(buffer);
    TcpRead read(std::span<std::byte> buffer) noexcept { return {source_, buffer.data(), buffer.size()}; }
    /// The same without a span on the way, which would stand in the coroutine's frame.
    template <WritableBytes B>
    TcpRead read(B&& buffer) noexcept {
        return {source_, std::data(buffer), std::size(buffer)};
    }
    /// Fills the buffers in their order. The array of buffers outlives the await too.
    ReadOperation read(std::span<const MutableBuffer> buffers) noexcept {
        return ReadOperation(Operation::receive(source_, buffers));
    }
    /// Reads what has arrived, at most 4096 bytes, and lends it in a buffer of the executor's; empty: the
    /// peer closed.
    ///
    /// While it waits there is no buffer: one is taken once a byte is there, and is back when what this
    /// gives goes or is `reset`. So idle connections hold none between them, and there are as many as there
    /// are chunks in use at a time. Counts as a read.
    ///
    /// Lifetime:      the chunk may outlive the stream and the executor; its buffer is of use to others once it has gone.
    /// Errors:        those of `read`; `not_enough_memory`, after which the bytes are still there for the next one.
    /// Cancellation:  nothing is lost: bytes that have arrived are returned first.
    /// Complexity:    one system call when data waits; no allocation while the number of buffers in use is
    ///                steady.
    ///
    ///     leat::LentBuffer chunk = co_await stream.receive();
    ///     if (chunk.empty()) co_return;
    ///     co_await stream.write_all(chunk);
    ReceiveOperation receive() noexcept { return ReceiveOperation(Operation::receive_lent(source_)); }
    /// Reads that end when the server drains: for the beginning of a request. When the drain's lame duck is
    /// over, they give what has arrived; if nothing has, they give the end of the stream at once. To tell
    /// that end from the peer's, ask `is_draining`: false means that the peer has closed. A connection that
    /// has moved no byte yet is the exception: its first request may be under way, so its reads end by quiet
    /// (`ServeOptions::drain_quiet`). Once a request has begun, read its rest without `until_drain`.
    ///
    /// A client that sends without a pause does not let such a read end: return after an answer if
    /// `is_draining`. For a header of fixed size `peek` first, then `read_exactly`.
    ///
    /// Errors and cancellation are those of the read without the mark. One that finds bytes gives them, in a
    /// drain too.
    ///
    ///     std::size_t received = co_await peer.read(buffer, leat::until_drain);
    ///     if (received == 0) co_return;      // the peer has closed, or the server drains
    ReadOperation read(std::span<std::byte> buffer, UntilDrain) noexcept {
        return ReadOperation(Operation::receive(source_, buffer).until_drain());
    }
    ReceiveOperation receive(UntilDrain) noexcept {
        return ReceiveOperation(Operation::receive_lent(source_).until_drain());
    }
    ReadOperation peek(std::span<std::byte> buffer, UntilDrain) noexcept {
        return ReadOperation(Operation::peek(source_, buffer).until_drain());
    }
    /// Whether reads `until_drain` end now: the server that accepted the connection drains, its lame duck is
    /// over, and the connection has moved something.
    ///
    /// Thread-safety: the executor's thread.
    bool is_draining() const noexcept { return source_.is_draining(); }
    /// Reads without taking: the next read finds the same bytes.
    ReadOperation peek(std::span<std::byte> buffer) noexcept {
        return ReadOperation(Operation::peek(source_, buffer));
    }
    /// Reads until `buffer` is full.
    ///
    /// Errors:       `leat::errc::unexpected_end` if the peer closes before; the socket's.
    /// Cancellation: a part may have been read; `progress` tells how much.
    TransferOperation read_exactly(std::span<std::byte> buffer) noexcept {
        return TransferOperation(Operation::receive_all(source_, buffer));
    }
    TrackedTransferOperation read_exactly(std::span<std::byte> buffer, Progress& progress) noexcept {
        return TrackedTransferOperation(Operation::receive_all(source_, buffer), progress);
    }

    /// Writes what fits, at least one byte of a buffer that is not empty, and gives how much that was.
    ///
    /// Errors:       the socket's; `broken_pipe` or `connection_reset` if the peer is gone. No SIGPIPE is raised.
    /// Cancellation: what was taken is returned first.
    TcpWrite write(std::span<const std::byte> buffer) noexcept {
        return {source_, buffer.data(), buffer.size()};
    }
    template <ReadableBytes B>
    TcpWrite write(B&& buffer) noexcept {
        return {source_, std::data(buffer), std::size(buffer)};
    }
    /// Text: `write("hello\n")`, or a string.
    TcpWrite write(TextBytes text) noexcept { return write(text.bytes()); }
    WriteOperation write(std::span<const ConstBuffer> buffers) noexcept {
        return WriteOperation(Operation::send(source_, buffers));
    }
    /// Writes all of `buffer`.
    ///
    /// Cancellation: a part may have been written; `progress` tells how much.
    TcpWriteAll write_all(std::span<const std::byte> buffer) noexcept {
        return {source_, buffer.data(), buffer.size()};
    }
    template <ReadableBytes B>
    TcpWriteAll write_all(B&& buffer) noexcept {
        return {source_, std::data(buffer), std::size(buffer)};
    }
    TrackedTransferOperation write_all(std::span<const std::byte> buffer, Progress& progress) noexcept {
        return TrackedTransferOperation(Operation::send_all(source_, buffer), progress);
    }
    /// All of a text: `write_all("hello\n")`, or a string; a literal goes without the NUL at its end.
    TcpWriteAll write_all(TextBytes text) noexcept { return write_all(text.bytes()); }
    TrackedTransferOperation write_all(TextBytes text, Progress& progress) noexcept {
        return write_all(text.bytes(), progress);
    }
    /// Writes all of `buffers`, in order; the array is used up on the way.
    TransferOperation write_all(std::span<ConstBuffer> buffers) noexcept {
        return TransferOperation(Operation::send_all(source_, buffers));
    }
    TrackedTransferOperation write_all(std::span<ConstBuffer> buffers, Progress& progress) noexcept {
        return TrackedTransferOperation(Operation::send_all(source_, buffers), progress);
    }

    /// Waits until a read would find bytes, the end or an error; takes nothing. Counts as a read.
    ///
    /// In a drain (`ServeControl::drain`) it ends once the connection is quiet. If you then find nothing in
    /// the descriptor itself, ask `source().reads_end()` before you wait again: whether the drain has ended
    /// the connection's reads.
    ReadinessOperation readable() noexcept { return leat::readable(source_); }
    /// The same, but in a drain it ends at once, as reads `until_drain` do. If you then find nothing, ask
    /// `is_draining` before you wait again.
    ReadinessOperation readable(UntilDrain) noexcept {
        return ReadinessOperation(Operation::wait_readable(source_).until_drain());
    }
    /// Waits until a write would take something or fail. Counts as a write.
    ReadinessOperation writable() noexcept { return leat::writable(source_); }

    /// Reads without waiting, for a bare queue. Nothing if there is nothing to read now.
    ///
    /// Errors: the socket's; with the code left clear, an empty optional means "would block".
    std::optional<std::size_t> try_read(std::span<std::byte> buffer, std::error_code& error) noexcept;
    std::optional<std::size_t> try_read(std::span<std::byte> buffer);
    /// The same without taking it. Take what is there before you wait for more: on Windows unread bytes
    /// bring no other event.
    std::optional<std::size_t> try_peek(std::span<std::byte> buffer, std::error_code& error) noexcept;
    /// Writes without waiting; nothing if the socket takes nothing now.
    std::optional<std::size_t> try_write(std::span<const std::byte> buffer, std::error_code& error) noexcept;
    std::optional<std::size_t> try_write(std::span<const std::byte> buffer);
    std::optional<std::size_t> try_write(TextBytes text, std::error_code& error) noexcept {
        return try_write(text.bytes(), error);
    }
    std::optional<std::size_t> try_write(TextBytes text) { return try_write(text.bytes()); }
    /// Starts to connect without waiting. The socket reports writable when it is decided; `take_error`
    /// tells how.
    static TcpStream start_connect(const Address& address);
    /// The socket's pending error (SO_ERROR), which it forgets thereby.
    std::error_code take_error() noexcept;

    /// Ends one direction. After `Half::write` the peer reads the end of the stream, and writes fail with
    /// `broken_pipe`, also the one that waits. After `Half::read` reads give the end, also the one that
    /// waits; whether they first give what has arrived is the system's affair (Linux gives it, BSD and
    /// Windows do not). Twice is harmless.
    ///
    /// Errors: the system's, but not that the peer has gone already.
    void shutdown(Half half);
    void shutdown(Half half, std::error_code& error) noexcept;
    /// Closes both directions and the handle. What was written before is still delivered, unless
    /// `set_linger(0)`.
    void close() noexcept { source_.close(); }

    /// An IPv4 connection has IPv4 addresses, also if an IPv6 listener has accepted it: see `Address`.
    ///
    /// Errors of the following: `std::system_error`.
    Address local_address() const;
    Address peer_address() const;

    void set_no_delay(bool on);
    bool no_delay() const;
    /// How long the connection may be silent before the system probes the peer, how often, and how many
    /// times.
    struct KeepAlive {
        KeepAlive() noexcept = default;
        /// Whole seconds, as the system counts them.
        std::chrono::seconds idle{60};
        std::chrono::seconds interval{10};
        int probes = 6;
    };
    void set_keep_alive(const KeepAlive& settings);
    void disable_keep_alive();
    bool keep_alive() const;
    /// What `close` does with unsent data: nothing set, the system sends it in the background; zero, it
    /// resets the connection. Other values would block in `close` and are refused with `invalid_argument`.
    void set_linger(std::optional<std::chrono::seconds> linger);
    std::optional<std::chrono::seconds> linger() const;
    void set_receive_buffer_size(int bytes);
    int receive_buffer_size() const;
    void set_send_buffer_size(int bytes);
    int send_buffer_size() const;
    /// How long sent data may stay unacknowledged before the connection ends (TCP_USER_TIMEOUT, RFC 5482);
    /// zero: the system's default.
    void set_user_timeout(std::chrono::milliseconds timeout);
    std::chrono::milliseconds user_timeout() const;
    void set_ttl(int hops);
    int ttl() const;

    /// Two owners of the connection, one for each direction. The stream itself is closed then.
    ///
    /// Lifetime: the socket closes when both are gone; the end of the writer shuts the writing half down.
    std::pair<TcpReader, TcpWriter> split() &&;

private:
    friend class TcpListener;
    friend class AcceptOperation;
    friend class ConnectOperation;
    explicit TcpStream(Source&& source) noexcept : source_(std::move(source)) {}

    Source source_;
};

/// What `TcpStream::connect` gives.
class [[nodiscard]] ConnectOperation : public IoOperation {
public:
    using value_type = TcpStream;

    ConnectOperation(ConnectOperation&& other) noexcept;

    bool await_ready() noexcept;
    TcpStream await_resume();
    Result<TcpStream> result();
    std::string describe() const override;

private:
    friend class TcpStream;
    ConnectOperation(const Address& address, const ConnectOptions& options) noexcept;

    Address address_;
    ConnectOptions options_;
    Source socket_;
    // The system's form of the address; in place, as the operation points at it.
    alignas(8) std::byte native_[32]{};
};

/// The reading half of a connection.
class TcpReader {
public:
    TcpRead read(std::span<std::byte> buffer) noexcept { return stream_->read(buffer); }
    ReadOperation read(std::span<const MutableBuffer> buffers) noexcept { return stream_->read(buffers); }
    TransferOperation read_exactly(std::span<std::byte> buffer) noexcept {
        return stream_->read_exactly(buffer);
    }
    TrackedTransferOperation read_exactly(std::span<std::byte> buffer, Progress& progress) noexcept {
        return stream_->read_exactly(buffer, progress);
    }
    ReceiveOperation receive() noexcept { return stream_->receive(); }
    ReadOperation peek(std::span<std::byte> buffer) noexcept { return stream_->peek(buffer); }
    ReadinessOperation readable() noexcept { return stream_->readable(); }
    /// See `TcpStream::read` with `until_drain`.
    ReadOperation read(std::span<std::byte> buffer, UntilDrain mark) noexcept {
        return stream_->read(buffer, mark);
    }
    ReceiveOperation receive(UntilDrain mark) noexcept { return stream_->receive(mark); }
    ReadOperation peek(std::span<std::byte> buffer, UntilDrain mark) noexcept {
        return stream_->peek(buffer, mark);
    }
    ReadinessOperation readable(UntilDrain mark) noexcept { return stream_->readable(mark); }
    TcpStream& stream() noexcept { return *stream_; }

private:
    friend class TcpStream;
    explicit TcpReader(std::shared_ptr<TcpStream> stream) noexcept : stream_(std::move(stream)) {}

    std::shared_ptr<TcpStream> stream_;
};

/// The writing half of a connection; its end is the peer's end of stream.
class TcpWriter {
public:
    TcpWriter(TcpWriter&&) noexcept = default;
    TcpWriter& operator=(TcpWriter&& other) noexcept {
        std::swap(stream_, other.stream_);
        return *this;
    }
    ~TcpWriter() {
        std::error_code ignored;  // The peer may be gone already; there is nobody to tell.
        if (stream_ != nullptr) stream_->shutdown(Half::write, ignored);
    }

    TcpWrite write(std::span<const std::byte> buffer) noexcept { return stream_->write(buffer); }
    WriteOperation write(std::span<const ConstBuffer> buffers) noexcept { return stream_->write(buffers); }
    TcpWriteAll write_all(std::span<const std::byte> buffer) noexcept { return stream_->write_all(buffer); }
    TcpWrite write(TextBytes text) noexcept { return stream_->write(text); }
    TcpWriteAll write_all(TextBytes text) noexcept { return stream_->write_all(text); }
    TrackedTransferOperation write_all(TextBytes text, Progress& progress) noexcept {
        return stream_->write_all(text, progress);
    }
    TransferOperation write_all(std::span<ConstBuffer> buffers) noexcept {
        return stream_->write_all(buffers);
    }
    TrackedTransferOperation write_all(std::span<const std::byte> buffer, Progress& progress) noexcept {
        return stream_->write_all(buffer, progress);
    }
    TrackedTransferOperation write_all(std::span<ConstBuffer> buffers, Progress& progress) noexcept {
        return stream_->write_all(buffers, progress);
    }
    ReadinessOperation writable() noexcept { return stream_->writable(); }
    TcpStream& stream() noexcept { return *stream_; }

private:
    friend class TcpStream;
    explicit TcpWriter(std::shared_ptr<TcpStream> stream) noexcept : stream_(std::move(stream)) {}

    std::shared_ptr<TcpStream> stream_;
};

}  // namespace leat

#pragma GCC diagnostic pop
