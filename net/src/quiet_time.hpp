// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>

#include <chrono>
#include <cstdint>
#include <limits>

namespace leat::detail {

/// How long a connection has moved too few bytes, in eight bytes of memory: a server has one for each connection.
///
/// Times are ages of the server. They are kept in milliseconds and wrap after 49 days, so a length is right up to
/// 39 days if it is asked for at least four times in that time. Bytes wrap after 4 GiB, so nobody asks for more
/// than `most_bytes`.
class QuietTime {
public:
    /// Far below the wrap: a fast connection must not look slow.
    static constexpr std::uint32_t most_bytes = 16 * 1024 * 1024;
    /// A length is too short by less than this.
    static constexpr Duration rounding = std::chrono::milliseconds(2);

    /// For a connection that is never quiet.
    QuietTime() noexcept = default;
    QuietTime(std::uint64_t moved, Duration now) noexcept { restart(moved, now); }

    void restart(std::uint64_t moved, Duration now) noexcept {
        counted_ = static_cast<std::uint32_t>(moved);
        since_ = static_cast<std::uint32_t>(std::chrono::ceil<std::chrono::milliseconds>(now).count());
        // A millisecond late rather than never.
        if (since_ == never) ++since_;
    }

    bool is_measured() const noexcept { return since_ != never; }

    /// Since the last `restart`. Needs `is_measured`. Never too long.
    Duration length(Duration now) const noexcept {
        const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(now).count();
        const std::uint32_t passed = static_cast<std::uint32_t>(milliseconds) - since_;
        // What was rounded up may be up to two milliseconds from now.
        return passed >= never - 1 ? Duration::zero() : std::chrono::milliseconds(passed);
    }

    /// Moved since the last `restart`, modulo 4 GiB.
    std::uint32_t bytes(std::uint64_t moved) const noexcept {
        return static_cast<std::uint32_t>(moved) - counted_;
    }

private:
    static constexpr std::uint32_t never = std::numeric_limits<std::uint32_t>::max();

    std::uint32_t counted_ = 0;
    std::uint32_t since_ = never;
};

}  // namespace leat::detail
