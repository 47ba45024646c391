// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace leat::test {

/// An endless stream of bytes that its seed decides, so that every byte which comes back can be checked.
class Pattern {
public:
    explicit Pattern(std::uint64_t seed) : seed_(seed) {}

    void fill(std::span<std::byte> bytes, std::uint64_t position) const;

    /// The first place at which `bytes` is not the stream from `position` on.
    std::optional<std::uint64_t> first_difference(std::span<const std::byte> bytes,
                                                  std::uint64_t position) const;

private:
    std::uint64_t word(std::uint64_t index) const;

    std::uint64_t seed_;
};

}  // namespace leat::test
