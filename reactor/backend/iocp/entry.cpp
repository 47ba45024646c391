// SPDX-License-Identifier: BSL-1.0
#include "backend/iocp/entry.hpp"

#include <new>
#include <utility>

namespace leat::detail::iocp {

Accepting::~Accepting() {
    if (socket != INVALID_SOCKET) ::closesocket(socket);
}

Entry* EntryTable::take(Slot& slot, bool is_interest) noexcept {
    std::lock_guard lock(mutex_);
    Place* place = places_.demand(slot);
    if (place == nullptr) return nullptr;
    if (free_ == nullptr && !add_block()) return nullptr;
    Entry& entry = *std::exchange(free_, free_->next);
    entry.next = nullptr;
    entry.slot = &slot;
    entry.handle = slot.handle;
    entry.base = INVALID_SOCKET;
    entry.is_interest = is_interest;
    entry.is_polled = false;
    entry.found = 0;
    entry.is_spent = false;
    place->store(&entry, std::memory_order_relaxed);
    return &entry;
}

bool EntryTable::add_block() noexcept {
    try {
        blocks_.push_back(std::make_unique<Entry[]>(block_size));
    } catch (const std::bad_alloc&) {
        return false;
    }
    for (std::size_t i = 0; i < block_size; ++i) {
        Entry& entry = blocks_.back()[i];
        entry.next = std::exchange(free_, &entry);
    }
    return true;
}

void EntryTable::part(Entry& entry) noexcept {
    places_.find(*entry.slot)->store(nullptr, std::memory_order_relaxed);
    entry.slot = nullptr;
}

void EntryTable::give_back(Entry& entry) noexcept {
    entry.accepting = nullptr;
    std::lock_guard lock(mutex_);
    entry.next = std::exchange(free_, &entry);
}

}  // namespace leat::detail::iocp
