// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

namespace leat {

template <class Callable, class... Arguments>
class OffloadOperation;
template <class Callable, class... Arguments>
class DetachedOffloadOperation;

namespace detail {
class PoolCore;
}

/// How a BlockingPool is made.
struct BlockingPoolOptions {
    BlockingPoolOptions() noexcept = default;

    /// Threads at most, at least one. They block, so that their number has little to do with that of CPUs.
    std::size_t threads = 16;
    /// Calls that may be queued while all threads are busy; who offloads more waits for a place in the queue.
    std::size_t queue = 1024;
    /// How long a thread without work stays.
    Duration idle_time = std::chrono::seconds(10);
    /// How long the destructor waits for calls that run and that somebody waits for.
    Duration shutdown_deadline = std::chrono::seconds(10);
    /// Where notices go, on whatever thread; by default a line to standard error.
    std::function<void(std::string_view)> diagnostic;
    /// What the system shows for its threads.
    std::string thread_name = "leat-blocking";
};

/// What a BlockingPool does now.
struct BlockingPoolStats {
    std::size_t threads = 0;
    std::size_t running = 0;
    /// In the queue, and before it for want of room.
    std::size_t queued = 0;
    std::size_t waiting = 0;
};

/// Threads for calls that block: files, name look-ups, other people's libraries.
///
///     std::string text = co_await leat::offload(read_file, path);      // in the executor's own pool
///     std::string text = co_await pool.offload(read_file, path);       // in this one
///
/// A thread is started when a call finds none that is idle, up to the limit, and ends when it has been idle for some time. An
/// executor makes itself a pool with its first `offload`; several share one that `ExecutorOptions::blocking_pool` names.
///
/// Thread-safety: any thread; `offload` in tasks.
/// Lifetime:      destroying it drops queued calls, whose tasks get `leat::errc::closed`, and waits for
///                running ones. It does not wait for abandoned calls (`offload_detached`), nor for the call on whose
///                thread it is destroyed. Calls that still run at the deadline are logged with the line that
///                offloaded them, and go on. In a forked child the pool has no threads: offloading fails
///                with `leat::errc::forked`, and destroying it does nothing.
class BlockingPool {
public:
    /// Errors: of the kernel, as `std::system_error`. No thread is started here.
    BlockingPool();
    explicit BlockingPool(BlockingPoolOptions options);
    BlockingPool(const BlockingPool&) = delete;
    BlockingPool& operator=(const BlockingPool&) = delete;
    ~BlockingPool();

    /// As `leat::offload` and `leat::offload_detached`, in this pool: include <leat/runtime/offload.hpp>, which tells the rest.
    template <class Callable, class... Arguments>
    [[nodiscard]] OffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
    offload(Callable&& callable, Arguments&&... arguments);
    template <class Callable, class... Arguments>
    [[nodiscard]] DetachedOffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
    offload_detached(Callable&& callable, Arguments&&... arguments);

    BlockingPoolStats stats() const;

    /// For waits.
    const std::shared_ptr<detail::PoolCore>& core() const noexcept { return core_; }

private:
    std::shared_ptr<detail::PoolCore> core_;
};

}  // namespace leat
