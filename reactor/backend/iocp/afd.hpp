// SPDX-License-Identifier: BSL-1.0
//
// Readiness of sockets on Windows, delivered to a completion port.
//
// The driver of all sockets ("AFD") has a request that ends when a socket is ready; select and WSAPoll are made of it. Its
// numbers are no part of any header, but Windows has kept them since version 6 and every event loop of note relies on them
// (libuv's, mio's, wepoll). Any handle of the device serves for any socket, so that a socket which is only watched
// need not belong to the port.
#pragma once

#include <winsock2.h>

#include <cstdint>

#include <windows.h>
#include <winternl.h>

namespace leat::detail::iocp {

/// What a poll asks for, and what it found.
struct AfdEvents {
    static constexpr ULONG receive = 0x1, receive_expedited = 0x2, send = 0x4,
                           // The peer has shut down its sending half.
        disconnect = 0x8,
                           // The connection was reset.
        abort = 0x10,
                           // We closed it ourselves.
        local_close = 0x20, accept = 0x80, connect_fail = 0x100;

    // Asked apart from each other, some ends of a connection would not be told.
    static constexpr ULONG to_read = receive | disconnect | abort | accept | connect_fail | local_close;
    static constexpr ULONG to_write = send | abort | connect_fail | local_close;
};

/// The driver's form of a question about one socket, and of the answer.
struct AfdPollInfo {
    LARGE_INTEGER timeout;
    ULONG count;
    ULONG is_exclusive;
    HANDLE socket;
    ULONG events;
    NTSTATUS status;
};

/// The device that polls are sent to.
///
/// Thread-safety: any thread.
class Afd {
public:
    /// Packets of its polls come to `port`. Errors: the system's, as `std::system_error`.
    explicit Afd(HANDLE port);
    Afd(const Afd&) = delete;
    Afd& operator=(const Afd&) = delete;
    ~Afd();

    /// Asks for `events` of a base socket. A packet with `overlapped` comes when one of them holds, or at once; `info` and
    /// `overlapped` outlive that. Otherwise the error's number, as GetLastError would give it.
    int poll(SOCKET socket, ULONG events, AfdPollInfo& info, OVERLAPPED& overlapped) const noexcept;
    /// Asks for the packet now, if it is not under way.
    void cancel(OVERLAPPED& overlapped) const noexcept;

private:
    HANDLE device_;
};

/// The socket below all layers that somebody may have put over it: the driver knows only that one.
SOCKET base_socket(SOCKET socket) noexcept;

/// Whether a read, or a write, would find something now.
bool is_ready_now(SOCKET socket, bool is_write) noexcept;

}  // namespace leat::detail::iocp
