// SPDX-License-Identifier: BSL-1.0
//
// What the floors of synchronisation are made of: a coroutine that runs at once, a list of waits, and a loop that resumes
// what is ready, first come, first served. No cancellation, no budget, no clock, no tree of tasks.
#pragma once

#include <coroutine>
#include <exception>

struct BareTask {
    struct promise_type {
        BareTask get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() const noexcept { return {}; }
        std::suspend_never final_suspend() const noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

struct BareWait {
    std::coroutine_handle<> handle;
    BareWait* next = nullptr;
};

class BareList {
public:
    bool is_empty() const noexcept { return first_ == nullptr; }
    void append(BareWait& wait) noexcept {
        wait.next = nullptr;
        *tail_ = &wait;
        tail_ = &wait.next;
    }
    BareWait* pop() noexcept {
        BareWait* wait = first_;
        if (wait != nullptr) {
            first_ = wait->next;
            if (first_ == nullptr) tail_ = &first_;
        }
        return wait;
    }

private:
    BareWait* first_ = nullptr;
    BareWait** tail_ = &first_;
};

/// Resumes what is ready until nothing is.
inline void run(BareList& ready) {
    while (BareWait* wait = ready.pop())
        wait->handle.resume();
}
