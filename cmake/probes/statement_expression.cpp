// SPDX-License-Identifier: BSL-1.0
// Some compilers have statement expressions, yet crash on one that awaits.
#include <coroutine>
#include <exception>

struct Detached {
    struct promise_type {
        Detached get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};

struct Ready {
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int await_resume() const noexcept { return 1; }
};

Detached statement_expression(int& sum) {
    int value = __extension__({
        int awaited = co_await Ready();
        if (awaited == 0) co_return;
        awaited + 1;
    });
    sum = value;
}

int main() {
    int sum = 0;
    statement_expression(sum);
    return sum == 2 ? 0 : 1;
}
