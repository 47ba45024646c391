// SPDX-License-Identifier: BSL-1.0
// Some compilers refuse a braced list in an expression that awaits.
#include <coroutine>
#include <exception>
#include <vector>

struct Detached {
    struct promise_type {
        Detached get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

std::suspend_never takes(const std::vector<int>&) { return {}; }

Detached braced_list() { co_await takes({1, 2, 3}); }

int main() { braced_list(); }
