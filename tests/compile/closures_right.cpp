// SPDX-License-Identifier: BSL-1.0
// The right shapes of what closures_wrong.cpp gets wrong.
#include <leat/net/serve.hpp>
#include <leat/net/serve_until_signal.hpp>
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/task_results.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

leat::Task<> work();
int number();

leat::Task<> named(std::string text, leat::Remote& remote, leat::BlockingPool& pool, leat::Runtime& runtime) {
    auto length = [text] { return text.size(); };
    co_await leat::offload(length);
    co_await remote.call(length);
    co_await pool.offload(length);
    co_await leat::offload_detached(length);
    auto body = [text](leat::TaskGroup&) -> leat::Task<std::string> { co_return text; };
    co_await leat::task_group(body);
    auto scoped = [text](leat::CancelScope&) -> leat::Task<> { co_return; };
    co_await leat::cancel_scope(scoped);
    auto with_token = [text](const std::stop_token&) -> leat::Task<> { co_return; };
    co_await leat::with_stop_token(with_token);
    auto clean_up = [text]() -> leat::Task<> { co_return; };
    co_await leat::finally(work(), clean_up);
    auto start = [text](leat::Callback<int> done) { done(1); };
    co_await leat::callback<int>(start);
    auto on_each = [text](leat::Executor&) -> leat::Task<> { co_return; };
    co_await runtime.run_on_all(on_each);
}

// Without captures, or with such as need no destructor, a lambda may be a temporary.
leat::Task<> harmless(const std::string& text, int value) {
    co_await leat::offload([] { return 1; });
    co_await leat::offload(number);
    co_await leat::offload([value] { return value; });
    co_await leat::offload([&] { return text.size(); });
    co_await leat::task_group([](leat::TaskGroup&) -> leat::Task<> { co_return; });
}

// What cannot be copied.
leat::Task<> moved(std::unique_ptr<int> pointer, leat::TaskGroup& group) {
    auto reads = [pointer = std::move(pointer)] { return *pointer; };
    co_await leat::offload(std::ref(reads));
    co_await leat::offload(std::bind_front(std::move(reads)));
    auto child = [](std::unique_ptr<int>) -> leat::Task<> { co_return; };
    co_await group.spawn_when_free(child, std::make_unique<int>(1));
}

// A function object with a constructor may be a temporary.
class Body {
public:
    explicit Body(std::string text) : text_(std::move(text)) {}
    leat::Task<> operator()(leat::TaskGroup&) const { co_return; }

private:
    std::string text_;
};
leat::Task<> with_a_constructor(std::string text) {
    co_await leat::task_group(Body(text));
    std::function<int()> function = [text] { return 1; };
    co_await leat::offload(std::move(function));
}

leat::Task<> serves(leat::TcpListener& listener, std::string text) {
    auto handler = [text](leat::TcpStream peer) -> leat::Task<> { co_await peer.write_all(text); };
    co_await leat::serve(listener, handler);
    auto& shared = text;
    co_await leat::serve(
        listener, [&shared](leat::TcpStream peer) -> leat::Task<> { co_await peer.write_all(shared); });
}
