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
// A reader that is awake need not be woken, and says when it no longer is. The tests run this very code with atomics that
// hand control to a scheduler, through every interleaving of two and three threads (tests/runtime/inbox_test.cpp); what
// these cannot show, that weaker orders than sequential consistency do where they stand, the thread sanitizer looks at.
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

/// The queue, and the reader's sleep. `Sync` gives the atomics, `yield`, and how many positions a block has.
///
/// Thread-safety: `push` from any thread; the rest is the executor's.
template <class Sync>
class InboxQueue {
public:
    InboxQueue();
    InboxQueue(const InboxQueue&) = delete;
    InboxQueue& operator=(const InboxQueue&) = delete;
    ~InboxQueue();

    /// Calls `wake` if the reader sleeps. False, with `function` untouched, once closed.
    template <class Wake>
    bool push(PostedFunction&& function, Wake wake);

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
                Sync::yield();
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

    /// From here on it takes what is posted again. Of one that was closed and emptied.
    void reopen() noexcept { tail_.fetch_and(~closed); }

private:
    template <class T>
    using Atomic = typename Sync::template Atomic<T>;

    // What the reader does: it will look at the places, or goes on without (and looks before it sleeps), or sleeps.
    enum class State : std::uint8_t { mail, awake, asleep };

    // A position counts in steps of two: its lowest bit says that the queue is closed.
    static constexpr std::uint64_t closed = 1, step = 2;
    static constexpr std::size_t positions_a_block = Sync::positions_a_block;
    static constexpr std::size_t place_count = positions_a_block - 1;
    static constexpr std::size_t index_of(std::uint64_t position) noexcept {
        return static_cast<std::size_t>(position / step) % positions_a_block;
    }

    // Close together: a cache line each was measured, and cost more than that two sometimes share one.
    struct Place {
        PostedFunction* function() noexcept { return std::launder(reinterpret_cast<PostedFunction*>(bytes)); }

        alignas(PostedFunction) std::byte bytes[sizeof(PostedFunction)];
        Atomic<bool> is_filled{false};
    };
    struct Block {
        std::array<Place, place_count> places;
        // Written before the last place is marked as filled, and read after that.
        Block* next = nullptr;
    };

    std::unique_ptr<Block> new_block();
    void enter_next_block() noexcept;

    // The writers'.
    alignas(64) Atomic<std::uint64_t> tail_{0};
    Atomic<Block*> tail_block_;
    // The reader's.
    alignas(64) std::uint64_t head_ = 0;
    Block* head_block_;
    alignas(64) Atomic<State> state_{State::awake};
    // A block that the reader is done with.
    Atomic<Block*> spare_{nullptr};
};

template <class Sync>
InboxQueue<Sync>::InboxQueue()
    : tail_block_(new Block), head_block_(tail_block_.load(std::memory_order_relaxed)) {}

template <class Sync>
InboxQueue<Sync>::~InboxQueue() {
    delete spare_.load(std::memory_order_relaxed);
    while (head_block_ != nullptr)
        delete std::exchange(head_block_, head_block_->next);
}

template <class Sync>
template <class Wake>
bool InboxQueue<Sync>::push(PostedFunction&& function, Wake wake) {
    std::unique_ptr<Block> next;
    std::uint64_t position = tail_.load(std::memory_order_acquire);
    Block* block = nullptr;
    std::size_t index = 0;
    for (;;) {
        if ((position & closed) != 0) return false;
        block = tail_block_.load(std::memory_order_acquire);
        index = index_of(position);
        if (index == place_count) {
            Sync::yield();
            position = tail_.load(std::memory_order_acquire);
            continue;
        }
        // Before the place is claimed, so that a failure changes nothing.
        if (index + 1 == place_count && next == nullptr) next = new_block();
        if (tail_.compare_exchange_weak(position, position + step, std::memory_order_seq_cst,
                                        std::memory_order_acquire))
            break;
    }
    if (index + 1 == place_count) {
        block->next = next.get();
        tail_block_.store(next.release(), std::memory_order_release);
        tail_.fetch_add(step, std::memory_order_release);
    }

    Place& place = block->places[index];
    ::new (static_cast<void*>(place.bytes)) PostedFunction(std::move(function));
    place.is_filled.exchange(true);
    // The reader may have called it by now, and the block be gone.
    if (state_.load() != State::mail && state_.exchange(State::mail) == State::asleep) wake();
    return true;
}

template <class Sync>
auto InboxQueue<Sync>::new_block() -> std::unique_ptr<Block> {
    std::unique_ptr<Block> spare(spare_.exchange(nullptr, std::memory_order_acquire));
    return spare != nullptr ? std::move(spare) : std::make_unique_for_overwrite<Block>();
}

template <class Sync>
void InboxQueue<Sync>::enter_next_block() noexcept {
    Block* done = std::exchange(head_block_, head_block_->next);
    done->next = nullptr;
    delete spare_.exchange(done, std::memory_order_acq_rel);
}

/// The system's atomics.
struct InboxSync {
    template <class T>
    using Atomic = std::atomic<T>;
    static constexpr std::size_t positions_a_block = 64;
    static void yield() noexcept { std::this_thread::yield(); }
};

/// Thread-safety: `push`, `hold` and `let_go` from any thread; the rest is the executor's.
class Inbox : public InboxQueue<InboxSync> {
public:
    Inbox(Executor& owner, const Registrator& registrator, bool wakes_for_last_holder)
        : owner_(owner), registrator_(registrator), wakes_for_last_holder_(wakes_for_last_holder) {}

    /// False, with `function` untouched, once closed or in a forked child, whose executor never runs.
    bool push(PostedFunction&& function);

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
    std::atomic<int> holders_{0};
    Executor& owner_;
    Registrator registrator_;
    // An executor on a virtual clock may go on when the last one has gone.
    bool wakes_for_last_holder_;
};

}  // namespace leat::detail
