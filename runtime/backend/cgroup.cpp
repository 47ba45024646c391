// SPDX-License-Identifier: BSL-1.0
//
// Formats: cgroups(7); Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and cgroup-v1 with
// scheduler/sched-bwc.rst (cpu.cfs_quota_us, cpu.cfs_period_us). All times are in microseconds.
#include "backend/cgroup.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <system_error>

namespace leat::detail {

namespace {

namespace fs = std::filesystem;

std::optional<std::size_t> cpus_of(std::int64_t quota, std::int64_t period) {
    if (quota <= 0 || period <= 0) return std::nullopt;
    return static_cast<std::size_t>((quota - 1) / period + 1);
}

/// "max 100000" or "150000 100000".
std::optional<std::size_t> limit_v2(const fs::path& group) {
    std::ifstream file(group / "cpu.max");
    std::int64_t quota = 0;
    std::int64_t period = 0;
    if (!(file >> quota >> period)) return std::nullopt;
    return cpus_of(quota, period);
}

/// A number each; a quota of -1 is none.
std::optional<std::size_t> limit_v1(const fs::path& group) {
    std::ifstream quota_file(group / "cpu.cfs_quota_us");
    std::ifstream period_file(group / "cpu.cfs_period_us");
    std::int64_t quota = 0;
    std::int64_t period = 0;
    if (!(quota_file >> quota) || !(period_file >> period)) return std::nullopt;
    return cpus_of(quota, period);
}

void keep_least(std::optional<std::size_t>& least, std::optional<std::size_t> other) {
    if (other && (!least || *other < *least)) least = other;
}

/// Of the group at `path` below `mount`, and of all above it up to the mount.
template <class Limit>
std::optional<std::size_t> least_limit(const fs::path& mount, const std::string& path, Limit limit) {
    std::optional<std::size_t> least;
    fs::path relative = fs::path(path).relative_path().lexically_normal();
    // The path may lead outside of what a container shows ("/../other").
    if (!relative.empty() && *relative.begin() == "..") relative.clear();
    for (;; relative = relative.parent_path()) {
        keep_least(least, limit(mount / relative));
        if (relative.empty()) return least;
    }
}

/// Whether `controllers`, separated by commas, has that of CPU time.
bool controls_cpu(const std::string& controllers) {
    std::istringstream list(controllers);
    for (std::string name; std::getline(list, name, ',');)
        if (name == "cpu") return true;
    return false;
}

}  // namespace

std::optional<std::size_t> cgroup_cpus(const fs::path& root) {
    std::optional<std::size_t> least;
    const fs::path mounts = root / "sys/fs/cgroup";
    std::ifstream groups(root / "proc/self/cgroup");
    // hierarchy:controllers:path
    for (std::string line; std::getline(groups, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string path = line.substr(second + 1);
        if (controllers.empty()) {
            keep_least(least, least_limit(mounts, path, limit_v2));
        } else if (controls_cpu(controllers)) {
            // Under the name of all its controllers, or of this one.
            for (const std::string& name : std::array<std::string, 2>{controllers, "cpu"})
                keep_least(least, least_limit(mounts / name, path, limit_v1));
        }
    }
    return least;
}

}  // namespace leat::detail
