// SPDX-License-Identifier: BSL-1.0
#include "support/system.hpp"

#include <leat/reactor/error.hpp>

#include <winsock2.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <string>

#include <iphlpapi.h>
#include <windows.h>
#include <ws2tcpip.h>

namespace leat::test {
namespace {

std::error_code last_error() { return detail::native_error(static_cast<unsigned long>(::WSAGetLastError())); }

void demand(bool succeeded, const char* call) {
    if (!succeeded) throw std::system_error(last_error(), call);
}

SOCKET open_socket(int type, int protocol) {
    static const int winsock = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data);
    }();
    demand(winsock == 0, "WSAStartup");
    SOCKET socket =
        ::WSASocketW(AF_INET, type, protocol, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    demand(socket != INVALID_SOCKET, "WSASocket");
    u_long on = 1;
    demand(::ioctlsocket(socket, static_cast<long>(FIONBIO), &on) == 0, "ioctlsocket");
    return socket;
}

static_assert(sizeof(sockaddr_in) == sizeof(Endpoint::address));

Endpoint bind_to_loopback(SOCKET socket) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    int size = sizeof name;
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    demand(::bind(socket, address, size) == 0, "bind");
    demand(::getsockname(socket, address, &size) == 0, "getsockname");
    Endpoint endpoint;
    std::memcpy(endpoint.address.data(), &name, sizeof name);
    return endpoint;
}

HANDLE as_file(NativeHandle handle) { return reinterpret_cast<HANDLE>(handle); }

bool is_socket(NativeHandle handle) {
    int type = 0;
    int size = sizeof type;
    return ::getsockopt(handle, SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&type), &size) == 0;
}

/// The reading and the writing end of a pipe, both for overlapped calls, which those of CreatePipe are not.
std::pair<OwnedHandle, OwnedHandle> make_pipe() {
    static std::atomic<int> number{0};
    const std::string name = "\\\\.\\pipe\\leat-test-" + std::to_string(::GetCurrentProcessId()) + "-" +
                             std::to_string(number.fetch_add(1));
    HANDLE reader = ::CreateNamedPipeA(name.c_str(), PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED,
                                       PIPE_TYPE_BYTE | PIPE_WAIT, 1, 4096, 4096, 0, nullptr);
    demand(reader != INVALID_HANDLE_VALUE, "CreateNamedPipe");
    OwnedHandle owned_reader(reinterpret_cast<NativeHandle>(reader));
    HANDLE writer =
        ::CreateFileA(name.c_str(), GENERIC_WRITE, 0, nullptr, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, nullptr);
    demand(writer != INVALID_HANDLE_VALUE, "CreateFile");
    return {std::move(owned_reader), OwnedHandle(reinterpret_cast<NativeHandle>(writer))};
}

/// Of an overlapped call of a file's, which is withdrawn if it does not end at once.
std::size_t result_of(NativeHandle handle, BOOL began, OVERLAPPED& overlapped, std::error_code& error) {
    DWORD moved = 0;
    error.clear();
    const bool is_pending = !began && ::GetLastError() == ERROR_IO_PENDING;
    if (is_pending) ::CancelIoEx(as_file(handle), &overlapped);
    if ((began || is_pending) && ::GetOverlappedResult(as_file(handle), &overlapped, &moved, TRUE))
        return moved;
    if (::GetLastError() == ERROR_OPERATION_ABORTED)
        error = make_error_code(std::errc::operation_would_block);
    else if (::GetLastError() != ERROR_BROKEN_PIPE)
        error = detail::native_error(::GetLastError());
    return 0;
}

bool is_ready(NativeHandle handle, bool is_write, bool waits) {
    for (;;) {
        if (!is_socket(handle)) {
            DWORD available = 0;
            if (is_write || !::PeekNamedPipe(as_file(handle), nullptr, 0, nullptr, &available, nullptr) ||
                available != 0)
                return true;
        } else {
            fd_set asked;
            asked.fd_count = 1;
            asked.fd_array[0] = handle;
            fd_set failed = asked;
            timeval limit{0, waits ? 100'000 : 0};
            if (::select(0, is_write ? nullptr : &asked, is_write ? &asked : nullptr, &failed, &limit) != 0)
                return true;
        }
        if (!waits) return false;
        if (!is_socket(handle)) ::Sleep(1);
    }
}

}  // namespace

void OwnedHandle::reset() noexcept {
    if (value_ == invalid_handle) return;
    // Source knows how each kind is closed.
    Source gone(std::exchange(value_, invalid_handle));
}

// No pair of sockets without a network here.
Link stream_link() { return tcp_link(); }

Link pipe_to_read() {
    auto [reader, writer] = make_pipe();
    return {Source(reader.release()), std::move(writer)};
}

Link pipe_to_write() {
    auto [reader, writer] = make_pipe();
    return {Source(writer.release()), std::move(reader)};
}

Link tcp_link() {
    const Listening listening = tcp_listener();
    OwnedHandle client = start_connect(listening.endpoint);
    OwnedHandle server = accept_from(listening.source);
    await_writable(client.get());
    // As a pair of Unix sockets has it: what is written is there for the peer.
    for (NativeHandle end : {client.get(), server.get()}) {
        const int on = 1;
        ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&on), sizeof on);
    }
    return {Source(client.release()), std::move(server)};
}

Listening tcp_listener(int backlog) {
    OwnedHandle socket = tcp_socket();
    const Endpoint endpoint = bind_to_loopback(socket.get());
    demand(::listen(socket.get(), backlog) == 0, "listen");
    return {Source(socket.release()), endpoint};
}

RefusingPort::RefusingPort() : socket(tcp_socket()), endpoint(bind_to_loopback(socket.get())) {}

OwnedHandle tcp_socket() { return OwnedHandle(open_socket(SOCK_STREAM, IPPROTO_TCP)); }

OwnedHandle udp_socket() {
    OwnedHandle socket(open_socket(SOCK_DGRAM, IPPROTO_UDP));
    bind_to_loopback(socket.get());
    return socket;
}

OwnedHandle start_connect(const Endpoint& endpoint) {
    OwnedHandle socket = tcp_socket();
    const auto* const address = static_cast<const sockaddr*>(endpoint.data());
    if (::connect(socket.get(), address, static_cast<int>(endpoint.size())) != 0)
        demand(::WSAGetLastError() == WSAEWOULDBLOCK, "connect");
    return socket;
}

OwnedHandle accept_from(const Source& listener) {
    await_readable(listener.native_handle());
    NativeHandle accepted = detail::accept_connection(listener.native_handle());
    demand(accepted != invalid_handle, "accept");
    return OwnedHandle(accepted);
}

void reset_connection(OwnedHandle& socket) {
    const linger at_once{1, 0};
    demand(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&at_once),
                        sizeof at_once) == 0,
           "setsockopt");
    socket.reset();
}

void shrink_send_buffer(NativeHandle handle) {
    const int size = 4096;
    demand(::setsockopt(handle, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<const char*>(&size), sizeof size) ==
               0,
           "setsockopt");
}

void shut(NativeHandle socket, Direction direction) {
    int how = SD_BOTH;
    if (direction == Direction::reading) how = SD_RECEIVE;
    if (direction == Direction::writing) how = SD_SEND;
    if (::shutdown(socket, how) != 0) demand(::WSAGetLastError() == WSAENOTCONN, "shutdown");
}

bool has_peer(NativeHandle socket) {
    sockaddr_storage name{};
    int size = sizeof name;
    return ::getpeername(socket, reinterpret_cast<sockaddr*>(&name), &size) == 0;
}

void send_empty_datagram(NativeHandle to) {
    sockaddr_in address{};
    int size = sizeof address;
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    demand(::getsockname(to, name, &size) == 0, "getsockname");
    demand(::sendto(udp_socket().get(), "", 0, 0, name, size) == 0, "sendto");
}

std::error_code take_error(NativeHandle socket) {
    int error = 0;
    int size = sizeof error;
    demand(::getsockopt(socket, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &size) == 0,
           "getsockopt");
    return error == 0 ? std::error_code() : detail::native_error(static_cast<unsigned long>(error));
}

void send_urgent(NativeHandle socket, char byte) { demand(::send(socket, &byte, 1, MSG_OOB) == 1, "send"); }

// Nothing tells; a call that comes back does. So this is for sockets on which nothing waits.
bool is_non_blocking(NativeHandle handle) {
    int listens = 0;
    int size = sizeof listens;
    ::getsockopt(handle, SOL_SOCKET, SO_ACCEPTCONN, reinterpret_cast<char*>(&listens), &size);
    if (listens != 0)
        return ::accept(handle, nullptr, nullptr) == INVALID_SOCKET && ::WSAGetLastError() == WSAEWOULDBLOCK;
    char byte = 0;
    return ::recv(handle, &byte, 1, MSG_PEEK) < 0 && ::WSAGetLastError() == WSAEWOULDBLOCK;
}

bool is_inherited(NativeHandle handle) {
    DWORD flags = 0;
    demand(::GetHandleInformation(as_file(handle), &flags) != FALSE, "GetHandleInformation");
    return (flags & HANDLE_FLAG_INHERIT) != 0;
}

void make_blocking_and_inherited(NativeHandle socket) {
    u_long off = 0;
    demand(::ioctlsocket(socket, static_cast<long>(FIONBIO), &off) == 0, "ioctlsocket");
    demand(::SetHandleInformation(as_file(socket), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) != FALSE,
           "SetHandleInformation");
}

bool defer_accept(NativeHandle) { return false; }

void set_backlog(NativeHandle listener, int backlog) { demand(::listen(listener, backlog) == 0, "listen"); }

KeepAliveTimes keep_alive_times(NativeHandle socket) {
    // As "IPPROTO_TCP socket options" has them; not every header does.
    constexpr int idle = 3, interval = 17, probes = 16;
    const auto option = [&](int name) {
        int value = 0;
        int size = sizeof value;
        demand(::getsockopt(socket, IPPROTO_TCP, name, reinterpret_cast<char*>(&value), &size) == 0,
               "getsockopt");
        return value;
    };
    return {option(idle), option(interval), option(probes)};
}

std::string interface_name(unsigned number) {
    std::array<char, 257> name{};
    demand(::if_indextoname(number, name.data()) != nullptr, "if_indextoname");
    return name.data();
}

void write_text(NativeHandle handle, std::string_view text) {
    std::error_code error;
    const std::size_t written = try_write(handle, text, error);
    if (error) throw std::system_error(error, "write");
    if (written != text.size()) throw std::runtime_error("it did not fit");
}

std::string read_text(NativeHandle handle, std::size_t most) {
    await_readable(handle);
    std::string text(most, '\0');
    std::error_code error;
    text.resize(try_read(handle, text, error));
    if (error) throw std::system_error(error, "read");
    return text;
}

std::size_t try_read(NativeHandle handle, std::span<char> buffer, std::error_code& error) {
    if (!is_socket(handle)) {
        if (!is_readable(handle)) {
            error = make_error_code(std::errc::operation_would_block);
            return 0;
        }
        OVERLAPPED overlapped{};
        BOOL began = ::ReadFile(as_file(handle), buffer.data(), static_cast<DWORD>(buffer.size()), nullptr,
                                &overlapped);
        return result_of(handle, began, overlapped, error);
    }
    const int received = ::recv(handle, buffer.data(), static_cast<int>(buffer.size()), 0);
    error = received < 0 ? last_error() : std::error_code();
    return received < 0 ? 0 : static_cast<std::size_t>(received);
}

std::size_t try_peek(NativeHandle socket, std::span<char> buffer, std::error_code& error) {
    const int seen = ::recv(socket, buffer.data(), static_cast<int>(buffer.size()), MSG_PEEK);
    error = seen < 0 ? last_error() : std::error_code();
    return seen < 0 ? 0 : static_cast<std::size_t>(seen);
}

std::size_t try_write(NativeHandle handle, std::string_view text, std::error_code& error) {
    if (!is_socket(handle)) {
        OVERLAPPED overlapped{};
        BOOL began =
            ::WriteFile(as_file(handle), text.data(), static_cast<DWORD>(text.size()), nullptr, &overlapped);
        return result_of(handle, began, overlapped, error);
    }
    const int sent = ::send(handle, text.data(), static_cast<int>(text.size()), 0);
    error = sent < 0 ? last_error() : std::error_code();
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

std::size_t drain(NativeHandle handle) {
    std::array<char, 65536> buffer{};
    std::size_t total = 0;
    std::error_code error;
    while (std::size_t received = try_read(handle, buffer, error))
        total += received;
    return total;
}

std::size_t fill(NativeHandle handle) {
    const std::array<char, 4096> block{};
    std::size_t total = 0;
    std::error_code error;
    while (std::size_t sent = try_write(handle, std::string_view(block.data(), block.size()), error))
        total += sent;
    return total;
}

bool is_readable(NativeHandle handle) { return is_ready(handle, false, false); }
bool is_writable(NativeHandle handle) { return is_ready(handle, true, false); }
void await_readable(NativeHandle handle) { is_ready(handle, false, true); }
bool becomes_readable(NativeHandle handle, int milliseconds) {
    for (; !is_readable(handle) && milliseconds > 0; --milliseconds)
        ::Sleep(1);
    return is_readable(handle);
}
void await_writable(NativeHandle handle) { is_ready(handle, true, true); }

void await_arrival(NativeHandle socket) {
    if (!is_readable(socket)) ::Sleep(30);
}

void await_urgent(NativeHandle socket) {
    for (;;) {
        fd_set asked;
        asked.fd_count = 1;
        asked.fd_array[0] = socket;
        timeval limit{0, 100'000};
        if (::select(0, nullptr, nullptr, &asked, &limit) != 0) return;
    }
}

// A socket that is readable and has nothing to read has come to its end.
void await_end(NativeHandle socket) {
    for (;;) {
        u_long bytes = 0;
        demand(::ioctlsocket(socket, static_cast<long>(FIONREAD), &bytes) == 0, "ioctlsocket");
        if (bytes == 0 && is_readable(socket)) return;
        ::Sleep(1);
    }
}

// The C library has a copy of it, which getenv reads.
void set_environment(const char* name, const char* value) {
    ::_putenv_s(name, value != nullptr ? value : "");
}

std::set<NativeHandle> open_handles() {
    std::set<NativeHandle> found;
    DWORD count = 0;
    ::GetProcessHandleCount(::GetCurrentProcess(), &count);
    // They are multiples of four. There is no list of them, only their number, which the emulator gives as zero: the end is
    // there, too, where nothing has come for long.
    constexpr NativeHandle long_gap = 1024;
    NativeHandle last = 0;
    for (NativeHandle handle = 4; found.size() < count || handle - last < long_gap; handle += 4) {
        if (handle >= 65536) break;
        DWORD flags = 0;
        if (!::GetHandleInformation(as_file(handle), &flags)) continue;
        found.insert(handle);
        last = handle;
    }
    return found;
}

// Under Wine at least, which asks its server.
bool calls_are_slow() { return true; }

// No limit but memory, on Windows; the emulator has its host's.
std::size_t raise_handle_limit(std::size_t wanted) { return std::min<std::size_t>(wanted, 2000); }

HandleShortage::HandleShortage(int) : before_(0) {}

HandleShortage::~HandleShortage() = default;

// What a thread does cannot be asked; it has had the time to fall asleep.
void await_sleeping(int) { ::Sleep(30); }

int thread_id() { return static_cast<int>(::GetCurrentThreadId()); }

}  // namespace leat::test
