// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cpus.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <thread>

#include <windows.h>

namespace leat {

std::size_t available_cpus() {
    DWORD_PTR process = 0;
    DWORD_PTR system = 0;
    // Zero, too, for a process whose threads are spread over several groups of processors ("GetProcessAffinityMask").
    if (::GetProcessAffinityMask(::GetCurrentProcess(), &process, &system) != 0 && process != 0)
        return static_cast<std::size_t>(std::popcount(static_cast<std::uint64_t>(process)));
    return std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
}

}  // namespace leat
