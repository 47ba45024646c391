// SPDX-License-Identifier: BSL-1.0
#include "backend/close.hpp"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace leat::detail {

void close_handle(NativeHandle handle) noexcept {
    // Never again after EINTR: on Linux the descriptor is gone by then (close(2), NOTES).
    ::close(handle);
}

bool end_sending(NativeHandle handle) noexcept {
    linger setting{};
    socklen_t size = sizeof setting;
    if (::getsockopt(handle, SOL_SOCKET, SO_LINGER, &setting, &size) == 0 && setting.l_onoff != 0 &&
        setting.l_linger == 0)
        return false;
    if (!is_unfinished(handle)) return false;
    // That nobody is connected any more changes nothing.
    ::shutdown(handle, SHUT_WR);
    return true;
}

namespace {

/// In the queue that `request` asks for (ioctl(2); on Linux tcp(7), where TIOCOUTQ is called SIOCOUTQ); none if the system
/// cannot tell.
int bytes_waiting(NativeHandle handle, unsigned long request) noexcept {
    int bytes = 0;
    return ::ioctl(handle, request, &bytes) == 0 ? bytes : 0;
}

}  // namespace

bool is_unfinished(NativeHandle socket) noexcept {
    return is_unacknowledged(socket) || bytes_waiting(socket, FIONREAD) != 0;
}

bool is_unacknowledged(NativeHandle socket) noexcept {
#if defined(SO_NWRITE)
    int bytes = 0;
    socklen_t size = sizeof bytes;
    return ::getsockopt(socket, SOL_SOCKET, SO_NWRITE, &bytes, &size) == 0 && bytes != 0;
#elif defined(FIONWRITE)
    return bytes_waiting(socket, FIONWRITE) != 0;
#else
    return bytes_waiting(socket, TIOCOUTQ) != 0;
#endif
}

}  // namespace leat::detail
