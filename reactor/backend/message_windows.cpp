// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/native_handle.hpp>
#include <leat/reactor/operation.hpp>

#include <winsock2.h>

#include <cassert>

#include <windows.h>

namespace leat::detail {

NativeHandle accept_connection(NativeHandle listener) noexcept {
    SOCKET accepted = ::accept(listener, nullptr, nullptr);
    if (accepted == INVALID_SOCKET) return invalid_handle;
    u_long non_blocking = 1;
    ::ioctlsocket(accepted, static_cast<long>(FIONBIO), &non_blocking);
    // What another thread becomes in between inherits it: accept has no better way.
    ::SetHandleInformation(reinterpret_cast<HANDLE>(accepted), HANDLE_FLAG_INHERIT, 0);
    return accepted;
}

bool OperationRecord::go_on_after_send(std::ptrdiff_t) noexcept {
    assert(false && "no source is ever idle where the kernel carries operations out");
    return false;
}

}  // namespace leat::detail
