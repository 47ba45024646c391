// SPDX-License-Identifier: BSL-1.0
// Runs the coroutine shapes that some compilers translate wrongly, and prints the name of each that goes wrong.
// Stands alone: it must build with the compiler in question and nothing else.
#include <coroutine>
#include <cstdio>
#include <exception>

namespace {

int alive = 0;

// A member whose copies are counted: alive is zero again if each is destroyed once.
struct Counted {
    Counted() { ++alive; }
    Counted(const Counted&) { ++alive; }
    Counted(Counted&&) noexcept { ++alive; }
    Counted& operator=(const Counted&) = default;
    Counted& operator=(Counted&&) = default;
    ~Counted() { --alive; }
};

struct Aggregate {
    Counted member;
};

// A coroutine that is started by run(), as tasks are: one that starts by itself hides the first shape.
struct Lazy {
    struct promise_type {
        Lazy get_return_object() { return Lazy(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
    explicit Lazy(std::coroutine_handle<promise_type> started) : handle(started) {}
    void run() {
        handle.resume();
        handle.destroy();
    }
    std::coroutine_handle<promise_type> handle;
};

template <class Value>
struct Ready {
    explicit Ready(Value given) : value(given) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Value await_resume() { return value; }
    Value value;
};

template <class Argument>
Ready<int> takes(const Argument&) {
    return Ready<int>(1);
}

bool body_ran = false;

Lazy await_in_condition() {
    if (co_await Ready<bool>(true)) body_ran = true;
}

Lazy capturing_lambda(Counted captured) {
    co_await takes([captured] { (void)captured; });
}

Lazy braced_aggregate(Counted member) { co_await takes(Aggregate{member}); }

Lazy conditional(bool choose) {
    Counted chosen = choose ? co_await Ready<Counted>(Counted()) : Counted();
    (void)chosen;
}

void report_unless(bool right, const char* shape) {
    if (!right) std::puts(shape);
    alive = 0;
}

}  // namespace

int main() {
    await_in_condition().run();
    report_unless(body_ran, "condition");

    capturing_lambda(Counted()).run();
    report_unless(alive == 0, "lambda");

    braced_aggregate(Counted()).run();
    report_unless(alive == 0, "aggregate");

    // Either branch may be the one that goes wrong.
    conditional(true).run();
    int after_true = alive;
    conditional(false).run();
    report_unless(after_true == 0 && alive == 0, "conditional");
}
