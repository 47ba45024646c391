// SPDX-License-Identifier: BSL-1.0
#include "src/inbox.hpp"

#include <memory>

namespace leat::detail {

Inbox::Inbox(Executor& owner, const Registrator& registrator, bool wakes_for_last_holder)
    : tail_block_(new Block),
      head_block_(tail_block_.load(std::memory_order_relaxed)),
      owner_(owner),
      registrator_(registrator),
      wakes_for_last_holder_(wakes_for_last_holder) {}

Inbox::~Inbox() {
    delete spare_.load(std::memory_order_relaxed);
    while (head_block_ != nullptr)
        delete std::exchange(head_block_, head_block_->next);
}

bool Inbox::push(PostedFunction&& function) {
    if (is_forked()) [[unlikely]]
        return false;
    std::unique_ptr<Block> next;
    std::uint64_t position = tail_.load(std::memory_order_acquire);
    Block* block = nullptr;
    std::size_t index = 0;
    for (;;) {
        if ((position & closed) != 0) return false;
        block = tail_block_.load(std::memory_order_acquire);
        index = index_of(position);
        if (index == place_count) {
            std::this_thread::yield();
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
    if (state_.load() != State::mail && state_.exchange(State::mail) == State::asleep) registrator_.wake();
    return true;
}

std::unique_ptr<Inbox::Block> Inbox::new_block() {
    std::unique_ptr<Block> spare(spare_.exchange(nullptr, std::memory_order_acquire));
    return spare != nullptr ? std::move(spare) : std::make_unique_for_overwrite<Block>();
}

void Inbox::enter_next_block() noexcept {
    Block* done = std::exchange(head_block_, head_block_->next);
    done->next = nullptr;
    delete spare_.exchange(done, std::memory_order_acq_rel);
}

void Inbox::let_go() noexcept {
    // Release: whoever then sees that nobody holds it, in `is_held`, sees what was posted.
    if (holders_.fetch_sub(1, std::memory_order_release) == 1 && wakes_for_last_holder_) registrator_.wake();
}

}  // namespace leat::detail
