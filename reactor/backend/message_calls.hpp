// SPDX-License-Identifier: BSL-1.0
//
// The two system calls of every message. glibc (2.36) makes each a cancellation point, which in a process of several
// threads means two atomic exchanges and some fifty instructions a call (sysdeps/unix/sysv/linux, LIBC_CANCEL_ASYNC);
// pthread_cancel would end a thread in the middle of code that must not be left. So where we know how, the kernel is called
// directly. The sanitizers see these calls only through the C library, and so get them from there.
#pragma once

#include <cerrno>
#include <cstddef>

#include <sys/socket.h>
#include <sys/types.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define LEAT_IS_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LEAT_IS_SANITIZED
#endif

#if defined(__linux__) && defined(__LP64__) && !defined(LEAT_IS_SANITIZED) &&                                \
    (defined(__x86_64__) || defined(__aarch64__))
#include <sys/syscall.h>
#define LEAT_CALLS_DIRECTLY
#endif

namespace leat::detail {

#if defined(LEAT_CALLS_DIRECTLY)

/// recvfrom(2) and sendto(2) without an address, whose size then nobody looks at: what the call gives, or a negated error
/// number.
[[gnu::always_inline]] inline ssize_t call_socket(long number, int socket, const void* data, std::size_t size,
                                                  int flags) noexcept {
#if defined(__x86_64__)
    long result = number;
    register long flags_register asm("r10") = flags;
    register long no_address asm("r8") = 0;
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(socket), "S"(data), "d"(size), "r"(flags_register), "r"(no_address)
                 : "rcx", "r11", "memory");
    return result;
#else
    register long number_register asm("x8") = number;
    register long result asm("x0") = socket;
    register const void* data_register asm("x1") = data;
    register std::size_t size_register asm("x2") = size;
    register long flags_register asm("x3") = flags;
    register long no_address asm("x4") = 0;
    asm volatile("svc 0"
                 : "+r"(result)
                 : "r"(number_register), "r"(data_register), "r"(size_register), "r"(flags_register),
                   "r"(no_address)
                 : "memory", "cc");
    return result;
#endif
}

[[gnu::always_inline]] inline ssize_t receive_now(int socket, void* data, std::size_t size) noexcept {
    return call_socket(SYS_recvfrom, socket, data, size, 0);
}
[[gnu::always_inline]] inline ssize_t send_now(int socket, const void* data, std::size_t size) noexcept {
    return call_socket(SYS_sendto, socket, data, size, MSG_NOSIGNAL);
}

#else

inline ssize_t receive_now(int socket, void* data, std::size_t size) noexcept {
    ssize_t received = ::recv(socket, data, size, 0);
    return received < 0 ? -errno : received;
}
inline ssize_t send_now(int socket, const void* data, std::size_t size) noexcept {
    ssize_t sent = ::send(socket, data, size, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

#endif

}  // namespace leat::detail
