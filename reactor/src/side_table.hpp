// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "src/slot.hpp"

#include <atomic>
#include <cstdlib>
#include <type_traits>

namespace leat::detail {

/// What a backend keeps beside each slot, in chunks as the table of slots has them: a place never moves, and costs nothing
/// until a slot of its chunk has need of one. All of it is zero at first, and a large chunk's pages cost memory once they are
/// used.
///
/// Thread-safety: `find` any thread's, what it finds its user's; `demand` one thread at a time.
template <class T>
class SideTable {
    static_assert(std::is_trivially_destructible_v<T>);

public:
    SideTable() noexcept = default;
    SideTable(const SideTable&) = delete;
    SideTable& operator=(const SideTable&) = delete;
    ~SideTable() {
        for (std::atomic<T*>& chunk : chunks_)
            std::free(chunk.load(std::memory_order_relaxed));
    }

    /// Null if none of its chunk was asked for yet.
    T* find(const Slot& slot) const noexcept {
        T* chunk = chunks_[SlotTable::chunk_of(slot.index)].load(std::memory_order_acquire);
        return chunk == nullptr ? nullptr : &chunk[SlotTable::offset_of(slot.index)];
    }

    /// Null if there is no memory.
    T* demand(const Slot& slot) noexcept {
        const std::uint32_t number = SlotTable::chunk_of(slot.index);
        if (chunks_[number].load(std::memory_order_relaxed) == nullptr)
            chunks_[number].store(static_cast<T*>(std::calloc(SlotTable::slots_of(number), sizeof(T))),
                                  std::memory_order_release);
        return find(slot);
    }

private:
    std::atomic<T*> chunks_[SlotTable::chunk_count]{};
};

}  // namespace leat::detail
