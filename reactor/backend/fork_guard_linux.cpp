// SPDX-License-Identifier: BSL-1.0
#include "backend/fork_guard.hpp"

#include <cerrno>
#include <new>
#include <system_error>

#include <sys/mman.h>
#include <unistd.h>

namespace leat::detail {

namespace {

std::size_t page_size() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

ForkGuard::ForkGuard() {
    void* page = ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) throw std::system_error(errno, std::system_category(), "leat: mmap");
    // Kernels before 4.14 refuse: a child then takes itself for the parent, as it would without this guard.
    ::madvise(page, page_size(), MADV_WIPEONFORK);
    word_ = ::new (page) std::atomic<std::uintptr_t>(unowned);
}

ForkGuard::~ForkGuard() { ::munmap(word_, page_size()); }

}  // namespace leat::detail
