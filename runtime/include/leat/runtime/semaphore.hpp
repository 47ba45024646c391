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

class AcquireOperation;
class Semaphore;

/// Permits of a semaphore that somebody holds; given back when this goes.
///
/// Lifetime: the semaphore outlives it.
class [[nodiscard]] Permit {
public:
    /// Holds none.
    Permit() noexcept = default;
    Permit(Permit&& other) noexcept
        : semaphore_(std::exchange(other.semaphore_, nullptr)), count_(other.count_) {}
    Permit& operator=(Permit&& other) noexcept {
        Permit former(std::move(*this));
        semaphore_ = std::exchange(other.semaphore_, nullptr);
        count_ = other.count_;
        return *this;
    }
    ~Permit() { release(); }

    bool is_held() const noexcept { return semaphore_ != nullptr; }
    /// How many permits it holds.
    std::size_t count() const noexcept { return semaphore_ != nullptr ? count_ : 0; }

    /// Gives them back now. Twice is harmless.
    inline void release() noexcept;
    /// Keeps them for good: somebody else will call `Semaphore::add`.
    void forget() noexcept { semaphore_ = nullptr; }

private:
    friend class AcquireOperation;
    friend class Semaphore;
    Permit(Semaphore& semaphore, std::size_t count) noexcept : semaphore_(&semaphore), count_(count) {}

    Semaphore* semaphore_ = nullptr;
    std::size_t count_ = 0;
};

/// What `Semaphore::acquire` gives.
class [[nodiscard]] AcquireOperation : public detail::QueuedWait {
public:
    using value_type = Permit;

    AcquireOperation(Semaphore& semaphore, std::size_t count) noexcept
        : semaphore_(&semaphore), count_(count) {}
    AcquireOperation(AcquireOperation&&) noexcept = default;

    inline bool await_ready() noexcept;
    Permit await_resume() const noexcept { return Permit(*semaphore_, count_); }
    Result<Permit> result() const noexcept { return await_resume(); }

    void cancel() noexcept override;
    std::string describe() const override;

private:
    friend class Semaphore;

    Semaphore* semaphore_;
    std::size_t count_;
};

/// A number of permits, of which tasks take some and give them back; who finds too few waits.
///
///     leat::Semaphore slots(8);
///     leat::Permit slot = co_await slots.acquire();   // given back at the end of the block
///
/// First come, first served: a permit that is given back goes to who has waited longest, never to a task that
/// comes later, and who wants several holds up those behind until there are enough.
///
/// Thread-safety: the tasks of one executor.
/// Lifetime:      outlives its permits, and the tasks that were handed one; destroying it while a task waits ends the
///                program.
class Semaphore {
public:
    explicit Semaphore(std::size_t permits) noexcept : available_(permits) {}
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;
    ~Semaphore() { waiters_.demand_empty("a semaphore"); }

    /// Waits until `count` permits are there and nobody has come before.
    ///
    /// More than there will ever be waits for ever.
    ///
    /// Cancellation: the place in the queue is given up; a permit that was handed over already is returned.
    /// Complexity:   O(1), no allocation.
    AcquireOperation acquire(std::size_t count = 1) noexcept { return AcquireOperation(*this, count); }

    /// Without waiting: a permit that holds none if there are too few, or if others wait.
    Permit try_acquire(std::size_t count = 1) noexcept {
        if (!try_take(count)) return Permit();
        return Permit(*this, count);
    }

    /// Adds permits, new ones or such as were forgotten, and hands them to who waits.
    void add(std::size_t count = 1) noexcept {
        available_ += count;
        if (!waiters_.is_empty()) [[unlikely]]
            hand_over();
    }

    /// How many nobody holds.
    std::size_t available() const noexcept { return available_; }
    bool has_waiters() const noexcept { return !waiters_.is_empty(); }

private:
    friend class AcquireOperation;

    bool try_take(std::size_t count) noexcept {
        if (!waiters_.is_empty() || count > available_) return false;
        available_ -= count;
        return true;
    }
    void hand_over() noexcept;

    std::size_t available_;
    detail::WaitList waiters_;
};

inline void Permit::release() noexcept {
    if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->add(count_);
}

inline bool AcquireOperation::await_ready() noexcept {
    if (is_stopped()) return false;
    if (!semaphore_->try_take(count_)) [[unlikely]]
        return wait_in(semaphore_->waiters_);
    return go_on();
}

}  // namespace leat

#pragma GCC diagnostic pop
