// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/uring/ring.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace leat::detail::uring {

/// What a request carries through the kernel: whose it is, and of what kind, in the bits that no address has.
struct Mark {
    static constexpr std::uint64_t
        // Of a request whose end nobody waits for.
        nobody = 0,
        wake = 8, interest = 16, message = 24;

    enum class Kind : std::uint8_t {
        own,
        operation,
        listener,
        stream,
        // Of the asking for an end, which carries the slot.
        cancel_read,
        cancel_write,
        cancel_listener,
        cancel_stream,
    };
    static constexpr std::uint64_t kind_bits = 7;

    static Kind kind_of(std::uint64_t mark) noexcept { return static_cast<Kind>(mark & kind_bits); }
    static std::uint64_t of(const void* owner, Kind kind) noexcept {
        return reinterpret_cast<std::uintptr_t>(owner) | static_cast<std::uint64_t>(kind);
    }
    template <class T>
    static T& owner_of(std::uint64_t mark) noexcept {
        return *reinterpret_cast<T*>(static_cast<std::uintptr_t>(mark & ~kind_bits));
    }
};

/// A request that stays with the kernel and is answered more than once ("multishot", io_uring_enter(2)), until it is taken back.
/// All false at first.
struct Standing {
    // The kernel has it; it was asked to give it back; it is not to be made again.
    bool is_armed : 1;
    bool is_cancelling : 1;
    bool is_resting : 1;
    // An operation waits for an answer. Only then is the slot looked at, since while none does any thread may close the
    // source.
    bool is_awaited : 1;

    void note_answer(const io_uring_cqe& completion) noexcept {
        if ((completion.flags & IORING_CQE_F_MORE) != 0) return;
        is_armed = false;
        is_cancelling = false;
    }
};

/// A ring in which a request always finds a place: a full queue is given to the kernel first, and where the kernel takes
/// nothing because it has no place for more ends, those are taken.
///
/// Thread-safety: the owner's thread.
class Requests {
public:
    /// What is to be done with the end of a request whose mark is not `nobody`.
    class Taker {
    public:
        virtual void take(const io_uring_cqe& completion) noexcept = 0;

    protected:
        ~Taker() = default;
    };

    Requests(const RingOptions& options, Taker& taker) : ring_(options), taker_(taker) {}

    Ring& ring() noexcept { return ring_; }
    const Ring& ring() const noexcept { return ring_; }

    /// What an operation ends with that gets no request.
    static constexpr std::int32_t unusable = EBADF;

    /// A request, to be prepared with `io_uring_prep_…` and then marked (`mark`). Null: the ring can no longer be used.
    io_uring_sqe* demand() noexcept;
    /// After that it is the kernel's, until its last end.
    void mark(io_uring_sqe& request, std::uint64_t mark) noexcept {
        request.user_data = mark;
        ++held_;
    }
    /// Asks for a request to be ended. If that finds none, the end of the asking comes to the taker, as `answer`: the request
    /// may have ended, or have been between two tries, where the kernel does not see it; then it has to be asked for
    /// again.
    void cancel(std::uint64_t mark, std::uint64_t answer) noexcept;

    /// Asks for a standing request to be given back; its last answer tells that it is.
    void take_back(Standing& standing, std::uint64_t mark, std::uint64_t answer) noexcept;
    /// The same once more, where it was not found.
    void take_back_again(Standing& standing, std::uint64_t mark, std::uint64_t answer) noexcept;
    /// Returns when it is back, and is not to be made again.
    void lay_to_rest(Standing& standing, std::uint64_t mark, std::uint64_t answer) noexcept;

    /// Enters until there are `wanted` ends, and takes those that are there. False: the ring can no longer be used by this
    /// thread.
    bool advance(unsigned wanted) noexcept;
    /// Takes what is there. Gives how many.
    unsigned reap() noexcept;

    /// Requests that the kernel may still answer.
    std::size_t held() const noexcept { return held_; }
    /// Ends them all and waits for that, unless the ring is another thread's.
    void end_all() noexcept;

private:
    Ring ring_;
    Taker& taker_;
    std::size_t held_ = 0;
};

}  // namespace leat::detail::uring
