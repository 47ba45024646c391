// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "src/slot.hpp"

namespace leat::detail {

/// Tries to carry out `operation` on its slot without blocking: for backends that learn of readiness (epoll, kqueue).
///
/// True: it has ended, and the slot's bits say whether the next one of its direction is worth a call. False: it would
/// block; the direction's readable or writable bit is then clear.
///
/// EINTR is tried again here. A short read or write clears the bit, since a stream that gave less than was asked for is
/// empty (epoll(7), "Questions and answers", 9), but not once the peer has closed: no further edge would come.
bool attempt(Operation& operation, Slot& slot) noexcept;

/// Whether the socket says, when asked without waiting, that the operation's direction is ready: for a call that would
/// block although an edge had announced otherwise, so that nothing hinges on an edge that will not come again.
bool is_ready_now(const Operation& operation, const Slot& slot) noexcept;

}  // namespace leat::detail
