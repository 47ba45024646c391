// SPDX-License-Identifier: BSL-1.0
//
// How an operation waits on io_uring.
//
// The kernel is never left to wait with a transfer itself. When it has tried one and would wait, it polls for
// the operation's direction, but also for conditions that the peer controls and that stay: a half-close,
// urgent data, a filled error queue. While one of these lasts, it tries again at once, and after 128 vain
// tries it parks the request on a thread of its own (io_arm_apoll and APOLL_MAX_RETRY in io_uring/poll.c). So
// a peer could take a kernel thread for each connection. Hence:
//
// 1. A transfer is submitted with MSG_DONTWAIT, behind a poll that is linked to it if it would have to wait:
//    still one submission and one completion.
// 2. If it finds nothing after that poll, one of those conditions lasts. From then on the operation has a
//    multishot poll, which is edge-triggered: it completes when something happens on the socket, and costs
//    nothing while nothing does. Each completion has the operation tried by us.
// 3. Such a poll stays with the kernel when its operation is done, so it is cancelled first, and the
//    operation ends with the poll's last completion.
#pragma once

#include "src/slot.hpp"

#include <cstdint>

#include <liburing.h>
#include <sys/socket.h>

namespace leat::detail::uring {

/// What an operation needs next.
enum class Step : std::uint8_t {
    ended,
    /// The kernel carries it out (`prepare_transfer`), after a poll if it would have to wait.
    transfer,
    /// We try it (`attempt`) whenever the kernel says that its source is ready (`prepare_poll`).
    poll,
};

/// Flags about an operation's request, in the field of its record that only an `Events` uses later.
struct Flight {
    static constexpr std::uint16_t
        // Cancelled, or its source is being closed: it ends with its request, unless that brings a result.
        cancelled = 1,
        closing = 2,
        // Its direction ends: it gives what has arrived, or the end.
        ending = 4,
        // The kernel no longer carries it out: we try it after each poll.
        polled = 8,
        // Its poll is multishot.
        edge = 16,
        // It has its result, and waits for the last completion of its poll.
        done = 32;

    static bool has(OperationRecord& operation, std::uint16_t flags) noexcept {
        return (OperationAccess::entry(operation) & flags) != 0;
    }
    static void set(OperationRecord& operation, std::uint16_t flags) noexcept {
        std::uint16_t& word = OperationAccess::entry(operation);
        word = static_cast<std::uint16_t>(word | flags);
    }
};

/// Whether the kernel carries out operations of this kind itself; a `receive_lent` only where it takes
/// buffers from a ring.
///
/// Not those on what is no socket: a read of a descriptor that does not block is not waited with
/// (io_uring_enter(2)). Nor a vectored receive: the kernel writes into its msghdr at the end, which would
/// have to live as long. Nor an accept: a request of the kernel's would take a connection that its canceller
/// no longer wants, and would be the only one of several executors to be woken for it.
bool is_transfer(OperationRecord::Kind kind) noexcept;

/// Whether an operation is tried whatever is known of its source: with nothing to move, or a read where reads end.
bool begins_at_once(OperationRecord& operation, const Slot& slot) noexcept;

/// Fills in the request for what is left of the operation. `header` lives until that is submitted. `buffers`:
/// the group that a `receive_lent` takes its buffer from.
void prepare_transfer(io_uring_sqe& request, OperationRecord& operation, const Slot& slot, msghdr& header,
                      std::uint16_t buffers) noexcept;
/// A poll for the operation's direction: one shot, or edge-triggered (`Flight::edge`).
void prepare_poll(io_uring_sqe& request, OperationRecord& operation, const Slot& slot) noexcept;

/// The request of an operation has completed with `result` (a negated error number if negative). The buffer
/// of a `receive_lent` is the operation's already.
Step take_result(OperationRecord& operation, Slot& slot, std::int32_t result, std::uint32_t flags) noexcept;

}  // namespace leat::detail::uring
