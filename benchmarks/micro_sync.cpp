// SPDX-License-Identifier: BSL-1.0
//
// What synchronisation costs when nobody is in the way, beside an awaitable mutex that a person would write by hand: a
// flag, a list of waiters, a guard. The floor has no cancellation, no budget and no deadline.
#include <benchmark/benchmark.h>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/task.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>

namespace {

constexpr std::int64_t locks_a_batch = 1000;

leat::Task<> lock_repeatedly(benchmark::State& state, leat::Mutex& mutex) {
    while (state.KeepRunningBatch(locks_a_batch)) {
        for (std::int64_t i = 0; i < locks_a_batch; ++i) {
            leat::MutexGuard guard = co_await mutex.lock();
            benchmark::ClobberMemory();
        }
    }
}

void lock(benchmark::State& state) {
    leat::Executor executor;
    leat::Mutex mutex;
    executor.run_until(lock_repeatedly(state, mutex));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(lock)->Name("mutex/leat");

// ---- The floor ----

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

struct BareTask {
    struct promise_type {
        BareTask get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

BareTask bare_lock_repeatedly(benchmark::State& state, BareMutex& mutex) {
    while (state.KeepRunningBatch(locks_a_batch)) {
        for (std::int64_t i = 0; i < locks_a_batch; ++i) {
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

}  // namespace
