// SPDX-License-Identifier: BSL-1.0
#pragma once

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
/// The slot's bits then say whether another call of the direction is worth while. A short read or write clears the bit,
/// since a stream that gave less than was asked for is empty (epoll(7), "Questions and answers", 9), but not once the
/// peer has closed: no further edge would come. EINTR is tried again here.
Attempt attempt(Operation& operation, Slot& slot) noexcept;

/// Whether the socket says, when asked without waiting, that the operation's direction is ready: for a call that was
/// refused although an edge had announced otherwise, so that nothing hinges on an edge that will not come again.
bool is_ready_now(const Operation& operation, const Slot& slot) noexcept;

/// Whether the buffers of a vectored operation have no byte between them: it then ends at once.
bool holds_nothing(Operation& operation) noexcept;

// ---- The two kinds that every message needs stand here, to be compiled into the backend's loop. ----

/// The largest transfer of one call (read(2), NOTES); more would be cut by the kernel anyhow.
inline constexpr std::size_t largest_transfer = 0x7ffff000;

/// Of a first call that failed: tries again if a signal has interrupted it, else as `attempt` would answer.
Attempt failed(Operation& operation, Slot& slot, std::uint8_t ready_bit) noexcept;

/// Goes on with the rest of a `send_all` of which `sent` bytes have gone.
Attempt sent_a_part(Operation& operation, Slot& slot, std::size_t sent) noexcept;

/// Of a call that moved `bytes` of the `asked` ones.
inline void note_moved(Slot& slot, std::size_t bytes, std::size_t asked, std::uint8_t ready_bit,
                       std::uint8_t closed_bit) noexcept {
    slot.moved += bytes;
    if (bytes < asked && (slot.bits & closed_bit) == 0)
        slot.bits = static_cast<std::uint8_t>(slot.bits & ~ready_bit);
}

/// `attempt` for a parked read, which is most often a plain receive: that is compiled into the backend's loop.
[[gnu::always_inline]] inline Attempt attempt_parked_read(Operation& operation, Slot& slot) noexcept {
    std::size_t size = OperationAccess::size(operation);
    if (operation.kind() != Operation::Kind::receive || size - 1 >= largest_transfer) [[unlikely]]
        return attempt(operation, slot);
    ssize_t received = ::recv(slot.handle, OperationAccess::data(operation), size, 0);
    if (received < 0) [[unlikely]]
        return failed(operation, slot, Slot::readable);
    OperationAccess::value(operation) = static_cast<std::size_t>(received);
    note_moved(slot, static_cast<std::size_t>(received), size, Slot::readable, Slot::read_closed);
    return Attempt::ended;
}

/// `attempt` for a whole buffer to send, which most often goes in one call.
[[gnu::always_inline]] inline Attempt attempt_send_all(Operation& operation, Slot& slot) noexcept {
    std::size_t size = OperationAccess::size(operation);
    if (size - 1 >= largest_transfer) [[unlikely]]
        return attempt(operation, slot);
    ssize_t sent = ::send(slot.handle, OperationAccess::data(operation), size, MSG_NOSIGNAL);
    if (sent < 0) [[unlikely]]
        return failed(operation, slot, Slot::writable);
    if (static_cast<std::size_t>(sent) != size) [[unlikely]]
        return sent_a_part(operation, slot, static_cast<std::size_t>(sent));
    OperationAccess::value(operation) += size;
    slot.moved += size;
    return Attempt::ended;
}

}  // namespace leat::detail
