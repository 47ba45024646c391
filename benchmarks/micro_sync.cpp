// SPDX-License-Identifier: BSL-1.0
//
// What synchronisation costs, beside awaitable types that a person would write by hand: a flag or a count, a list of
// waiters, a guard. The floors have no cancellation, no budget and no deadline. Mutex, semaphore, shared mutex and latch are
// measured while nobody is in the way; event, condition and barrier with two tasks that go on in turns.
#include "bare_sync.hpp"
#include "no_looks_at_io.hpp"

#include <benchmark/benchmark.h>

#include <leat/runtime/barrier.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/latch.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/shared_mutex.hpp>
#include <leat/runtime/task.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace {

constexpr std::int64_t items_a_batch = 1000;

// Runs `first`, which measures; `second`, if there is one, runs beside it and ends soon after.
void run_leat(benchmark::State& state, leat::Executor& executor, leat::Task<> first) {
    executor.run_until(std::move(first));
    state.SetItemsProcessed(state.iterations());
}
void run_leat(benchmark::State& state, leat::Executor& executor, leat::Task<> first, leat::Task<> second) {
    leat::Running<void> beside = executor.start(std::move(second));
    executor.run_until(std::move(first));
    executor.run();
    state.SetItemsProcessed(state.iterations());
}

// ---- A mutex that is free ----

leat::Task<> lock_repeatedly(benchmark::State& state, leat::Mutex& mutex) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            leat::MutexGuard guard = co_await mutex.lock();
            benchmark::ClobberMemory();
        }
    }
}

void lock(benchmark::State& state) {
    leat::Executor executor;
    leat::Mutex mutex;
    run_leat(state, executor, lock_repeatedly(state, mutex));
}
BENCHMARK(lock)->Name("mutex/leat");

class BareMutex;

class BareGuard {
public:
    explicit BareGuard(BareMutex& mutex) noexcept : mutex_(&mutex) {}
    BareGuard(BareGuard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    ~BareGuard();

private:
    BareMutex* mutex_;
};

class BareLock {
public:
    explicit BareLock(BareMutex& mutex) noexcept : mutex_(mutex) {}

    bool await_ready() const noexcept;
    void await_suspend(std::coroutine_handle<> handle) noexcept;
    BareGuard await_resume() const noexcept { return BareGuard(mutex_); }

private:
    friend class BareMutex;
    BareMutex& mutex_;
    std::coroutine_handle<> handle_;
    BareLock* next_ = nullptr;
};

class BareMutex {
public:
    BareLock lock() noexcept { return BareLock(*this); }
    bool try_lock() noexcept { return !std::exchange(is_locked_, true); }
    void append(BareLock& waiter) noexcept {
        *tail_ = &waiter;
        tail_ = &waiter.next_;
    }
    void unlock() noexcept {
        if (first_ == nullptr) {
            is_locked_ = false;
            return;
        }
        BareLock& next = *first_;
        first_ = next.next_;
        if (first_ == nullptr) tail_ = &first_;
        next.handle_.resume();
    }

private:
    bool is_locked_ = false;
    BareLock* first_ = nullptr;
    BareLock** tail_ = &first_;
};

bool BareLock::await_ready() const noexcept { return mutex_.try_lock(); }
void BareLock::await_suspend(std::coroutine_handle<> handle) noexcept {
    handle_ = handle;
    mutex_.append(*this);
}
BareGuard::~BareGuard() {
    if (mutex_ != nullptr) mutex_->unlock();
}

BareTask bare_lock_repeatedly(benchmark::State& state, BareMutex& mutex) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            BareGuard guard = co_await mutex.lock();
            benchmark::ClobberMemory();
        }
    }
}

void bare_lock(benchmark::State& state) {
    BareMutex mutex;
    bare_lock_repeatedly(state, mutex);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_lock)->Name("mutex/floor");

// ---- Counted permits, and shares of a mutex, that are there ----

leat::Task<> acquire_repeatedly(benchmark::State& state, leat::Semaphore& semaphore) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            leat::Permit permit = co_await semaphore.acquire();
            benchmark::ClobberMemory();
        }
    }
}

void acquire(benchmark::State& state) {
    leat::Executor executor;
    leat::Semaphore semaphore(2);
    run_leat(state, executor, acquire_repeatedly(state, semaphore));
}
BENCHMARK(acquire)->Name("semaphore/leat");

leat::Task<> share_repeatedly(benchmark::State& state, leat::SharedMutex& mutex) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            leat::SharedGuard guard = co_await mutex.lock_shared();
            benchmark::ClobberMemory();
        }
    }
}

void share(benchmark::State& state) {
    leat::Executor executor;
    leat::SharedMutex mutex;
    run_leat(state, executor, share_repeatedly(state, mutex));
}
BENCHMARK(share)->Name("shared_mutex/leat");

// Who holds a permit, or a share: one floor for both, since it is the same count.
class BareSemaphore {
public:
    class Permit {
    public:
        explicit Permit(BareSemaphore& semaphore) noexcept : semaphore_(&semaphore) {}
        Permit(Permit&& other) noexcept : semaphore_(std::exchange(other.semaphore_, nullptr)) {}
        ~Permit() {
            if (semaphore_ != nullptr) semaphore_->add();
        }

    private:
        BareSemaphore* semaphore_;
    };
    class Acquire : BareWait {
    public:
        explicit Acquire(BareSemaphore& semaphore) noexcept : semaphore_(semaphore) {}
        bool await_ready() const noexcept {
            if (semaphore_.available_ == 0 || !semaphore_.waiters_.is_empty()) return false;
            --semaphore_.available_;
            return true;
        }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            semaphore_.waiters_.append(*this);
        }
        Permit await_resume() const noexcept { return Permit(semaphore_); }

    private:
        BareSemaphore& semaphore_;
    };

    explicit BareSemaphore(std::size_t permits) noexcept : available_(permits) {}
    Acquire acquire() noexcept { return Acquire(*this); }
    void add() noexcept {
        if (BareWait* wait = waiters_.pop())
            wait->handle.resume();
        else
            ++available_;
    }

private:
    std::size_t available_;
    BareList waiters_;
};

BareTask bare_acquire_repeatedly(benchmark::State& state, BareSemaphore& semaphore) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            BareSemaphore::Permit permit = co_await semaphore.acquire();
            benchmark::ClobberMemory();
        }
    }
}

void bare_acquire(benchmark::State& state) {
    BareSemaphore semaphore(2);
    bare_acquire_repeatedly(state, semaphore);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_acquire)->Name("semaphore/floor");
BENCHMARK(bare_acquire)->Name("shared_mutex/floor");

// ---- A latch: made, counted down, passed ----

leat::Task<> pass_latches(benchmark::State& state) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            leat::Latch latch(2);
            latch.count_down();
            benchmark::ClobberMemory();
            co_await latch.arrive_and_wait();
        }
    }
}

void latches(benchmark::State& state) {
    leat::Executor executor;
    run_leat(state, executor, pass_latches(state));
}
BENCHMARK(latches)->Name("latch/leat");

class BareLatch {
public:
    class Wait : BareWait {
    public:
        explicit Wait(BareLatch& latch) noexcept : latch_(latch) {}
        bool await_ready() const noexcept {
            latch_.count_down();
            return latch_.count_ == 0;
        }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            latch_.waiters_.append(*this);
        }
        void await_resume() const noexcept {}

    private:
        BareLatch& latch_;
    };

    explicit BareLatch(std::size_t count) noexcept : count_(count) {}
    void count_down() noexcept {
        if (--count_ == 0) run(waiters_);
    }
    Wait arrive_and_wait() noexcept { return Wait(*this); }

private:
    std::size_t count_;
    BareList waiters_;
};

BareTask bare_pass_latches(benchmark::State& state) {
    while (state.KeepRunningBatch(items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            BareLatch latch(2);
            latch.count_down();
            benchmark::ClobberMemory();
            co_await latch.arrive_and_wait();
        }
    }
}

void bare_latch(benchmark::State& state) {
    bare_pass_latches(state);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_latch)->Name("latch/floor");

// ---- Two tasks that set each other's event; an item is a wait ----

leat::Task<> set_and_wait(benchmark::State& state, leat::ManualResetEvent& mine,
                          leat::ManualResetEvent& other, bool& is_over) {
    while (state.KeepRunningBatch(2 * items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            other.set();
            co_await mine.wait();
            mine.reset();
        }
    }
    is_over = true;
    other.set();
}

leat::Task<> wait_and_set(leat::ManualResetEvent& mine, leat::ManualResetEvent& other, const bool& is_over) {
    while (!is_over) {
        co_await mine.wait();
        mine.reset();
        other.set();
    }
}

void events(benchmark::State& state) {
    leat::Executor executor;
    leat::ManualResetEvent left;
    leat::ManualResetEvent right;
    bool is_over = false;
    run_leat(state, executor, set_and_wait(state, left, right, is_over), wait_and_set(right, left, is_over));
}
BENCHMARK(events)->Name("event/leat");

class BareEvent {
public:
    class Wait : BareWait {
    public:
        explicit Wait(BareEvent& event) noexcept : event_(event) {}
        bool await_ready() const noexcept { return event_.is_set_; }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            event_.waiters_.append(*this);
        }
        void await_resume() const noexcept {}

    private:
        BareEvent& event_;
    };

    explicit BareEvent(BareList& ready) noexcept : ready_(ready) {}
    void set() noexcept {
        is_set_ = true;
        while (BareWait* wait = waiters_.pop())
            ready_.append(*wait);
    }
    void reset() noexcept { is_set_ = false; }
    Wait wait() noexcept { return Wait(*this); }

private:
    bool is_set_ = false;
    BareList waiters_;
    BareList& ready_;
};

BareTask bare_set_and_wait(benchmark::State& state, BareEvent& mine, BareEvent& other, bool& is_over) {
    while (state.KeepRunningBatch(2 * items_a_batch)) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            other.set();
            co_await mine.wait();
            mine.reset();
        }
    }
    is_over = true;
    other.set();
}

BareTask bare_wait_and_set(BareEvent& mine, BareEvent& other, const bool& is_over) {
    while (!is_over) {
        co_await mine.wait();
        mine.reset();
        other.set();
    }
}

void bare_events(benchmark::State& state) {
    BareList ready;
    BareEvent left(ready);
    BareEvent right(ready);
    bool is_over = false;
    bare_wait_and_set(right, left, is_over);
    bare_set_and_wait(state, left, right, is_over);
    run(ready);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_events)->Name("event/floor");

// ---- Two tasks that take turns under a mutex; an item is a turn ----

leat::Task<> take_turns(benchmark::State* state, leat::Mutex& mutex, leat::Condition& condition, int& turn,
                        int mine, bool& is_over) {
    leat::MutexGuard guard = co_await mutex.lock();
    while (state != nullptr ? state->KeepRunningBatch(2 * items_a_batch) : !is_over) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            while (turn != mine)
                co_await condition.wait(guard);
            turn = 1 - mine;
            condition.notify_one();
        }
    }
    is_over = true;
}

void conditions(benchmark::State& state) {
    leat::Executor executor;
    leat::Mutex mutex;
    leat::Condition condition;
    int turn = 0;
    bool is_over = false;
    run_leat(state, executor, take_turns(&state, mutex, condition, turn, 0, is_over),
             take_turns(nullptr, mutex, condition, turn, 1, is_over));
}
BENCHMARK(conditions)->Name("condition/leat");

class BareCondition {
public:
    class Lock : BareWait {
    public:
        explicit Lock(BareCondition& condition) noexcept : condition_(condition) {}
        bool await_ready() const noexcept { return !std::exchange(condition_.is_locked_, true); }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            condition_.locking_.append(*this);
        }
        void await_resume() const noexcept {}

    private:
        BareCondition& condition_;
    };
    class Wait : BareWait {
    public:
        explicit Wait(BareCondition& condition) noexcept : condition_(condition) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            condition_.waiting_.append(*this);
            condition_.unlock();
        }
        void await_resume() const noexcept {}

    private:
        BareCondition& condition_;
    };

    explicit BareCondition(BareList& ready) noexcept : ready_(ready) {}
    Lock lock() noexcept { return Lock(*this); }
    Wait wait() noexcept { return Wait(*this); }
    void unlock() noexcept {
        if (BareWait* wait = locking_.pop())
            ready_.append(*wait);
        else
            is_locked_ = false;
    }
    void notify_one() noexcept {
        BareWait* wait = waiting_.pop();
        if (wait == nullptr) return;
        if (std::exchange(is_locked_, true))
            locking_.append(*wait);
        else
            ready_.append(*wait);
    }

private:
    bool is_locked_ = false;
    BareList locking_;
    BareList waiting_;
    BareList& ready_;
};

BareTask bare_take_turns(benchmark::State* state, BareCondition& condition, int& turn, int mine,
                         bool& is_over) {
    co_await condition.lock();
    while (state != nullptr ? state->KeepRunningBatch(2 * items_a_batch) : !is_over) {
        for (std::int64_t i = 0; i < items_a_batch; ++i) {
            while (turn != mine)
                co_await condition.wait();
            turn = 1 - mine;
            condition.notify_one();
        }
    }
    is_over = true;
    condition.unlock();
}

void bare_condition(benchmark::State& state) {
    BareList ready;
    BareCondition condition(ready);
    int turn = 0;
    bool is_over = false;
    bare_take_turns(nullptr, condition, turn, 1, is_over);
    bare_take_turns(&state, condition, turn, 0, is_over);
    run(ready);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_condition)->Name("condition/floor");

// ---- Two tasks at a barrier; an item is an arrival ----

leat::Task<> arrive_repeatedly(benchmark::State* state, leat::Barrier& barrier, bool& is_over) {
    while (state != nullptr ? state->KeepRunningBatch(2 * items_a_batch) : !is_over) {
        for (std::int64_t i = 0; i < items_a_batch; ++i)
            co_await barrier.arrive_and_wait();
    }
    is_over = true;
    barrier.arrive_and_drop();
}

void barriers(benchmark::State& state) {
    leat::Executor executor;
    leat::Barrier barrier(2);
    bool is_over = false;
    run_leat(state, executor, arrive_repeatedly(&state, barrier, is_over),
             arrive_repeatedly(nullptr, barrier, is_over));
}
BENCHMARK(barriers)->Name("barrier/leat");

class BareBarrier {
public:
    class Arrive : BareWait {
    public:
        explicit Arrive(BareBarrier& barrier) noexcept : barrier_(barrier) {}
        bool await_ready() const noexcept {
            if (++barrier_.arrived_ != barrier_.participants_) return false;
            barrier_.end_phase();
            return true;
        }
        void await_suspend(std::coroutine_handle<> suspended) noexcept {
            handle = suspended;
            barrier_.waiters_.append(*this);
        }
        void await_resume() const noexcept {}

    private:
        BareBarrier& barrier_;
    };

    BareBarrier(BareList& ready, std::size_t participants) noexcept
        : ready_(ready), participants_(participants) {}
    Arrive arrive_and_wait() noexcept { return Arrive(*this); }
    void drop() noexcept {
        if (arrived_ == --participants_) end_phase();
    }

private:
    void end_phase() noexcept {
        arrived_ = 0;
        while (BareWait* wait = waiters_.pop())
            ready_.append(*wait);
    }

    BareList& ready_;
    BareList waiters_;
    std::size_t participants_;
    std::size_t arrived_ = 0;
};

BareTask bare_arrive_repeatedly(benchmark::State* state, BareBarrier& barrier, bool& is_over) {
    while (state != nullptr ? state->KeepRunningBatch(2 * items_a_batch) : !is_over) {
        for (std::int64_t i = 0; i < items_a_batch; ++i)
            co_await barrier.arrive_and_wait();
    }
    is_over = true;
    barrier.drop();
}

void bare_barrier(benchmark::State& state) {
    BareList ready;
    BareBarrier barrier(ready, 2);
    bool is_over = false;
    bare_arrive_repeatedly(nullptr, barrier, is_over);
    bare_arrive_repeatedly(&state, barrier, is_over);
    run(ready);
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_barrier)->Name("barrier/floor");

}  // namespace
