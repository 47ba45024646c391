// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/interest.hpp>
#include <leat/reactor/native_handle.hpp>
#include <leat/reactor/slot.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

namespace leat {

namespace detail {
class Core;
struct OperationAccess;
}  // namespace detail

/// An open handle that can be registered with a Poll; it owns the handle and closes it.
///
/// A source belongs to at most one Poll at a time: it is registered for *interest* by a Registrator, or
/// bound for *operations* by the first one submitted on it. Closing it first withdraws that, so that no event
/// of it can come afterwards, not even when the number of the handle is used again. A second source of the
/// same handle is refused by that Poll with `std::errc::file_exists`.
///
/// Thread-safety: one thread at a time; with operations in flight, the Poll's owner only.
/// Lifetime:      may outlive the Poll. Moving it is harmless, also while an operation waits.
class Source {
public:
    Source() noexcept = default;

    /// Takes over `handle`, which is non-blocking and close-on-exec already.
    explicit Source(NativeHandle handle) noexcept : handle_(handle) {}
    /// The same for a handle that is known to be a TCP socket, so that the queue does not ask the kernel:
    /// only there does a read that gives less than was asked for prove that nothing is left.
    static Source tcp(NativeHandle handle) noexcept {
        Source source(handle);
        source.is_tcp_ = true;
        return source;
    }
    /// Whether it was made by `tcp`.
    bool is_known_as_tcp() const noexcept { return is_tcp_; }

    Source(Source&& other) noexcept;
    Source& operator=(Source&& other) noexcept;
    ~Source();

    bool is_open() const noexcept { return handle_ != invalid_handle; }

    /// The handle, still owned by the source; `invalid_handle` once closed.
    NativeHandle native_handle() const noexcept { return handle_; }

    /// Gives the handle away and leaves the source closed. Its registration is removed first.
    /// A waiting operation ends with `leat::errc::closed`.
    [[nodiscard]] NativeHandle release() noexcept;

    /// Removes the registration, then closes the handle. A waiting operation ends once, with
    /// `leat::errc::closed`. Closing twice is harmless.
    void close() noexcept;

    /// Says that a call on the handle found nothing to read, or no room to write, or moved less than was asked for. Who calls
    /// the system himself on a source that is registered for interest says so, and the next event of the direction is
    /// certain on every system: Windows does not tell when readiness comes, only that it is there, and so each
    /// direction is reported once until this is called. Elsewhere it does nothing. The sockets of `net` do it themselves.
    ///
    /// Not after the end of a stream, which would be reported for ever, nor after a look that took nothing.
    ///
    /// Thread-safety: as the source.
    /// Complexity:    on Windows the queue's lock, and a system call after each event; nothing elsewhere.
    void rearm(Interest interest) noexcept;

    /// Says that a call on the handle has ended a direction: a shutdown. An operation that waits in it is
    /// tried again, and finds that. Not every system reports it: Windows does not, nor does Linux for a local
    /// socket. The sockets of `net` call this themselves.
    ///
    /// Thread-safety: the Poll's owner.
    void retry(Interest interest) noexcept;

    /// For awaiters: the slot, if the source is bound to `queue` (which is null in a cancelled scope) and idle there.
    detail::Slot* idle_slot(const detail::Completions* queue) const noexcept {
        if (slot_->queue != queue || slot_->bits != detail::Slot::idle) [[unlikely]]
            return nullptr;
        return slot_;
    }

    /// Whether `SourceWatch::end_reads` has been called.
    bool reads_end() const noexcept { return slot_->reads_end; }
    /// Whether `SourceWatch::begin_drain` has been called.
    bool is_draining() const noexcept { return slot_->is_draining; }

private:
    friend class detail::Core;
    friend class detail::OperationRecord;
    friend struct detail::OperationAccess;
    friend class SourceWatch;

    bool has_slot() const noexcept { return slot_ != &detail::no_slot; }
    void detach() noexcept;

    NativeHandle handle_ = invalid_handle;
    bool is_tcp_ = false;
    // `no_slot` until registered or bound. A reference on the slot's core is held while it is another.
    detail::Slot* slot_ = &detail::no_slot;
};

/// Looks at a bound source that somebody else owns and may close, without keeping it. One a source.
///
/// Thread-safety: the Poll's owner.
/// Lifetime:      ends before the Poll.
class SourceWatch {
public:
    SourceWatch() noexcept = default;
    /// `source` is bound already: see `Poll::bind`.
    explicit SourceWatch(const Source& source) noexcept;
    SourceWatch(const SourceWatch&) = delete;
    SourceWatch& operator=(const SourceWatch&) = delete;
    ~SourceWatch();

    /// The handle, or `invalid_handle` once the source was closed or released. Never a stranger's.
    NativeHandle native_handle() const noexcept;
    /// Bytes that operations have moved, both directions together; what it was at the end, once closed.
    std::uint64_t moved() const noexcept;

    /// The last error that was noted for the source, also once it is closed: by the task that awaited an
    /// operation, or by `note_error`. Of leat's own codes only `unexpected_end` and `closed` are noted: the
    /// others say something about the program, not about the source. Nor is `broken_pipe` noted after
    /// `note_shutdown`.
    std::error_code last_error() const noexcept;
    /// Notes `error`, if there is one and anybody watches `source`: for a call on the handle past the queue.
    static void note_error(const Source& source, const std::error_code& error) noexcept;
    /// Notes that the program has ended the source's writing half: what it writes afterwards is a mistake of
    /// its own.
    static void note_shutdown(const Source& source) noexcept;

    /// Lets reads of the source give what has arrived and then the end, as if the peer had closed: the one that waits, and
    /// all that come. The connection itself does not change, and goes on taking what the peer sends.
    void end_reads() noexcept;
    /// As `end_reads`, but only for reads that are marked with `Operation::until_drain`; others go on
    /// waiting.
    void begin_drain() noexcept;
    /// As `Source::retry`, of both directions.
    void retry() noexcept;

    /// When its owner closes the source, the handle of a socket stays open and is the watch's, if closing it might cost the peer
    /// something: bytes that it has not acknowledged, or that nobody has read. The peer is told of the end then. Not if
    /// closing is to reset the connection (a linger of zero).
    void keep_handle() noexcept { keeps_handle_ = true; }
    /// The handle that was kept; the caller's then. `invalid_handle` if there is none.
    [[nodiscard]] NativeHandle take_handle() noexcept { return std::exchange(kept_, invalid_handle); }

private:
    friend class detail::Core;
    friend class detail::OperationRecord;
    friend class Source;

    detail::Slot* slot() const noexcept;
    void note_error(std::int32_t number) noexcept;
    void source_closed(std::uint64_t moved) noexcept { state_ = moved << 1 | 1; }

    // Even: the address of the source's slot. Odd: it was closed, and this is twice the bytes that it had moved. In one
    // word, since a server has a watch for each connection.
    std::uint64_t state_ = 1;
    NativeHandle kept_ = invalid_handle;
    bool keeps_handle_ = false;
    // By `note_shutdown`: the writing half.
    bool is_shut_ = false;
    // As in an operation; no system's numbers are larger. Beside the flags, where it takes no place.
    std::int16_t error_ = 0;
};

}  // namespace leat
