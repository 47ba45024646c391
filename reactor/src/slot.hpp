// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/reactor/slot.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace leat::detail {

/// Slots in chunks of doubling size: an index finds its slot without a lock, and a slot never moves.
///
/// An index is made to be looked up: its low bits are the number of the chunk, the rest is the slot's distance in bytes
/// from the chunk's beginning, of which the low bits are free.
///
/// Thread-safety: `at` from the owner's thread for indices that the kernel gave back; the rest under the core's lock.
class SlotTable {
public:
    SlotTable() noexcept = default;
    SlotTable(const SlotTable&) = delete;
    SlotTable& operator=(const SlotTable&) = delete;
    ~SlotTable();

    /// A bit that no index has, for backends that must tell two kinds of them apart.
    static constexpr std::uint32_t free_bit = 32;

    Slot& at(std::uint32_t index) const noexcept {
        std::byte* chunk = chunks_[index & (chunk_count - 1)].load(std::memory_order_acquire);
        return *reinterpret_cast<Slot*>(chunk + (index & ~(std::uint32_t{sizeof(Slot)} - 1)));
    }

    /// Whether a slot was ever at `index`, which may be anything. Under the core's lock.
    bool has(std::uint32_t index) const noexcept {
        std::uint32_t chunk = chunk_of(index);
        std::uint32_t offset = offset_of(index);
        if ((index & free_bit) != 0 || chunk > next_chunk_) return false;
        return offset < (chunk == next_chunk_ ? next_offset_ : slots_of(chunk));
    }

    /// A free slot, or null if there is no memory.
    Slot* allocate(Completions& queue) noexcept;
    void free(Slot& slot) noexcept;

    /// Calls `visit(slot)` for every slot ever used.
    template <class Visit>
    void for_each(Visit visit) {
        std::uint32_t left = used_;
        for (std::uint32_t chunk = 0; left != 0; ++chunk) {
            std::uint32_t size = std::min(left, slots_of(chunk));
            for (std::uint32_t i = 0; i < size; ++i)
                visit(at(index_of(chunk, i)));
            left -= size;
        }
    }

    /// Where an index is, for a backend that keeps something of its own for each slot.
    static constexpr std::uint32_t chunk_count = 32;
    static constexpr std::uint32_t chunk_of(std::uint32_t index) noexcept {
        return index & (chunk_count - 1);
    }
    static constexpr std::uint32_t offset_of(std::uint32_t index) noexcept {
        return index / std::uint32_t{sizeof(Slot)};
    }
    static constexpr std::uint32_t slots_of(std::uint32_t chunk) noexcept { return slots_of_first << chunk; }

private:
    static constexpr std::uint32_t slots_of_first = 64;
    // More would have an offset of over 32 bits; the kernel has fewer descriptors (64 + 128 + … = 2^27 slots).
    static constexpr std::uint32_t last_chunk = 20;
    static_assert(sizeof(Slot) == 2 * chunk_count, "an index holds a chunk, a free bit and an offset");

    static constexpr std::uint32_t index_of(std::uint32_t chunk, std::uint32_t offset) noexcept {
        return offset * std::uint32_t{sizeof(Slot)} | chunk;
    }
    std::byte* new_chunk(std::uint32_t chunk) noexcept;

    std::atomic<std::byte*> chunks_[chunk_count]{};
    std::uint32_t used_ = 0;
    // Where the next slot that was never used stands.
    std::uint32_t next_chunk_ = 0;
    std::uint32_t next_offset_ = 0;
    Slot* free_ = nullptr;
};

/// The private side of an operation, for cores and backends.
struct OperationAccess {
    using State = OperationRecord::State;

    static Slot& slot(const OperationRecord& operation) noexcept { return *operation.slot_; }
    static Source* source(const OperationRecord& operation) noexcept { return operation.source_; }
    static void set_slot(OperationRecord& operation, Slot& slot) noexcept { operation.slot_ = &slot; }
    static void* data(const OperationRecord& operation) noexcept { return operation.data_; }
    static void*& data(OperationRecord& operation) noexcept { return operation.data_; }
    static std::size_t& size(OperationRecord& operation) noexcept { return operation.size_; }
    static std::size_t size(const OperationRecord& operation) noexcept { return operation.size_; }
    static std::size_t& value(OperationRecord& operation) noexcept { return operation.value_; }
    static std::byte*& lent(OperationRecord& operation) noexcept { return operation.lent_; }
    static std::int32_t& error(OperationRecord& operation) noexcept { return operation.error_; }
    static State& state(OperationRecord& operation) noexcept { return operation.state_; }
    static std::uint16_t& entry(OperationRecord& operation) noexcept { return operation.entry_; }

    static bool is_write(const OperationRecord& operation) noexcept {
        return OperationRecord::is_write(operation.kind());
    }
    /// Whether the operation is a read that does not wait: where it would, it finds the end of the stream.
    static bool finds_end(const OperationRecord& operation, const Slot& slot) noexcept {
        if (!slot.reads_end && !slot.is_draining) [[likely]]
            return false;
        return !is_write(operation) && operation.kind() != OperationRecord::Kind::accept &&
               (slot.reads_end || operation.ends_in_drain());
    }
    // `value_` stays: it tells how far a transfer of several steps came.
    static void end(OperationRecord& operation, errc code) noexcept {
        operation.error_ = -static_cast<std::int32_t>(code);
        operation.state_ = State::ended;
    }
    static void end_with(OperationRecord& operation, int system_error) noexcept {
        operation.error_ = system_error;
        operation.state_ = State::ended;
    }
};

}  // namespace leat::detail
