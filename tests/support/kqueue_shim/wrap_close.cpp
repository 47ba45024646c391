// SPDX-License-Identifier: BSL-1.0
// Linked with --wrap=close, so that the shim sees what is closed.
#include "kqueue_shim.hpp"

extern "C" {
int __real_close(int fd);
int __wrap_close(int fd);
}

int __wrap_close(int fd) {
    leat::test::kqueue_shim::before_close(fd);
    return __real_close(fd);
}
