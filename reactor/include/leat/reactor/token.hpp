// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <compare>
#include <cstdint>

namespace leat {

/// A value of the user's choice that comes back with each event of a source. All 64 bits are the user's.
class Token {
public:
    constexpr Token() noexcept = default;
    constexpr explicit Token(std::uint64_t value) noexcept : value_(value) {}

    constexpr std::uint64_t value() const noexcept { return value_; }

    friend constexpr auto operator<=>(Token, Token) noexcept = default;

private:
    std::uint64_t value_ = 0;
};

}  // namespace leat
