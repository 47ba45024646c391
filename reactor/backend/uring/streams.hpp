// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/uring/buffer_ring.hpp"
#include "backend/uring/requests.hpp"
#include "backend/uring/transfer.hpp"
#include "src/side_table.hpp"
#include "src/slot.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <vector>

namespace leat::detail::uring {

/// A piece of a stream that has come and was not asked for.
struct Piece {
    std::byte* buffer = nullptr;
    std::uint32_t size = 0;
    // Of those bytes, what a read into the user's own memory has taken.
    std::uint32_t taken = 0;
};

struct Stream;

/// The pieces of all streams of a queue, in memory that is used again.
class PieceStore {
public:
    /// False if there is no memory; nothing has changed then.
    bool push(Stream& stream, const Piece& piece) noexcept;
    /// Of one that has any.
    Piece& front(const Stream& stream) noexcept;
    /// The one after `place`, of which there is one.
    std::uint32_t next(std::uint32_t place) const noexcept { return nodes_[place].next; }
    const Piece& at(std::uint32_t place) const noexcept { return nodes_[place].piece; }
    Piece pop(Stream& stream) noexcept;

private:
    struct Node {
        Piece piece;
        std::uint32_t next = 0;
    };
    static constexpr std::uint32_t none = 0xffffffff;
    // At the first; more come seldom.
    static constexpr std::size_t first_room = 1024;

    std::vector<Node> nodes_;
    std::uint32_t free_ = none;
};

/// A stream that lends its buffers: its receive stays with the kernel, which answers it once for each piece ("multishot",
/// io_uring_enter(2), from Linux 6.0 on).
///
/// All zero at first (`SideTable`), and small, since an idle connection has one.
struct Stream {
    Slot* slot;
    std::uint32_t generation;
    // Places in the `PieceStore`.
    std::uint32_t first_piece;
    std::uint32_t last_piece;
    std::uint16_t piece_count;
    // The system's error number of an answer that nobody waited for: the next read's.
    std::uint8_t error;
    Standing standing;

    /// Whether the source has gone: another thread may have closed it.
    bool is_stale() const noexcept { return slot->generation.load(std::memory_order_acquire) != generation; }
};

static_assert(sizeof(Stream) == 24);

/// The streams of a queue on which `receive_lent` was called.
///
/// The kernel reads ahead: so that a sender does not fill the memory of a program that does not read, it is asked for no more
/// once `plenty` pieces wait. Reads of other kinds find what was read ahead before what is still in the socket.
///
/// Thread-safety: the owner's thread.
class Streams {
public:
    Streams(Requests& requests, Completions& completions) noexcept
        : requests_(requests), completions_(completions), buffers_(requests.ring(), completions) {}
    Streams(const Streams&) = delete;
    Streams& operator=(const Streams&) = delete;
    ~Streams() = default;

    /// What an operation found.
    enum class Found { nothing, some, all };

    /// Whether the kernel can. Where it cannot, a `receive_lent` is tried whenever the source is ready.
    bool are_supported() noexcept { return requests_.ring().is_newest() && buffers_.open(); }
    /// Whether there is or was a request for the source, so that something may have been read ahead.
    static bool reads_ahead(const Slot& slot) noexcept { return slot.gathered != 0; }

    /// Gives a `receive_lent` what was read ahead; else it is parked. True: it has ended.
    bool start(OperationRecord& operation, Slot& slot) noexcept;
    /// Gives another read what was read ahead, after which the kernel reads no more by itself. All: the operation has ended.
    Found serve(OperationRecord& operation, Slot& slot) noexcept;
    /// The same without an operation.
    std::size_t take_ahead(Slot& slot, std::span<std::byte> buffer, bool takes,
                           std::error_code& error) noexcept;
    /// Of who waits, and is to wait no more: the request is taken back, and ends him, with what has come by then.
    void withdraw(const Slot& slot) noexcept { disarm(*streams_.find(slot)); }
    /// A read that would wait is to find the end.
    void end_reads(Slot& slot) noexcept;

    /// An answer of the kernel's.
    void take(Stream& stream, const io_uring_cqe& completion) noexcept;
    /// A request was to be taken back, and was not found.
    void disarm_again(const Slot& slot) noexcept;

    /// The source is about to be closed: when this returns, the kernel has let go of it.
    void detach(Slot& slot) noexcept;
    /// The same for those that another thread has closed. Under the core's lock.
    void detach_stale(SlotTable& slots) noexcept;

    /// At the end of the queue, after that of the requests.
    void drop_pieces(SlotTable& slots) noexcept;

    /// Before the kernel is entered.
    void top_up() noexcept {
        if (is_used_) buffers_.top_up();
    }

private:
    static constexpr std::uint32_t plenty = 16;

    Stream* demand(Slot& slot) noexcept;
    void arm(Stream& stream) noexcept;
    void disarm(Stream& stream) noexcept;
    void rest(Stream& stream) noexcept;
    void let_go(Stream& stream) noexcept;
    void drop_pieces(Stream& stream) noexcept;
    void take_piece(Stream& stream, const io_uring_cqe& completion) noexcept;
    void take_error(Stream& stream, std::int32_t error) noexcept;
    void go_on(Stream& stream) noexcept;
    void end_waiting(Stream& stream) noexcept;
    OperationRecord* waiting(const Stream& stream) const noexcept;
    Found copy(OperationRecord& operation, Stream& stream) noexcept;
    std::size_t copy_out(Stream& stream, std::byte* to, std::size_t size, bool takes) noexcept;
    std::size_t copy_out(Stream& stream, const MutableBuffer* buffers, std::size_t count) noexcept;

    Requests& requests_;
    Completions& completions_;
    BufferRing buffers_;
    SideTable<Stream> streams_;
    PieceStore pieces_;
    bool is_used_ = false;
};

}  // namespace leat::detail::uring
