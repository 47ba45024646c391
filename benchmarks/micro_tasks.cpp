// SPDX-License-Identifier: BSL-1.0
//
// What tasks cost, each beside what a person would write by hand for that one job: the ratio counts, not the time.
// The floors are honest: frames come from a pool with size classes, exceptions arrive at the awaiter, a group keeps
// its first failure. They have no cancellation, no executor to find, no budget and no tree to show.
#include <benchmark/benchmark.h>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <utility>

// This stands before the C library's in this program: the executor's bounded look at I/O is counted, and what the
// kernel would take for it is left out, since here is no I/O and the floors never look.
static std::uint64_t looks_at_io = 0;

extern "C" int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) {
    if (timeout == 0) {
        ++looks_at_io;
        return 0;
    }
    return static_cast<int>(syscall(SYS_epoll_wait, epoll, events, capacity, timeout));
}

namespace {

constexpr std::int64_t children_awaited = 1000;  // a batch between two looks at the clock
constexpr std::int64_t children_spawned = 100;
constexpr std::int64_t yielders = 8;
constexpr std::int64_t yields_each = 1000;

// ---- The floor's coroutines ----

class BarePool {
public:
    static void* allocate(std::size_t size) {
        const std::size_t list = (size + 63) / 64;
        if (list >= lists_.size()) return ::operator new(size);
        if (Block* block = lists_[list]) {
            lists_[list] = block->next;
            return block;
        }
        return ::operator new(list * 64);
    }

    static void deallocate(void* memory, std::size_t size) noexcept {
        const std::size_t list = (size + 63) / 64;
        if (list >= lists_.size()) return ::operator delete(memory);
        auto* block = static_cast<Block*>(memory);
        block->next = lists_[list];
        lists_[list] = block;
    }

private:
    struct Block {
        Block* next;
    };
    static constinit thread_local std::array<Block*, 64> lists_;
};

constinit thread_local std::array<BarePool::Block*, 64> BarePool::lists_{};

struct PooledFrame {
    static void* operator new(std::size_t size) { return BarePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        BarePool::deallocate(memory, size);
    }
};

/// A lazy coroutine that gives a number to the one that awaits it, by symmetric transfer both ways.
class BareTask {
public:
    struct promise_type : PooledFrame {
        struct Final {
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> handle) const noexcept {
                return handle.promise().awaiter;
            }
            void await_resume() const noexcept {}
        };

        BareTask get_return_object() noexcept {
            return BareTask(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        Final final_suspend() const noexcept { return {}; }
        void return_value(std::uint64_t result) noexcept { value = result; }
        void unhandled_exception() noexcept { exception = std::current_exception(); }

        std::coroutine_handle<> awaiter = std::noop_coroutine();
        std::exception_ptr exception;
        std::uint64_t value = 0;
    };

    BareTask(BareTask&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    BareTask& operator=(BareTask&&) = delete;
    ~BareTask() {
        if (handle_) handle_.destroy();
    }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) const noexcept {
        handle_.promise().awaiter = awaiter;
        return handle_;
    }
    std::uint64_t await_resume() const {
        promise_type& promise = handle_.promise();
        if (promise.exception) std::rethrow_exception(std::move(promise.exception));
        return promise.value;
    }

    void start() const { handle_.resume(); }

private:
    explicit BareTask(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}

    std::coroutine_handle<promise_type> handle_;
};

/// Coroutines that are ready, linked through their promises.
struct BareLink {
    BareLink* next = nullptr;
    std::coroutine_handle<> handle;
};

class BareQueue {
public:
    void push(BareLink& link) noexcept {
        link.next = nullptr;
        *tail_ = &link;
        tail_ = &link.next;
    }

    void run() {
        while (BareLink* link = first_) {
            first_ = link->next;
            if (first_ == nullptr) tail_ = &first_;
            link->handle.resume();
        }
    }

private:
    BareLink* first_ = nullptr;
    BareLink** tail_ = &first_;
};

class BareGroup;

/// A coroutine that a group or nobody waits for; it frees itself at its end.
class BareChild {
public:
    struct promise_type : PooledFrame, BareLink {
        struct Final {
            bool await_ready() const noexcept { return false; }
            inline void await_suspend(std::coroutine_handle<promise_type> handle) const noexcept;
            void await_resume() const noexcept {}
        };

        BareChild get_return_object() noexcept {
            handle = std::coroutine_handle<promise_type>::from_promise(*this);
            return BareChild(*this);
        }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        Final final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        inline void unhandled_exception() noexcept;

        BareGroup* group = nullptr;
    };

    promise_type& promise() const noexcept { return *promise_; }

private:
    explicit BareChild(promise_type& promise) noexcept : promise_(&promise) {}

    promise_type* promise_;
};

class BareGroup {
public:
    explicit BareGroup(BareQueue& queue) noexcept : queue_(queue) {}

    void spawn(const BareChild& child) noexcept {
        child.promise().group = this;
        ++running_;
        queue_.push(child.promise());
    }

    void child_ended() noexcept {
        if (--running_ == 0 && joiner_.handle) queue_.push(joiner_);
    }
    void child_failed(std::exception_ptr failure) noexcept {
        if (!failure_) failure_ = std::move(failure);
    }

    // Awaited, it joins the children.
    bool await_ready() const noexcept { return running_ == 0; }
    void await_suspend(std::coroutine_handle<> joiner) noexcept { joiner_.handle = joiner; }
    void await_resume() {
        if (failure_) std::rethrow_exception(std::move(failure_));
    }

private:
    BareQueue& queue_;
    std::size_t running_ = 0;
    BareLink joiner_;
    std::exception_ptr failure_;
};

void BareChild::promise_type::Final::await_suspend(
    std::coroutine_handle<promise_type> handle) const noexcept {
    BareGroup* owner = handle.promise().group;
    handle.destroy();
    if (owner != nullptr) owner->child_ended();
}

void BareChild::promise_type::unhandled_exception() noexcept {
    if (group == nullptr) std::terminate();
    group->child_failed(std::current_exception());
}

// ---- Create, await and finish a child ----

[[gnu::noinline]] leat::Task<std::uint64_t> next_of(std::uint64_t number) { co_return number + 1; }

leat::Task<> await_children(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(children_awaited)) {
        for (std::int64_t i = 0; i < children_awaited; ++i) {
            number = co_await next_of(number);
        }
    }
    benchmark::DoNotOptimize(number);
}

void child_task(benchmark::State& state) {
    leat::Executor executor;
    executor.run_until(await_children(state));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(child_task)->Name("child_task/leat");

[[gnu::noinline]] BareTask bare_next_of(std::uint64_t number) { co_return number + 1; }

BareTask bare_await_children(benchmark::State& state) {
    std::uint64_t number = 0;
    while (state.KeepRunningBatch(children_awaited)) {
        for (std::int64_t i = 0; i < children_awaited; ++i) {
            number = co_await bare_next_of(number);
        }
    }
    co_return number;
}

void bare_child_task(benchmark::State& state) {
    BareTask task = bare_await_children(state);
    task.start();
    benchmark::DoNotOptimize(task.await_resume());
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_child_task)->Name("child_task/floor");

// ---- Spawn into a group and join ----

leat::Task<> add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

leat::Task<> spawn_children(benchmark::State& state) {
    std::uint64_t sum = 0;
    auto body = [&sum](leat::TaskGroup& group) -> leat::Task<> {
        for (std::int64_t i = 0; i < children_spawned; ++i) {
            group.spawn(add, &sum, static_cast<std::uint64_t>(i));
        }
        co_return;
    };
    while (state.KeepRunningBatch(children_spawned)) {
        co_await leat::task_group(body);
    }
    benchmark::DoNotOptimize(sum);
}

void group_spawn(benchmark::State& state) {
    leat::Executor executor;
    executor.run_until(spawn_children(state));
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(group_spawn)->Name("group_spawn/leat");

[[gnu::noinline]] BareChild bare_add(std::uint64_t* sum, std::uint64_t number) {
    *sum += number;
    co_return;
}

BareChild bare_spawn_children(benchmark::State& state, BareQueue& queue) {
    std::uint64_t sum = 0;
    while (state.KeepRunningBatch(children_spawned)) {
        BareGroup group(queue);
        for (std::int64_t i = 0; i < children_spawned; ++i) {
            group.spawn(bare_add(&sum, static_cast<std::uint64_t>(i)));
        }
        co_await group;
    }
    benchmark::DoNotOptimize(sum);
}

void bare_group_spawn(benchmark::State& state) {
    BareQueue queue;
    queue.push(bare_spawn_children(state, queue).promise());
    queue.run();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_group_spawn)->Name("group_spawn/floor");

// ---- Yield ----

leat::Task<> yield_repeatedly(std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
        co_await leat::yield();
    }
}

leat::Task<> run_yielders(benchmark::State& state) {
    auto body = [](leat::TaskGroup& group) -> leat::Task<> {
        for (std::int64_t i = 0; i < yielders; ++i) {
            group.spawn(yield_repeatedly, yields_each);
        }
        co_return;
    };
    while (state.KeepRunningBatch(yielders * yields_each)) {
        co_await leat::task_group(body);
    }
}

void yield_in_turn(benchmark::State& state) {
    leat::Executor executor;
    looks_at_io = 0;
    executor.run_until(run_yielders(state));
    state.SetItemsProcessed(state.iterations());
    state.counters["calls_per_item"] =
        static_cast<double>(looks_at_io) / static_cast<double>(state.iterations());
}
BENCHMARK(yield_in_turn)->Name("yield/leat");

class BareYield {
public:
    explicit BareYield(BareQueue& queue) noexcept : queue_(queue) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<BareChild::promise_type> handle) const noexcept {
        queue_.push(handle.promise());
    }
    void await_resume() const noexcept {}

private:
    BareQueue& queue_;
};

BareChild bare_yield_repeatedly(BareQueue& queue, std::int64_t times) {
    for (std::int64_t i = 0; i < times; ++i) {
        co_await BareYield(queue);
    }
}

BareChild bare_run_yielders(benchmark::State& state, BareQueue& queue) {
    while (state.KeepRunningBatch(yielders * yields_each)) {
        BareGroup group(queue);
        for (std::int64_t i = 0; i < yielders; ++i) {
            group.spawn(bare_yield_repeatedly(queue, yields_each));
        }
        co_await group;
    }
}

void bare_yield_in_turn(benchmark::State& state) {
    BareQueue queue;
    queue.push(bare_run_yielders(state, queue).promise());
    queue.run();
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_yield_in_turn)->Name("yield/floor");

}  // namespace
