// SPDX-License-Identifier: BSL-1.0
#include "src/handle_set.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

namespace leat::detail {

namespace {

constexpr std::size_t first_capacity = 128;

}  // namespace

HandleSet::Added HandleSet::add(NativeHandle handle) noexcept {
    if (2 * (size_ + 1) > capacity_ && !grow()) return Added::no_memory;
    const std::size_t place = find(handle);
    if (places_[place] == handle) return Added::is_there_already;
    places_[place] = handle;
    ++size_;
    return Added::yes;
}

void HandleSet::remove(NativeHandle handle) noexcept {
    if (capacity_ == 0) return;
    std::size_t hole = find(handle);
    if (places_[hole] != handle) return;
    // Who was pushed past the hole by others moves back, so that a search may stop at the first free place.
    for (std::size_t place = after(hole); places_[place] != invalid_handle; place = after(place)) {
        const std::size_t distance = (place - home_of(places_[place])) & (capacity_ - 1);
        if (distance < ((place - hole) & (capacity_ - 1))) continue;
        places_[hole] = places_[place];
        hole = place;
    }
    places_[hole] = invalid_handle;
    --size_;
}

// Fibonacci hashing (Knuth, volume 3, section 6.4): neighbours, as descriptors are, come far apart. The high
// bits are the good ones.
std::size_t HandleSet::home_of(NativeHandle handle) const noexcept {
    const std::uint64_t product = static_cast<std::uint64_t>(handle) * 0x9e3779b97f4a7c15;
    return static_cast<std::size_t>(product >> 32) & (capacity_ - 1);
}

std::size_t HandleSet::find(NativeHandle handle) const noexcept {
    std::size_t place = home_of(handle);
    while (places_[place] != invalid_handle && places_[place] != handle)
        place = after(place);
    return place;
}

bool HandleSet::grow() noexcept {
    const std::size_t capacity = std::max(first_capacity, 2 * capacity_);
    std::unique_ptr<NativeHandle[]> places(new (std::nothrow) NativeHandle[capacity]);
    if (places == nullptr) return false;
    std::fill_n(places.get(), capacity, invalid_handle);
    const std::unique_ptr<NativeHandle[]> old = std::exchange(places_, std::move(places));
    const std::size_t old_capacity = std::exchange(capacity_, capacity);
    for (std::size_t i = 0; i < old_capacity; ++i)
        if (old[i] != invalid_handle) places_[find(old[i])] = old[i];
    return true;
}

}  // namespace leat::detail
