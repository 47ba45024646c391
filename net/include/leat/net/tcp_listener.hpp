// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/io_operation.hpp>

#include <optional>
#include <system_error>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// How a listener is made.
struct ListenOptions {
    ListenOptions() noexcept = default;

    /// Connections that the system holds until they are accepted; it may cap this (somaxconn).
    int backlog = 4096;
    /// Lets a restarted server bind while old connections linger (SO_REUSEADDR). On Windows, where that would let anybody
    /// take the port, a listener always has it for itself (SO_EXCLUSIVEADDRUSE), and waits for connections that are active.
    bool reuse_address = true;
    /// Lets several listeners share the port, the system spreading connections over them (SO_REUSEPORT).
    bool reuse_port = false;
    /// Whether [::] takes IPv4 connections too, whose peers then have IPv4 addresses. Set explicitly.
    bool dual_stack = true;
    /// Accepted connections send small writes at once (TCP_NODELAY), as those made with `TcpStream::connect` do.
    bool no_delay = true;
};

/// What `TcpListener::accept` gives.
class [[nodiscard]] AcceptOperation : public IoOperation {
public:
    using value_type = TcpStream;

    explicit AcceptOperation(Source& listener) noexcept
        : IoOperation(Operation::accept(listener)), is_tcp_(listener.is_known_as_tcp()) {}
    AcceptOperation(AcceptOperation&&) noexcept = default;
    // Closes a connection that was taken and that nobody came for.
    ~AcceptOperation();

    TcpStream await_resume();
    Result<TcpStream> result();
    std::string describe() const override;

private:
    TcpStream take() noexcept;

    bool is_tcp_;
    bool is_taken_ = false;
};

/// A socket that takes TCP connections.
///
/// Thread-safety: one thread at a time; once it awaits, the executor's.
/// Lifetime:      as `TcpStream`.
class TcpListener {
public:
    TcpListener() noexcept = default;

    /// Listens at `address`; port 0 lets the system choose: see `local_address()`.
    ///
    /// Errors: `std::system_error` that names the address: address_in_use, permission_denied, ….
    static TcpListener bind(const Address& address);
    static TcpListener bind(const Address& address, const ListenOptions& options);

    /// Takes over a listening socket. Errors: `std::system_error` if it is none; it stays the caller's.
    static TcpListener adopt(NativeHandle handle);
    [[nodiscard]] NativeHandle release() noexcept { return source_.release(); }

    bool is_open() const noexcept { return source_.is_open(); }
    NativeHandle native_handle() const noexcept { return source_.native_handle(); }
    Source& source() noexcept { return source_; }
    Address local_address() const;
    void set_ttl(int hops);
    int ttl() const;

    /// Waits for the next connection.
    ///
    /// A peer that has gone again before it was accepted is passed over. Everything else is told: `serve` knows which
    /// errors pass.
    ///
    /// Errors:       the system's: too_many_files_open, not_enough_memory, …; `busy`; `closed`.
    /// Cancellation: a connection that was taken already is returned.
    AcceptOperation accept() noexcept { return AcceptOperation(source_); }

    /// Accepts without waiting, for a bare queue. Nothing if no connection waits.
    std::optional<TcpStream> try_accept(std::error_code& error) noexcept;
    std::optional<TcpStream> try_accept();

    void close() noexcept { source_.close(); }

private:
    explicit TcpListener(Source&& source) noexcept : source_(std::move(source)) {}

    Source source_;
};

}  // namespace leat

#pragma GCC diagnostic pop
