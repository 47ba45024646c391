// SPDX-License-Identifier: BSL-1.0
//
// What a BlockingPool, its threads and the calls in it share. The threads hold it too, so that one which is left to itself at
// the end of the pool still finds what it comes back to.
//
// There is one list of calls that wait. The first `options.queue` of them are the queue, and those behind wait for room in it:
// either way it is one line, first come, first served, and what is in it can be taken out in O(1).
#pragma once

#include <leat/reactor/fork_mark.hpp>
#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/offload.hpp>

#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace leat::detail {

/// Thread-safety: any thread.
class PoolCore : public std::enable_shared_from_this<PoolCore> {
public:
    explicit PoolCore(BlockingPoolOptions&& options);
    PoolCore(const PoolCore&) = delete;
    PoolCore& operator=(const PoolCore&) = delete;
    ~PoolCore() = default;

    /// Refused: `closed`, `forked`. Throws what starting a thread throws, if there is none; nothing has changed then.
    std::error_code submit(const std::shared_ptr<OffloadJob>& job);
    /// True: it was taken out of the queue, and will not run.
    bool take_back(OffloadJob& job) noexcept;

    /// A call that runs was abandoned: the end of the pool does not wait for it any more.
    void note_abandoned() noexcept;

    void shut_down() noexcept;
    bool is_forked() const noexcept { return mark_.is_forked_child(); }
    BlockingPoolStats stats() const;

private:
    class JobList {
    public:
        bool is_empty() const noexcept { return first_ == nullptr; }
        std::size_t size() const noexcept { return size_; }
        OffloadJob* first() const noexcept { return first_; }
        void append(OffloadJob& job) noexcept;
        void remove(OffloadJob& job) noexcept;

    private:
        OffloadJob* first_ = nullptr;
        OffloadJob* last_ = nullptr;
        std::size_t size_ = 0;
    };

    void start_thread();
    void work() noexcept;
    /// Locked: the next call, or null if the thread is to end.
    std::shared_ptr<OffloadJob> next(std::unique_lock<std::mutex>& lock) noexcept;
    void end_of_thread() noexcept;
    void join_ended() noexcept;
    std::shared_ptr<OffloadJob> take_first() noexcept;
    void leave_own_thread() noexcept;
    static bool is_left_alone(const OffloadJob& job) noexcept;
    std::size_t threads_to_wait_for() const noexcept;
    std::string describe_what_runs() const noexcept;
    void notice_trouble(const std::exception_ptr& trouble) noexcept;
    void notice(std::string_view text) noexcept;

    const BlockingPoolOptions options_;
    ForkMark mark_;
    mutable std::mutex mutex_;
    std::condition_variable work_;
    // When the pool is closed: a thread has ended, or need not be waited for any more.
    std::condition_variable fewer_;
    bool is_closed_ = false;
    JobList queue_;
    JobList running_;
    std::size_t idle_ = 0;
    std::vector<std::thread> threads_;
    // Those that have nothing left to do, and are to be joined.
    std::vector<std::thread> ended_;
};

}  // namespace leat::detail
