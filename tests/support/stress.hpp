// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>

namespace leat::test {

/// What the environment variable `name` says, or else `usual`.
///
/// Errors: `std::invalid_argument` if that is no number.
inline std::uint64_t number_from_environment(const char* name, std::uint64_t usual) {
    const char* wanted = std::getenv(name);
    if (wanted == nullptr || *wanted == '\0') return usual;
    char* end = nullptr;
    const unsigned long long number = std::strtoull(wanted, &end, 10);
    if (*end != '\0') throw std::invalid_argument(std::string(name) + " is not a number: " + wanted);
    return number;
}

/// How many steps a random test takes: `usual`, or what the environment variable LEAT_STRESS says.
///
/// Errors: `std::invalid_argument` if that is no number.
inline std::size_t stress_iterations(std::size_t usual) {
    return static_cast<std::size_t>(number_from_environment("LEAT_STRESS", usual));
}

/// The seed that a test of many seeds begins with: `usual`, or what LEAT_SEED says, to see one again that
/// has failed.
///
/// Errors: the same.
inline std::uint64_t first_seed(std::uint64_t usual) { return number_from_environment("LEAT_SEED", usual); }

/// Random numbers that are the same everywhere, as the standard's distributions are not.
class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}

    /// 0 to `limit` - 1.
    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(engine_() % limit); }
    /// True once in so many calls.
    bool once_in(std::size_t calls) { return below(calls) == 0; }

private:
    std::mt19937_64 engine_;
};

}  // namespace leat::test
