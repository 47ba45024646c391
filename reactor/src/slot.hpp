// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>
#include <leat/reactor/operation.hpp>

#include <atomic>
#include <cstdint>

namespace leat::detail {

class Core;

/// What a queue knows about one source. Stays where it is while anybody refers to its core, and is used again.
///
/// Thread-safety: `generation` may be read by any thread. In interest mode the rest belongs to who holds the core's
///                lock; in operation mode to the owner's thread.
struct Slot {
    enum class Use : std::uint8_t { free, interest, operations };

    // Readiness as last seen; operation mode.
    static constexpr std::uint8_t
        readable = 1,
        writable = 2,
        // No more edges of this direction will come: go on asking the socket itself.
        read_closed = 4, write_closed = 8,
        // The kernel reports this slot.
        registered = 16;

    // Counts registrations: an event that carries another number is of the past.
    std::atomic<std::uint32_t> generation{0};
    std::uint32_t index = 0;
    NativeHandle handle = invalid_handle;
    Use use = Use::free;
    std::uint8_t bits = 0;
    // Interest mode: the set as `wanted_*`, and oneshot.
    std::uint8_t interest = 0;
    bool is_oneshot = false;
    Core* core = nullptr;
    // Operation mode: who waits.
    Operation* reader = nullptr;
    Operation* writer = nullptr;
    // Told of the end.
    SourceWatch* watch = nullptr;
    union {
        std::uint64_t token = 0;
        std::uint64_t moved;
        Slot* next_free;
    };

    static constexpr std::uint8_t wanted_readable = 1, wanted_writable = 2, wanted_priority = 4;
};

/// Slots in chunks of doubling size: an index finds its slot without a lock, and a slot never moves.
///
/// Thread-safety: `at` from the owner's thread for indices that the kernel gave back; the rest under the core's lock.
class SlotTable {
public:
    SlotTable() noexcept = default;
    SlotTable(const SlotTable&) = delete;
    SlotTable& operator=(const SlotTable&) = delete;
    ~SlotTable();

    Slot& at(std::uint32_t index) const noexcept {
        Place place = place_of(index);
        return chunks_[place.chunk].load(std::memory_order_acquire)[place.offset];
    }

    /// A free slot, or null if there is no memory. Indices stay below 2^30.
    Slot* allocate(Core& core) noexcept;
    void free(Slot& slot) noexcept;

    /// Slots ever used: those of lower indices exist.
    std::uint32_t used() const noexcept { return used_; }

private:
    static constexpr unsigned first_chunk_bits = 6;
    static constexpr unsigned chunk_count = 24;

    struct Place {
        unsigned chunk;
        std::uint32_t offset;
    };
    static Place place_of(std::uint32_t index) noexcept {
        std::uint32_t shifted = index + (1u << first_chunk_bits);
        unsigned high = 31u - static_cast<unsigned>(__builtin_clz(shifted));
        return {high - first_chunk_bits, shifted - (1u << high)};
    }

    std::atomic<Slot*> chunks_[chunk_count]{};
    std::uint32_t used_ = 0;
    Slot* free_ = nullptr;
};

/// The private side of an operation, for cores and backends.
struct OperationAccess {
    using State = Operation::State;

    static Slot& slot(const Operation& operation) noexcept { return *operation.slot_; }
    static Source* source(const Operation& operation) noexcept { return operation.source_; }
    static void set_slot(Operation& operation, Slot& slot) noexcept { operation.slot_ = &slot; }
    static void*& data(Operation& operation) noexcept { return operation.data_; }
    static std::size_t& size(Operation& operation) noexcept { return operation.size_; }
    static std::size_t size(const Operation& operation) noexcept { return operation.size_; }
    static std::size_t& value(Operation& operation) noexcept { return operation.value_; }
    static std::int32_t& error(Operation& operation) noexcept { return operation.error_; }
    static State& state(Operation& operation) noexcept { return operation.state_; }
    static std::uint16_t& entry(Operation& operation) noexcept { return operation.entry_; }

    static bool is_write(const Operation& operation) noexcept { return Operation::is_write(operation.kind_); }
    // `value_` stays: it tells how far a transfer of several steps came.
    static void end(Operation& operation, errc code) noexcept {
        operation.error_ = -static_cast<std::int32_t>(code);
        operation.state_ = State::ended;
    }
    static void end_with(Operation& operation, int system_error) noexcept {
        operation.error_ = system_error;
        operation.state_ = State::ended;
    }
};

}  // namespace leat::detail
