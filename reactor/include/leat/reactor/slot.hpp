// SPDX-License-Identifier: BSL-1.0
//
// What a queue knows about a source. Public only so that the awaiters of sockets can be compiled into the coroutines
// that use them: a program has no business with it.
#pragma once

#include <leat/reactor/native_handle.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace leat {

class SourceWatch;

namespace detail {

class OperationRecord;
struct Completions;

/// One source's place in a queue. Stays where it is while anybody refers to its core, and is used again.
///
/// Invariants: 1. In operation mode, `reader` is of a value exactly while `reader_waits` is set, and `writer` while
///                `writer_waits` is.
///             2. `bits == idle` means: the kernel reports the slot, nothing is left to read, nothing stands in the way
///                of a write, and nobody waits. That is what a stream looks like between two messages, so that one
///                comparison leads to the short paths.
///
/// Thread-safety: `generation` may be read by any thread. In interest mode the rest belongs to who holds the core's
///                lock; in operation mode to the owner's thread.
struct alignas(64) Slot {
    enum class Use : std::uint8_t { free, interest, operations };

    // Operation mode: readiness as last seen, and who waits.
    static constexpr std::uint8_t
        readable = 1,
        writable = 2,
        // No more edges of this direction will come, or a short read does not prove that nothing is left: go
        // on asking the source itself.
        read_closed = 4, write_closed = 8,
        // The kernel reports this slot.
        registered = 16, reader_waits = 32, writer_waits = 64,
        // The reader is a `receive` of at least one byte.
        plain_reader = 128;
    static constexpr std::uint8_t idle = registered | writable;
    static constexpr std::uint8_t waits_for_message = idle | reader_waits | plain_reader;

    static constexpr std::uint8_t wanted_readable = 1, wanted_writable = 2, wanted_priority = 4;

    // Counts registrations: an event that carries another number is of the past.
    std::atomic<std::uint32_t> generation{0};
    std::uint32_t index = 0;
    // Of the core that the slot belongs to.
    Completions* queue = nullptr;
    NativeHandle handle = invalid_handle;
    std::uint8_t bits = 0;
    Use use = Use::free;
    // Interest mode: the set as `wanted_*`, and oneshot.
    std::uint8_t interest = 0;
    bool is_oneshot : 1 = false;
    // Known to be a TCP stream or listener; false if not known.
    bool is_tcp : 1 = false;
    // Operation mode: a read that finds nothing ends as at the end of the stream.
    bool reads_end : 1 = false;
    // Operation mode: as `reads_end`, for reads that end in a drain (`OperationRecord::ends_in_drain`).
    bool is_draining : 1 = false;
    // Backends that tell of directions apart: what a batch of events has said so far.
    std::uint8_t gathered = 0;
    // Operation mode, readiness backends: how often in a row the source reported readiness and refused the
    // call.
    std::uint8_t rechecks = 0;
    OperationRecord* reader = nullptr;
    OperationRecord* writer = nullptr;
    // Told of the end.
    SourceWatch* watch = nullptr;
    union {
        std::uint64_t token = 0;
        std::uint64_t moved;
        Slot* next_free;
    };

    bool has(std::uint8_t bit) const noexcept { return (bits & bit) != 0; }
    void set(std::uint8_t bit) noexcept { bits = static_cast<std::uint8_t>(bits | bit); }
    void clear(std::uint8_t bit) noexcept { bits = static_cast<std::uint8_t>(bits & ~bit); }

    /// Who waits in the direction, or null.
    OperationRecord* waiting(bool is_write) const noexcept {
        if (!has(is_write ? writer_waits : reader_waits)) return nullptr;
        return is_write ? writer : reader;
    }
    void park(bool is_write, OperationRecord& operation) noexcept {
        (is_write ? writer : reader) = &operation;
        set(is_write ? writer_waits : reader_waits);
    }
    void unpark(bool is_write) noexcept { clear(is_write ? writer_waits : reader_waits | plain_reader); }
};

/// The slot of a source that has none: of no queue, and never idle, so that who asks for both need not ask for a null too.
/// Nobody writes to it.
inline constinit Slot no_slot;

}  // namespace detail

}  // namespace leat
