// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/runtime.hpp>

#include "backend/thread_name.hpp"

#include <leat/runtime/cpus.hpp>

#include <exception>
#include <future>
#include <optional>
#include <system_error>
#include <thread>

namespace leat {

namespace detail {

/// A thread with its executor, which is made, run and destroyed there.
class RuntimeThread {
public:
    /// Comes back when the executor is there. `ended` is called on the thread when it is gone.
    RuntimeThread(const ExecutorOptions& options, std::string name, std::function<void()> ended)
        : options_(options), name_(std::move(name)), ended_(std::move(ended)) {
        std::promise<void> ready;
        std::future<void> is_ready = ready.get_future();
        thread_ = std::thread([this, &ready]() noexcept { work(ready); });
        try {
            is_ready.get();
        } catch (...) {
            thread_.join();
            throw;
        }
    }
    RuntimeThread(const RuntimeThread&) = delete;
    RuntimeThread& operator=(const RuntimeThread&) = delete;
    ~RuntimeThread() { thread_.join(); }

    Executor& executor() const noexcept { return *executor_; }

    void ask_to_end() noexcept {
        remote_->post_surely([this]() noexcept { is_over_.set(); });
    }

private:
    void work(std::promise<void>& ready) noexcept {
        name_thread(name_);
        std::optional<Executor> executor;
        try {
            executor.emplace(options_);
            executor_ = &*executor;
            remote_.emplace(executor->remote());
        } catch (...) {
            return ready.set_exception(std::current_exception());
        }
        // The promise is another thread's, and gone soon after.
        bool is_ready = false;
        auto until_asked = [this, &ready, &is_ready]() -> Task<> {
            is_ready = true;
            ready.set_value();
            co_await is_over_.wait();
        };
        try {
            executor->run_until(until_asked());
        } catch (...) {
            // Without memory it never began; once it has, nothing of it throws.
            if (is_ready) std::terminate();
            return ready.set_exception(std::current_exception());
        }
        executor.reset();
        ended_();
    }

    const ExecutorOptions options_;
    const std::string name_;
    const std::function<void()> ended_;
    ManualResetEvent is_over_;
    Executor* executor_ = nullptr;
    std::optional<Remote> remote_;
    std::thread thread_;
};

}  // namespace detail

Runtime::Runtime() : Runtime(RuntimeOptions()) {}

Runtime::Runtime(std::size_t threads) : Runtime(RuntimeOptions(threads)) {}

Runtime::Runtime(RuntimeOptions options) {
    try {
        start(std::move(options));
    } catch (...) {
        end();
        throw;
    }
}

Runtime::~Runtime() { end(); }

void Runtime::start(RuntimeOptions&& options) {
    const std::size_t count = options.threads != 0 ? options.threads : available_cpus();
    pool_ = options.executor.blocking_pool;
    if (pool_ == nullptr) {
        BlockingPoolOptions pool_options;
        pool_options.diagnostic = options.executor.diagnostic;
        pool_ = std::make_shared<BlockingPool>(std::move(pool_options));
    }
    options.executor.blocking_pool = pool_;
    // So that nothing is lost halfway between two of them.
    threads_.reserve(count);
    executors_.reserve(count);
    remotes_.reserve(count);
    threads_end_.emplace(wait_for_threads());
    own_ = std::make_unique<Executor>(options.executor);
    // It is this thread's: run on another one, it fails with `busy`.
    if (std::error_code error = own_->poll().own()) throw std::system_error(error, "leat: runtime");
    executors_.push_back(own_.get());
    remotes_.push_back(own_->remote());
    for (std::size_t index = 1; index < count; ++index) {
        auto ended = [this]() noexcept {
            remotes_[0].post_surely([this] {
                if (--running_threads_ == 0) all_have_ended_.set();
            });
        };
        threads_.push_back(std::make_unique<detail::RuntimeThread>(
            options.executor, options.thread_name + "-" + std::to_string(index), ended));
        ++running_threads_;
        executors_.push_back(&threads_.back()->executor());
        remotes_.push_back(executors_.back()->remote());
    }
}

/// Executor 0 runs meanwhile: the others' tasks may have calls there, and wait for their end.
void Runtime::end() noexcept {
    if (!remotes_.empty() && remotes_[0].is_forked()) {
        // A copy: the threads are the parent's, and so are the executors, which stand on their stacks.
        for (std::unique_ptr<detail::RuntimeThread>& thread : threads_) {
            [[maybe_unused]] detail::RuntimeThread* of_parent = thread.release();
        }
        running_threads_ = 0;
    } else if (own_ != nullptr && own_->poll().has_other_owner()) {
        detail::stop_for_misuse("a Runtime is destroyed on another thread than it was made on");
    } else if (own_ != nullptr && own_->is_running()) {
        detail::stop_for_misuse("a Runtime is destroyed by one of its own tasks");
    }
    if (running_threads_ != 0) own_->run_until(std::move(*threads_end_));
    threads_.clear();
    own_.reset();
    pool_.reset();
}

Task<> Runtime::wait_for_threads() {
    for (std::unique_ptr<detail::RuntimeThread>& thread : threads_)
        thread->ask_to_end();
    co_await all_have_ended_.wait();
}

}  // namespace leat
