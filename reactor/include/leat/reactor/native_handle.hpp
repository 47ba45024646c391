// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <cstdint>

namespace leat {

/// What the operating system calls an open file or socket.
#if defined(_WIN32)
using NativeHandle = std::uintptr_t;
inline constexpr NativeHandle invalid_handle = ~NativeHandle{0};
namespace detail {
// Its two low bits are the program's.
inline constexpr NativeHandle native_handle_step = 4;
}  // namespace detail
#else
using NativeHandle = int;
inline constexpr NativeHandle invalid_handle = -1;
namespace detail {
inline constexpr unsigned native_handle_step = 1;
}  // namespace detail
#endif

namespace detail {

/// For sockets: takes a connection that waits, non-blocking and close-on-exec. Negative: none; `errno` tells why.
NativeHandle accept_connection(NativeHandle listener) noexcept;

/// Whether closing the socket now might cost its peer something: bytes that it has not acknowledged, or, since those that
/// were sent to us and not read make closing a reset, anything at all.
bool is_unfinished(NativeHandle socket) noexcept;
/// Whether its peer's system has yet to acknowledge something that was sent, the end included.
bool is_unacknowledged(NativeHandle socket) noexcept;

}  // namespace detail

}  // namespace leat
