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
        // Of a request to cancel, which carries the slot.
        cancel_read,
        cancel_write,
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

    /// A request, to be prepared with `io_uring_prep_…` and then marked (`mark`). Null: the kernel takes no
    /// request now, for lack of memory, or none at all any more.
    io_uring_sqe* demand() noexcept;
    /// Makes room for `wanted` requests, at most the size of the queue, which the kernel then takes in one
    /// call, as a chain of linked ones has to be. True: `demand` gives as many.
    bool make_room(unsigned wanted) noexcept;
    /// Why the last `demand` or `make_room` gave nothing: ENOMEM, which passes, or EBADF, where the ring can
    /// no longer be used.
    std::int32_t refusal() const noexcept { return refusal_; }
    /// After that it is the kernel's, until its last completion.
    void mark(io_uring_sqe& request, std::uint64_t mark) noexcept {
        request.user_data = mark;
        note_held();
    }
    /// Counts a request, or a chain of requests with one completion, that is now the kernel's.
    void note_held() noexcept { ++held_; }
    /// Asks the kernel to cancel a request. If it finds none, the completion of the asking goes to the taker,
    /// as `answer`: the request may have ended, or have been on its way from one state to the next, where the
    /// kernel does not see it; then ask again. False: the kernel takes no request now (`demand`).
    [[nodiscard]] bool cancel(std::uint64_t mark, std::uint64_t answer) noexcept;

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
    bool refuse(std::int32_t why) noexcept;

    // How often a kernel that has no memory for requests is asked before the caller hears of it.
    static constexpr int most_tries = 1000;
    // What a completion leads to may need room, and so reap again: how deep that may nest.
    static constexpr int most_nested = 64;

    Ring ring_;
    Taker& taker_;
    std::size_t held_ = 0;
    // How many calls of `reap` are active.
    int depth_ = 0;
    std::int32_t refusal_ = 0;
};

}  // namespace leat::detail::uring
