// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <cstdint>
#include <iosfwd>
#include <string>

namespace leat {

/// Which readiness of a source to report: a set of `readable`, `writable` and `priority`.
///
///     registrator.add(source, Token(7), Interest::readable | Interest::writable);
class Interest {
public:
    static const Interest readable;
    static const Interest writable;
    /// Urgent (out-of-band) data. Not every system reports it.
    static const Interest priority;

    /// No interest at all. Registering it is an error: remove the source instead.
    constexpr Interest() noexcept = default;

    constexpr bool is_readable() const noexcept { return (bits_ & 1u) != 0; }
    constexpr bool is_writable() const noexcept { return (bits_ & 2u) != 0; }
    constexpr bool is_priority() const noexcept { return (bits_ & 4u) != 0; }
    constexpr bool is_empty() const noexcept { return bits_ == 0; }

    /// This set without what `other` holds.
    constexpr Interest without(Interest other) const noexcept {
        return Interest(static_cast<std::uint8_t>(bits_ & ~other.bits_));
    }

    friend constexpr Interest operator|(Interest a, Interest b) noexcept {
        return Interest(static_cast<std::uint8_t>(a.bits_ | b.bits_));
    }
    constexpr Interest& operator|=(Interest other) noexcept { return *this = *this | other; }
    friend constexpr bool operator==(Interest, Interest) noexcept = default;

private:
    constexpr explicit Interest(std::uint8_t bits) noexcept : bits_(bits) {}

    std::uint8_t bits_ = 0;
};

inline constexpr Interest Interest::readable{1};
inline constexpr Interest Interest::writable{2};
inline constexpr Interest Interest::priority{4};

/// Whether a registration goes on after its first event.
enum class Mode : std::uint8_t {
    persistent,
    /// One event, then silence until `modify`.
    oneshot,
};

/// "readable|writable", or "none".
std::string to_string(Interest interest);
std::ostream& operator<<(std::ostream& out, Interest interest);

}  // namespace leat
