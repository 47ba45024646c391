// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cpus.hpp>

#include "backend/cgroup.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>

using namespace leat;

namespace cpus_test {

namespace {

namespace fs = std::filesystem;

/// Fixture: a folder that stands for the root of a system.
struct Root {
    Root() : path(fs::temp_directory_path() / ("leat_cpus_" + std::to_string(std::random_device()()))) {}
    Root(const Root&) = delete;
    ~Root() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }

    void write(const std::string& name, const std::string& content) const {
        fs::create_directories((path / name).parent_path());
        std::ofstream(path / name) << content;
    }
    std::size_t cpus() const { return detail::cgroup_cpus(path).value_or(0); }

    fs::path path;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cpus, Root)

BOOST_AUTO_TEST_CASE(there_is_at_least_one_and_no_more_than_the_machine_has) {
    const std::size_t available = available_cpus();
    const std::size_t machine = std::thread::hardware_concurrency();

    BOOST_TEST(available >= 1u);
    if (machine != 0) BOOST_TEST(available <= machine);
}

BOOST_AUTO_TEST_CASE(no_group_or_no_limit_is_none) {
    BOOST_TEST(cpus() == 0u);
    write("proc/self/cgroup", "0::/a/b\n");
    BOOST_TEST(cpus() == 0u);
    write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    BOOST_TEST(cpus() == 0u);
}

BOOST_AUTO_TEST_CASE(limit_is_rounded_up) {
    write("proc/self/cgroup", "0::/a\n");
    const std::pair<const char*, std::size_t> cases[] = {
        {"100000 100000\n", 1}, {"150000 100000\n", 2}, {"200000 100000\n", 2}, {"200001 100000\n", 3},
        {"1000 100000\n", 1},   {"800000 100000\n", 8}, {"50000 25000\n", 2},
    };
    for (const auto& [text, expected] : cases) {
        write("sys/fs/cgroup/a/cpu.max", text);
        BOOST_TEST_INFO(text);
        BOOST_TEST(cpus() == expected);
    }
}

BOOST_AUTO_TEST_CASE(nonsense_is_no_limit) {
    write("proc/self/cgroup", "\nnonsense\n0::/a\n:::\n");
    for (const char* text : {"", "\n", "-1 100000\n", "0 100000\n", "100000\n", "100000 0\n", "100000 -5\n",
                             "x y\n", "99999999999999999999999 100000\n"}) {
        write("sys/fs/cgroup/a/cpu.max", text);
        BOOST_TEST_INFO(text);
        BOOST_TEST(cpus() == 0u);
    }
}

BOOST_AUTO_TEST_CASE(least_limit_of_the_groups_around_it_counts) {
    write("proc/self/cgroup", "0::/a/b/c\n");
    write("sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
    BOOST_TEST(cpus() == 4u);
    write("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    BOOST_TEST(cpus() == 2u);
    write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    BOOST_TEST(cpus() == 2u);
}

// A container often sees its own group as the root, whatever /proc says.
BOOST_AUTO_TEST_CASE(group_that_a_container_does_not_show_leaves_the_root_s_limit) {
    write("sys/fs/cgroup/cpu.max", "300000 100000\n");
    for (const char* group : {"/", "/docker/0123", "/../../other", ""}) {
        write("proc/self/cgroup", std::string("0::") + group + "\n");
        BOOST_TEST_INFO(group);
        BOOST_TEST(cpus() == 3u);
    }
}

BOOST_AUTO_TEST_CASE(first_version_of_groups_is_read_under_either_name) {
    write("proc/self/cgroup", "3:memory:/x\n2:cpu,cpuacct:/a\n1:cpuset:/\n0::/y\n");
    write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    BOOST_TEST(cpus() == 3u);
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    BOOST_TEST(cpus() == 1u);
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    BOOST_TEST(cpus() == 3u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace cpus_test
