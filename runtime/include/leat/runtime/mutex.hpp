// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <string>
#include <utility>

namespace leat {

class Mutex;

/// A mutex that somebody holds; unlocked when this goes.
///
/// Lifetime: the mutex outlives it.
class [[nodiscard]] MutexGuard {
public:
    /// Holds none.
    MutexGuard() noexcept = default;
    MutexGuard(MutexGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    MutexGuard& operator=(MutexGuard&& other) noexcept {
        MutexGuard former(std::move(*this));
        mutex_ = std::exchange(other.mutex_, nullptr);
        return *this;
    }
    ~MutexGuard() { unlock(); }

    bool is_locked() const noexcept { return mutex_ != nullptr; }
    /// Unlocks now. Twice is harmless.
    inline void unlock() noexcept;

private:
    friend class ConditionWaitOperation;
    friend class LockOperation;
    friend class Mutex;
    explicit MutexGuard(Mutex& mutex) noexcept : mutex_(&mutex) {}

    Mutex* mutex_ = nullptr;
};

/// What `Mutex::lock` gives.
class [[nodiscard]] LockOperation : public detail::QueuedWait {
public:
    using value_type = MutexGuard;

    explicit LockOperation(Mutex& mutex) noexcept : mutex_(&mutex) {}
    LockOperation(LockOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    MutexGuard await_resume() const noexcept { return MutexGuard(*mutex_); }
    Result<MutexGuard> result() const noexcept { return await_resume(); }

    inline void cancel() noexcept override;
    std::string describe() const override { return "a mutex"; }

private:
    Mutex* mutex_;
};

/// Keeps what a task does with something shared in one piece, across its awaits.
///
///     leat::MutexGuard guard = co_await mutex.lock();
///
/// Tasks of one executor never run at the same time, so what has no await in it needs no mutex. First come, first
/// served; not recursive: a task that locks twice waits for itself.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its guards, and the task that was handed it; destroying it while a task waits ends the program.
class Mutex {
public:
    Mutex() noexcept = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;
    ~Mutex() { waiters_.demand_empty("a mutex"); }

    /// Waits until nobody holds it and nobody has come before.
    ///
    /// Cancellation: the place in the queue is given up; a lock that was handed over already is returned.
    /// Complexity:   O(1), no allocation.
    LockOperation lock() noexcept { return LockOperation(*this); }

    /// Without waiting: a guard that holds none if somebody holds it.
    MutexGuard try_lock() noexcept { return take() ? MutexGuard(*this) : MutexGuard(); }

    bool is_locked() const noexcept { return is_locked_; }

private:
    friend class ConditionWaitOperation;
    friend class LockOperation;
    friend class MutexGuard;

    bool take() noexcept { return !std::exchange(is_locked_, true); }
    void unlock() noexcept {
        if (waiters_.is_empty()) [[likely]]
            is_locked_ = false;
        else
            waiters_.hand_over();
    }

    bool is_locked_ = false;
    detail::WaitList waiters_;
};

inline void MutexGuard::unlock() noexcept {
    if (Mutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
}

inline bool LockOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!mutex_->take()) [[unlikely]]
        return wait_in(mutex_->waiters_);
    return go_on();
}

inline void LockOperation::cancel() noexcept {
    if (leave(mutex_->waiters_)) withdrawn();
}

}  // namespace leat
