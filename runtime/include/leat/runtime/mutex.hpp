// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <cstdint>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Mutex;

/// A mutex that somebody holds; unlocked when this goes.
///
/// Lifetime: the mutex outlives it.
class [[nodiscard]] MutexGuard {
public:
    /// Holds none.
    MutexGuard() noexcept = default;
    MutexGuard(MutexGuard&& other) noexcept : mutex_(other.give_away()) {}
    MutexGuard& operator=(MutexGuard&& other) noexcept {
        MutexGuard former(std::move(*this));
        mutex_ = other.give_away();
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
    // To another guard, which may be anybody's.
    inline Mutex* give_away() noexcept;

    Mutex* mutex_ = nullptr;
};

/// What `Mutex::lock` gives.
class [[nodiscard]] LockOperation : public detail::QueuedWait {
public:
    using value_type = MutexGuard;

    explicit LockOperation(Mutex& mutex) noexcept : mutex_(&mutex) {}
    LockOperation(LockOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    MutexGuard await_resume() const noexcept { return MutexGuard(*mutex_); }
    Result<MutexGuard> result() const noexcept { return await_resume(); }

    inline void cancel() noexcept override;
    std::string describe() const override { return "a mutex"; }
    inline void visit_holders(void (*visit)(const TaskFrame*, void*), void* argument) const override;

private:
    friend class Mutex;

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
    MutexGuard try_lock() noexcept { return take(unknown) ? MutexGuard(*this) : MutexGuard(); }

    bool is_locked() const noexcept { return holder_ != nobody; }

private:
    friend class ConditionWaitOperation;
    friend class LockOperation;
    friend class MutexGuard;

    // The task that locked it, by its address, for a dump: nobody else looks behind that. A guard that is moved may be in
    // another task, or in none.
    using Holder = std::uintptr_t;
    static constexpr Holder nobody = 0, unknown = 1;
    static Holder holder_of(const TaskFrame& task) noexcept { return reinterpret_cast<Holder>(&task); }

    bool take(Holder holder) noexcept {
        if (holder_ != nobody) return false;
        holder_ = holder;
        return true;
    }
    void unlock() noexcept {
        if (waiters_.is_empty()) [[likely]]
            holder_ = nobody;
        else
            hand_over();
    }
    inline void hand_over() noexcept;

    Holder holder_ = nobody;
    detail::WaitList waiters_;
};

inline Mutex* MutexGuard::give_away() noexcept {
    if (mutex_ != nullptr) mutex_->holder_ = Mutex::unknown;
    return std::exchange(mutex_, nullptr);
}

inline void MutexGuard::unlock() noexcept {
    if (Mutex* mutex = std::exchange(mutex_, nullptr)) mutex->unlock();
}

inline bool LockOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!mutex_->take(Mutex::holder_of(*frame_))) [[unlikely]]
        return wait_in(mutex_->waiters_);
    return go_on();
}

inline void LockOperation::visit_holders(void (*visit)(const TaskFrame*, void*), void* argument) const {
    if (mutex_->holder_ > Mutex::unknown)
        visit(reinterpret_cast<const TaskFrame*>(mutex_->holder_), argument);
}

inline void Mutex::hand_over() noexcept {
    holder_ = holder_of(waiters_.first_task());
    waiters_.hand_over();
}

inline void LockOperation::cancel() noexcept {
    if (leave(mutex_->waiters_)) withdrawn();
}

}  // namespace leat

#pragma GCC diagnostic pop
