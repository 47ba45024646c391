// SPDX-License-Identifier: BSL-1.0
#include "backend/iocp/transfer.hpp"

#include <leat/reactor/buffer_pool.hpp>
#include <leat/reactor/error.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <system_error>
#include <utility>

#include <winternl.h>
#include <ws2tcpip.h>

namespace leat::detail::iocp {

namespace {

using Access = OperationAccess;
using Kind = OperationRecord::Kind;
using Held = Request::Held;

// Of one call: what a WSABUF can hold, with some distance.
constexpr std::size_t largest_transfer = 0x7ffff000;

HANDLE handle_of(const Entry& entry) noexcept { return reinterpret_cast<HANDLE>(entry.handle); }
SOCKET socket_of(const Entry& entry) noexcept { return static_cast<SOCKET>(entry.handle); }

Step end_with(OperationRecord& operation, unsigned long windows_error) noexcept {
    Access::error(operation) = static_cast<std::int32_t>(windows_error);
    return Step::ended;
}
Step end_with_socket_error(OperationRecord& operation) noexcept {
    return end_with(operation, static_cast<unsigned long>(::WSAGetLastError()));
}
Step end_with(OperationRecord& operation, errc code) noexcept {
    Access::error(operation) = -static_cast<std::int32_t>(code);
    return Step::ended;
}

/// A read that would wait where reads end: the end of the stream.
Step end_read(OperationRecord& operation) noexcept {
    if (operation.kind() == Kind::receive_all) return end_with(operation, errc::unexpected_end);
    return Step::ended;
}

/// A read that has failed. After a shutdown of our own it is the end of the stream, as elsewhere.
Step end_read_with(OperationRecord& operation, DWORD error) noexcept {
    return error == WSAESHUTDOWN ? end_read(operation) : end_with(operation, error);
}

WSABUF buffer_of(void* data, std::size_t size) noexcept {
    WSABUF buffer;
    buffer.buf = static_cast<char*>(data);
    buffer.len = static_cast<ULONG>(std::min(size, largest_transfer));
    return buffer;
}

/// The buffers of a vectored operation that one call takes.
class Vector {
public:
    explicit Vector(const OperationRecord& operation) noexcept {
        static_assert(sizeof(MutableBuffer) == sizeof(ConstBuffer));
        auto* first = static_cast<MutableBuffer*>(Access::data(operation));
        for (std::size_t i = 0; i < Access::size(operation) && count_ < buffers_.size(); ++i) {
            if (first[i].size == 0) continue;
            buffers_[count_++] = buffer_of(first[i].data, first[i].size);
            // A buffer that is cut short must be the last.
            if (first[i].size > largest_transfer) break;
        }
    }

    WSABUF* buffers() noexcept { return buffers_.data(); }
    DWORD count() const noexcept { return static_cast<DWORD>(count_); }

private:
    std::array<WSABUF, 64> buffers_;
    std::size_t count_ = 0;
};

/// Takes what was moved, and buffers that are empty, off the front.
void advance_vector(OperationRecord& operation, std::size_t moved) noexcept {
    auto* first = static_cast<ConstBuffer*>(Access::data(operation));
    std::size_t count = Access::size(operation);
    while (count != 0 && first->size <= moved) {
        moved -= first->size;
        ++first;
        --count;
    }
    if (count != 0) {
        first->data += moved;
        first->size -= moved;
    }
    Access::data(operation) = first;
    Access::size(operation) = count;
}

void note_moved(const Entry& entry, std::size_t bytes) noexcept {
    if (entry.slot != nullptr) entry.slot->moved += bytes;
}

/// A call has brought `bytes` of a read. False: it wants more.
bool note_received(Request& request, std::size_t bytes) noexcept {
    OperationRecord& operation = *request.operation;
    note_moved(request.entry, bytes);
    if (operation.kind() != Kind::receive_all) {
        Access::value(operation) = bytes;
        return true;
    }
    if (bytes == 0) {
        end_read(operation);
        return true;
    }
    Access::value(operation) += bytes;
    Access::data(operation) = static_cast<std::byte*>(Access::data(operation)) + bytes;
    Access::size(operation) -= bytes;
    return Access::size(operation) == 0;
}

/// Of an overlapped call that gave `succeeded`.
enum class Begun { done, held, failed };
Begun note_begun(Request& request, bool succeeded, DWORD error) noexcept {
    if (succeeded && request.entry.skips_packet) {
        request.held = Held::nothing;
        return Begun::done;
    }
    // A message that is longer than the buffer counts as pending: a packet comes.
    if (succeeded || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA) {
        request.held = Held::transfer;
        return Begun::held;
    }
    return Begun::failed;
}

void load(SOCKET socket, GUID id, void* function, DWORD size) {
    DWORD written = 0;
    if (::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, function, size, &written,
                   nullptr, nullptr) == 0)
        return;
    std::error_code error = native_error(static_cast<unsigned long>(::WSAGetLastError()));
    ::closesocket(socket);
    throw std::system_error(error, "leat: AcceptEx, ConnectEx");
}

}  // namespace

Transfer::Transfer(const Afd& afd) : afd_(afd) {
    SOCKET any = ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                              WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (any == INVALID_SOCKET)
        throw std::system_error(native_error(static_cast<unsigned long>(::WSAGetLastError())),
                                "leat: socket");
    load(any, WSAID_ACCEPTEX, &accept_ex_, sizeof accept_ex_);
    load(any, WSAID_CONNECTEX, &connect_ex_, sizeof connect_ex_);
    ::closesocket(any);
}

Step Transfer::advance(Request& request) const noexcept {
    switch (request.operation->kind()) {
    case Kind::accept:
        return accept(request);
    case Kind::receive:
        return receive(request);
    case Kind::receive_all:
        return receive_all(request);
    case Kind::receive_vector:
        return receive_vector(request);
    case Kind::receive_lent:
        return receive_lent(request);
    case Kind::peek:
        return peek(request);
    case Kind::read:
        return read_file(request);
    case Kind::wait_readable:
        return wait_for(request, false);
    case Kind::connect:
        return connect(request);
    case Kind::send:
    case Kind::send_all:
        return send(request);
    case Kind::send_vector:
    case Kind::send_vector_all:
        return send_vector(request);
    case Kind::write:
        return write_file(request);
    case Kind::wait_writable:
        return wait_for(request, true);
    }
    return end_with(*request.operation, ERROR_NOT_SUPPORTED);
}

// ---- Reading ----

Step Transfer::receive(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    if (Access::size(operation) == 0) return Step::ended;
    WSABUF buffer = buffer_of(Access::data(operation), Access::size(operation));
    return receive_into(request, &buffer, 1);
}

Step Transfer::receive_all(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    while (Access::size(operation) != 0 && Access::error(operation) == 0) {
        WSABUF buffer = buffer_of(Access::data(operation), Access::size(operation));
        if (receive_into(request, &buffer, 1) == Step::held) return Step::held;
    }
    return Step::ended;
}

Step Transfer::receive_vector(Request& request) const noexcept {
    Vector vector(*request.operation);
    if (vector.count() == 0) return Step::ended;
    return receive_into(request, vector.buffers(), vector.count());
}

/// One call. `ended` says of a `receive_all` only that the call has.
Step Transfer::receive_into(Request& request, WSABUF* buffers, DWORD count) const noexcept {
    OperationRecord& operation = *request.operation;
    const bool reads_end = Access::finds_end(operation, *request.entry.slot);
    const bool is_tried = reads_end || request.entry.is_polled;
    DWORD received = 0;
    DWORD flags = 0;
    request.overlapped = OVERLAPPED{};
    int result = ::WSARecv(socket_of(request.entry), buffers, count, &received, &flags,
                           is_tried ? nullptr : &request.overlapped, nullptr);
    const DWORD error = result == 0 ? 0 : static_cast<DWORD>(::WSAGetLastError());
    if (is_tried) {
        if (error == WSAEWOULDBLOCK) return reads_end ? end_read(operation) : poll(request, false);
    } else {
        Begun begun = note_begun(request, result == 0, error);
        if (begun == Begun::held) return Step::held;
    }
    if (error != 0) return end_read_with(operation, error);
    note_received(request, received);
    return Step::ended;
}

// Tried, as `peek` is: a call that waits would hold a buffer meanwhile.
Step Transfer::receive_lent(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    Slot& slot = *request.entry.slot;
    std::byte* buffer = slot.queue->take_buffer();
    if (buffer == nullptr) return end_with(operation, ERROR_NOT_ENOUGH_MEMORY);
    int received = ::recv(socket_of(request.entry), reinterpret_cast<char*>(buffer),
                          static_cast<int>(BufferPool::buffer_size), 0);
    if (received > 0) {
        Access::lent(operation) = buffer;
        note_received(request, static_cast<std::size_t>(received));
        return Step::ended;
    }
    const DWORD error = received < 0 ? static_cast<DWORD>(::WSAGetLastError()) : 0;
    slot.queue->buffers->give_back(buffer);
    if (error == WSAEWOULDBLOCK)
        return Access::finds_end(operation, slot) ? end_read(operation) : poll(request, false);
    return error != 0 ? end_read_with(operation, error) : Step::ended;
}

Step Transfer::peek(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    if (Access::size(operation) == 0) return Step::ended;
    // Not as an overlapped call, for which MSG_PEEK is not defined (WSARecv, "lpFlags").
    int seen = ::recv(socket_of(request.entry), static_cast<char*>(Access::data(operation)),
                      static_cast<int>(std::min(Access::size(operation), largest_transfer)), MSG_PEEK);
    if (seen >= 0) {
        Access::value(operation) = static_cast<std::size_t>(seen);
        return Step::ended;
    }
    const auto error = static_cast<DWORD>(::WSAGetLastError());
    if (error != WSAEWOULDBLOCK) return end_read_with(operation, error);
    if (Access::finds_end(operation, *request.entry.slot)) return end_read(operation);
    return poll(request, false);
}

Step Transfer::read_file(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    if (Access::size(operation) == 0) return Step::ended;
    request.overlapped = OVERLAPPED{};
    DWORD moved = 0;
    BOOL succeeded = ::ReadFile(handle_of(request.entry), Access::data(operation),
                                static_cast<DWORD>(std::min(Access::size(operation), largest_transfer)),
                                &moved, &request.overlapped);
    const DWORD error = succeeded ? 0 : ::GetLastError();
    switch (note_begun(request, succeeded != FALSE, error)) {
    case Begun::held:
        return Step::held;
    case Begun::done:
        note_received(request, moved);
        return Step::ended;
    case Begun::failed:
        break;
    }
    // The writer of a pipe has gone.
    if (error == ERROR_BROKEN_PIPE || error == ERROR_HANDLE_EOF) return Step::ended;
    return end_with(operation, error);
}

// ---- Writing ----

// A write is never handed over: one that is withdrawn half done would not say how much it has sent (docs/adr/0010). It is
// tried; where there is no room, the kernel tells when there is.
Step Transfer::send(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    while (Access::size(operation) != 0) {
        WSABUF buffer = buffer_of(Access::data(operation), Access::size(operation));
        DWORD sent = 0;
        if (::WSASend(socket_of(request.entry), &buffer, 1, &sent, 0, nullptr, nullptr) != 0) {
            if (::WSAGetLastError() == WSAEWOULDBLOCK) return poll(request, true);
            return end_with_socket_error(operation);
        }
        note_moved(request.entry, sent);
        Access::value(operation) += sent;
        if (operation.kind() == Kind::send) break;
        Access::data(operation) = static_cast<std::byte*>(Access::data(operation)) + sent;
        Access::size(operation) -= sent;
    }
    return Step::ended;
}

Step Transfer::send_vector(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    for (;;) {
        Vector vector(operation);
        if (vector.count() == 0) return Step::ended;
        DWORD sent = 0;
        if (::WSASend(socket_of(request.entry), vector.buffers(), vector.count(), &sent, 0, nullptr,
                      nullptr) != 0) {
            if (::WSAGetLastError() == WSAEWOULDBLOCK) return poll(request, true);
            return end_with_socket_error(operation);
        }
        note_moved(request.entry, sent);
        Access::value(operation) += sent;
        if (operation.kind() == Kind::send_vector) return Step::ended;
        advance_vector(operation, sent);
    }
}

Step Transfer::write_file(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    if (Access::size(operation) == 0) return Step::ended;
    request.overlapped = OVERLAPPED{};
    DWORD moved = 0;
    BOOL succeeded = ::WriteFile(handle_of(request.entry), Access::data(operation),
                                 static_cast<DWORD>(std::min(Access::size(operation), largest_transfer)),
                                 &moved, &request.overlapped);
    const DWORD error = succeeded ? 0 : ::GetLastError();
    switch (note_begun(request, succeeded != FALSE, error)) {
    case Begun::held:
        return Step::held;
    case Begun::done:
        note_moved(request.entry, moved);
        Access::value(operation) = moved;
        return Step::ended;
    case Begun::failed:
        break;
    }
    return end_with(operation, error);
}

// ---- Connections ----

namespace {

int family_of(SOCKET socket) noexcept {
    // It has no name before it is bound, but always a protocol.
    WSAPROTOCOL_INFOW info{};
    int size = sizeof info;
    if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info), &size) != 0)
        return AF_INET;
    return info.iAddressFamily;
}

/// The socket that the next connection becomes. False: WSAGetLastError tells why there is none.
bool prepare_socket(Accepting& accepting, SOCKET listener) noexcept {
    if (accepting.socket != INVALID_SOCKET) return true;
    accepting.socket = ::WSASocketW(family_of(listener), SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                    WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (accepting.socket == INVALID_SOCKET) return false;
    u_long non_blocking = 1;
    ::ioctlsocket(accepting.socket, static_cast<long>(FIONBIO), &non_blocking);
    return true;
}

void close_socket(Accepting& accepting) noexcept {
    if (accepting.socket != INVALID_SOCKET) ::closesocket(accepting.socket);
    accepting.socket = INVALID_SOCKET;
}

// A peer that has gone again is nobody's concern.
bool is_of_peer_that_left(DWORD error) noexcept {
    return error == WSAECONNRESET || error == WSAECONNABORTED || error == WSAENOTCONN ||
           error == ERROR_NETNAME_DELETED || error == ERROR_CONNECTION_ABORTED;
}

/// What it has of its listener: as elsewhere, TCP_NODELAY among it.
void inherit_options(SOCKET accepted, SOCKET listener) noexcept {
    int no_delay = 0;
    int size = sizeof no_delay;
    if (::getsockopt(listener, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<char*>(&no_delay), &size) == 0 &&
        no_delay != 0)
        ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&no_delay),
                     sizeof no_delay);
}

/// AcceptEx is done. False: the connection is of no use.
bool finish_accept(Request& request) noexcept {
    Accepting& accepting = *request.entry.accepting;
    // The listener was closed, and its handle may be somebody else's.
    if (request.entry.slot == nullptr) {
        close_socket(accepting);
        return false;
    }
    SOCKET listener = socket_of(request.entry);
    if (::setsockopt(accepting.socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                     reinterpret_cast<const char*>(&listener), sizeof listener) != 0) {
        close_socket(accepting);
        return false;
    }
    inherit_options(accepting.socket, listener);
    Access::value(*request.operation) = static_cast<std::size_t>(accepting.socket);
    accepting.socket = INVALID_SOCKET;
    return true;
}

}  // namespace

Step Transfer::accept(Request& request) const noexcept {
    Entry& entry = request.entry;
    OperationRecord& operation = *request.operation;
    if (entry.is_polled) return try_accept(request);
    if (entry.accepting == nullptr) entry.accepting.reset(new (std::nothrow) Accepting);
    if (entry.accepting == nullptr) return end_with(operation, ERROR_NOT_ENOUGH_MEMORY);
    for (;;) {
        if (!prepare_socket(*entry.accepting, socket_of(entry))) return end_with_socket_error(operation);
        request.overlapped = OVERLAPPED{};
        DWORD received = 0;
        BOOL succeeded =
            accept_ex_(socket_of(entry), entry.accepting->socket, entry.accepting->addresses, 0,
                       Accepting::address_room, Accepting::address_room, &received, &request.overlapped);
        const DWORD error = succeeded ? 0 : static_cast<DWORD>(::WSAGetLastError());
        switch (note_begun(request, succeeded != FALSE, error)) {
        case Begun::held:
            return Step::held;
        case Begun::done:
            if (finish_accept(request)) return Step::ended;
            continue;
        case Begun::failed:
            if (!is_of_peer_that_left(error)) return end_with(operation, error);
            close_socket(*entry.accepting);
        }
    }
}

Step Transfer::try_accept(Request& request) const noexcept {
    SOCKET listener = socket_of(request.entry);
    for (;;) {
        NativeHandle accepted = accept_connection(listener);
        if (accepted != invalid_handle) {
            inherit_options(accepted, listener);
            Access::value(*request.operation) = static_cast<std::size_t>(accepted);
            return Step::ended;
        }
        const auto error = static_cast<DWORD>(::WSAGetLastError());
        if (error == WSAEWOULDBLOCK) return poll(request, false);
        if (!is_of_peer_that_left(error)) return end_with(*request.operation, error);
    }
}

namespace {

/// ConnectEx wants a bound socket. False: WSAGetLastError tells why it cannot be.
bool bind_if_needed(SOCKET socket, int family) noexcept {
    sockaddr_storage name{};
    int size = sizeof name;
    if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) == 0) return true;
    name = sockaddr_storage{};
    name.ss_family = static_cast<decltype(sockaddr_storage::ss_family)>(family);
    size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    return ::bind(socket, reinterpret_cast<const sockaddr*>(&name), size) == 0;
}

void finish_connect(const Entry& entry) noexcept {
    // Without it shutdown and getpeername would not know of the connection.
    ::setsockopt(socket_of(entry), SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, nullptr, 0);
}

}  // namespace

Step Transfer::connect(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    auto* address = static_cast<const sockaddr*>(Access::data(operation));
    SOCKET socket = socket_of(request.entry);
    if (request.entry.is_polled) return end_with(operation, errc::already_registered);
    if (!bind_if_needed(socket, address->sa_family)) return end_with_socket_error(operation);
    request.overlapped = OVERLAPPED{};
    BOOL succeeded = connect_ex_(socket, address, static_cast<int>(Access::size(operation)), nullptr, 0,
                                 nullptr, &request.overlapped);
    const DWORD error = succeeded ? 0 : static_cast<DWORD>(::WSAGetLastError());
    switch (note_begun(request, succeeded != FALSE, error)) {
    case Begun::held:
        return Step::held;
    case Begun::done:
        finish_connect(request.entry);
        return Step::ended;
    case Begun::failed:
        break;
    }
    return end_with(operation, error);
}

// ---- Readiness ----

Step Transfer::wait_for(Request& request, bool is_write) const noexcept {
    if (!request.entry.is_socket) return end_with(*request.operation, ERROR_NOT_SUPPORTED);
    if (Access::finds_end(*request.operation, *request.entry.slot)) return Step::ended;
    if (is_ready_now(socket_of(request.entry), is_write)) return Step::ended;
    return poll(request, is_write);
}

Step Transfer::poll(Request& request, bool is_write) const noexcept {
    Entry& entry = request.entry;
    if (entry.base == INVALID_SOCKET) entry.base = base_socket(socket_of(entry));
    int error = afd_.poll(entry.base, is_write ? AfdEvents::to_write : AfdEvents::to_read, request.info,
                          request.overlapped);
    if (error == 0) {
        request.held = Held::poll;
        return Step::held;
    }
    Access::error(*request.operation) = error;
    return Step::ended;
}

void Transfer::cancel(Request& request) const noexcept {
    if (request.held == Held::poll)
        afd_.cancel(request.overlapped);
    else
        ::CancelIoEx(handle_of(request.entry), &request.overlapped);
}

// ---- Packets ----

namespace {

bool was_withdrawn(const Request& request) noexcept {
    constexpr NTSTATUS cancelled = static_cast<NTSTATUS>(0xC0000120);
    // The source was closed meanwhile.
    constexpr NTSTATUS handles_closed = static_cast<NTSTATUS>(0x8000000A);
    auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    return status == cancelled || status == handles_closed;
}

bool has_failed(const Request& request) noexcept {
    // A message was longer than the buffer, which is full.
    constexpr NTSTATUS buffer_overflow = static_cast<NTSTATUS>(0x80000005);
    auto status = static_cast<NTSTATUS>(request.overlapped.Internal);
    return status < 0 && status != buffer_overflow;
}

DWORD failure_of(Request& request, Held was_held) noexcept {
    if (was_held == Held::transfer && request.entry.is_socket && request.entry.slot != nullptr) {
        // Says it in the words of sockets: a reset has several names below.
        DWORD bytes = 0;
        DWORD flags = 0;
        if (!::WSAGetOverlappedResult(socket_of(request.entry), &request.overlapped, &bytes, FALSE, &flags))
            return static_cast<DWORD>(::WSAGetLastError());
    }
    return ::RtlNtStatusToDosError(static_cast<NTSTATUS>(request.overlapped.Internal));
}

/// Of an operation that is not done: why it must not go on. Zero: it may.
errc obstacle_of(const Request& request) noexcept {
    if (request.entry.slot == nullptr) return errc::closed;
    if (request.is_cancelled) return errc::cancelled;
    return errc{};
}

bool is_wait(const OperationRecord& operation) noexcept {
    return operation.kind() == Kind::wait_readable || operation.kind() == Kind::wait_writable;
}

Step end_for(Request& request, errc obstacle) noexcept {
    if (obstacle == errc::cancelled) return end_with(*request.operation, ERROR_OPERATION_ABORTED);
    return end_with(*request.operation, obstacle);
}

}  // namespace

Step Transfer::take_packet(Request& request, Request::Held was_held) const noexcept {
    // Of this packet alone.
    const bool is_outdated = std::exchange(request.is_outdated, false);
    if (was_withdrawn(request)) {
        if (errc obstacle = obstacle_of(request); obstacle != errc{}) return end_for(request, obstacle);
        // So that the reads of the source could end: what has arrived meanwhile is still to be had.
        if (Access::finds_end(*request.operation, *request.entry.slot)) return advance(request);
        if (is_outdated) {
            // A connect is not to be begun twice.
            if (request.operation->kind() == Kind::connect)
                return end_with(*request.operation, ERROR_CONNECTION_ABORTED);
            return is_wait(*request.operation) ? Step::ended : advance(request);
        }
        // Somebody else's doing: whoever waits is not to take it for a cancellation.
        return end_with(*request.operation, ERROR_CONNECTION_ABORTED);
    }
    if (was_held == Held::transfer) return has_failed(request) ? take_failure(request) : take_result(request);

    if (has_failed(request)) {
        if (request.entry.slot == nullptr) return end_with(*request.operation, errc::closed);
        return end_with(*request.operation, failure_of(request, was_held));
    }
    if (is_wait(*request.operation)) return Step::ended;
    if (errc obstacle = obstacle_of(request); obstacle != errc{}) return end_for(request, obstacle);
    return advance(request);
}

Step Transfer::take_result(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    const auto bytes = static_cast<std::size_t>(request.overlapped.InternalHigh);
    switch (operation.kind()) {
    case Kind::accept:
        if (finish_accept(request)) return Step::ended;
        break;
    case Kind::connect:
        if (request.entry.slot == nullptr) return end_with(operation, errc::closed);
        finish_connect(request.entry);
        return Step::ended;
    case Kind::write:
        note_moved(request.entry, bytes);
        Access::value(operation) = bytes;
        return Step::ended;
    default:
        if (note_received(request, bytes)) return Step::ended;
    }
    if (errc obstacle = obstacle_of(request); obstacle != errc{}) return end_for(request, obstacle);
    return advance(request);
}

Step Transfer::take_failure(Request& request) const noexcept {
    OperationRecord& operation = *request.operation;
    const DWORD error = failure_of(request, Held::transfer);
    if (operation.kind() == Kind::accept && is_of_peer_that_left(error)) {
        close_socket(*request.entry.accepting);
        if (errc obstacle = obstacle_of(request); obstacle != errc{}) return end_for(request, obstacle);
        return advance(request);
    }
    if (operation.kind() == Kind::read && (error == ERROR_BROKEN_PIPE || error == ERROR_HANDLE_EOF))
        return Step::ended;
    if (request.entry.slot == nullptr) return end_with(operation, errc::closed);
    return Access::is_write(operation) ? end_with(operation, error) : end_read_with(operation, error);
}

}  // namespace leat::detail::iocp
