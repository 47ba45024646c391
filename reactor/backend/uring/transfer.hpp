// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "src/slot.hpp"

#include <cstdint>

#include <liburing.h>
#include <sys/socket.h>

namespace leat::detail::uring {

/// What an operation needs next.
enum class Step : std::uint8_t {
    ended,
    /// The kernel is to carry it out (`prepare_transfer`).
    transfer,
    /// It is tried by us (`attempt`) whenever the kernel says that its source is ready (`prepare_poll`).
    poll,
};

/// What the record of an operation says of its request, in the place that only an `Events` uses later.
struct Flight {
    static constexpr std::uint16_t
        // It ends with its request's end, unless that brings the result: withdrawn, or its source is being closed.
        cancelled = 1,
        closing = 2,
        // Its source's reads end: what has arrived is to be found, or the end.
        ending = 4,
        // The kernel has refused to wait with it: from here on it is polled.
        polled = 8;

    static bool has(OperationRecord& operation, std::uint16_t flags) noexcept {
        return (OperationAccess::entry(operation) & flags) != 0;
    }
    static void set(OperationRecord& operation, std::uint16_t flags) noexcept {
        std::uint16_t& word = OperationAccess::entry(operation);
        word = static_cast<std::uint16_t>(word | flags);
    }
};

/// Whether the kernel carries out operations of this kind itself.
///
/// Not those on what is no socket: a read of a descriptor that does not block is not waited with (io_uring_enter(2)). Nor
/// a vectored receive: the kernel writes into its msghdr at the end, which would have to live as long.
bool is_transfer(OperationRecord::Kind kind) noexcept;

/// Whether an operation is tried whatever is known of its source: with nothing to move, or a read where reads end.
bool begins_at_once(OperationRecord& operation, const Slot& slot) noexcept;

/// Fills in the request for what is left of the operation. `header` lives until that is submitted. `goes_on`: the kernel
/// may go on until all is done, and tells how far it came where it is stopped (older ones do not).
void prepare_transfer(io_uring_sqe& request, OperationRecord& operation, const Slot& slot, msghdr& header,
                      bool goes_on) noexcept;
void prepare_poll(io_uring_sqe& request, const OperationRecord& operation, const Slot& slot) noexcept;

/// The request of an operation has ended with `result` (a negated error number if negative).
Step take_result(OperationRecord& operation, Slot& slot, std::int32_t result, std::uint32_t flags) noexcept;

}  // namespace leat::detail::uring
