// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <array>
#include <compare>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <system_error>

namespace leat {

/// An IPv4 or IPv6 address with a port and, for IPv6, a scope (interface index): where a socket is or connects to.
///
/// The system gives the IPv4 peers of an IPv6 socket in their mapped form, ::ffff:127.0.0.1 (RFC 4291
/// §2.5.5.2). Every address that leat takes from a socket is the IPv4 address then, so that it compares with
/// others. What you parse or make stays as you write it. `TcpListener::bind` and `TcpStream::connect` use the
/// IPv4 address for a mapped one; `connect` does not if `ConnectOptions::local` is an IPv6 address.
///
/// Thread-safety: a value.
class Address {
public:
    enum class Family : std::uint8_t { ipv4, ipv6 };

    /// 0.0.0.0:0.
    constexpr Address() noexcept = default;

    static constexpr Address ipv4(std::array<std::uint8_t, 4> octets, std::uint16_t port) noexcept {
        Address address;
        for (std::size_t i = 0; i < octets.size(); ++i)
            address.octets_[i] = octets[i];
        address.port_ = port;
        return address;
    }
    static constexpr Address ipv6(std::array<std::uint8_t, 16> octets, std::uint16_t port,
                                  std::uint32_t scope = 0) noexcept {
        Address address;
        address.octets_ = octets;
        address.port_ = port;
        address.scope_ = scope;
        address.family_ = Family::ipv6;
        return address;
    }
    /// 127.0.0.1 or [::1].
    static constexpr Address loopback(std::uint16_t port, Family family = Family::ipv4) noexcept {
        if (family == Family::ipv4) return ipv4({127, 0, 0, 1}, port);
        return ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, port);
    }
    /// 0.0.0.0 or [::]: every interface.
    static constexpr Address any(std::uint16_t port, Family family = Family::ipv4) noexcept {
        return family == Family::ipv4 ? ipv4({}, port) : ipv6({}, port);
    }

    /// Reads "127.0.0.1:80", "[::1]:80" or "[fe80::1%eth0]:80" (a scope by name or number). The port is required, in
    /// decimal, 0 to 65535. No name is looked up; the textual forms are those of RFC 4291 §2.2 and RFC 4007 §11.
    ///
    /// Errors: `std::invalid_argument` with `text` and what is wrong with it.
    static Address parse(std::string_view text);

    constexpr Family family() const noexcept { return family_; }
    constexpr bool is_ipv4() const noexcept { return family_ == Family::ipv4; }
    constexpr bool is_ipv6() const noexcept { return family_ == Family::ipv6; }
    constexpr std::uint16_t port() const noexcept { return port_; }
    constexpr std::uint32_t scope() const noexcept { return scope_; }
    /// In network order; of an IPv4 address the first four, the others zero.
    constexpr const std::array<std::uint8_t, 16>& octets() const noexcept { return octets_; }
    constexpr Address with_port(std::uint16_t port) const noexcept {
        Address address = *this;
        address.port_ = port;
        return address;
    }
    bool is_loopback() const noexcept;
    bool is_any() const noexcept;
    /// Whether it is an IPv6 address that stands for an IPv4 one: ::ffff:127.0.0.1.
    bool is_ipv4_mapped() const noexcept;
    /// The IPv4 address if it is a mapped one, else the same.
    Address unmapped() const noexcept;

    friend constexpr auto operator<=>(const Address&, const Address&) noexcept = default;

private:
    Family family_ = Family::ipv4;
    std::array<std::uint8_t, 16> octets_{};
    std::uint32_t scope_ = 0;
    std::uint16_t port_ = 0;
};

/// What `Address::parse` reads; IPv6 in the canonical form of RFC 5952, the scope as a number.
std::string to_string(const Address& address);
std::ostream& operator<<(std::ostream& out, const Address& address);

}  // namespace leat
