// SPDX-License-Identifier: BSL-1.0
#include "backend/close.hpp"

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
    // That nobody is connected any more, or that it is no socket, changes nothing.
    ::shutdown(handle, SHUT_WR);
    return true;
}

}  // namespace leat::detail
