// SPDX-License-Identifier: BSL-1.0
// The right shapes of what await_wrong.cpp gets wrong.
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
#include <memory>
#include <string>
#include <utility>

using namespace std::chrono_literals;

leat::Task<int> answer();
int plain();
leat::Task<> group_body(leat::TaskGroup& group);

Foreign<1> starts_a_task(leat::Executor& executor) {
    leat::Running<int> running = executor.start(answer());
    co_await std::suspend_never();
}

leat::Task<> awaits(leat::TcpStream& stream, leat::TcpListener& listener, std::array<std::byte, 4>& buffer,
                    leat::Mutex& mutex, leat::Channel<int>& channel, leat::Remote& remote) {
    co_await leat::sleep_for(1s);
    co_await answer();
    leat::Task<int> task = answer();
    co_await std::move(task);
    co_await stream.read(buffer);
    co_await stream.read_exactly(buffer);
    co_await stream.write_all(buffer);
    leat::TcpStream peer = co_await listener.accept();
    co_await leat::when_all(answer(), answer());
    co_await leat::when_any(answer(), leat::sleep_for(1s));
    co_await leat::timeout(1s, answer());
    co_await leat::timeout(1s, leat::sleep_for(1s));
    co_await leat::as_result(leat::sleep_for(1s));
    co_await leat::shield(answer());
    co_await leat::task_group(group_body);
    auto guard = co_await mutex.lock();
    co_await channel.receive();
    co_await leat::offload(plain);
    co_await remote.call(plain);
    co_await leat::yield();
    auto work = []() -> leat::Task<> { co_return; };
    co_await work();
    leat::SleepOperation pause = leat::sleep_for(1s);
    co_await pause;
    co_await std::suspend_never();
}

leat::AsyncGenerator<int> twice(leat::AsyncGenerator<int>& generator) {
    for (;;) {
        std::optional<int> item = co_await generator.next();
        if (!item) break;
        co_await leat::yield();
        co_yield *item * 2;
    }
}

// Of a wait of one's own GCC says that its base's destructor is not virtual, wherever it stands.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class Careful final : public leat::Wait {
public:
    bool await_ready() const noexcept { return true; }
    void await_suspend(leat::TaskHandle) const noexcept {}
    void await_resume() const noexcept {}
    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};
#pragma GCC diagnostic pop
leat::Task<> awaits_a_careful_wait() {
    Careful wait;
    co_await wait;
}

struct Fixed {
    Fixed() = default;
    Fixed(const Fixed&) = delete;
    Fixed& operator=(const Fixed&) = delete;
};
leat::Task<std::unique_ptr<Fixed>> gives_what_cannot_be_moved() { co_return std::make_unique<Fixed>(); }
leat::Task<Fixed&> refers_to_what_cannot_be_moved(Fixed& fixed) { co_return fixed; }
