// SPDX-License-Identifier: BSL-1.0
#include "src/slot.hpp"

#include <memory>
#include <new>

namespace leat::detail {

SlotTable::~SlotTable() {
    std::uint32_t left = used_;
    for (unsigned chunk = 0; chunk < chunk_count; ++chunk) {
        Slot* slots = chunks_[chunk].load(std::memory_order_relaxed);
        if (slots == nullptr) break;
        std::uint32_t size = 1u << (chunk + first_chunk_bits);
        std::uint32_t built = left < size ? left : size;
        std::destroy_n(slots, built);
        left -= built;
        ::operator delete(slots);
    }
}

Slot* SlotTable::allocate(Core& core) noexcept {
    Slot* slot = free_;
    if (slot != nullptr) {
        free_ = slot->next_free;
    } else {
        Place place = place_of(used_);
        if (place.chunk == chunk_count) return nullptr;
        Slot* chunk = chunks_[place.chunk].load(std::memory_order_relaxed);
        if (chunk == nullptr) {
            // Left untouched until used: a large chunk costs address space before it costs memory.
            std::size_t bytes = sizeof(Slot) << (place.chunk + first_chunk_bits);
            chunk = static_cast<Slot*>(::operator new(bytes, std::nothrow));
            if (chunk == nullptr) return nullptr;
            chunks_[place.chunk].store(chunk, std::memory_order_release);
        }
        slot = ::new (chunk + place.offset) Slot;
        slot->index = used_++;
    }
    slot->core = &core;
    slot->bits = 0;
    slot->reader = nullptr;
    slot->writer = nullptr;
    slot->watch = nullptr;
    slot->token = 0;
    return slot;
}

void SlotTable::free(Slot& slot) noexcept {
    slot.use = Slot::Use::free;
    slot.handle = invalid_handle;
    slot.next_free = free_;
    free_ = &slot;
}

}  // namespace leat::detail
