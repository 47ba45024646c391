// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/remote_channel.hpp>

namespace leat::detail {

void Wakeup::post() noexcept {
    // It waits for this, whatever cancels it meanwhile. Refused only in a forked child.
    executor_->post_surely([task = task_]() noexcept { task->resumed(); });
}

void ChannelWaiters::append(ChannelWaiter& waiter, void* part) noexcept {
    waiter.part_ = part;
    waiter.is_queued_ = true;
    waiter.next_ = nullptr;
    waiter.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &waiter;
    last_ = &waiter;
}

void ChannelWaiters::remove(ChannelWaiter& waiter) noexcept {
    waiter.is_queued_ = false;
    (waiter.previous_ != nullptr ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ != nullptr ? waiter.next_->previous_ : last_) = waiter.previous_;
}

void ChannelWaiters::hand_over(Wakeup& wakeup) noexcept {
    ChannelWaiter& waiter = *first_;
    remove(waiter);
    waiter.handed_over(wakeup);
}

void ChannelWaiters::demand_empty() const noexcept {
    if (first_ != nullptr)
        stop_for_misuse("a channel between threads is destroyed while somebody waits for it");
}

void ChannelTask::leave(ChannelWaiters& list, std::mutex& mutex) noexcept {
    if (!is_waiting_) return;
    if (executor_->is_forked()) {
        // The lock may be another thread's that is not here, and so is whoever was to wake this task.
        if (is_queued()) list.remove(*this);
    } else {
        std::lock_guard lock(mutex);
        // What it waited for is on its way, and wins.
        if (!is_queued()) return;
        list.remove(*this);
    }
    is_waiting_ = false;
    withdrawn();
}

void throw_channel_closed() { throw std::system_error(make_error_code(errc::closed), "leat: send"); }

}  // namespace leat::detail
