// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/offload.hpp>

#include "src/pool_core.hpp"

namespace leat::detail {

// ---- On a thread of the pool ----

void OffloadJob::run() noexcept {
    try {
        call();
    } catch (...) {
        failure_ = std::current_exception();
    }
    drop_callable();
}

void OffloadJob::drop() noexcept {
    was_dropped_ = true;
    drop_callable();
}

void OffloadJob::tell(std::shared_ptr<OffloadJob>&& job) noexcept {
    // What nobody waits for is discarded here. The post, or the reference count, makes what was written seen.
    if (job->stage_.exchange(Stage::ended, std::memory_order_relaxed) == Stage::abandoned) return job.reset();
    Remote executor = *job->executor_;
    // Refused: an executor that is gone has no task to tell, and abandoned what it had here.
    executor.post_surely([job = std::move(job)]() noexcept {
        if (OffloadWait* waiting = std::exchange(job->waiting_, nullptr)) waiting->ended();
    });
}

// ---- On the executor's ----

bool OffloadWait::await_suspend(TaskHandle, std::source_location line) {
    if (is_stopped()) return true;
    // Awaited before, or moved from.
    if (job_ == nullptr || job_->executor_) [[unlikely]]
        stop_for_spent_task();
    suspend();
    try {
        if (pool_ == nullptr) pool_ = executor().blocking_pool().core();
        job_->caller_ = line;
        job_->executor_.emplace(executor().remote());
        job_->waiting_ = this;
        refusal_ = pool_->submit(job_);
    } catch (...) {
        // It may be tried again.
        job_->executor_.reset();
        job_->waiting_ = nullptr;
        resume_at_once();
        throw;
    }
    is_under_way_ = !refusal_;
    if (is_under_way_) {
        executor().call_elsewhere_begins();
        return true;
    }
    resume_at_once();
    return false;
}

void OffloadWait::ended() noexcept {
    is_under_way_ = false;
    executor().call_elsewhere_ended();
    if (was_asked_ && missing())
        withdrawn();
    else
        resume_later();
}

void OffloadWait::cancel() noexcept {
    if (!is_under_way_ || was_asked_) return;
    was_asked_ = true;
    if (pool_->take_back(*job_)) {
        job_->drop_callable();
        return leave();
    }
    // A forked child has no thread that could end it.
    if (pool_->is_forked()) return leave();
    if (!may_be_abandoned_) {
        job_->stop_.request_stop();
        return;
    }
    OffloadJob::Stage under_way = OffloadJob::Stage::under_way;
    // A result that has come wins, even if the executor has not been told yet.
    if (!job_->stage_.compare_exchange_strong(under_way, OffloadJob::Stage::abandoned,
                                              std::memory_order_relaxed))
        return;
    pool_->note_abandoned();
    job_->stop_.request_stop();
    leave();
}

void OffloadWait::leave() noexcept {
    job_->waiting_ = nullptr;
    is_under_way_ = false;
    executor().call_elsewhere_ended();
    withdrawn();
}

std::error_code OffloadWait::missing() const noexcept {
    if (refusal_) return refusal_;
    return job_->was_dropped_ ? make_error_code(errc::closed) : std::error_code();
}

void OffloadWait::throw_if_missing() const {
    if (std::error_code error = missing()) throw std::system_error(error, "leat: offload");
}

}  // namespace leat::detail
