// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace leat::detail {

/// A peer's address in six bytes: an IPv4 one itself, an IPv6 one as its place in a `PeerTable`.
struct PackedPeer {
    std::uint32_t word;
    // Zero: `word` is a place, or `unknown`. No peer has the port zero.
    std::uint16_t port;

    static constexpr std::uint32_t unknown = ~std::uint32_t{0};
};

/// Packs the addresses of a server's peers: each connection keeps one, and few are ever asked for.
///
/// Thread-safety: one thread at a time.
/// Complexity:    O(1), nothing for IPv4; it holds as many IPv6 addresses as there ever were at a time.
class PeerTable {
public:
    /// One that is not known, or for which there is no memory, becomes `unknown`.
    PackedPeer pack(const Address& peer) noexcept;
    std::optional<Address> unpack(PackedPeer packed) const noexcept;
    /// Each packed one is dropped once, at its end.
    void drop(PackedPeer packed) noexcept;

private:
    std::vector<Address> places_;
    // With room for all places, so that `drop` needs no memory.
    std::vector<std::uint32_t> free_;
};

}  // namespace leat::detail
