// SPDX-License-Identifier: BSL-1.0
#include "src/packed_peer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <new>

namespace leat::detail {

namespace {

constexpr std::size_t first_places = 16;

}  // namespace

PackedPeer PeerTable::pack(const Address& peer) noexcept {
    if (peer.port() == 0) return {PackedPeer::unknown, 0};
    if (peer.is_ipv4()) {
        const std::array<std::uint8_t, 16>& octets = peer.octets();
        std::uint32_t word = 0;
        for (std::size_t i = 0; i < 4; ++i)
            word = word << 8 | octets[i];
        return {word, peer.port()};
    }
    try {
        if (free_.empty()) {
            if (places_.size() == places_.capacity())
                places_.reserve(std::max(first_places, 2 * places_.size()));
            free_.reserve(places_.capacity());
            places_.push_back(peer);
            return {static_cast<std::uint32_t>(places_.size() - 1), 0};
        }
    } catch (const std::bad_alloc&) {
        return {PackedPeer::unknown, 0};
    }
    const std::uint32_t place = free_.back();
    free_.pop_back();
    places_[place] = peer;
    return {place, 0};
}

std::optional<Address> PeerTable::unpack(PackedPeer packed) const noexcept {
    if (packed.port == 0) {
        if (packed.word == PackedPeer::unknown) return std::nullopt;
        return places_[packed.word];
    }
    std::array<std::uint8_t, 4> octets{};
    for (std::size_t i = 0; i < 4; ++i)
        octets[i] = static_cast<std::uint8_t>(packed.word >> (24 - 8 * i));
    return Address::ipv4(octets, packed.port);
}

void PeerTable::drop(PackedPeer packed) noexcept {
    if (packed.port == 0 && packed.word != PackedPeer::unknown) free_.push_back(packed.word);
}

}  // namespace leat::detail
