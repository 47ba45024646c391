// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/streams.hpp"

#include "backend/readiness.hpp"

#include <leat/reactor/buffer_pool.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace leat::detail::uring {

namespace {

using Access = OperationAccess;
using Kind = OperationRecord::Kind;

std::uint64_t mark_of(const Stream& stream) noexcept { return Mark::of(&stream, Mark::Kind::stream); }
std::uint64_t answer_of(const Stream& stream) noexcept {
    return Mark::of(stream.slot, Mark::Kind::cancel_stream);
}

void give_back(std::byte* buffer) noexcept { BufferPool::of(buffer).give_back(buffer); }

}  // namespace

bool PieceStore::push(Stream& stream, const Piece& piece) noexcept {
    if (free_ == none) {
        try {
            if (nodes_.empty()) nodes_.reserve(first_room);
            nodes_.push_back(Node{piece, none});
        } catch (const std::bad_alloc&) {
            return false;
        }
        free_ = static_cast<std::uint32_t>(nodes_.size() - 1);
    }
    const std::uint32_t place = free_;
    free_ = std::exchange(nodes_[place].next, none);
    nodes_[place].piece = piece;
    if (stream.piece_count++ == 0)
        stream.first_piece = place;
    else
        nodes_[stream.last_piece].next = place;
    stream.last_piece = place;
    return true;
}

Piece& PieceStore::front(const Stream& stream) noexcept { return nodes_[stream.first_piece].piece; }

Piece PieceStore::pop(Stream& stream) noexcept {
    const std::uint32_t place = stream.first_piece;
    stream.first_piece = std::exchange(nodes_[place].next, free_);
    free_ = place;
    --stream.piece_count;
    return nodes_[place].piece;
}

// ---- Reads ----

bool Streams::start(OperationRecord& operation, Slot& slot) noexcept {
    Stream* stream = demand(slot);
    if (stream == nullptr) {
        Access::end_with(operation, ENOMEM);
        return true;
    }
    // What a read into the user's own memory has left of a piece is moved to its beginning: the buffer is lent as a whole.
    if (stream->piece_count != 0) {
        const Piece piece = pieces_.pop(*stream);
        const std::uint32_t left = piece.size - piece.taken;
        if (piece.taken != 0) std::memmove(piece.buffer, piece.buffer + piece.taken, left);
        slot.moved += left;
        Access::lent(operation) = piece.buffer;
        Access::value(operation) = left;
        Access::state(operation) = Access::State::ended;
        return true;
    }
    if (stream->error != 0) {
        Access::end_with(operation, std::exchange(stream->error, std::uint8_t{0}));
        return true;
    }
    if (Access::finds_end(operation, slot)) {
        rest(*stream);
        if (stream->piece_count != 0 || stream->error != 0) return start(operation, slot);
        attempt(operation, slot);
        Access::state(operation) = Access::State::ended;
        return true;
    }
    stream->standing.is_resting = false;
    stream->standing.is_awaited = true;
    slot.park(false, operation);
    completions_.park(operation);
    if (!stream->standing.is_armed) arm(*stream);
    return false;
}

Streams::Found Streams::serve(OperationRecord& operation, Slot& slot) noexcept {
    Stream& stream = *streams_.find(slot);
    rest(stream);
    Found found = Found::nothing;
    if (stream.piece_count != 0) {
        found = copy(operation, stream);
        if (found == Found::all) return found;
    }
    // What comes after the last piece: an error is told by the read that finds it, and not used up by who only looks.
    switch (operation.kind()) {
    case Kind::wait_readable:
        return stream.error != 0 ? Found::all : found;
    case Kind::peek:
        Access::error(operation) = stream.error;
        break;
    default:
        Access::error(operation) = std::exchange(stream.error, std::uint8_t{0});
        break;
    }
    if (stream.error == 0) slot.gathered = 0;
    return Access::error(operation) != 0 ? Found::all : found;
}

std::size_t Streams::take_ahead(Slot& slot, std::span<std::byte> buffer, bool takes,
                                std::error_code& error) noexcept {
    Stream& stream = *streams_.find(slot);
    // While somebody waits there is nothing, and what comes is his.
    if (waiting(stream) != nullptr) return 0;
    rest(stream);
    if (stream.piece_count == 0 && stream.error != 0) {
        error = std::error_code(stream.error, std::system_category());
        if (takes) stream.error = 0;
        return 0;
    }
    return copy_out(stream, buffer.data(), buffer.size(), takes);
}

Streams::Found Streams::copy(OperationRecord& operation, Stream& stream) noexcept {
    std::byte* const data = static_cast<std::byte*>(Access::data(operation));
    switch (operation.kind()) {
    case Kind::wait_readable:
        return Found::all;
    case Kind::receive_vector:
        Access::value(operation) = copy_out(
            stream, static_cast<const MutableBuffer*>(Access::data(operation)), Access::size(operation));
        return Found::all;
    case Kind::receive_all: {
        const std::size_t copied = copy_out(stream, data, Access::size(operation), true);
        Access::value(operation) += copied;
        Access::data(operation) = data + copied;
        Access::size(operation) -= copied;
        return Access::size(operation) == 0 ? Found::all : Found::some;
    }
    default:
        Access::value(operation) =
            copy_out(stream, data, Access::size(operation), operation.kind() != Kind::peek);
        return Found::all;
    }
}

std::size_t Streams::copy_out(Stream& stream, std::byte* to, std::size_t size, bool takes) noexcept {
    std::size_t copied = 0;
    std::uint32_t place = stream.first_piece;
    for (std::uint32_t left = stream.piece_count; left != 0 && copied != size; --left) {
        const Piece piece = pieces_.at(place);
        place = pieces_.next(place);
        const std::size_t bytes = std::min<std::size_t>(size - copied, piece.size - piece.taken);
        std::memcpy(to + copied, piece.buffer + piece.taken, bytes);
        copied += bytes;
        if (!takes) continue;
        stream.slot->moved += bytes;
        if (bytes == piece.size - piece.taken)
            give_back(pieces_.pop(stream).buffer);
        else
            pieces_.front(stream).taken += static_cast<std::uint32_t>(bytes);
    }
    return copied;
}

std::size_t Streams::copy_out(Stream& stream, const MutableBuffer* buffers, std::size_t count) noexcept {
    std::size_t copied = 0;
    for (std::size_t i = 0; i < count && stream.piece_count != 0; ++i)
        copied += copy_out(stream, buffers[i].data, buffers[i].size, true);
    return copied;
}

void Streams::end_reads(Slot& slot) noexcept {
    Stream& stream = *streams_.find(slot);
    // When the request is back, whoever waits finds what has arrived, or the end.
    if (stream.standing.is_armed)
        disarm(stream);
    else
        go_on(stream);
}

// ---- The request ----

Stream* Streams::demand(Slot& slot) noexcept {
    Stream* stream = streams_.demand(slot);
    if (stream == nullptr) return nullptr;
    const std::uint32_t generation = slot.generation.load(std::memory_order_relaxed);
    if (stream->slot != nullptr && stream->generation != generation) let_go(*stream);
    stream->slot = &slot;
    stream->generation = generation;
    slot.gathered = 1;
    is_used_ = true;
    return stream;
}

void Streams::arm(Stream& stream) noexcept {
    io_uring_sqe* request = requests_.demand();
    if (request == nullptr) {
        take_error(stream, Requests::unusable);
        return;
    }
    ::io_uring_prep_recv_multishot(request, stream.slot->handle, nullptr, 0, 0);
    request->flags |= IOSQE_BUFFER_SELECT;
    request->buf_group = BufferRing::group;
    requests_.mark(*request, mark_of(stream));
    stream.standing.is_armed = true;
}

void Streams::disarm(Stream& stream) noexcept {
    requests_.take_back(stream.standing, mark_of(stream), answer_of(stream));
}

void Streams::disarm_again(const Slot& slot) noexcept {
    Stream* stream = streams_.find(slot);
    if (stream != nullptr) requests_.take_back_again(stream->standing, mark_of(*stream), answer_of(*stream));
}

/// Takes the request back, so that nothing more is read ahead.
void Streams::rest(Stream& stream) noexcept {
    requests_.lay_to_rest(stream.standing, mark_of(stream), answer_of(stream));
}

void Streams::let_go(Stream& stream) noexcept {
    rest(stream);
    drop_pieces(stream);
    stream.error = 0;
    // Another source may have the slot by now.
    if (!stream.is_stale()) stream.slot->gathered = 0;
    stream.standing.is_awaited = false;
    stream.slot = nullptr;
}

void Streams::drop_pieces(Stream& stream) noexcept {
    while (stream.piece_count != 0)
        give_back(pieces_.pop(stream).buffer);
}

void Streams::drop_pieces(SlotTable& slots) noexcept {
    slots.for_each([this](const Slot& slot) {
        if (Stream* stream = streams_.find(slot)) drop_pieces(*stream);
    });
}

void Streams::detach(Slot& slot) noexcept {
    Stream* stream = streams_.find(slot);
    if (stream != nullptr && stream->slot != nullptr) let_go(*stream);
}

void Streams::detach_stale(SlotTable& slots) noexcept {
    slots.for_each([this](Slot& slot) {
        Stream* stream = streams_.find(slot);
        if (stream != nullptr && stream->slot != nullptr && stream->is_stale()) let_go(*stream);
    });
}

// ---- What the kernel answers ----

OperationRecord* Streams::waiting(const Stream& stream) const noexcept {
    return stream.standing.is_awaited ? stream.slot->waiting(false) : nullptr;
}

void Streams::take(Stream& stream, const io_uring_cqe& completion) noexcept {
    stream.standing.note_answer(completion);
    if (!stream.standing.is_awaited && stream.is_stale()) {
        if ((completion.flags & IORING_CQE_F_BUFFER) != 0) give_back(buffers_.take(completion));
        return;
    }
    if (completion.res >= 0)
        take_piece(stream, completion);
    else
        take_error(stream, -completion.res);
    if (!stream.standing.is_armed) go_on(stream);
}

/// The request is not with the kernel: if anybody waits, it is made again, or he is told what is to be told.
void Streams::go_on(Stream& stream) noexcept {
    OperationRecord* operation = waiting(stream);
    if (operation == nullptr) return;
    if (Flight::has(*operation, Flight::cancelled)) {
        Access::error(*operation) = ECANCELED;
        end_waiting(stream);
    } else if (Access::finds_end(*operation, *stream.slot)) {
        if (attempt(*operation, *stream.slot) == Attempt::ended) end_waiting(stream);
    } else if (!stream.standing.is_resting) {
        arm(stream);
    }
}

void Streams::end_waiting(Stream& stream) noexcept {
    OperationRecord& operation = *stream.slot->waiting(false);
    stream.slot->unpark(false);
    stream.standing.is_awaited = false;
    completions_.push(operation);
}

void Streams::take_piece(Stream& stream, const io_uring_cqe& completion) noexcept {
    std::byte* buffer = (completion.flags & IORING_CQE_F_BUFFER) != 0 ? buffers_.take(completion) : nullptr;
    const auto size = static_cast<std::uint32_t>(completion.res);
    if (size == 0 && buffer != nullptr) give_back(std::exchange(buffer, nullptr));
    if (OperationRecord* operation = waiting(stream)) {
        stream.slot->moved += size;
        Access::lent(*operation) = buffer;
        Access::value(*operation) = size;
        end_waiting(stream);
        return;
    }
    // The end of the stream is found again by who reads next.
    if (size == 0) return;
    if (!pieces_.push(stream, Piece{buffer, size, 0})) {
        give_back(buffer);
        // Rather no more than with a gap.
        stream.error = ENOMEM;
        disarm(stream);
        return;
    }
    if (stream.piece_count >= plenty) disarm(stream);
}

void Streams::take_error(Stream& stream, std::int32_t error) noexcept {
    switch (error) {
    case ECANCELED:
    case EINTR:
    case EAGAIN:
        return;
    case ENOBUFS:
        // All have been handed out since the last call. They are replaced before the next one, unless there is no memory.
        if (buffers_.top_up()) return;
        error = ENOMEM;
        break;
    default:
        break;
    }
    OperationRecord* operation = waiting(stream);
    if (operation == nullptr) {
        stream.error = static_cast<std::uint8_t>(error);
        return;
    }
    Access::error(*operation) = error;
    end_waiting(stream);
}

}  // namespace leat::detail::uring
