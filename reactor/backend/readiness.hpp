// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "src/slot.hpp"

#include <algorithm>
#include <cerrno>
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

/// Calls again what a signal has interrupted; after a thousand times in a row the error is believed, so that nothing that
/// always says EINTR can spin us for ever.
template <class Call>
[[gnu::noinline, gnu::cold]] ssize_t again_after_interruption(Call call) noexcept {
    ssize_t result = -1;
    for (int left = 1000; result < 0 && errno == EINTR && left != 0; --left) result = call();
    return result;
}
template <class Call>
inline ssize_t without_interruption(Call call) noexcept {
    ssize_t result = call();
    if (result >= 0) [[likely]]
        return result;
    return again_after_interruption(call);
}

/// Of a call that failed: the operation's error, or that it would have blocked.
[[gnu::noinline, gnu::cold]] inline Attempt failed(Operation& operation, Slot& slot, std::uint8_t ready_bit) noexcept {
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        slot.bits = static_cast<std::uint8_t>(slot.bits & ~ready_bit);
        return Attempt::refused;
    }
    OperationAccess::error(operation) = errno;
    return Attempt::ended;
}

/// Of a call that moved `bytes` of the `asked` ones.
inline void note_moved(Slot& slot, std::size_t bytes, std::size_t asked, std::uint8_t ready_bit,
                       std::uint8_t closed_bit) noexcept {
    slot.moved += bytes;
    if (bytes < asked && (slot.bits & closed_bit) == 0) slot.bits = static_cast<std::uint8_t>(slot.bits & ~ready_bit);
}

[[gnu::always_inline]] inline Attempt attempt_receive(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(OperationAccess::size(operation), largest_transfer);
    if (size == 0) [[unlikely]]
        return Attempt::ended;
    ssize_t received =
        without_interruption([&] { return ::recv(slot.handle, OperationAccess::data(operation), size, 0); });
    if (received < 0) [[unlikely]]
        return failed(operation, slot, Slot::readable);
    OperationAccess::value(operation) = static_cast<std::size_t>(received);
    note_moved(slot, static_cast<std::size_t>(received), size, Slot::readable, Slot::read_closed);
    return Attempt::ended;
}

[[gnu::always_inline]] inline Attempt attempt_send_all(Operation& operation, Slot& slot) noexcept {
    for (;;) {
        std::size_t left = OperationAccess::size(operation);
        if (left == 0) [[unlikely]]
            return Attempt::ended;
        std::size_t size = std::min(left, largest_transfer);
        ssize_t sent = without_interruption(
            [&] { return ::send(slot.handle, OperationAccess::data(operation), size, MSG_NOSIGNAL); });
        if (sent < 0) [[unlikely]]
            return failed(operation, slot, Slot::writable);
        std::size_t bytes = static_cast<std::size_t>(sent);
        OperationAccess::value(operation) += bytes;
        note_moved(slot, bytes, size, Slot::writable, Slot::write_closed);
        if (bytes == left) [[likely]]
            return Attempt::ended;
        OperationAccess::data(operation) = static_cast<std::byte*>(OperationAccess::data(operation)) + bytes;
        OperationAccess::size(operation) = left - bytes;
        if ((slot.bits & Slot::writable) == 0) return Attempt::partial;
    }
}

/// For a parked read, which is most often this kind.
[[gnu::always_inline]] inline Attempt attempt_read(Operation& operation, Slot& slot) noexcept {
    if (operation.kind() == Operation::Kind::receive) [[likely]]
        return attempt_receive(operation, slot);
    return attempt(operation, slot);
}

/// For what is submitted and ends at once, which is most often this kind.
[[gnu::always_inline]] inline Attempt attempt_first(Operation& operation, Slot& slot) noexcept {
    if (operation.kind() == Operation::Kind::send_all) [[likely]]
        return attempt_send_all(operation, slot);
    return attempt(operation, slot);
}

}  // namespace leat::detail
