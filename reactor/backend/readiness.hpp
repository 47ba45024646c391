// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/message_calls.hpp"
#include "src/slot.hpp"

#include <cstddef>
#include <cstdint>

#include <sys/socket.h>
#include <sys/types.h>

namespace leat::detail {

/// What came of trying to carry out an operation without blocking.
enum class Attempt {
    ended,
    /// It gave what there was, and wants more: the next edge comes by itself.
    partial,
    /// The call would have blocked.
    refused,
};

/// Tries to carry out `operation` on its slot: for backends that learn of readiness (epoll, kqueue).
///
/// The slot's bits then say whether another call of the direction is worth while. A short read or write
/// clears the bit, since a TCP stream that gave less than was asked for is empty (epoll(7), "Questions and
/// answers", 9), but not once the peer has closed: no further edge would come; nor on any other source
/// (`learn_short_reads`). EINTR is tried again here.
Attempt attempt(OperationRecord& operation, Slot& slot) noexcept;

/// Whether the socket says, when asked without waiting, that the operation's direction is ready: for a call that was
/// refused although an edge had announced otherwise, so that nothing hinges on an edge that will not come again.
bool is_ready_now(const OperationRecord& operation, const Slot& slot) noexcept;

/// For a source that enters operation mode, whose bits are set: on anything but a TCP stream a short read is
/// no proof that nothing is left. A datagram is shorter than the buffer, and a local stream stops at each
/// message with descriptors or other credentials (unix(7)). There only a call that would block says that the
/// source is empty.
void learn_short_reads(Slot& slot) noexcept;

/// Whether the buffers of a vectored operation have no byte between them: it then ends at once.
bool holds_nothing(OperationRecord& operation) noexcept;

/// Takes empty buffers off the front of a vectored operation, without writing to the array.
void skip_empty(OperationRecord& operation) noexcept;

/// Takes what was sent, and buffers that are empty, off the front of a vectored operation.
void take_off_front(OperationRecord& operation, std::size_t sent) noexcept;

// ---- What every message needs. ----

/// Of a `receive_message` that brought no byte: zero, or a negated error number.
bool received_none(Slot& slot, ssize_t result) noexcept;

/// Of a plain receive that waits for a message and was told that one has come. True: it has ended. False: nothing has
/// happened, and it is to be tried as any other operation. It stands here to be compiled into a backend's loop.
[[gnu::always_inline]] inline bool receive_message(Slot& slot) noexcept {
    const OperationRecord& waiting = *slot.reader;
    ssize_t received =
        receive_now(slot.handle, OperationAccess::data(waiting), OperationAccess::size(waiting));
    if (received <= 0) [[unlikely]]
        return received_none(slot, received);
    // Read anew: cheaper than to keep it across the call.
    OperationRecord& operation = *slot.reader;
    OperationAccess::value(operation) = static_cast<std::size_t>(received);
    slot.moved += static_cast<std::size_t>(received);
    slot.bits = Slot::idle;
    // No queue of a socket holds as much as the kernel moves at most in one call (read(2), NOTES), so less than was asked
    // for is all there was.
    if (static_cast<std::size_t>(received) == OperationAccess::size(operation)) [[unlikely]]
        slot.set(Slot::readable);
    return true;
}

/// For `Completions::send`.
std::ptrdiff_t send_on_idle(Slot& idle, const void* data, std::size_t size) noexcept;

}  // namespace leat::detail
