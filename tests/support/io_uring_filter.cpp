// SPDX-License-Identifier: BSL-1.0
#include "support/io_uring_filter.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace leat::test {
namespace {

// The word that says whose numbers a call's number is one of.
constexpr std::uint32_t architecture =
#if defined(__x86_64__)
    AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
    AUDIT_ARCH_AARCH64;
#elif defined(__riscv)
    AUDIT_ARCH_RISCV64;
#else
#error "no seccomp architecture is known here"
#endif

constexpr sock_filter load(std::size_t offset) {
    return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}

// Passes over as many instructions as are told if the word that was loaded is `value`, or is not.
constexpr sock_filter compare(std::uint32_t value, std::uint8_t if_equal, std::uint8_t otherwise) {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, if_equal, otherwise);
}

constexpr sock_filter answer(std::uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }

void must_succeed(int result, const char* call) {
    if (result != 0) throw std::system_error(errno, std::system_category(), call);
}

}  // namespace

void refuse_io_uring(int error) {
    std::array<sock_filter, 8> instructions = {
        load(offsetof(seccomp_data, arch)), compare(architecture, 0, 4),
        load(offsetof(seccomp_data, nr)),   compare(SYS_io_uring_setup, 3, 0),
        compare(SYS_io_uring_enter, 2, 0),  compare(SYS_io_uring_register, 1, 0),
        answer(SECCOMP_RET_ALLOW),          answer(SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
    };
    const sock_fprog program{instructions.size(), instructions.data()};
    // Without privileges to be gained, a process may filter its own calls.
    must_succeed(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
    must_succeed(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "prctl(PR_SET_SECCOMP)");
}

}  // namespace leat::test
