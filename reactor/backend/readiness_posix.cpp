// SPDX-License-Identifier: BSL-1.0
#include "backend/readiness.hpp"

#include <leat/reactor/operation.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <ctime>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
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

// The largest transfer of one call (read(2), NOTES); more would be cut by the kernel anyhow.
constexpr std::size_t largest_transfer = 0x7ffff000;

// Errors that mean "again at once", in a row, before one of them is believed: a signal storm passes, a kernel (or an
// injector) that says nothing else does not spin us for ever.
constexpr int tries = 1000;

bool would_block(int error) noexcept {
    return error == EAGAIN || error == EWOULDBLOCK;
}

enum class Direction { read, write };

template <Direction direction>
constexpr std::uint8_t ready_bit = direction == Direction::read ? Slot::readable : Slot::writable;
template <Direction direction>
constexpr std::uint8_t closed_bit = direction == Direction::read ? Slot::read_closed : Slot::write_closed;

void clear(Slot& slot, std::uint8_t bit) noexcept {
    slot.bits = static_cast<std::uint8_t>(slot.bits & ~bit);
}

/// Turns what the call gave into the operation's result.
template <Direction direction>
bool finish(Operation& operation, Slot& slot, ssize_t moved, std::size_t asked) noexcept {
    if (moved >= 0) [[likely]] {
        std::size_t bytes = static_cast<std::size_t>(moved);
        Access::value(operation) = bytes;
        slot.moved += bytes;
        if (bytes < asked && (slot.bits & closed_bit<direction>) == 0) clear(slot, ready_bit<direction>);
        return true;
    }
    if (would_block(errno)) {
        clear(slot, ready_bit<direction>);
        return false;
    }
    Access::error(operation) = errno;
    return true;
}

template <class Call>
ssize_t without_interruption(Call call) noexcept {
    for (int left = tries;; --left) {
        ssize_t result = call();
        if (result >= 0 || errno != EINTR || left == 0) [[likely]]
            return result;
    }
}

bool end_empty(Operation& operation) noexcept {
    Access::value(operation) = 0;
    return true;
}

bool receive(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) [[unlikely]]
        return end_empty(operation);
    ssize_t received =
        without_interruption([&] { return ::recv(slot.handle, Access::data(operation), size, 0); });
    return finish<Direction::read>(operation, slot, received, size);
}

bool peek(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return end_empty(operation);
    ssize_t seen =
        without_interruption([&] { return ::recv(slot.handle, Access::data(operation), size, MSG_PEEK); });
    // Nothing was taken, so however little it was, it is still there for the next call.
    std::uint64_t moved = slot.moved;
    bool ended = finish<Direction::read>(operation, slot, seen, 0);
    slot.moved = moved;
    return ended;
}

bool send(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) [[unlikely]]
        return end_empty(operation);
    ssize_t sent =
        without_interruption([&] { return ::send(slot.handle, Access::data(operation), size, MSG_NOSIGNAL); });
    return finish<Direction::write>(operation, slot, sent, size);
}

/// The buffers that one call may take, and how much they hold.
struct Vector {
    explicit Vector(const Operation& operation) noexcept
        : first(static_cast<iovec*>(Access::data(operation))),
          count(std::min<std::size_t>(Access::size(operation), IOV_MAX)) {
        for (std::size_t i = 0; i < count; ++i) bytes += std::min(first[i].iov_len, largest_transfer);
    }

    iovec* first;
    std::size_t count;
    std::size_t bytes = 0;
};

msghdr message_of(const Vector& vector) noexcept {
    msghdr message{};
    message.msg_iov = vector.first;
    message.msg_iovlen = vector.count;
    return message;
}

bool receive_vector(Operation& operation, Slot& slot) noexcept {
    Vector vector(operation);
    if (vector.bytes == 0) return end_empty(operation);
    msghdr message = message_of(vector);
    ssize_t received = without_interruption([&] { return ::recvmsg(slot.handle, &message, 0); });
    return finish<Direction::read>(operation, slot, received, vector.bytes);
}

bool send_vector(Operation& operation, Slot& slot) noexcept {
    Vector vector(operation);
    if (vector.bytes == 0) return end_empty(operation);
    msghdr message = message_of(vector);
    ssize_t sent = without_interruption([&] { return ::sendmsg(slot.handle, &message, MSG_NOSIGNAL); });
    return finish<Direction::write>(operation, slot, sent, vector.bytes);
}

// A handle of unknown kind (a terminal, an eventfd) may give less than was asked for and still hold more: only EAGAIN
// says that it is empty. Hence "asked" is zero below.
bool read_file(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return end_empty(operation);
    ssize_t moved = without_interruption([&] { return ::read(slot.handle, Access::data(operation), size); });
    return finish<Direction::read>(operation, slot, moved, 0);
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
    ~WithoutSigpipe() {
        if (was_pending_) return;
        int error = errno;
        timespec none{};
        while (sigtimedwait(&sigpipe_, nullptr, &none) < 0 && errno == EINTR) {}
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
        errno = error;
    }

private:
    sigset_t sigpipe_;
    sigset_t before_;
    bool was_pending_;
};

bool write_file(Operation& operation, Slot& slot) noexcept {
    std::size_t size = std::min(Access::size(operation), largest_transfer);
    if (size == 0) return end_empty(operation);
    ssize_t moved = -1;
    {
        WithoutSigpipe guard;
        moved = without_interruption([&] { return ::write(slot.handle, Access::data(operation), size); });
    }
    return finish<Direction::write>(operation, slot, moved, 0);
}

bool accept(Operation& operation, Slot& slot) noexcept {
    for (int left = tries;; --left) {
        int accepted = ::accept4(slot.handle, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            Access::value(operation) = static_cast<std::size_t>(accepted);
            return true;
        }
        // A peer that has gone again is nobody's concern (accept(2): ECONNABORTED).
        bool again = errno == EINTR || errno == ECONNABORTED;
        if (again && left != 0) continue;
        return finish<Direction::read>(operation, slot, -1, 0);
    }
}

/// `value` counts the stages: 0, not begun; 1, the kernel is connecting.
bool connect(Operation& operation, Slot& slot) noexcept {
    std::size_t& stage = Access::value(operation);
    if (stage == 0) {
        auto* address = static_cast<const sockaddr*>(Access::data(operation));
        if (::connect(slot.handle, address, static_cast<socklen_t>(Access::size(operation))) == 0) return true;
        // An interrupted connect goes on by itself (connect(2)); to call again would be an error.
        if (errno != EINPROGRESS && errno != EINTR) {
            Access::error(operation) = errno;
            return true;
        }
        stage = 1;
        clear(slot, Slot::writable);
        return false;
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
                clear(slot, Slot::writable);
                return false;
            }
            error = errno;
        }
    }
    stage = 0;
    Access::error(operation) = error;
    return true;
}

bool asks_ready(const Slot& slot, short events) noexcept {
    pollfd question{slot.handle, events, 0};
    // Of a descriptor that cannot be asked, the call itself is to tell the error.
    return ::poll(&question, 1, 0) != 0;
}

bool wait_for(Operation& operation, Slot& slot, short events, std::uint8_t bit) noexcept {
    if (asks_ready(slot, events)) return end_empty(operation);
    clear(slot, bit);
    return false;
}

}  // namespace

bool attempt(Operation& operation, Slot& slot) noexcept {
    using Kind = Operation::Kind;
    switch (operation.kind()) {
        case Kind::receive: return receive(operation, slot);
        case Kind::send: return send(operation, slot);
        case Kind::accept: return accept(operation, slot);
        case Kind::connect: return connect(operation, slot);
        case Kind::peek: return peek(operation, slot);
        case Kind::receive_vector: return receive_vector(operation, slot);
        case Kind::send_vector: return send_vector(operation, slot);
        case Kind::read: return read_file(operation, slot);
        case Kind::write: return write_file(operation, slot);
        case Kind::wait_readable: return wait_for(operation, slot, POLLIN | POLLRDHUP, Slot::readable);
        case Kind::wait_writable: return wait_for(operation, slot, POLLOUT, Slot::writable);
    }
    Access::error(operation) = ENOSYS;
    return true;
}

bool is_ready_now(const Operation& operation, const Slot& slot) noexcept {
    return asks_ready(slot, Access::is_write(operation) ? POLLOUT : POLLIN | POLLRDHUP);
}

}  // namespace leat::detail
