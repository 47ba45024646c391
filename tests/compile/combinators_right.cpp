// SPDX-License-Identifier: BSL-1.0
// The right shapes of what combinators_wrong.cpp gets wrong.
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
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

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

leat::Task<std::string> give();

leat::Task<> deadlines(leat::TcpStream& stream, leat::AsyncGenerator<int>& generator) {
    co_await leat::timeout(5s, give());
    leat::Task<std::string> task = give();
    co_await leat::timeout(500ms, std::move(task));
    leat::SleepOperation pause = leat::sleep_for(1s);
    co_await leat::timeout(5min, std::move(pause));
    std::array<std::byte, 8> buffer;
    leat::TcpRead request = stream.read(buffer);
    co_await leat::timeout(5s, request);
    co_await leat::timeout_at(leat::steady_clock().now(), give());
    co_await leat::try_timeout(6s, give());
    co_await leat::with_deadline(7s, give());
    co_await leat::with_deadline(leat::steady_clock().now(), give());
    auto item = [&]() -> leat::Task<> { co_await generator.next(); };
    co_await leat::timeout(5s, item());
}

leat::Task<> combinators(std::stop_token token, leat::AsyncGenerator<int>& generator) {
    leat::Task<std::string> named = give();
    std::vector<leat::Task<std::string>> tasks;
    co_await leat::when_all(std::move(named), give(), leat::sleep_for(1s));
    co_await leat::when_any(give(), leat::yield());
    co_await leat::when_all(std::move(tasks));
    co_await leat::when_any(std::vector<leat::Task<std::string>>());
    co_await leat::shield(give());
    co_await leat::shield(leat::sleep_for(1s));
    co_await leat::as_result(give());
    co_await leat::as_result(leat::timeout(5s, give()));
    co_await leat::as_result(generator.next());
    co_await leat::as_outcome(give());
    co_await leat::catch_cancelled(give());
    co_await leat::cancel_on(token, give());
}

leat::Task<> bodies(leat::Remote& remote, leat::Condition& condition, leat::MutexGuard& guard) {
    auto body = [](leat::TaskGroup&) -> leat::Task<> { co_return; };
    co_await leat::task_group(body);
    co_await leat::timeout(5s, leat::task_group(body));
    auto scoped = [](leat::CancelScope&) -> leat::Task<> { co_return; };
    co_await leat::cancel_scope(scoped);
    auto with_token = [](const std::stop_token&) -> leat::Task<> { co_return; };
    co_await leat::with_stop_token(with_token);
    auto clean_up = []() -> leat::Task<> { co_return; };
    co_await leat::finally(give(), clean_up);
    co_await leat::finally(give(), 10s, clean_up);
    auto attempt = [] { return give(); };
    co_await leat::retry(attempt);
    auto work = [](const int& number, std::string& text) { return text + std::to_string(number); };
    std::string text;
    co_await leat::offload(work, 1, std::ref(text));
    co_await remote.call(work, 1, std::ref(text));
    auto predicate = [] { return true; };
    co_await condition.wait(guard, predicate);
}
