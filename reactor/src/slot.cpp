// SPDX-License-Identifier: BSL-1.0
#include "src/slot.hpp"

#include <memory>
#include <new>

namespace leat::detail {

namespace {

constexpr std::align_val_t slot_alignment{alignof(Slot)};

}  // namespace

SlotTable::~SlotTable() {
    for_each([](Slot& slot) { std::destroy_at(&slot); });
    for (std::atomic<std::byte*>& chunk : chunks_)
        ::operator delete(chunk.load(std::memory_order_relaxed), slot_alignment);
}

std::byte* SlotTable::new_chunk(std::uint32_t chunk) noexcept {
    // Left untouched until used: a large chunk costs address space before it costs memory.
    std::size_t bytes = std::size_t{slots_of(chunk)} * sizeof(Slot);
    void* memory = ::operator new(bytes, slot_alignment, std::nothrow);
    chunks_[chunk].store(static_cast<std::byte*>(memory), std::memory_order_release);
    return static_cast<std::byte*>(memory);
}

Slot* SlotTable::allocate(Completions& queue) noexcept {
    Slot* slot = free_;
    if (slot != nullptr) {
        free_ = slot->next_free;
    } else {
        if (next_offset_ == slots_of(next_chunk_)) {
            ++next_chunk_;
            next_offset_ = 0;
        }
        if (next_chunk_ > last_chunk) return nullptr;
        if (next_offset_ == 0 && new_chunk(next_chunk_) == nullptr) return nullptr;
        std::uint32_t index = index_of(next_chunk_, next_offset_++);
        slot = ::new (&at(index)) Slot;
        slot->index = index;
        ++used_;
    }
    slot->queue = &queue;
    slot->bits = 0;
    slot->gathered = 0;
    slot->rechecks = 0;
    slot->reads_end = false;
    slot->is_draining = false;
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
