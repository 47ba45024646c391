// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <cstddef>

namespace leat {

/// How many CPUs this process may use, at least one: those of its affinity, and no more than its control group (a container's,
/// say) is given time on, rounded up.
///
/// Asks the system each time: on Linux sched_getaffinity(2) and the files cpu.max (cgroups v2) or cpu.cfs_quota_us (v1) of the
/// process's group and those above it; on Windows GetProcessAffinityMask; elsewhere how many are online.
std::size_t available_cpus();

}  // namespace leat
