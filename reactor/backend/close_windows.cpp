// SPDX-License-Identifier: BSL-1.0
#include "backend/close.hpp"

#include <winsock2.h>

#include <mstcpip.h>
#include <windows.h>

namespace leat::detail {

namespace {

// Bytes of `socket` that have arrived and wait to be read.
bool has_unread(NativeHandle socket) noexcept {
    u_long bytes = 0;
    return ::ioctlsocket(socket, FIONREAD, &bytes) == 0 && bytes != 0;
}

}  // namespace

void close_handle(NativeHandle handle) noexcept {
    if (::closesocket(handle) == 0) return;
    const int error = ::WSAGetLastError();
    if (error == WSAENOTSOCK) {
        // A handle does not say what it is of; a socket's must not be closed as a file's.
        ::CloseHandle(reinterpret_cast<HANDLE>(handle));
    } else if (error == WSAEWOULDBLOCK) {
        // Somebody wants the close to wait, which a socket that never waits refuses (closesocket, "Remarks"). The system
        // delivers what is left by itself.
        const linger none{};
        ::setsockopt(handle, SOL_SOCKET, SO_LINGER, reinterpret_cast<const char*>(&none), sizeof none);
        ::closesocket(handle);
    }
}

bool end_sending(NativeHandle handle) noexcept {
    linger setting{};
    int size = sizeof setting;
    if (::getsockopt(handle, SOL_SOCKET, SO_LINGER, reinterpret_cast<char*>(&setting), &size) == 0 &&
        setting.l_onoff != 0 && setting.l_linger == 0)
        return false;
    if (!is_unfinished(handle)) return false;
    // That nobody is connected any more changes nothing.
    ::shutdown(handle, SD_SEND);
    return true;
}

bool is_unfinished(NativeHandle socket) noexcept { return has_unread(socket) || is_unacknowledged(socket); }

// From Windows 10 1703 on the system tells (SIO_TCP_INFO); one that does not has nothing else to ask, and sends what is left
// by itself after the close.
bool is_unacknowledged(NativeHandle socket) noexcept {
    DWORD version = 0;
    TCP_INFO_v0 info{};
    DWORD size = 0;
    if (::WSAIoctl(socket, SIO_TCP_INFO, &version, sizeof version, &info, sizeof info, &size, nullptr,
                   nullptr) != 0)
        return false;
    return info.BytesInFlight != 0;
}

}  // namespace leat::detail
