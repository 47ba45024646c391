// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/native_handle.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

/// What net asks of the operating system about sockets: each system has a file beside this one.
///
/// Nothing here waits, and an interrupted call is repeated. `error` is always set, and cleared by success.
namespace leat::detail::socket {

/// Room for the system's form of an `Address`.
inline constexpr std::size_t native_address_size = 32;
using NativeAddress = std::span<std::byte, native_address_size>;

/// How many bytes of a `NativeAddress` the form of `address` takes.
std::size_t native_size(const Address& address) noexcept;
void to_native(const Address& address, NativeAddress native) noexcept;

/// The interface of that name, as an IPv6 scope.
std::optional<std::uint32_t> scope_by_name(const char* name) noexcept;

/// A TCP socket, non-blocking and close-on-exec.
NativeHandle open_tcp(Address::Family family, std::error_code& error) noexcept;
/// Makes a stranger's socket so. Fails if it is no stream socket, or not (is one that listens) as `listens` says.
void adopt(NativeHandle handle, bool listens, std::error_code& error) noexcept;
void close(NativeHandle handle) noexcept;

void bind(NativeHandle socket, const Address& address, std::error_code& error) noexcept;
void listen(NativeHandle socket, int backlog, std::error_code& error) noexcept;
/// No error if it has only begun.
void connect(NativeHandle socket, const Address& address, std::error_code& error) noexcept;
/// That nobody is connected any more is no error.
void shutdown(NativeHandle socket, Half half, std::error_code& error) noexcept;

/// An IPv4-mapped address is returned as the IPv4 address; also by the next function.
Address local_address(NativeHandle socket, std::error_code& error) noexcept;
Address peer_address(NativeHandle socket, std::error_code& error) noexcept;

enum class Option {
    no_delay,
    keep_alive,
    /// In seconds, as the next.
    keep_alive_idle,
    keep_alive_interval,
    keep_alive_probes,
    receive_buffer_size,
    send_buffer_size,
    /// In milliseconds.
    user_timeout,
    /// Of IPv4 or IPv6, whichever the socket is.
    hops,
    reuse_address,
    reuse_port,
    ipv6_only,
    /// Reading it clears it.
    pending_error,
};
int option(NativeHandle socket, Option option, std::error_code& error) noexcept;
void set_option(NativeHandle socket, Option option, int value, std::error_code& error) noexcept;

std::optional<std::chrono::seconds> linger(NativeHandle socket, std::error_code& error) noexcept;
void set_linger(NativeHandle socket, std::optional<std::chrono::seconds> linger,
                std::error_code& error) noexcept;

/// Nothing, without an error: it would block.
std::optional<std::size_t> try_receive(NativeHandle socket, std::span<std::byte> buffer, bool peek,
                                       std::error_code& error) noexcept;
std::optional<std::size_t> try_send(NativeHandle socket, std::span<const std::byte> buffer,
                                    std::error_code& error) noexcept;
/// `invalid_handle`, without an error: nobody waits. Connections that were aborted meanwhile are passed over.
NativeHandle try_accept(NativeHandle listener, std::error_code& error) noexcept;

/// Keeps clients from beginning to connect to `listener`; what the system has begun to connect or has
/// accepted goes on. They try again after a while, and find the port closed or its next owner. Where the
/// system has no means for that, or refuses, nothing happens.
void stop_new_connections(NativeHandle listener) noexcept;
/// Takes that back.
void allow_new_connections(NativeHandle listener) noexcept;

/// Whether a connection waits to be accepted. True if that cannot be found out.
bool has_waiting_connection(NativeHandle listener) noexcept;

/// Whether the system is in the middle of handshakes for connections to the listener's port. False if that
/// cannot be found out. It costs about as much as the system has connections; not for a hot path.
bool has_handshakes(NativeHandle listener) noexcept;

/// Whether listeners that share a port (`Option::reuse_port`) are given its connections evenly.
bool spreads_connections() noexcept;

/// A handle that is good for nothing but to be closed when one is needed.
NativeHandle open_reserve(std::error_code& error) noexcept;

/// What an error of accept, or of opening a reserve, means for a server.
enum class AcceptFailure {
    /// That connection's own trouble, or the network's: the next one may be fine.
    passing,
    /// The process or the system has no descriptor left.
    no_descriptors,
    no_memory,
    /// The listener is of no use.
    fatal,
};
AcceptFailure classify_accept_failure(const std::error_code& error) noexcept;

}  // namespace leat::detail::socket
