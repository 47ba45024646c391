// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/root.hpp>

#include "backend/diagnostic.hpp"
#include "src/failure.hpp"
#include "src/joined_text.hpp"
#include "src/places.hpp"

#include <leat/runtime/failures.hpp>

#include <new>
#include <string>
#include <utility>

namespace leat::detail {

Root::Root(Executor& executor, TaskFrame& task, std::string name, std::source_location started) noexcept
    : executor_(&executor),
      environment_(executor),
      task_(&task),
      name_(std::move(name)),
      origin_(started),
      started_(executor.round_time()) {
    attach(task);
    begin_task(task, environment_, *this);
    executor.add_root(*this);
    executor.make_ready(*this);
}

Root::~Root() {
    demand_own_thread();
    // Only a kernel that fails in the middle of polling leads here; there is no frame to go on from.
    if (state_ == State::running) std::terminate();
    if (executor_ != nullptr && !is_orphan_) executor_->forget_root(*this);
    if (failure_ != nullptr && !is_orphan_) tell_failure();
}

void Root::demand_own_thread() const noexcept {
    if (executor_ == nullptr || !executor_->poll().has_other_owner()) [[likely]]
        return;
    // Its thread may have ended before.
    if (has_ended() && !executor_->is_running()) return;
    try {
        stop_for_misuse(("a Running is used on another thread than its executor's; its task was started at " +
                         place_of(origin_))
                            .c_str());
    } catch (const std::bad_alloc&) {
        stop_for_misuse("a Running is used on another thread than its executor's");
    }
}

void Root::cancel() noexcept {
    demand_own_thread();
    // One that has come to its end may be asked by what its arguments' destructors do.
    if (task_ == nullptr || !environment_.mark_cancelled()) return;
    cancel_waits(*task_);
}

std::string Root::describe() const { return "its first turn"; }

/// What the task was called with is released now: whoever holds its result may do so for long.
void Root::child_finished(TaskFrame& task) noexcept {
    failure_ = take_exception(task);
    if (failure_ == nullptr) {
        try {
            keep_result(task);
        } catch (...) {
            failure_ = std::current_exception();
        }
    }
    // Before the arguments' destructors, which may cancel this task, dump tasks, or destroy the `Running`.
    task_ = nullptr;
    task.handle().destroy();
    end(State::finished);
}

void Root::child_unwound() noexcept {
    task_ = nullptr;
    end(State::unwound);
}

void Root::end(State state) noexcept {
    state_ = state;
    executor_->end_root(*this);
    if (!is_orphan_) return;
    executor_->forget_root(*this);
    if (std::exception_ptr failure = take_failure())
        notice_failure(*executor_, "a task that nobody waits for any more has failed", failure);
    delete this;
}

void Root::orphan() noexcept { is_orphan_ = true; }

void Root::tell_failure() noexcept {
    std::exception_ptr failure = take_failure();
    const char* what = "a started task has failed, and nobody has asked for its result";
    if (executor_ != nullptr) return notice_failure(*executor_, what, failure);
    try {
        write_notice(std::string("leat: ") + what + ": " + printable(text_of(failure)));
    } catch (...) {
        write_notice(JoinedText({"leat: ", what}).text());
    }
}

void Root::outlive_executor() noexcept {
    Executor& gone = *std::exchange(executor_, nullptr);
    try {
        gone.notice_always("a Running outlives its executor; its task was started at " + place_of(origin_));
    } catch (const std::bad_alloc&) {
        gone.notice_always("a Running outlives its executor");
    }
}

void Root::throw_if_failed() {
    demand_own_thread();
    if (state_ == State::running)
        throw std::system_error(make_error_code(errc::busy), "leat: the task has not ended");
    if (state_ == State::unwound) throw std::system_error(make_error_code(errc::cancelled), "leat: task");
    if (state_ == State::spent) stop_for_spent_task();
    state_ = State::spent;
    if (std::exception_ptr exception = take_failure()) std::rethrow_exception(std::move(exception));
}

}  // namespace leat::detail
