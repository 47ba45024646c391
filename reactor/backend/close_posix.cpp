// SPDX-License-Identifier: BSL-1.0
#include "backend/close.hpp"

#include <unistd.h>

namespace leat::detail {

void close_handle(NativeHandle handle) noexcept {
    // Never again after EINTR: on Linux the descriptor is gone by then (close(2), NOTES).
    ::close(handle);
}

}  // namespace leat::detail
