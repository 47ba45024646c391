// SPDX-License-Identifier: BSL-1.0
// clang-format off
// What combinators are given and cannot run.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

// One type for each number, since a compiler reports a mistake once for each.
template <int>
struct Number {};
template <int number>
leat::Task<Number<number>> give();

// ---- Deadlines. ----

leat::Task<> deadlines(leat::AsyncGenerator<int>& generator) {
    co_await leat::timeout(5, give<1>());  // says: leat: a limit has a unit: write 5s or 250ms
    leat::Task<Number<2>> task = give<2>();
    co_await leat::timeout(5s, task);  // says: leat: a combinator takes over the task or wait that it runs
    leat::SleepOperation pause = leat::sleep_for(1s);
    co_await leat::timeout(5s, pause);  // says: pass std::move(name)
    co_await leat::timeout(0.5s, give<3>());  // says: leat: a limit is a whole number of a unit of time
    co_await leat::timeout(give<4>(), 5s);  // says: leat: the limit comes first, and then what it limits
    co_await leat::timeout(leat::steady_clock().now(), give<5>());  // says: use timeout_at
    co_await leat::timeout(std::chrono::system_clock::now(), give<6>());  // says: is a leat::TimePoint
    co_await leat::timeout(5s, give<7>);  // says: leat: this is a function that returns a task: call it
    co_await leat::timeout(5s, 7);  // says: leat: this combinator cannot run such an object
    co_await leat::timeout(5s, generator.next());  // says: leat: a combinator would end a generator
    // says: a combinator would end a generator
    co_await leat::timeout(5s, leat::as_result(generator.next()));
    // says: leat: timeout_at takes an instant of the executor's clock
    co_await leat::timeout_at(5s, give<8>());
    co_await leat::try_timeout(6u, give<9>());  // says: leat: a limit has a unit: write 5s or 250ms
    co_await leat::with_deadline(7l, give<10>());  // says: leat: a limit has a unit: write 5s or 250ms
    co_await leat::with_deadline(5s, leat::yield());  // says: leat: this combinator takes a leat::Task
}
template <class Limit>
leat::Task<> in_a_helper(Limit limit) {
    // says: leat: a limit has a unit: write 5s or 250ms
    auto value = co_await leat::timeout(limit, give<11>());
    static_cast<void>(value);
}
template leat::Task<> in_a_helper(long long);

// ---- Several at a time, and others. ----

leat::Task<> combinators(std::stop_token token) {
    leat::Task<Number<20>> named = give<20>();
    leat::Task<Number<21>> other = give<21>();
    std::vector<leat::Task<Number<22>>> tasks;
    co_await leat::when_all(named, give<23>());  // says: leat: a combinator takes over the task or wait
    co_await leat::when_any(give<23>(), other);  // says: leat: a combinator takes over the task or wait
    co_await leat::when_all(tasks);  // says: leat: a combinator takes over the tasks that it runs
    // says: leat: this combinator cannot run such an object
    co_await leat::when_all(give<24>(), std::string());
    leat::Task<Number<25>> shielded = give<25>();
    co_await leat::shield(shielded);  // says: leat: a combinator takes over the task or wait that it runs
    leat::Task<Number<26>> tried = give<26>();
    co_await leat::as_result(tried);  // says: leat: a combinator takes over the task or wait that it runs
    co_await leat::as_outcome(give<27>);  // says: leat: this is a function that returns a task: call it
    leat::Task<Number<28>> caught = give<28>();
    co_await leat::catch_cancelled(caught);  // says: pass std::move(task)
    co_await leat::cancel_on(token, leat::sleep_for(1s));  // says: leat: this combinator takes a leat::Task
}

// ---- Channels. ----

struct Slow {
    Slow() = default;
    Slow(const Slow&) {}
};
void channels() {
    leat::Channel<Slow> channel(1);  // says: leat: a value that could fail to move could be lost
}

// ---- Bodies. ----

leat::Task<> bodies_1() {
    auto nothing = [](leat::TaskGroup&) {};
    co_await leat::task_group(nothing);  // says: leat: the body of a task_group takes a leat::TaskGroup&
}
leat::Task<> bodies_2() {
    auto no_scope = []() -> leat::Task<> { co_return; };
    // says: leat: the body of a cancel_scope takes a leat::CancelScope&
    co_await leat::cancel_scope(no_scope);
}
leat::Task<> bodies_4() {
    auto no_token = []() -> leat::Task<> { co_return; };
    // says: leat: the body of with_stop_token takes a std::stop_token
    co_await leat::with_stop_token(no_token);
}
leat::Task<> bodies_5() {
    auto clean_up = [] {};
    co_await leat::finally(give<30>(), clean_up);  // says: leat: finally takes a task, a limit if there is
}
leat::Task<> bodies_6() {
    auto clean_up = []() -> leat::Task<> { co_return; };
    leat::Task<Number<31>> body = give<31>();
    co_await leat::finally(body, clean_up);  // says: pass std::move(task)
}
leat::Task<> bodies_7() {
    auto attempt = [] { return 1; };
    // says: leat: retry takes a function that takes nothing and returns a leat::Task
    co_await leat::retry(attempt);
}
leat::Task<> bodies_8() {
    // says: leat: what retry calls outlives the await
    co_await leat::retry([]() -> leat::Task<> { co_return; });
}
leat::Task<> bodies_9() {
    auto work = [](int&) {};
    co_await leat::offload(work, 1);  // says: leat: the function cannot be called with these arguments
}
leat::Task<> bodies_10(leat::Remote& remote) {
    auto work = [](std::string&) {};
    std::string text;
    co_await remote.call(work, text);  // says: leat: the function cannot be called with these arguments
}
leat::Task<> bodies_11() {
    // says: leat: a task needs an executor, and the pool's threads have none
    co_await leat::offload(give<32>);
}
leat::Task<> bodies_12(leat::Condition& condition, leat::MutexGuard& guard) {
    auto predicate = [](int) { return true; };
    co_await condition.wait(guard, predicate);  // says: leat: a predicate takes nothing and returns a bool
}
