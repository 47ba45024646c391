// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/blocking_pool.hpp>

#include "backend/diagnostic.hpp"
#include "backend/thread_name.hpp"
#include "src/failure.hpp"
#include "src/pool_core.hpp"

#include <leat/runtime/failures.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <new>
#include <string>
#include <utility>

namespace leat {

BlockingPool::BlockingPool() : BlockingPool(BlockingPoolOptions()) {}

BlockingPool::BlockingPool(BlockingPoolOptions options)
    : core_(std::make_shared<detail::PoolCore>(std::move(options))) {}

BlockingPool::~BlockingPool() {
    if (!core_->is_forked()) {
        core_->shut_down();
        return;
    }
    // Its threads, and whoever holds its lock, are the parent's: nothing can be waited for, nor given back.
    using Kept = std::shared_ptr<detail::PoolCore>;
    alignas(Kept) static std::byte place[sizeof(Kept)];
    ::new (static_cast<void*>(place)) Kept(std::move(core_));
}

BlockingPoolStats BlockingPool::stats() const { return core_->stats(); }

namespace detail {

namespace {

// What the standard library can still add to the present.
constexpr Duration longest_idle_time = std::chrono::hours(24 * 365);

}  // namespace

void PoolCore::JobList::append(OffloadJob& job) noexcept {
    job.next_ = nullptr;
    job.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &job;
    last_ = &job;
    ++size_;
}

void PoolCore::JobList::remove(OffloadJob& job) noexcept {
    (job.previous_ != nullptr ? job.previous_->next_ : first_) = job.next_;
    (job.next_ != nullptr ? job.next_->previous_ : last_) = job.previous_;
    --size_;
}

PoolCore::PoolCore(BlockingPoolOptions&& options) : options_(std::move(options)) {}

// ---- Calls come and go ----

std::error_code PoolCore::submit(const std::shared_ptr<OffloadJob>& job) {
    if (is_forked()) return make_error_code(errc::forked);
    join_ended();
    std::unique_lock lock(mutex_);
    if (is_closed_) return make_error_code(errc::closed);
    const bool wants_thread =
        queue_.size() >= idle_ && threads_.size() < std::max<std::size_t>(options_.threads, 1);
    std::exception_ptr trouble;
    if (wants_thread) {
        try {
            start_thread();
        } catch (...) {
            if (threads_.empty()) throw;
            trouble = std::current_exception();
        }
    }
    job->self_ = job;
    job->is_queued_ = true;
    queue_.append(*job);
    work_.notify_one();
    lock.unlock();
    if (trouble != nullptr) notice_trouble(trouble);
    return std::error_code();
}

/// The call is queued already: what is thrown here must not reach the caller.
void PoolCore::notice_trouble(const std::exception_ptr& trouble) noexcept {
    constexpr std::string_view what = "leat: a pool of threads goes on with those that it has";
    try {
        notice(std::string(what) + ": " + printable(text_of(trouble)));
    } catch (...) {
        notice(what);
    }
}

bool PoolCore::take_back(OffloadJob& job) noexcept {
    if (is_forked()) return false;
    // Not destroyed under the lock.
    std::shared_ptr<OffloadJob> self;
    std::lock_guard lock(mutex_);
    if (!job.is_queued_) return false;
    job.is_queued_ = false;
    queue_.remove(job);
    self = std::move(job.self_);
    return true;
}

std::shared_ptr<OffloadJob> PoolCore::take_first() noexcept {
    OffloadJob& first = *queue_.first();
    queue_.remove(first);
    first.is_queued_ = false;
    return std::move(first.self_);
}

BlockingPoolStats PoolCore::stats() const {
    BlockingPoolStats stats;
    if (is_forked()) return stats;
    std::lock_guard lock(mutex_);
    stats.threads = threads_.size();
    stats.running = running_.size();
    stats.queued = std::min(queue_.size(), options_.queue);
    stats.waiting = queue_.size() - stats.queued;
    return stats;
}

// ---- Threads ----

void PoolCore::start_thread() {
    // Room first, for the thread's own place when it has ended too: nothing can fail then.
    threads_.reserve(threads_.size() + 1);
    ended_.reserve(threads_.size() + 1 + ended_.size());
    threads_.emplace_back([core = shared_from_this()]() noexcept { core->work(); });
}

void PoolCore::work() noexcept {
    name_thread(options_.thread_name);
    std::unique_lock lock(mutex_);
    while (std::shared_ptr<OffloadJob> job = next(lock)) {
        running_.append(*job);
        job->runner_ = std::this_thread::get_id();
        lock.unlock();
        job->run();
        lock.lock();
        running_.remove(*job);
        lock.unlock();
        OffloadJob::tell(std::move(job));
        lock.lock();
    }
    end_of_thread();
}

std::shared_ptr<OffloadJob> PoolCore::next(std::unique_lock<std::mutex>& lock) noexcept {
    if (queue_.is_empty() && !is_closed_) {
        ++idle_;
        work_.wait_for(lock, std::min<Duration>(options_.idle_time, longest_idle_time),
                       [this] { return !queue_.is_empty() || is_closed_; });
        --idle_;
    }
    return queue_.is_empty() ? nullptr : take_first();
}

/// Locked. Another thread joins this one.
void PoolCore::end_of_thread() noexcept {
    auto own = std::find_if(threads_.begin(), threads_.end(), [](const std::thread& thread) {
        return thread.get_id() == std::this_thread::get_id();
    });
    // Not if the pool has left it to itself.
    if (own != threads_.end()) {
        ended_.push_back(std::move(*own));
        threads_.erase(own);
    }
    if (is_closed_) fewer_.notify_all();
}

void PoolCore::join_ended() noexcept {
    for (;;) {
        std::thread ended;
        {
            std::lock_guard lock(mutex_);
            if (ended_.empty()) return;
            ended = std::move(ended_.back());
            ended_.pop_back();
        }
        ended.join();
    }
}

// ---- The end ----

void PoolCore::note_abandoned() noexcept {
    std::lock_guard lock(mutex_);
    if (is_closed_) fewer_.notify_all();
}

/// Locked. The pool may be destroyed by one of its own calls, which holds the last reference to it: that call
/// goes on, and its thread ends by itself.
void PoolCore::leave_own_thread() noexcept {
    auto own = std::find_if(threads_.begin(), threads_.end(), [](const std::thread& thread) {
        return thread.get_id() == std::this_thread::get_id();
    });
    if (own == threads_.end()) return;
    own->detach();
    threads_.erase(own);
}

/// Under the lock; `job` runs. Whether the end of the pool does not wait for it.
bool PoolCore::is_left_alone(const OffloadJob& job) noexcept {
    return job.runner_ == std::this_thread::get_id() ||
           job.stage_.load(std::memory_order_relaxed) == OffloadJob::Stage::abandoned;
}

/// Locked, after `leave_own_thread`.
std::size_t PoolCore::threads_to_wait_for() const noexcept {
    std::size_t count = threads_.size();
    for (const OffloadJob* job = running_.first(); job != nullptr; job = job->next_)
        if (is_left_alone(*job) && job->runner_ != std::this_thread::get_id()) --count;
    return count;
}

void PoolCore::shut_down() noexcept {
    std::unique_lock lock(mutex_);
    is_closed_ = true;
    leave_own_thread();
    while (!queue_.is_empty()) {
        std::shared_ptr<OffloadJob> job = take_first();
        lock.unlock();
        job->drop();
        OffloadJob::tell(std::move(job));
        lock.lock();
    }
    work_.notify_all();
    const TimePoint deadline = saturating_add(steady_clock().now(), options_.shutdown_deadline);
    while (threads_to_wait_for() != 0) {
        const Duration left = deadline - steady_clock().now();
        if (left <= Duration::zero()) break;
        // In steps, since the furthest deadline is none that the library could add up.
        fewer_.wait_for(lock, std::min<Duration>(left, std::chrono::hours(1)));
    }
    const bool leaves_some = threads_to_wait_for() != 0;
    const std::string names = leaves_some ? describe_what_runs() : std::string();
    for (std::thread& thread : threads_)
        thread.detach();
    threads_.clear();
    lock.unlock();
    // Without the lock, since a diagnostic may ask the pool.
    constexpr const char* without_names =
        "leat: a pool of threads ends, and leaves to themselves calls that have not ended";
    if (leaves_some) notice(names.empty() ? std::string_view(without_names) : names);
    join_ended();
}

/// Locked. Empty if there is no memory for it.
std::string PoolCore::describe_what_runs() const noexcept {
    try {
        std::string text =
            "leat: a pool of threads ends, and leaves to themselves what has not ended in time:";
        bool is_any_named = false;
        for (const OffloadJob* job = running_.first(); job != nullptr; job = job->next_) {
            if (is_left_alone(*job)) continue;
            is_any_named = true;
            const std::source_location caller = job->caller();
            text += "\n  offloaded at " + std::string(caller.file_name()) + ":" +
                    std::to_string(caller.line()) + " (" + caller.function_name() + ")";
        }
        if (!is_any_named) text += "\n  threads that are about to end";
        return text;
    } catch (const std::bad_alloc&) {
        return std::string();
    }
}

void PoolCore::notice(std::string_view text) noexcept {
    try {
        if (options_.diagnostic)
            options_.diagnostic(text);
        else
            write_notice(text);
    } catch (...) {
        // A diagnostic that fails has nobody else to tell.
    }
}

}  // namespace detail
}  // namespace leat
