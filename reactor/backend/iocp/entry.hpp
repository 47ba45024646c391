// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/iocp/afd.hpp"
#include "src/side_table.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace leat::detail::iocp {

struct Entry;

/// Something that the kernel may hold: an operation or a poll, of one direction of a source.
struct Request {
    /// What the kernel has of it.
    enum class Held : std::uint8_t { nothing, transfer, poll };

    explicit Request(Entry& owner) noexcept : entry(owner) {}

    bool is_held() const noexcept { return held != Held::nothing; }
    static Request& of(OVERLAPPED* overlapped) noexcept;

    // First, since this is what a packet names.
    OVERLAPPED overlapped{};
    AfdPollInfo info{};
    Entry& entry;
    // Operation mode: whose work it is.
    OperationRecord* operation = nullptr;
    Held held = Held::nothing;
    // Operation mode: it is to end with the next packet, unless that brings the result.
    bool is_cancelled = false;
    // The packet of what was asked for before says nothing about what is wanted now, or is to be found now.
    bool is_outdated = false;
    // Interest mode: the user has found the direction empty since it was asked for, so an answer may be of before that.
    bool is_doubtful = false;
    // In a list of packets that have come and were not looked at.
    Request* next = nullptr;
};

inline Request& Request::of(OVERLAPPED* overlapped) noexcept {
    return *reinterpret_cast<Request*>(overlapped);
}

/// A connection that an accept will give: the socket is there before its peer.
struct Accepting {
    // Two addresses with what AcceptEx wants beside each ("dwLocalAddressLength").
    static constexpr DWORD address_room = sizeof(sockaddr_storage) + 16;

    ~Accepting();

    SOCKET socket = INVALID_SOCKET;
    std::byte addresses[2 * address_room];
};

/// What the kernel's requests of one source need, until the last of them is back: longer than the source may live.
///
/// Invariants: 1. `slot` is null exactly when the source has gone; the entry is then given back with its last packet.
///             2. A packet comes for each request that is held, and for no other.
///
/// Thread-safety: in operation mode the owner's; in interest mode under the core's lock. `is_interest` does not change while
///                a request is held.
struct Entry {
    Entry() noexcept : read(*this), write(*this) {}
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

    bool is_held() const noexcept { return read.is_held() || write.is_held(); }
    Request& request(bool is_write) noexcept { return is_write ? write : read; }

    Request read;
    Request write;
    Slot* slot = nullptr;
    NativeHandle handle = invalid_handle;
    SOCKET base = INVALID_SOCKET;
    bool is_interest = false;
    bool is_socket = true;
    // Operation mode: it belongs to another port, and so the kernel cannot be given more than polls of it.
    bool is_polled = false;
    // A call that succeeds at once sends no packet.
    bool skips_packet = false;
    // Interest mode: readiness (`AfdEvents`) that was found and not reported, and whether it stands in the list of such.
    bool is_queued = false;
    // Interest mode: it was to be reported once, and was.
    bool is_spent = false;
    ULONG found = 0;
    // Of an entry with something to report, or of one that is free.
    Entry* next = nullptr;
    // Of a listener, from its first accept on.
    std::unique_ptr<Accepting> accepting;
};

/// All entries of a queue, and which slot has which.
///
/// Thread-safety: `take` and `give_back` any thread's; `of` as the slot itself.
class EntryTable {
public:
    EntryTable() noexcept = default;
    EntryTable(const EntryTable&) = delete;
    EntryTable& operator=(const EntryTable&) = delete;

    /// A fresh one for `slot`, or null if there is no memory. Under the core's lock.
    Entry* take(Slot& slot, bool is_interest) noexcept;
    /// Null if the slot has none.
    Entry* of(const Slot& slot) const noexcept {
        const Place* place = places_.find(slot);
        return place == nullptr ? nullptr : place->load(std::memory_order_relaxed);
    }
    /// The source has gone: its slot may have another one from here on.
    void part(Entry& entry) noexcept;
    void give_back(Entry& entry) noexcept;

    /// Calls `visit(entry)` for all, used or not.
    template <class Visit>
    void for_each(Visit visit) {
        for (std::unique_ptr<Entry[]>& block : blocks_)
            for (std::size_t i = 0; i < block_size; ++i)
                visit(block[i]);
    }

private:
    // So that a connection costs no allocation of its own.
    static constexpr std::size_t block_size = 32;

    // Atomic, since a slot that its operation has outlived may be another thread's by now.
    using Place = std::atomic<Entry*>;

    bool add_block() noexcept;

    std::mutex mutex_;
    std::vector<std::unique_ptr<Entry[]>> blocks_;
    Entry* free_ = nullptr;
    SideTable<Place> places_;
};

}  // namespace leat::detail::iocp
