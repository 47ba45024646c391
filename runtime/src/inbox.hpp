// SPDX-License-Identifier: BSL-1.0
//
// What other threads leave for an executor: a queue of many writers and one reader, without a lock, so that a writer whom
// the system stops in the middle holds nobody up but those behind it, and those only until it goes on.
//
// The queue is a list of blocks. A writer claims a place by moving `tail_` on by one, moves its function there, and marks
// the place as filled. Positions only grow, so a `tail_` that has not changed between two looks means that nothing has,
// and that the block which was read in between is the one that the position is in. The last position of each block is
// no place: while `tail_` stands there, the writer who claimed the place before it links the next block, and others wait
// for those few instructions. The reader gives a block back once it has called all of its functions; nobody else then has
// any business there, since a writer touches a block only between its claim and its mark.
//
// Nobody sleeps on mail: a writer claims its place, marks it, and then looks at `state_`; the reader leaves `State::mail`
// and then looks at `tail_` and the places. All six are sequentially consistent, so one of the two sees what the other
// did. A reader that meets a place which is claimed and not filled goes away, for its writer has yet to look at `state_`.
// A reader that is awake need not be woken, and says when it no longer is.
#pragma once

#include <leat/reactor/poll.hpp>
#include <leat/runtime/remote.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <thread>
#include <utility>

namespace leat::detail {

/// Thread-safety: `push`, `hold` and `let_go` from any thread; the rest is the executor's.
class Inbox {
public:
    Inbox(Executor& owner, const Registrator& registrator, bool wakes_for_last_holder);
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;
    ~Inbox();

    /// False, with `function` untouched, once closed or in a forked child, whose executor never runs.
    bool push(PostedFunction&& function);

    /// Whether `take` might find something; it does if something was posted before in the order of things.
    bool has_mail() const noexcept { return state_.load(std::memory_order_acquire) == State::mail; }

    /// True: from now on until `wake_up` or `take`, who posts first wakes the executor. False: there is mail.
    bool fall_asleep() noexcept {
        State awake = State::awake;
        return state_.compare_exchange_strong(awake, State::asleep) || awake == State::asleep;
    }

    /// The executor is awake again, whatever has woken it.
    void wake_up() noexcept {
        State asleep = State::asleep;
        if (state_.load(std::memory_order_relaxed) == State::asleep)
            state_.compare_exchange_strong(asleep, State::awake);
    }

    /// Calls `call(function)` for what is there now, the oldest first, and at most `limit` of it. What then is left is mail
    /// again.
    template <class Call>
    void take(std::size_t limit, Call call) noexcept {
        state_.exchange(State::awake);
        const std::uint64_t tail = tail_.load();
        for (const std::uint64_t end = tail & ~closed; head_ != end; head_ += step) {
            std::size_t index = index_of(head_);
            if (index == place_count) {
                enter_next_block();
                continue;
            }
            Place& place = head_block_->places[index];
            while (!place.is_filled.load()) {
                if ((tail & closed) == 0) return;
                std::this_thread::yield();
            }
            if (limit-- == 0) {
                state_.store(State::mail);
                return;
            }
            call(*place.function());
            std::destroy_at(place.function());
            place.is_filled.store(false, std::memory_order_relaxed);
        }
    }

    /// From here on `push` refuses. What was claimed before is mail, although its writer may not have said so yet.
    void close() noexcept {
        tail_.fetch_or(closed);
        state_.store(State::mail);
    }

    bool is_forked() const noexcept { return registrator_.is_forked(); }
    /// Whether the calling thread is the executor's.
    bool is_own_thread() const noexcept { return registrator_.is_owner(); }

    /// For what was posted, while it is called.
    Executor& owner() const noexcept { return owner_; }

    /// Whether a Remote is held: somebody may still bring work. To be asked before `has_mail`, since the last holder
    /// may post and go in between.
    bool is_held() const noexcept { return holders_.load(std::memory_order_acquire) != 0; }
    void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
    void let_go() noexcept;

private:
    // What the reader does: it will look at the places, or goes on without (and looks before it sleeps), or sleeps.
    enum class State : std::uint8_t { mail, awake, asleep };

    // A position counts in steps of two: its lowest bit says that the queue is closed.
    static constexpr std::uint64_t closed = 1, step = 2;
    static constexpr std::size_t positions_a_block = 64;
    static constexpr std::size_t place_count = positions_a_block - 1;
    static constexpr std::size_t index_of(std::uint64_t position) noexcept {
        return static_cast<std::size_t>(position / step) % positions_a_block;
    }

    // Close together: a cache line each was measured, and cost more than that two sometimes share one.
    struct Place {
        PostedFunction* function() noexcept { return std::launder(reinterpret_cast<PostedFunction*>(bytes)); }

        alignas(PostedFunction) std::byte bytes[sizeof(PostedFunction)];
        std::atomic<bool> is_filled{false};
    };
    struct Block {
        std::array<Place, place_count> places;
        // Written before the last place is marked as filled, and read after that.
        Block* next = nullptr;
    };

    std::unique_ptr<Block> new_block();
    void enter_next_block() noexcept;

    // The writers'.
    alignas(64) std::atomic<std::uint64_t> tail_{0};
    std::atomic<Block*> tail_block_;
    // The reader's.
    alignas(64) std::uint64_t head_ = 0;
    Block* head_block_;
    alignas(64) std::atomic<State> state_{State::awake};
    // A block that the reader is done with.
    std::atomic<Block*> spare_{nullptr};
    std::atomic<int> holders_{0};
    Executor& owner_;
    Registrator registrator_;
    // An executor on a virtual clock may go on when the last one has gone.
    bool wakes_for_last_holder_;
};

}  // namespace leat::detail
