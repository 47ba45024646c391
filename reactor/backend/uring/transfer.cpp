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

// Per request; the kernel moves no more at once (read(2), NOTES).
constexpr std::size_t largest_transfer = 0x7ffff000;

unsigned transfer_size(const OperationRecord& operation) noexcept {
    return static_cast<unsigned>(std::min(Access::size(operation), largest_transfer));
}

Step end_with(OperationRecord& operation, std::int32_t error) noexcept {
    Access::error(operation) = error;
    return Step::ended;
}

/// After a poll that said that the source is ready.
Step try_when_ready(OperationRecord& operation, Slot& slot) noexcept {
    // A cancelled accept leaves the connection to the next one.
    if (operation.kind() == Kind::accept && Flight::has(operation, Flight::cancelled | Flight::closing))
        return Step::poll;
    Flight::set(operation, Flight::polled);
    for (;;) {
        slot.set(Access::is_write(operation) ? Slot::writable : Slot::readable);
        const std::size_t before = Access::value(operation);
        if (attempt(operation, slot) == Attempt::ended) return Step::ended;
        if (Access::value(operation) == before) {
            // The poll was answered for another reason, which may stay.
            Flight::set(operation, Flight::edge);
            return Step::poll;
        }
        // A new poll finds the rest. An edge-triggered one has announced it already (behind urgent data,
        // say).
        if (!Flight::has(operation, Flight::edge)) return Step::poll;
    }
}

/// The rest of an operation of which `moved` more bytes are done.
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
    if (operation.kind() != Kind::receive_all) {
        Access::value(operation) = received;
        return Step::ended;
    }
    if (received == 0) return end_with(operation, -static_cast<std::int32_t>(errc::unexpected_end));
    const Step step = go_on(operation, received);
    return step == Step::transfer && Access::finds_end(operation, slot) ? try_when_ready(operation, slot)
                                                                        : step;
}

Step take_sent(OperationRecord& operation, Slot& slot, std::size_t sent) noexcept {
    slot.moved += sent;
    switch (operation.kind()) {
    case Kind::send_all: {
        // Room for a part means none for the rest.
        const Step step = go_on(operation, sent);
        if (step == Step::transfer) slot.clear(Slot::writable);
        return step;
    }
    case Kind::send_vector_all:
        Access::value(operation) += sent;
        take_off_front(operation, sent);
        if (Access::size(operation) == 0) return Step::ended;
        slot.clear(Slot::writable);
        return Step::transfer;
    default:
        Access::value(operation) = sent;
        return Step::ended;
    }
}

/// The transfer would have to wait.
Step take_refusal(OperationRecord& operation, Slot& slot) noexcept {
    // A local socket: the listener's queue is full, and the kernel does not report when it has room again.
    if (operation.kind() == Kind::connect) return end_with(operation, EAGAIN);
    const std::uint8_t ready = Access::is_write(operation) ? Slot::writable : Slot::readable;
    if (slot.has(ready)) {
        slot.clear(ready);
        return Step::transfer;
    }
    // The poll before it was answered for another reason, which lasts.
    Flight::set(operation, Flight::polled | Flight::edge);
    return Step::poll;
}

Step take_failure(OperationRecord& operation, Slot& slot, std::int32_t error) noexcept {
    switch (error) {
    case ECANCELED:
        if (Flight::has(operation, Flight::cancelled | Flight::closing)) return Step::transfer;
        // A connect is not begun twice: `attempt` finds how it stands.
        if (operation.kind() == Kind::connect) Access::value(operation) = 1;
        // Its direction has ended: find what has arrived, or the end.
        return try_when_ready(operation, slot);
    case EINTR:
        if (operation.kind() != Kind::connect) return Step::transfer;
        // Connecting goes on by itself (connect(2)); `attempt` finds how it ended.
        Access::value(operation) = 1;
        Flight::set(operation, Flight::polled);
        return Step::poll;
    case EAGAIN:
        return take_refusal(operation, slot);
    case ENOBUFS:
        if (operation.kind() != Kind::receive_lent) return end_with(operation, error);
        // All buffers of the ring are in use, and the bytes wait in the socket: take them into one of the
        // pool. To wait for the ring again would be to lose against the others that do, time after time.
        return try_when_ready(operation, slot);
    default:
        return end_with(operation, error);
    }
}

}  // namespace

bool is_transfer(Kind kind) noexcept {
    switch (kind) {
    case Kind::receive:
    case Kind::receive_all:
    case Kind::receive_lent:
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
    case Kind::accept:
    case Kind::connect:
    case Kind::receive_lent:
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
                      std::uint16_t buffers) noexcept {
    void* data = Access::data(operation);
    switch (operation.kind()) {
    case Kind::receive:
    case Kind::receive_all:
        ::io_uring_prep_recv(&request, slot.handle, data, transfer_size(operation), MSG_DONTWAIT);
        return;
    case Kind::receive_lent:
        ::io_uring_prep_recv(&request, slot.handle, nullptr, 0, MSG_DONTWAIT);
        request.flags |= IOSQE_BUFFER_SELECT;
        request.buf_group = buffers;
        return;
    case Kind::connect:
        ::io_uring_prep_connect(&request, slot.handle, static_cast<const sockaddr*>(data),
                                static_cast<socklen_t>(Access::size(operation)));
        return;
    case Kind::send:
    case Kind::send_all:
        ::io_uring_prep_send(&request, slot.handle, data, transfer_size(operation),
                             MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    default:
        // The kernel takes so many buffers at a time: if all of those were empty, nothing would be sent.
        skip_empty(operation);
        header = msghdr{};
        header.msg_iov = static_cast<iovec*>(data);
        header.msg_iovlen = std::min<std::size_t>(Access::size(operation), IOV_MAX);
        ::io_uring_prep_sendmsg(&request, slot.handle, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    }
}

void prepare_poll(io_uring_sqe& request, OperationRecord& operation, const Slot& slot) noexcept {
    // A half-close, an error and a hang-up are reported whatever is asked for.
    const unsigned events = Access::is_write(operation) ? POLLOUT : POLLIN;
    if (Flight::has(operation, Flight::edge))
        ::io_uring_prep_poll_multishot(&request, slot.handle, events);
    else
        ::io_uring_prep_poll_add(&request, slot.handle, events);
}

Step take_result(OperationRecord& operation, Slot& slot, std::int32_t result, std::uint32_t flags) noexcept {
    if (!is_transfer(operation.kind()) || Flight::has(operation, Flight::polled)) {
        if (result < 0 && result != -ECANCELED) return end_with(operation, -result);
        // Readiness that has arrived wins over a cancellation, and so does what it brings. A cancellation
        // that the operation's owner did not ask for comes from the end of its direction: find that.
        if (result < 0 && Flight::has(operation, Flight::cancelled | Flight::closing)) return Step::poll;
        return try_when_ready(operation, slot);
    }
    if (result < 0) return take_failure(operation, slot, -result);
    switch (operation.kind()) {
    case Kind::connect:
        return Step::ended;
    case Kind::receive:
    case Kind::receive_all:
    case Kind::receive_lent:
        return take_received(operation, slot, static_cast<std::size_t>(result), flags);
    default:
        return take_sent(operation, slot, static_cast<std::size_t>(result));
    }
}

}  // namespace leat::detail::uring
