// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace leat::detail {

/// How many CPUs the control groups of this process leave it, rounded up and at least one; nothing if they set no limit, or none
/// can be found.
///
/// Reads proc/self/cgroup and sys/fs/cgroup below `root`, both versions: a group's limit and those of the groups around it, of
/// which the least counts. What a container does not show of the path to its group is passed over.
std::optional<std::size_t> cgroup_cpus(const std::filesystem::path& root);

}  // namespace leat::detail
