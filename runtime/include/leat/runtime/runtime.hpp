// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace leat {

/// How a Runtime is made.
struct RuntimeOptions {
    /// Errors: as `ExecutorOptions`.
    RuntimeOptions() = default;
    explicit RuntimeOptions(std::size_t t) : threads(t) {}

    /// Executors, one a thread; zero: as many as there are `available_cpus()`.
    std::size_t threads = 0;
    /// Of each executor. Their diagnostic is called on each one's thread, so also by several at once. Without a pool of their own
    /// they share one.
    ExecutorOptions executor;
    /// What the system shows for its threads, followed by their number; the calling thread keeps its own name.
    std::string thread_name = "leat";
};

namespace detail {

class RuntimeThread;

/// What the callable of `Runtime::run` is given: the executor, its number, or both.
template <class Callable>
Task<> call_for_executor(const Callable& callable, Executor& executor, std::size_t index) {
    if constexpr (std::is_invocable_v<const Callable&, Executor&, std::size_t>)
        return std::invoke(callable, executor, index);
    else if constexpr (std::is_invocable_v<const Callable&, Executor&>)
        return std::invoke(callable, executor);
    else
        return std::invoke(callable, index);
}

}  // namespace detail

/// Executors on several threads, one a thread, that share nothing but a pool for calls that block.
///
///     leat::Runtime runtime;                               // one executor for each CPU
///     runtime.run([](leat::Executor& executor, std::size_t index) -> leat::Task<> { ... });
///
/// A task stays with its executor. What is to cross goes through `remote(i)`, a RemoteChannel, or a call.
///
/// The thread that makes it is that of executor 0, which runs while `run` does; the others have threads of their own and run
/// until the end.
///
/// Thread-safety: the thread that made it; `size` and `remote` from any.
/// Lifetime:      outlives what its executors run. Destroying it ends the other executors first, each cancelling its tasks on its
///                own thread while executor 0 goes on to run, then executor 0, then the pool. Not inside a task. On another
///                thread than the one that made it, it says so and aborts. In a forked child it lets go of the
///                parent's threads and ends its copy of executor 0.
class Runtime {
public:
    /// Errors: those of making an executor, a thread or the pool; what was made is ended first.
    Runtime();
    explicit Runtime(std::size_t threads);
    explicit Runtime(RuntimeOptions options);
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;
    ~Runtime();

    std::size_t size() const noexcept { return executors_.size(); }
    /// Errors: `std::out_of_range` for an `index` of `size()` or more.
    Remote remote(std::size_t index) const { return remotes_.at(index); }
    /// That of the thread that made the runtime.
    Executor& executor() noexcept { return *executors_[0]; }
    BlockingPool& blocking_pool() noexcept { return *pool_; }

    /// Runs `callable(executor, index)`, or `callable(executor)` or `callable(index)`, a `Task<>`, once on each executor, and
    /// waits for all. The first failure cancels the others; all are awaited; then it is thrown. Later ones are attached to it.
    ///
    /// `callable` is called on each thread, by several at once, as a const object, and lives until all have ended.
    ///
    /// Errors: the first failure; `busy` inside a task, or on another thread.
    template <class Callable>
    void run(const Callable& callable) {
        executor().run_until(run_on_all(callable));
    }

    /// The same for a task of executor 0.
    ///
    /// Lifetime:     name `callable` first; it outlives the await.
    /// Cancellation: all are cancelled, and waited for.
    template <class Callable>
    Task<> run_on_all(Callable&& callable) {
        static_assert(detail::check_named<Callable>());
        return run_on_each(std::as_const(callable));
    }

private:
    template <class Callable>
    Task<> run_on_each(const Callable& callable) {
        auto body = [this, &callable](TaskGroup& group) -> Task<> {
            for (std::size_t index = 1; index < size(); ++index) {
                auto elsewhere = [this, &callable, index]() -> Task<> {
                    auto there = [this, &callable, index]() -> Task<> {
                        return detail::call_for_executor(callable, *executors_[index], index);
                    };
                    co_await remotes_[index].call(there);
                };
                group.spawn(std::move(elsewhere));
            }
            co_await detail::call_for_executor(callable, executor(), 0);
        };
        co_await task_group(body);
    }

    void start(RuntimeOptions&& options);
    void end() noexcept;
    Task<> wait_for_threads();

    // Made before the threads, so that ending them needs no memory.
    std::optional<Task<>> threads_end_;
    std::shared_ptr<BlockingPool> pool_;
    std::unique_ptr<Executor> own_;
    std::vector<std::unique_ptr<detail::RuntimeThread>> threads_;
    // Threads whose executors have not ended, and what the last of them sets. Executor 0's.
    std::size_t running_threads_ = 0;
    ManualResetEvent all_have_ended_;
    // By number. The executors are their threads' own.
    std::vector<Executor*> executors_;
    std::vector<Remote> remotes_;
};

}  // namespace leat
