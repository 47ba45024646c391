// SPDX-License-Identifier: BSL-1.0
//
// What the floors of tasks are made of. They are honest: frames come from a pool with size classes, exceptions arrive at
// the awaiter, a group keeps its first failure. They have no cancellation, no executor to find, no budget and no tree to show.
#pragma once

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <utility>

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

inline constinit thread_local std::array<BarePool::Block*, 64> BarePool::lists_{};

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

inline void
BareChild::promise_type::Final::await_suspend(std::coroutine_handle<promise_type> handle) const noexcept {
    BareGroup* owner = handle.promise().group;
    handle.destroy();
    if (owner != nullptr) owner->child_ended();
}

inline void BareChild::promise_type::unhandled_exception() noexcept {
    if (group == nullptr) std::terminate();
    group->child_failed(std::current_exception());
}
