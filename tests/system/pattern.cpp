// SPDX-License-Identifier: BSL-1.0
#include "pattern.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace leat::test {

constexpr std::size_t word_size = sizeof(std::uint64_t);

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): neighbours look unrelated, so a shift by a byte shows.
std::uint64_t Pattern::word(std::uint64_t index) const {
    std::uint64_t mixed = (seed_ << 40) + index * 0x9e3779b97f4a7c15;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

void Pattern::fill(std::span<std::byte> bytes, std::uint64_t position) const {
    while (!bytes.empty()) {
        std::uint64_t value = word(position / word_size);
        std::size_t skipped = position % word_size;
        std::size_t length = std::min(word_size - skipped, bytes.size());
        std::memcpy(bytes.data(), reinterpret_cast<const std::byte*>(&value) + skipped, length);
        bytes = bytes.subspan(length);
        position += length;
    }
}

std::optional<std::uint64_t> Pattern::first_difference(std::span<const std::byte> bytes,
                                                       std::uint64_t position) const {
    std::array<std::byte, 4096> expected;
    while (!bytes.empty()) {
        std::size_t length = std::min(expected.size(), bytes.size());
        fill(std::span(expected).first(length), position);
        auto [found, wanted] = std::mismatch(
            bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length), expected.begin());
        auto equal = static_cast<std::size_t>(wanted - expected.begin());
        if (equal != length) return position + equal;
        bytes = bytes.subspan(length);
        position += length;
    }
    return std::nullopt;
}

}  // namespace leat::test
