// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/transfer.hpp"

#include "backend/readiness.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>

#include <poll.h>

namespace leat::detail::uring {

namespace {

using Access = OperationAccess;
using Kind = OperationRecord::Kind;

// Of one request; the kernel moves no more in one (read(2), NOTES).
constexpr std::size_t largest_transfer = 0x7ffff000;

unsigned transfer_size(const OperationRecord& operation) noexcept {
    return static_cast<unsigned>(std::min(Access::size(operation), largest_transfer));
}

Step end_with(OperationRecord& operation, std::int32_t error) noexcept {
    Access::error(operation) = error;
    return Step::ended;
}

Step tried(Attempt outcome) noexcept { return outcome == Attempt::ended ? Step::ended : Step::poll; }

/// Of one that went on until its buffer was done: `moved` more of it are.
Step go_on(OperationRecord& operation, std::size_t moved) noexcept {
    Access::value(operation) += moved;
    Access::data(operation) = static_cast<std::byte*>(Access::data(operation)) + moved;
    Access::size(operation) -= moved;
    return Access::size(operation) == 0 ? Step::ended : Step::transfer;
}

Step take_received(OperationRecord& operation, Slot& slot, std::size_t received,
                   std::uint32_t flags) noexcept {
    slot.moved += received;
    // Whether the next receive is worth trying before it is waited with.
    if ((flags & IORING_CQE_F_SOCK_NONEMPTY) != 0)
        slot.set(Slot::readable);
    else
        slot.clear(Slot::readable);
    if (operation.kind() == Kind::receive) {
        Access::value(operation) = received;
        return Step::ended;
    }
    if (received == 0) return end_with(operation, -static_cast<std::int32_t>(errc::unexpected_end));
    const Step step = go_on(operation, received);
    return step == Step::transfer && Access::finds_end(operation, slot) ? tried(attempt(operation, slot)) : step;
}

Step take_sent(OperationRecord& operation, Slot& slot, std::size_t sent) noexcept {
    slot.moved += sent;
    slot.set(Slot::writable);
    switch (operation.kind()) {
    case Kind::send_all:
        return go_on(operation, sent);
    case Kind::send_vector_all:
        Access::value(operation) += sent;
        take_off_front(operation, sent);
        return Access::size(operation) == 0 ? Step::ended : Step::transfer;
    default:
        Access::value(operation) = sent;
        return Step::ended;
    }
}

Step take_failure(OperationRecord& operation, Slot& slot, std::int32_t error) noexcept {
    switch (error) {
    case ECANCELED:
        // Not by whoever waits, for then the step does not matter: because reads end here, and what has arrived, or the end,
        // is to be found.
        if (Access::finds_end(operation, slot)) return tried(attempt(operation, slot));
        return Step::transfer;
    case EINTR:
        if (operation.kind() != Kind::connect) return Step::transfer;
        // It goes on by itself (connect(2)); `attempt` is to find how it ended.
        Access::value(operation) = 1;
        Flight::set(operation, Flight::polled);
        return Step::poll;
    case EAGAIN:
        // Of a local socket: the listener's queue is full, and nothing would tell when it is not.
        if (operation.kind() == Kind::connect) return end_with(operation, error);
        Flight::set(operation, Flight::polled);
        return Step::poll;
    default:
        return end_with(operation, error);
    }
}

}  // namespace

bool is_transfer(Kind kind) noexcept {
    switch (kind) {
    case Kind::receive:
    case Kind::receive_all:
    case Kind::connect:
    case Kind::send:
    case Kind::send_all:
    case Kind::send_vector:
    case Kind::send_vector_all:
        return true;
    default:
        return false;
    }
}

bool begins_at_once(OperationRecord& operation, const Slot& slot) noexcept {
    if (Access::finds_end(operation, slot)) return true;
    switch (operation.kind()) {
    case Kind::connect:
    case Kind::wait_readable:
    case Kind::wait_writable:
        return false;
    case Kind::receive_vector:
    case Kind::send_vector:
    case Kind::send_vector_all:
        return holds_nothing(operation);
    default:
        return Access::size(operation) == 0;
    }
}

void prepare_transfer(io_uring_sqe& request, OperationRecord& operation, const Slot& slot, msghdr& header,
                      bool goes_on) noexcept {
    // A call that would only say EAGAIN is left out.
    const auto poll_first = [&](std::uint8_t ready) {
        return static_cast<std::uint16_t>(slot.has(ready) ? 0 : IORING_RECVSEND_POLL_FIRST);
    };
    const Kind kind = operation.kind();
    void* data = Access::data(operation);
    switch (kind) {
    case Kind::receive:
    case Kind::receive_all:
        ::io_uring_prep_recv(&request, slot.handle, data, transfer_size(operation),
                             kind == Kind::receive_all && goes_on ? MSG_WAITALL : 0);
        request.ioprio = poll_first(Slot::readable);
        return;
    case Kind::connect:
        ::io_uring_prep_connect(&request, slot.handle, static_cast<const sockaddr*>(data),
                                static_cast<socklen_t>(Access::size(operation)));
        return;
    case Kind::send:
    case Kind::send_all:
        ::io_uring_prep_send(&request, slot.handle, data, transfer_size(operation),
                             MSG_NOSIGNAL | (kind == Kind::send_all && goes_on ? MSG_WAITALL : 0));
        request.ioprio = poll_first(Slot::writable);
        return;
    default:
        header = msghdr{};
        header.msg_iov = static_cast<iovec*>(data);
        header.msg_iovlen = std::min<std::size_t>(Access::size(operation), IOV_MAX);
        ::io_uring_prep_sendmsg(&request, slot.handle, &header, MSG_NOSIGNAL);
        request.ioprio = poll_first(Slot::writable);
        return;
    }
}

void prepare_poll(io_uring_sqe& request, const OperationRecord& operation, const Slot& slot) noexcept {
    ::io_uring_prep_poll_add(&request, slot.handle,
                             Access::is_write(operation) ? POLLOUT : POLLIN | POLLRDHUP);
}

Step take_result(OperationRecord& operation, Slot& slot, std::int32_t result, std::uint32_t flags) noexcept {
    const bool is_polled = !is_transfer(operation.kind()) || Flight::has(operation, Flight::polled);
    if (is_polled) {
        if (result < 0 && result != -ECANCELED) return end_with(operation, -result);
        // Readiness that has arrived wins over a withdrawal, and so does what it brings.
        if (result >= 0 || Access::finds_end(operation, slot))
            return tried(attempt(operation, slot));
        return Step::poll;
    }
    if (result < 0) return take_failure(operation, slot, -result);
    switch (operation.kind()) {
    case Kind::connect:
        return Step::ended;
    case Kind::receive:
    case Kind::receive_all:
        return take_received(operation, slot, static_cast<std::size_t>(result), flags);
    default:
        return take_sent(operation, slot, static_cast<std::size_t>(result));
    }
}

}  // namespace leat::detail::uring
