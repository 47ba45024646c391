// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/remote_call.hpp>

#include "src/inbox.hpp"
#include "src/unwinding.hpp"

namespace leat::detail {

// ---- The caller's side ----

bool CallState::send(const std::shared_ptr<CallState>& self, CallEnd& end, std::source_location caller) {
    end_ = &end;
    caller_ = caller;
    Inbox& there = *target_.inbox_;
    return target_.try_post([call = self, &there]() mutable noexcept {
        CallState& state = *call;
        state.begin(std::move(call), there.owner());
    });
}

std::error_code CallState::refusal() const noexcept {
    return make_error_code(target_.is_forked() ? errc::forked : errc::closed);
}

bool CallState::take_back() noexcept {
    Stage posted = Stage::posted;
    // Nothing was written on the other side that would have to be seen here, nor the other way round.
    if (!stage_.compare_exchange_strong(posted, Stage::taken_back, std::memory_order_relaxed)) return false;
    drop_callable();
    return true;
}

void CallState::ask_to_end(const std::shared_ptr<CallState>& self) noexcept {
    // Refused: an executor that takes nothing any more has no tasks left, so the end is on its way.
    target_.post_surely([call = self]() noexcept {
        if (call->callee_) call->callee_->cancel();
    });
}

std::error_code CallState::missing() const noexcept {
    if (outcome_ == Outcome::unwound) return make_error_code(errc::cancelled);
    if (outcome_ == Outcome::refused) return make_error_code(errc::closed);
    return std::error_code();
}

// ---- The callee's side ----

void CallState::begin(std::shared_ptr<CallState>&& self, Executor& executor) noexcept {
    const std::shared_ptr<CallState> kept = std::move(self);
    Stage posted = Stage::posted;
    if (!stage_.compare_exchange_strong(posted, Stage::begun, std::memory_order_relaxed)) return;
    if (executor.is_ending()) {
        outcome_ = Outcome::refused;
        return finish();
    }
    outcome_ = Outcome::settled;
    TaskFrame* task = nullptr;
    try {
        task = invoke();
    } catch (...) {
        failure_ = std::current_exception();
    }
    if (task == nullptr) return finish();
    callee_.emplace(executor, *task, std::shared_ptr<CallState>(kept));
}

void CallState::Callee::child_finished(TaskFrame& task) noexcept {
    std::shared_ptr<CallState> call = call_;
    Root::child_finished(task);
    call->failure_ = take_failure();
    // This object.
    call->callee_.reset();
    call->finish();
}

void CallState::Callee::child_unwound() noexcept {
    std::shared_ptr<CallState> call = std::move(call_);
    call->outcome_ = Outcome::unwound;
    Root::child_unwound();
    call->callee_.reset();
    call->finish();
}

/// Whoever waits may go, and all that the call refers to, as soon as it is told.
void CallState::finish() noexcept {
    {
        UnwindingScope unwinding(outcome_ == Outcome::unwound);
        drop_callable();
    }
    if (end_ != nullptr) end_->call_ended();
}

// ---- Who waits ----

bool RemoteCallWait::await_suspend(TaskHandle, std::source_location line) {
    if (is_stopped()) return true;
    // Awaited before, or moved from.
    if (call_ == nullptr || caller_) [[unlikely]]
        stop_for_spent_task();
    suspend();
    try {
        caller_.emplace(executor().remote());
        is_under_way_ = call_->send(call_, *this, line);
    } catch (...) {
        // It may be tried again.
        caller_.reset();
        resume_at_once();
        throw;
    }
    if (is_under_way_) {
        is_elsewhere_ = call_->goes_elsewhere();
        if (is_elsewhere_) executor().call_elsewhere_begins();
        return true;
    }
    refusal_ = call_->refusal();
    resume_at_once();
    return false;
}

/// On the callee's thread. This object goes as soon as the caller's executor has been told.
void RemoteCallWait::call_ended() noexcept {
    Remote caller = *caller_;
    // Never refused but in a forked child: an executor waits for its tasks, and one of them is here.
    caller.post_surely([this]() noexcept { ended(); });
}

void RemoteCallWait::leave() noexcept {
    is_under_way_ = false;
    if (is_elsewhere_) executor().call_elsewhere_ended();
}

void RemoteCallWait::ended() noexcept {
    leave();
    if (was_asked_ && call_->missing())
        withdrawn();
    else
        resume_later();
}

void RemoteCallWait::cancel() noexcept {
    if (!is_under_way_ || was_asked_) return;
    was_asked_ = true;
    const bool is_taken_back = call_->take_back();
    if (!is_taken_back && !caller_->is_forked()) return call_->ask_to_end(call_);
    if (!is_taken_back) call_->leave_in_child();
    leave();
    withdrawn();
}

void RemoteCallWait::throw_if_missing() const {
    if (std::error_code error = missing()) throw_call_error(error);
}

void BlockingCallEnd::call_ended() noexcept {
    std::shared_ptr<Signal> signal = signal_;
    std::lock_guard lock(signal->mutex);
    signal->has_come = true;
    signal->condition.notify_one();
}

void BlockingCallEnd::wait() {
    std::unique_lock lock(signal_->mutex);
    signal_->condition.wait(lock, [this] { return signal_->has_come; });
}

void throw_call_error(const std::error_code& error) {
    throw std::system_error(error, error == errc::deadlock ? "leat: block_on of the thread's own executor"
                                                           : "leat: call");
}

}  // namespace leat::detail
