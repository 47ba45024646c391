// SPDX-License-Identifier: BSL-1.0
// clang-format off
// What cannot be awaited, or not there.
#include "foreign.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <utility>

using namespace std::chrono_literals;

leat::Task<int> answer();
int plain();
leat::Task<> group_body(leat::TaskGroup& group);

// ---- Waits of ours in a coroutine of another library. ----

Foreign<1> sleeps() {
    co_await leat::sleep_for(1s);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<2> awaits_a_task() {
    int value = co_await answer();  // says: only a leat::Task or leat::AsyncGenerator can await this
    static_cast<void>(value);
}
Foreign<3> awaits_a_named_task() {
    leat::Task<int> task = answer();
    co_await task;  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<4> reads(leat::TcpStream& stream, std::array<std::byte, 4>& buffer) {
    // says: only a leat::Task or leat::AsyncGenerator can
    std::size_t received = co_await stream.read(buffer);
    static_cast<void>(received);
}
Foreign<5> reads_exactly(leat::TcpStream& stream, std::array<std::byte, 4>& buffer) {
    co_await stream.read_exactly(buffer);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<6> writes(leat::TcpStream& stream, std::array<std::byte, 4>& buffer) {
    co_await stream.write_all(buffer);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<7> accepts(leat::TcpListener& listener) {
    leat::TcpStream peer = co_await listener.accept();  // says: only a leat::Task or leat::AsyncGenerator can
}
Foreign<8> awaits_all() {
    // says: only a leat::Task or leat::AsyncGenerator can await this
    co_await leat::when_all(answer(), answer());
}
Foreign<9> awaits_any() {
    // says: only a leat::Task or leat::AsyncGenerator can
    co_await leat::when_any(answer(), leat::sleep_for(1s));
}
Foreign<10> awaits_in_time() {
    co_await leat::timeout(1s, answer());  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<11> waits_in_time() {
    // says: only a leat::Task or leat::AsyncGenerator can await this
    co_await leat::timeout(1s, leat::sleep_for(1s));
}
Foreign<12> awaits_a_result() {
    // says: only a leat::Task or leat::AsyncGenerator can await this
    co_await leat::as_result(leat::sleep_for(1s));
}
Foreign<13> awaits_shielded() {
    co_await leat::shield(answer());  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<14> awaits_a_group() {
    co_await leat::task_group(group_body);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<15> awaits_an_item(leat::AsyncGenerator<int>& generator) {
    co_await generator.next();  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<16> locks(leat::Mutex& mutex) {
    auto guard = co_await mutex.lock();  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<17> receives(leat::Channel<int>& channel) {
    co_await channel.receive();  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<18> offloads() {
    co_await leat::offload(plain);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<19> calls(leat::Remote& remote) {
    co_await remote.call(plain);  // says: only a leat::Task or leat::AsyncGenerator can await this
}
Foreign<20> yields() {
    co_await leat::yield();  // says: only a leat::Task or leat::AsyncGenerator can await this
}

// ---- In a task. ----

leat::Task<> awaits_a_number() {
    int value = co_await 5;  // says: leat: this cannot be awaited in a leat::Task
    static_cast<void>(value);
}
leat::Task<> awaits_a_name() {
    leat::Task<int> task = answer();
    // says: leat: a named task is awaited once, and given up: co_await std::move(task)
    int value = co_await task;
    static_cast<void>(value);
}
leat::Task<> awaits_a_constant(const leat::Task<>& task) {
    co_await task;  // says: leat: a named task is awaited once
}
leat::Task<> awaits_a_function() {
    int value = co_await answer;  // says: leat: this is a function that returns a task: call it, co_await f()
    static_cast<void>(value);
}
leat::Task<> awaits_a_lambda() {
    auto work = []() -> leat::Task<> { co_return; };
    co_await work;  // says: leat: this is a function that returns a task: call it, co_await f()
}
leat::Task<> awaits_a_generator(leat::AsyncGenerator<int>& generator) {
    co_await generator;  // says: leat: a generator is awaited item by item: co_await generator.next()
}
leat::Task<> awaits_a_const_wait() {
    const leat::SleepOperation pause = leat::sleep_for(1s);
    co_await pause;  // says: leat: a const wait cannot be awaited
}

// An awaiter that only its own library's coroutines can await.
struct Private {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<Foreign<30>::promise_type>) const noexcept {}
    void await_resume() const noexcept {}
};
leat::Task<> awaits_what_is_not_for_it() {
    co_await Private();  // says: leat: this cannot be awaited in a leat::Task
}

// A wait that another library's coroutine could await.
class Careless final : public leat::Wait {
public:
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};
leat::Task<> awaits_a_careless_wait() {
    Careless wait;
    co_await wait;  // says: leat: the await_suspend of a leat::Wait takes a leat::TaskHandle
}

// ---- What a task cannot give. ----

struct Fixed {
    Fixed() = default;
    Fixed(const Fixed&) = delete;
    Fixed& operator=(const Fixed&) = delete;
};
leat::Task<Fixed> gives_what_is_fixed() { co_return Fixed(); }  // says: give a std::unique_ptr of it
// says: leat: a task gives an object, an lvalue reference
leat::Task<int&&> gives_an_rvalue() { co_return 1; }

struct alignas(64) Aligned {};
leat::Task<Aligned> gives_what_is_aligned() { co_return Aligned(); }  // says: leat: a frame has no place for
