// SPDX-License-Identifier: BSL-1.0
#include "backend/socket.hpp"

#include <leat/reactor/error.hpp>
#include <leat/reactor/source.hpp>

#include <winsock2.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>

#include <iphlpapi.h>
#include <mstcpip.h>
#include <windows.h>
#include <ws2tcpip.h>

namespace leat::detail::socket {
namespace {

// As "IPPROTO_TCP socket options" has them, from Windows 10 1709 on; not every header does.
constexpr int tcp_keep_idle = 3, tcp_keep_count = 16, tcp_keep_interval = 17;

/// Winsock is wanted by sockets that no queue has seen yet. As it has no end of its own, the end of the process is it.
void start_winsock() noexcept {
    static const bool is_started = [] {
        WSADATA data;
        return ::WSAStartup(MAKEWORD(2, 2), &data) == 0;
    }();
    (void)is_started;
}

// Winsock says the same of a handle that is none as of one that is no socket's.
std::error_code last_error(NativeHandle socket) noexcept {
    auto number = static_cast<unsigned long>(::WSAGetLastError());
    DWORD flags = 0;
    if (number == WSAENOTSOCK &&
        (socket == invalid_handle || !::GetHandleInformation(reinterpret_cast<HANDLE>(socket), &flags)))
        number = WSAEBADF;
    return native_error(number);
}

// Keeps what a call on `socket` answered, which is negative if it failed.
int checked(NativeHandle socket, int answer, std::error_code& error) noexcept {
    error = answer < 0 ? last_error(socket) : std::error_code();
    return answer;
}

WSAPROTOCOL_INFOW protocol_of(NativeHandle socket, std::error_code& error) noexcept {
    WSAPROTOCOL_INFOW info{};
    int size = sizeof info;
    checked(socket,
            ::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info), &size),
            error);
    return info;
}

struct OptionName {
    int level;
    int name;
};

OptionName name_of(NativeHandle socket, Option option, std::error_code& error) noexcept {
    error.clear();
    switch (option) {
    case Option::no_delay:
        return {IPPROTO_TCP, TCP_NODELAY};
    case Option::keep_alive:
        return {SOL_SOCKET, SO_KEEPALIVE};
    case Option::keep_alive_idle:
        return {IPPROTO_TCP, tcp_keep_idle};
    case Option::keep_alive_interval:
        return {IPPROTO_TCP, tcp_keep_interval};
    case Option::keep_alive_probes:
        return {IPPROTO_TCP, tcp_keep_count};
    case Option::receive_buffer_size:
        return {SOL_SOCKET, SO_RCVBUF};
    case Option::send_buffer_size:
        return {SOL_SOCKET, SO_SNDBUF};
    case Option::reuse_address:
        // Not SO_REUSEADDR, with which anybody could take the port over while we listen ("Using SO_REUSEADDR and
        // SO_EXCLUSIVEADDRUSE"). The price: while a connection of the former server is still active, the port is not free.
        return {SOL_SOCKET, SO_EXCLUSIVEADDRUSE};
    case Option::ipv6_only:
        return {IPPROTO_IPV6, IPV6_V6ONLY};
    case Option::pending_error:
        return {SOL_SOCKET, SO_ERROR};
    case Option::user_timeout:
    case Option::reuse_port:
        error = make_error_code(std::errc::no_protocol_option);
        return {};
    case Option::hops:
        break;
    }
    if (protocol_of(socket, error).iAddressFamily == AF_INET6) return {IPPROTO_IPV6, IPV6_UNICAST_HOPS};
    return {IPPROTO_IP, IP_TTL};
}

Address from_native(const sockaddr_storage& native, std::error_code& error) noexcept {
    if (native.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &native, sizeof ipv4);
        std::array<std::uint8_t, 4> octets{};
        std::memcpy(octets.data(), &ipv4.sin_addr, octets.size());
        return Address::ipv4(octets, ::ntohs(ipv4.sin_port));
    }
    if (native.ss_family == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &native, sizeof ipv6);
        std::array<std::uint8_t, 16> octets{};
        std::memcpy(octets.data(), &ipv6.sin6_addr, octets.size());
        return Address::ipv6(octets, ::ntohs(ipv6.sin6_port), ipv6.sin6_scope_id).unmapped();
    }
    error = make_error_code(std::errc::address_family_not_supported);
    return {};
}

/// Non-blocking, and not for processes that this one starts.
void prepare(NativeHandle handle, std::error_code& error) noexcept {
    u_long non_blocking = 1;
    if (checked(handle, ::ioctlsocket(handle, static_cast<long>(FIONBIO), &non_blocking), error) < 0) return;
    ::SetHandleInformation(reinterpret_cast<HANDLE>(handle), HANDLE_FLAG_INHERIT, 0);
}

int size_for_call(std::size_t size) noexcept {
    return static_cast<int>(std::min<std::size_t>(size, INT_MAX));
}

bool is_for_later(const std::error_code& error) noexcept { return error == std::errc::operation_would_block; }

}  // namespace

std::size_t native_size(const Address& address) noexcept {
    return address.is_ipv4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

void to_native(const Address& address, NativeAddress native) noexcept {
    static_assert(sizeof(sockaddr_in) <= native_address_size && sizeof(sockaddr_in6) <= native_address_size);
    if (address.is_ipv4()) {
        sockaddr_in ipv4{};
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = ::htons(address.port());
        std::memcpy(&ipv4.sin_addr, address.octets().data(), sizeof ipv4.sin_addr);
        std::memcpy(native.data(), &ipv4, sizeof ipv4);
    } else {
        sockaddr_in6 ipv6{};
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = ::htons(address.port());
        ipv6.sin6_scope_id = address.scope();
        std::memcpy(&ipv6.sin6_addr, address.octets().data(), sizeof ipv6.sin6_addr);
        std::memcpy(native.data(), &ipv6, sizeof ipv6);
    }
}

std::optional<std::uint32_t> scope_by_name(const char* name) noexcept {
    unsigned index = ::if_nametoindex(name);
    if (index == 0) return std::nullopt;
    return index;
}

NativeHandle open_tcp(Address::Family family, std::error_code& error) noexcept {
    start_winsock();
    int domain = family == Address::Family::ipv4 ? AF_INET : AF_INET6;
    SOCKET socket = ::WSASocketW(domain, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                 WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (socket == INVALID_SOCKET) {
        error = last_error(invalid_handle);
        return invalid_handle;
    }
    prepare(socket, error);
    if (!error) return socket;
    ::closesocket(socket);
    return invalid_handle;
}

void adopt(NativeHandle handle, bool listens, std::error_code& error) noexcept {
    start_winsock();
    int type = 0;
    BOOL is_listening = FALSE;
    int size = sizeof type;
    if (checked(handle, ::getsockopt(handle, SOL_SOCKET, SO_TYPE, reinterpret_cast<char*>(&type), &size),
                error) < 0)
        return;
    size = sizeof is_listening;
    if (checked(
            handle,
            ::getsockopt(handle, SOL_SOCKET, SO_ACCEPTCONN, reinterpret_cast<char*>(&is_listening), &size),
            error) < 0)
        return;
    if (type != SOCK_STREAM || (is_listening != FALSE) != listens) {
        error = make_error_code(std::errc::invalid_argument);
        return;
    }
    prepare(handle, error);
}

// A source knows how.
void close(NativeHandle handle) noexcept { Source(handle).close(); }

void bind(NativeHandle socket, const Address& address, std::error_code& error) noexcept {
    alignas(sockaddr_storage) std::byte native[native_address_size];
    to_native(address, native);
    checked(socket,
            ::bind(socket, reinterpret_cast<const sockaddr*>(native), static_cast<int>(native_size(address))),
            error);
}

void listen(NativeHandle socket, int backlog, std::error_code& error) noexcept {
    checked(socket, ::listen(socket, backlog), error);
}

void connect(NativeHandle socket, const Address& address, std::error_code& error) noexcept {
    alignas(sockaddr_storage) std::byte native[native_address_size];
    to_native(address, native);
    int answer = checked(
        socket,
        ::connect(socket, reinterpret_cast<const sockaddr*>(native), static_cast<int>(native_size(address))),
        error);
    if (answer < 0 && is_for_later(error)) error.clear();
}

void shutdown(NativeHandle socket, Half half, std::error_code& error) noexcept {
    int how = SD_BOTH;
    if (half == Half::read) how = SD_RECEIVE;
    if (half == Half::write) how = SD_SEND;
    if (checked(socket, ::shutdown(socket, how), error) < 0 && error == std::errc::not_connected)
        error.clear();
}

Address local_address(NativeHandle socket, std::error_code& error) noexcept {
    sockaddr_storage native{};
    int size = sizeof native;
    if (checked(socket, ::getsockname(socket, reinterpret_cast<sockaddr*>(&native), &size), error) == 0)
        return from_native(native, error);
    // Not bound to anything yet: elsewhere that is an address of zeroes, not an error.
    if (error != std::errc::invalid_argument) return {};
    native = sockaddr_storage{};
    native.ss_family =
        static_cast<decltype(sockaddr_storage::ss_family)>(protocol_of(socket, error).iAddressFamily);
    return error ? Address() : from_native(native, error);
}

Address peer_address(NativeHandle socket, std::error_code& error) noexcept {
    sockaddr_storage native{};
    int size = sizeof native;
    checked(socket, ::getpeername(socket, reinterpret_cast<sockaddr*>(&native), &size), error);
    return error ? Address() : from_native(native, error);
}

int option(NativeHandle socket, Option option, std::error_code& error) noexcept {
    OptionName name = name_of(socket, option, error);
    if (error) return 0;
    int value = 0;
    int size = sizeof value;
    checked(socket, ::getsockopt(socket, name.level, name.name, reinterpret_cast<char*>(&value), &size),
            error);
    return value;
}

void set_option(NativeHandle socket, Option option, int value, std::error_code& error) noexcept {
    OptionName name = name_of(socket, option, error);
    // Not to do what cannot be done is no error.
    if (option == Option::reuse_port && value == 0) error.clear();
    if (error || name.name == 0) return;
    // A listener that does without `reuse_address` is as safe from others as one with it.
    if (option == Option::reuse_address) value = 1;
    checked(socket,
            ::setsockopt(socket, name.level, name.name, reinterpret_cast<const char*>(&value), sizeof value),
            error);
}

std::optional<std::chrono::seconds> linger(NativeHandle socket, std::error_code& error) noexcept {
    ::linger setting{};
    int size = sizeof setting;
    checked(socket, ::getsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<char*>(&setting), &size),
            error);
    if (error || setting.l_onoff == 0) return std::nullopt;
    return std::chrono::seconds(setting.l_linger);
}

void set_linger(NativeHandle socket, std::optional<std::chrono::seconds> linger,
                std::error_code& error) noexcept {
    ::linger setting{};
    setting.l_onoff = linger.has_value() ? 1 : 0;
    setting.l_linger = linger.has_value() ? static_cast<u_short>(linger->count()) : u_short{0};
    checked(
        socket,
        ::setsockopt(socket, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&setting), sizeof setting),
        error);
}

std::optional<std::size_t> try_receive(NativeHandle socket, std::span<std::byte> buffer, bool peek,
                                       std::error_code& error) noexcept {
    int received = checked(socket,
                           ::recv(socket, reinterpret_cast<char*>(buffer.data()),
                                  size_for_call(buffer.size()), peek ? MSG_PEEK : 0),
                           error);
    if (received >= 0) return static_cast<std::size_t>(received);
    // After a shutdown of our own; elsewhere that is the end of the stream.
    if (error == native_error(WSAESHUTDOWN)) {
        error.clear();
        return 0;
    }
    if (is_for_later(error)) error.clear();
    return std::nullopt;
}

std::optional<std::size_t> try_send(NativeHandle socket, std::span<const std::byte> buffer,
                                    std::error_code& error) noexcept {
    int sent = checked(
        socket, ::send(socket, reinterpret_cast<const char*>(buffer.data()), size_for_call(buffer.size()), 0),
        error);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (is_for_later(error)) error.clear();
    return std::nullopt;
}

NativeHandle try_accept(NativeHandle listener, std::error_code& error) noexcept {
    for (;;) {
        NativeHandle accepted = accept_connection(listener);
        error = accepted == invalid_handle ? last_error(listener) : std::error_code();
        if (accepted != invalid_handle) return accepted;
        // The peer has gone again.
        if (error == std::errc::connection_reset || error == std::errc::connection_aborted) continue;
        if (is_for_later(error)) error.clear();
        return invalid_handle;
    }
}

void stop_new_connections(NativeHandle) noexcept {}
void allow_new_connections(NativeHandle) noexcept {}

bool has_waiting_connection(NativeHandle listener) noexcept {
    WSAPOLLFD asked{listener, POLLRDNORM, 0};
    return ::WSAPoll(&asked, 1, 0) != 0;
}

bool has_handshakes(NativeHandle) noexcept { return false; }

bool spreads_connections() noexcept { return false; }

NativeHandle open_reserve(std::error_code& error) noexcept { return open_tcp(Address::Family::ipv4, error); }

AcceptFailure classify_accept_failure(const std::error_code& error) noexcept {
    if (error == std::errc::too_many_files_open) return AcceptFailure::no_descriptors;
    if (error == std::errc::no_buffer_space || error == std::errc::not_enough_memory)
        return AcceptFailure::no_memory;
    if (error == std::errc::bad_file_descriptor || error == std::errc::invalid_argument ||
        error == std::errc::not_a_socket || error == std::errc::bad_address ||
        error.category() == leat::error_category())
        return AcceptFailure::fatal;
    return AcceptFailure::passing;
}

}  // namespace leat::detail::socket
