// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/wait_list.hpp>

#include <coroutine>
#include <string>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class Condition;

/// What `Condition::wait` gives.
class [[nodiscard]] ConditionWaitOperation : public detail::QueuedWait {
public:
    using value_type = void;

    ConditionWaitOperation(Condition& condition, MutexGuard& guard) noexcept
        : condition_(&condition), guard_(&guard) {
        tell_when_handed();
    }
    ConditionWaitOperation(ConditionWaitOperation&& other) noexcept
        : ConditionWaitOperation(*other.condition_, *other.guard_) {}

    bool await_ready() noexcept;
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override;
    std::string describe() const override;

private:
    friend class Condition;

    // In this order, but for a cancellation, which ends it, and a deadline, which leads from `waiting` to `giving_up`.
    enum class Stage : unsigned char {
        waiting,    // in the condition's list
        notified,   // in the mutex's list; the notification was for this one alone
        woken,      // the same, and others were notified, too
        giving_up,  // the same, for the deadline has passed
        locked,
    };

    void lock_again(Stage stage) noexcept;
    void handed() noexcept override;

    Condition* condition_;
    MutexGuard* guard_;
    Mutex* mutex_ = nullptr;
    Stage stage_ = Stage::waiting;
};

/// Waits for what others do under a `Mutex`: releases it meanwhile, and holds it again when it goes on.
///
///     leat::MutexGuard guard = co_await mutex.lock();
///     while (jobs.empty())
///         co_await arrived.wait(guard);
///
/// First come, first served: who is notified stands in the mutex's queue from that moment on. A task goes on only if it was
/// notified, but what it waited for may have been undone by one that held the mutex in between: hence the loop.
///
/// Thread-safety: the tasks of one executor. Notifying does not need the mutex.
/// Lifetime:      outlives its waiters until they go on; destroying it while a task waits ends the program.
class Condition {
public:
    Condition() noexcept = default;
    Condition(const Condition&) = delete;
    Condition& operator=(const Condition&) = delete;
    ~Condition() { waiters_.demand_empty("a condition"); }

    /// Releases the mutex of `guard`, which must hold one, waits to be notified, and takes the mutex back.
    ///
    /// With a deadline (`timeout` and its like) the mutex is taken back as well before the task goes on, however long that
    /// takes; a notification that came in time wins.
    ///
    /// Lifetime:     `guard` outlives the await, and is not touched meanwhile.
    /// Cancellation: the task does not wait for the mutex: `guard` is left without it, which matters where it belongs to a
    ///               task outside the scope (`guard.is_locked()` tells). A notification by `notify_one` that it has had
    ///               already goes to who is next.
    /// Complexity:   O(1), no allocation.
    ConditionWaitOperation wait(MutexGuard& guard) noexcept { return ConditionWaitOperation(*this, guard); }

    /// Waits until `predicate()`, which is called with the mutex held, is true: first without waiting, then whenever it is
    /// notified.
    ///
    ///     auto has_jobs = [&] { return !jobs.empty(); };
    ///     co_await arrived.wait(guard, has_jobs);
    ///
    /// Lifetime:     name a predicate that captures first, as above: GCC 12 destroys it twice beside an await.
    /// Errors:       what `predicate` throws; `guard` then holds the mutex.
    /// Cancellation: the same. A `timeout` around this cancels it, and leaves `guard` without the mutex, too.
    template <class Predicate>
    Task<void> wait(MutexGuard& guard, Predicate&& predicate) {
        static_assert(detail::check_named<Predicate>());
        static_assert(std::is_invocable_r_v<bool, std::decay_t<Predicate>&>,
                      "leat: a predicate takes nothing and returns a bool");
        return wait_until<std::decay_t<Predicate>>(guard, std::forward<Predicate>(predicate));
    }

    /// Lets the one that has waited longest go on, if any.
    void notify_one() noexcept;
    /// Lets everybody go on who waits now, one after the other.
    void notify_all() noexcept;

    bool has_waiters() const noexcept { return !waiters_.is_empty(); }

private:
    friend class ConditionWaitOperation;

    template <class Predicate>
    Task<void> wait_until(MutexGuard& guard, Predicate predicate) {
        while (!predicate())
            co_await wait(guard);
    }

    detail::WaitList waiters_;
};

}  // namespace leat

#pragma GCC diagnostic pop
