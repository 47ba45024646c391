// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cpus.hpp>

#if defined(__linux__)
#include "backend/cgroup.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <memory>

#include <sched.h>
#endif
#include <unistd.h>

namespace leat {

namespace {

std::size_t online_cpus() noexcept {
    const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? static_cast<std::size_t>(online) : 1;
}

#if defined(__linux__)

/// Zero if the system does not tell.
std::size_t cpus_of_affinity() {
    // EINVAL: the kernel's set is larger than this one (sched_getaffinity(2)).
    for (int cpus = 1024; cpus <= 1024 * 1024; cpus *= 4) {
        auto free_set = [](cpu_set_t* set) { CPU_FREE(set); };
        std::unique_ptr<cpu_set_t, decltype(free_set)> set(CPU_ALLOC(static_cast<std::size_t>(cpus)),
                                                           free_set);
        if (set == nullptr) return 0;
        const std::size_t size = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
        if (::sched_getaffinity(0, size, set.get()) == 0)
            return static_cast<std::size_t>(CPU_COUNT_S(size, set.get()));
        if (errno != EINVAL) return 0;
    }
    return 0;
}

#endif

}  // namespace

std::size_t available_cpus() {
#if defined(__linux__)
    std::size_t cpus = cpus_of_affinity();
    if (cpus == 0) cpus = online_cpus();
    try {
        if (auto limit = detail::cgroup_cpus("/")) cpus = std::min(cpus, *limit);
    } catch (const std::exception&) {
        // Files that cannot be read set no limit.
    }
    return std::max<std::size_t>(cpus, 1);
#else
    return online_cpus();
#endif
}

}  // namespace leat
