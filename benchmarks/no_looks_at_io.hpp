// SPDX-License-Identifier: BSL-1.0
//
// For one source file of a program: its `epoll_wait` stands before the C library's. The executor looks at I/O now and then
// though tasks are ready; what the kernel takes for that is left out where there is no I/O and the floors never look.
#pragma once

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) {
    if (timeout == 0) return 0;
    return static_cast<int>(syscall(SYS_epoll_wait, epoll, events, capacity, timeout));
}
