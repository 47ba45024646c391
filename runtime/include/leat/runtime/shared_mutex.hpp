// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstddef>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class SharedMutex;

/// A shared mutex that somebody holds alone; unlocked when this goes.
///
/// Lifetime: the mutex outlives it.
class [[nodiscard]] ExclusiveGuard {
public:
    /// Holds none.
    ExclusiveGuard() noexcept = default;
    ExclusiveGuard(ExclusiveGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    ExclusiveGuard& operator=(ExclusiveGuard&& other) noexcept {
        ExclusiveGuard former(std::move(*this));
        mutex_ = std::exchange(other.mutex_, nullptr);
        return *this;
    }
    ~ExclusiveGuard() { unlock(); }

    bool is_locked() const noexcept { return mutex_ != nullptr; }
    /// Unlocks now. Twice is harmless.
    inline void unlock() noexcept;

private:
    friend class ExclusiveLockOperation;
    friend class SharedMutex;
    explicit ExclusiveGuard(SharedMutex& mutex) noexcept : mutex_(&mutex) {}

    SharedMutex* mutex_ = nullptr;
};

/// A shared mutex that somebody holds along with others; given back when this goes.
///
/// Lifetime: the mutex outlives it.
class [[nodiscard]] SharedGuard {
public:
    /// Holds none.
    SharedGuard() noexcept = default;
    SharedGuard(SharedGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    SharedGuard& operator=(SharedGuard&& other) noexcept {
        SharedGuard former(std::move(*this));
        mutex_ = std::exchange(other.mutex_, nullptr);
        return *this;
    }
    ~SharedGuard() { unlock(); }

    bool is_locked() const noexcept { return mutex_ != nullptr; }
    /// Gives its share back now. Twice is harmless.
    inline void unlock() noexcept;

private:
    friend class SharedLockOperation;
    friend class SharedMutex;
    explicit SharedGuard(SharedMutex& mutex) noexcept : mutex_(&mutex) {}

    SharedMutex* mutex_ = nullptr;
};

namespace detail {

/// What waits for a shared mutex, one way or the other.
class SharedMutexWait : public QueuedWait {
public:
    void cancel() noexcept override;
    std::string describe() const override;

protected:
    SharedMutexWait(SharedMutex& mutex, bool is_shared) noexcept : mutex_(&mutex), is_shared_(is_shared) {}
    SharedMutexWait(SharedMutexWait&&) noexcept = default;
    ~SharedMutexWait() = default;

    SharedMutex* mutex_;

private:
    friend class leat::SharedMutex;
    bool is_shared_;
};

}  // namespace detail

/// What `SharedMutex::lock` gives.
class [[nodiscard]] ExclusiveLockOperation : public detail::SharedMutexWait {
public:
    using value_type = ExclusiveGuard;

    explicit ExclusiveLockOperation(SharedMutex& mutex) noexcept : SharedMutexWait(mutex, false) {}
    ExclusiveLockOperation(ExclusiveLockOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    ExclusiveGuard await_resume() const noexcept { return ExclusiveGuard(*mutex_); }
    Result<ExclusiveGuard> result() const noexcept { return await_resume(); }
};

/// What `SharedMutex::lock_shared` gives.
class [[nodiscard]] SharedLockOperation : public detail::SharedMutexWait {
public:
    using value_type = SharedGuard;

    explicit SharedLockOperation(SharedMutex& mutex) noexcept : SharedMutexWait(mutex, true) {}
    SharedLockOperation(SharedLockOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    SharedGuard await_resume() const noexcept { return SharedGuard(*mutex_); }
    Result<SharedGuard> result() const noexcept { return await_resume(); }
};

/// A mutex that many may hold at once to read, or one alone to write, across their awaits.
///
///     leat::SharedGuard reading = co_await table.lock_shared();
///     leat::ExclusiveGuard writing = co_await table.lock();
///
/// First come, first served: who comes while anybody waits goes behind, reader or writer, so neither starves. Readers
/// that have come one after the other are let in together. Not recursive: a task that holds it and waits for it may wait
/// for itself, if only because a writer has come in between.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its guards, and the tasks that were handed one; destroying it while a task waits ends the
///                program.
class SharedMutex {
public:
    SharedMutex() noexcept = default;
    SharedMutex(const SharedMutex&) = delete;
    SharedMutex& operator=(const SharedMutex&) = delete;
    ~SharedMutex() { waiters_.demand_empty("a shared mutex"); }

    /// Waits until nobody holds it and nobody has come before.
    ///
    /// Cancellation: the place in the queue is given up, and readers behind it may go ahead; a lock that was handed over
    ///               already is returned.
    /// Complexity:   O(1), no allocation.
    ExclusiveLockOperation lock() noexcept { return ExclusiveLockOperation(*this); }

    /// Waits until nobody holds it alone and nobody has come before.
    ///
    /// Cancellation: the same.
    /// Complexity:   O(1), no allocation.
    SharedLockOperation lock_shared() noexcept { return SharedLockOperation(*this); }

    /// Without waiting: a guard that holds none if anybody holds it.
    ExclusiveGuard try_lock() noexcept { return take() ? ExclusiveGuard(*this) : ExclusiveGuard(); }
    /// Without waiting: a guard that holds none if somebody holds it alone, or if others wait.
    SharedGuard try_lock_shared() noexcept { return take_share() ? SharedGuard(*this) : SharedGuard(); }

    /// Whether somebody holds it alone.
    bool is_locked() const noexcept { return is_exclusive_; }
    /// How many hold it along with others.
    std::size_t shares() const noexcept { return shares_; }
    bool has_waiters() const noexcept { return !waiters_.is_empty(); }

private:
    friend class detail::SharedMutexWait;
    friend class ExclusiveLockOperation;
    friend class SharedLockOperation;
    friend class ExclusiveGuard;
    friend class SharedGuard;

    // Invariant: somebody waits only while somebody holds it.

    bool take() noexcept {
        if (is_exclusive_ || shares_ != 0) return false;
        is_exclusive_ = true;
        return true;
    }
    bool take_share() noexcept {
        if (is_exclusive_ || !waiters_.is_empty()) return false;
        ++shares_;
        return true;
    }
    void unlock() noexcept {
        is_exclusive_ = false;
        if (!waiters_.is_empty()) [[unlikely]]
            hand_over();
    }
    void unlock_share() noexcept {
        --shares_;
        if (!waiters_.is_empty()) [[unlikely]]
            hand_over();
    }
    void hand_over() noexcept;

    bool is_exclusive_ = false;
    std::size_t shares_ = 0;
    detail::WaitList waiters_;
};

inline void ExclusiveGuard::unlock() noexcept {
    if (SharedMutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
}

inline void SharedGuard::unlock() noexcept {
    if (SharedMutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock_share();
}

inline bool ExclusiveLockOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!mutex_->take()) [[unlikely]]
        return wait_in(mutex_->waiters_);
    return go_on();
}

inline bool SharedLockOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!mutex_->take_share()) [[unlikely]]
        return wait_in(mutex_->waiters_);
    return go_on();
}

}  // namespace leat

#pragma GCC diagnostic pop
