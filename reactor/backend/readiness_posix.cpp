// SPDX-License-Identifier: BSL-1.0
#include "backend/readiness.hpp"

#include <leat/reactor/buffer_pool.hpp>
#include <leat/reactor/operation.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <ctime>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

namespace leat::detail {

namespace {

static_assert(sizeof(MutableBuffer) == sizeof(iovec) && sizeof(ConstBuffer) == sizeof(iovec));
static_assert(offsetof(MutableBuffer, data) == offsetof(iovec, iov_base));
static_assert(offsetof(MutableBuffer, size) == offsetof(iovec, iov_len));
static_assert(offsetof(ConstBuffer, data) == offsetof(iovec, iov_base));
static_assert(offsetof(ConstBuffer, size) == offsetof(iovec, iov_len));

using Access = OperationAccess;

// The peer's half-close is no readiness of its own where it does not have this name.
#if defined(POLLRDHUP)
constexpr short half_closed = POLLRDHUP;
#else
constexpr short half_closed = 0;
#endif

/// The largest transfer of one call (read(2), NOTES); more would be cut by the kernel anyhow.
constexpr std::size_t largest_transfer = 0x7ffff000;

bool is_tcp(const Slot& slot) noexcept {
    if (slot.is_tcp) return true;
#if defined(SO_PROTOCOL)
    int protocol = 0;
    socklen_t size = sizeof protocol;
    return ::getsockopt(slot.handle, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
           protocol == IPPROTO_TCP;
#else
    // Only those that were made by `Source::tcp` are known.
    return false;
#endif
}

/// Of a call that moved `bytes` of the `asked` ones.
void note_moved(Slot& slot, std::size_t bytes, std::size_t asked, std::uint8_t ready_bit,
                std::uint8_t closed_bit) noexcept {
    slot.moved += bytes;
    if (bytes < asked && !slot.has(closed_bit)) slot.clear(ready_bit);
}

/// Calls again what a signal has interrupted; after a thousand times in a row others have their turn first, so that nothing
/// that always says EINTR can keep us for ever.
template <class Call>
ssize_t without_interruption(Call call) noexcept {
    ssize_t result = call();
    for (int left = 1000; result < 0 && errno == EINTR && left != 0; --left)
        result = call();
    return result;
}

/// Of a call that failed and was tried often enough. One that was interrupted to the last parks as one that would block: the
/// source then is asked, says that it is ready, and is reported anew (`ReadinessSelector::recheck`). But where that would
/// pass for the end of the stream, it is an error.
Attempt failed(OperationRecord& operation, Slot& slot, std::uint8_t ready_bit) noexcept {
    if (errno == EAGAIN || errno == EWOULDBLOCK || (errno == EINTR && !Access::finds_end(operation, slot))) {
        slot.clear(ready_bit);
        return Attempt::refused;
    }
    Access::error(operation) = errno;
    return Attempt::ended;
}

Attempt finish_read(OperationRecord& operation, Slot& slot, ssize_t moved, std::size_t asked) noexcept {
    if (moved < 0) return failed(operation, slot, Slot::readable);
    Access::value(operation) = static_cast<std::size_t>(moved);
    note_moved(slot, static_cast<std::size_t>(moved), asked, Slot::readable, Slot::read_closed);
    return Attempt::ended;
}

Attempt finish_write(OperationRecord& operation, Slot& slot, ssize_t moved, std::size_t asked) noexcept {
    if (moved < 0) return failed(operation, slot, Slot::writable);
    Access::value(operation) = static_cast<std::size_t>(moved);
    note_moved(slot, static_cast<std::size_t>(moved), asked, Slot::writable, Slot::write_closed);
    return Attempt::ended;
}

Attempt receive(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return Attempt::ended;
    ssize_t received =
        without_interruption([&] { return ::recv(slot.handle, Access::data(operation), size, 0); });
    return finish_read(operation, slot, received, size);
}

Attempt receive_all(OperationRecord& operation, Slot& slot) noexcept {
    for (;;) {
        std::size_t left = Access::size(operation);
        if (left == 0) return Attempt::ended;
        std::size_t size = std::min(left, largest_transfer);
        ssize_t received =
            without_interruption([&] { return ::recv(slot.handle, Access::data(operation), size, 0); });
        if (received < 0) return failed(operation, slot, Slot::readable);
        if (received == 0) {
            Access::error(operation) = -static_cast<std::int32_t>(errc::unexpected_end);
            return Attempt::ended;
        }
        std::size_t bytes = static_cast<std::size_t>(received);
        Access::value(operation) += bytes;
        Access::data(operation) = static_cast<std::byte*>(Access::data(operation)) + bytes;
        Access::size(operation) = left - bytes;
        note_moved(slot, bytes, size, Slot::readable, Slot::read_closed);
        if (bytes < left && !slot.has(Slot::readable)) return Attempt::partial;
    }
}

Attempt receive_lent(OperationRecord& operation, Slot& slot) noexcept {
    std::byte* buffer = slot.queue->take_buffer();
    if (buffer == nullptr) {
        Access::error(operation) = ENOMEM;
        return Attempt::ended;
    }
    ssize_t received =
        without_interruption([&] { return ::recv(slot.handle, buffer, BufferPool::buffer_size, 0); });
    Attempt outcome = finish_read(operation, slot, received, BufferPool::buffer_size);
    if (received > 0)
        Access::lent(operation) = buffer;
    else
        slot.queue->buffers->give_back(buffer);
    return outcome;
}

Attempt peek(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return Attempt::ended;
    ssize_t seen =
        without_interruption([&] { return ::recv(slot.handle, Access::data(operation), size, MSG_PEEK); });
    if (seen < 0) return failed(operation, slot, Slot::readable);
    // Nothing was taken, so however little it was, it is still there for the next call.
    Access::value(operation) = static_cast<std::size_t>(seen);
    return Attempt::ended;
}

Attempt send(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return Attempt::ended;
    ssize_t sent = without_interruption(
        [&] { return ::send(slot.handle, Access::data(operation), size, MSG_NOSIGNAL); });
    return finish_write(operation, slot, sent, size);
}

Attempt send_all(OperationRecord& operation, Slot& slot) noexcept {
    for (;;) {
        std::size_t left = Access::size(operation);
        if (left == 0) return Attempt::ended;
        std::size_t size = std::min(left, largest_transfer);
        ssize_t sent = without_interruption(
            [&] { return ::send(slot.handle, Access::data(operation), size, MSG_NOSIGNAL); });
        if (sent < 0) return failed(operation, slot, Slot::writable);
        std::size_t bytes = static_cast<std::size_t>(sent);
        Access::value(operation) += bytes;
        Access::data(operation) = static_cast<std::byte*>(Access::data(operation)) + bytes;
        Access::size(operation) = left - bytes;
        note_moved(slot, bytes, size, Slot::writable, Slot::write_closed);
        if (bytes < left && !slot.has(Slot::writable)) return Attempt::partial;
    }
}

/// The buffers that one call may take, and how much they hold. The first one is not empty: a call of which
/// all buffers are moves nothing, which would pass for the end of the stream.
struct Vector {
    explicit Vector(OperationRecord& operation) noexcept {
        skip_empty(operation);
        first = static_cast<iovec*>(Access::data(operation));
        count = std::min<std::size_t>(Access::size(operation), IOV_MAX);
        for (std::size_t i = 0; i < count; ++i)
            bytes += std::min(first[i].iov_len, largest_transfer);
    }

    msghdr message() const noexcept {
        msghdr message{};
        message.msg_iov = first;
        message.msg_iovlen = count;
        return message;
    }

    iovec* first = nullptr;
    std::size_t count = 0;
    std::size_t bytes = 0;
};

Attempt receive_vector(OperationRecord& operation, Slot& slot) noexcept {
    Vector vector(operation);
    if (vector.count == 0) return Attempt::ended;
    msghdr message = vector.message();
    ssize_t received = without_interruption([&] { return ::recvmsg(slot.handle, &message, 0); });
    return finish_read(operation, slot, received, vector.bytes);
}

Attempt send_vector(OperationRecord& operation, Slot& slot) noexcept {
    Vector vector(operation);
    if (vector.count == 0) return Attempt::ended;
    msghdr message = vector.message();
    ssize_t sent = without_interruption([&] { return ::sendmsg(slot.handle, &message, MSG_NOSIGNAL); });
    return finish_write(operation, slot, sent, vector.bytes);
}

Attempt send_vector_all(OperationRecord& operation, Slot& slot) noexcept {
    for (;;) {
        Vector vector(operation);
        if (vector.count == 0) return Attempt::ended;
        msghdr message = vector.message();
        ssize_t sent = without_interruption([&] { return ::sendmsg(slot.handle, &message, MSG_NOSIGNAL); });
        if (sent < 0) return failed(operation, slot, Slot::writable);
        std::size_t bytes = static_cast<std::size_t>(sent);
        Access::value(operation) += bytes;
        take_off_front(operation, bytes);
        note_moved(slot, bytes, vector.bytes, Slot::writable, Slot::write_closed);
        if (Access::size(operation) != 0 && !slot.has(Slot::writable)) return Attempt::partial;
    }
}

bool is_for_later(ssize_t error) noexcept {
    return error == EINTR || error == EAGAIN || error == EWOULDBLOCK;
}

// A handle of unknown kind (a terminal, an eventfd) may give less than was asked for and still hold more: only EAGAIN
// says that it is empty. Hence "asked" is zero in these two.
Attempt read_file(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return Attempt::ended;
    ssize_t moved = without_interruption([&] { return ::read(slot.handle, Access::data(operation), size); });
    return finish_read(operation, slot, moved, 0);
}

/// Holds SIGPIPE back on this thread for the length of a call that has no MSG_NOSIGNAL, and takes the one away that the
/// call raised; one that was pending before stays.
class WithoutSigpipe {
public:
    WithoutSigpipe() noexcept {
        sigemptyset(&sigpipe_);
        sigaddset(&sigpipe_, SIGPIPE);
        sigset_t pending;
        sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        if (!was_pending_) pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    }
    WithoutSigpipe(const WithoutSigpipe&) = delete;
    WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
    ~WithoutSigpipe() {
        if (was_pending_) return;
        int error = errno;
#if defined(__APPLE__) || defined(__OpenBSD__)
        // No sigtimedwait(2). Where this is not in vain (see `write_file`), it comes to the thread that wrote, so it is
        // there or was not raised.
        sigset_t pending;
        int taken = 0;
        sigpending(&pending);
        if (sigismember(&pending, SIGPIPE) == 1) sigwait(&sigpipe_, &taken);
#else
        timespec none{};
        while (sigtimedwait(&sigpipe_, nullptr, &none) < 0 && errno == EINTR) {
        }
#endif
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
        errno = error;
    }

private:
    sigset_t sigpipe_;
    sigset_t before_;
    bool was_pending_;
};

Attempt write_file(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return Attempt::ended;
    ssize_t moved = -1;
    {
#if defined(F_SETNOSIGPIPE)
        // macOS raises it in any thread of the process, which no mask of this one's would prevent.
        ::fcntl(slot.handle, F_SETNOSIGPIPE, 1);
#endif
        WithoutSigpipe guard;
        moved = without_interruption([&] { return ::write(slot.handle, Access::data(operation), size); });
    }
    return finish_write(operation, slot, moved, 0);
}

Attempt accept(OperationRecord& operation, Slot& slot) noexcept {
    ssize_t accepted = without_interruption([&] {
        ssize_t fd = accept_connection(slot.handle);
        // A peer that has gone again is nobody's concern (accept(2): ECONNABORTED).
        if (fd < 0 && errno == ECONNABORTED) errno = EINTR;
        return fd;
    });
    if (accepted < 0) return failed(operation, slot, Slot::readable);
    Access::value(operation) = static_cast<std::size_t>(accepted);
    return Attempt::ended;
}

/// `value` counts the stages: 0, not begun; 1, the kernel is connecting.
Attempt connect(OperationRecord& operation, Slot& slot) noexcept {
    std::size_t& stage = Access::value(operation);
    if (stage == 0) {
        auto* address = static_cast<const sockaddr*>(Access::data(operation));
        if (::connect(slot.handle, address, static_cast<socklen_t>(Access::size(operation))) == 0)
            return Attempt::ended;
        // An interrupted connect goes on by itself (connect(2)); to call again would be an error.
        if (errno != EINPROGRESS && errno != EINTR) {
            Access::error(operation) = errno;
            return Attempt::ended;
        }
        stage = 1;
        slot.clear(Slot::writable);
        return Attempt::partial;
    }
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(slot.handle, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) {
        // Writable alone is no proof: a socket that has not connected yet may be reported too.
        sockaddr_storage peer;
        socklen_t peer_size = sizeof peer;
        if (::getpeername(slot.handle, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
            if (errno == ENOTCONN) {
                slot.clear(Slot::writable);
                return Attempt::partial;
            }
            error = errno;
        }
    }
    stage = 0;
    Access::error(operation) = error;
    return Attempt::ended;
}

/// What poll(2) says of the descriptor. It reports errors whatever is asked for, and goes on reporting one
/// while there is something in the socket's error queue (timestamps, notifications of zero-copy sends): that
/// is not readiness.
short poll_now(const Slot& slot, short events) noexcept {
    pollfd question{slot.handle, events, 0};
    // For a descriptor that cannot be polled, the call itself is to report the error.
    return ::poll(&question, 1, 0) < 0 ? events : question.revents;
}

bool is_ready(short reported, short events) noexcept {
    return (reported & (events | POLLHUP | POLLNVAL)) != 0;
}

Attempt wait_for(Slot& slot, short events, std::uint8_t bit) noexcept {
    const short reported = poll_now(slot, events);
    if (is_ready(reported, events)) return Attempt::ended;
    // A pipe without a reader and a datagram socket have no other way to report an error; TCP reports a
    // hang-up too.
    if ((reported & POLLERR) != 0 && !is_tcp(slot)) return Attempt::ended;
    slot.clear(bit);
    return Attempt::partial;
}

Attempt attempt_once(OperationRecord& operation, Slot& slot) noexcept {
    using Kind = OperationRecord::Kind;
    switch (operation.kind()) {
    case Kind::accept:
        return accept(operation, slot);
    case Kind::receive:
        return receive(operation, slot);
    case Kind::receive_all:
        return receive_all(operation, slot);
    case Kind::receive_vector:
        return receive_vector(operation, slot);
    case Kind::receive_lent:
        return receive_lent(operation, slot);
    case Kind::peek:
        return peek(operation, slot);
    case Kind::read:
        return read_file(operation, slot);
    case Kind::wait_readable:
        return wait_for(slot, POLLIN | half_closed, Slot::readable);
    case Kind::connect:
        return connect(operation, slot);
    case Kind::send:
        return send(operation, slot);
    case Kind::send_all:
        return send_all(operation, slot);
    case Kind::send_vector:
        return send_vector(operation, slot);
    case Kind::send_vector_all:
        return send_vector_all(operation, slot);
    case Kind::write:
        return write_file(operation, slot);
    case Kind::wait_writable:
        return wait_for(slot, POLLOUT, Slot::writable);
    }
    Access::error(operation) = ENOSYS;
    return Attempt::ended;
}

/// A read that would wait on a source whose reads end: the end of the stream.
void end_read(OperationRecord& operation, Slot& slot) noexcept {
    if (operation.kind() == OperationRecord::Kind::receive_all)
        Access::error(operation) = -static_cast<std::int32_t>(errc::unexpected_end);
    slot.set(Slot::readable);
}

}  // namespace

NativeHandle accept_connection(NativeHandle listener) noexcept {
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
    return ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    // A program that another thread becomes in between inherits it: such a system has no better way.
    int accepted = ::accept(listener, nullptr, nullptr);
    if (accepted < 0) return accepted;
    ::fcntl(accepted, F_SETFL, ::fcntl(accepted, F_GETFL) | O_NONBLOCK);
    ::fcntl(accepted, F_SETFD, FD_CLOEXEC);
#if defined(SO_NOSIGPIPE)
    const int on = 1;
    ::setsockopt(accepted, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    return accepted;
#endif
}

bool OperationRecord::go_on_after_send(std::ptrdiff_t sent) noexcept {
    Slot& slot = *source_->slot_;
    slot.moved -= size_;
    if (sent < 0) {
        // To be tried again, by the way that knows what to do next.
        if (is_for_later(-sent)) return false;
        error_ = static_cast<std::int32_t>(-sent);
        state_ = State::ended;
        slot_ = &slot;
        return true;
    }
    std::size_t bytes = static_cast<std::size_t>(sent);
    value_ = bytes;
    note_moved(slot, bytes, size_, Slot::writable, Slot::write_closed);
    if (kind_ == Kind::send) {
        state_ = State::ended;
        slot_ = &slot;
        return true;
    }
    data_ = static_cast<std::byte*>(data_) + bytes;
    size_ -= bytes;
    return false;
}

Attempt attempt(OperationRecord& operation, Slot& slot) noexcept {
    Attempt outcome = attempt_once(operation, slot);
    if (outcome == Attempt::ended || !Access::finds_end(operation, slot)) return outcome;
    end_read(operation, slot);
    return Attempt::ended;
}

void learn_short_reads(Slot& slot) noexcept {
    slot.is_tcp = is_tcp(slot);
    if (!slot.is_tcp) slot.set(Slot::read_closed);
}

bool holds_nothing(OperationRecord& operation) noexcept {
    auto* buffers = static_cast<const iovec*>(Access::data(operation));
    return std::all_of(buffers, buffers + Access::size(operation),
                       [](const iovec& each) { return each.iov_len == 0; });
}

void skip_empty(OperationRecord& operation) noexcept {
    auto* first = static_cast<iovec*>(Access::data(operation));
    std::size_t count = Access::size(operation);
    while (count != 0 && first->iov_len == 0) {
        ++first;
        --count;
    }
    Access::data(operation) = first;
    Access::size(operation) = count;
}

void take_off_front(OperationRecord& operation, std::size_t sent) noexcept {
    auto* first = static_cast<iovec*>(Access::data(operation));
    std::size_t count = Access::size(operation);
    while (count != 0 && first->iov_len <= sent) {
        sent -= first->iov_len;
        ++first;
        --count;
    }
    if (count != 0) {
        first->iov_base = static_cast<std::byte*>(first->iov_base) + sent;
        first->iov_len -= sent;
    }
    Access::data(operation) = first;
    Access::size(operation) = count;
}

bool received_none(Slot& slot, ssize_t result) noexcept {
    if (result < 0) {
        if (is_for_later(-result)) return false;
        Access::error(*slot.reader) = static_cast<int>(-result);
    }
    // If this is the end, the edge that tells so is still to come, and no read parks for ever.
    slot.bits = Slot::idle;
    return true;
}

std::ptrdiff_t send_on_idle(Slot& idle, const void* data, std::size_t size) noexcept {
    // Counted beforehand, so that nothing is left to do after the call.
    idle.moved += size;
    return send_now(idle.handle, data, size) - static_cast<std::ptrdiff_t>(size);
}

bool is_ready_now(const OperationRecord& operation, const Slot& slot) noexcept {
    const short events = OperationAccess::is_write(operation) ? POLLOUT : POLLIN | half_closed;
    return is_ready(poll_now(slot, events), events);
}

}  // namespace leat::detail
