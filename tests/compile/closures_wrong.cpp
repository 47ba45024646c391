// SPDX-License-Identifier: BSL-1.0
// clang-format off
// Function objects that GCC 12 would destroy twice. Other compilers take them.
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

#include <memory>
#include <string>
#include <utility>

leat::Task<> work();

leat::Task<> in_place(std::string text) {
    co_await leat::offload([text] { return text.size(); });  // says on gcc 12: destroys this temporary
    // says on gcc 12: destroys
    co_await leat::task_group([text](leat::TaskGroup&) -> leat::Task<> { co_return; });
    // says on gcc 12: twice
    co_await leat::cancel_scope([text](leat::CancelScope&) -> leat::Task<> { co_return; });
    // says on gcc 12: twice
    co_await leat::with_stop_token([text](std::stop_token) -> leat::Task<> { co_return; });
    // says on gcc 12: name it in a line
    co_await leat::finally(work(), [text]() -> leat::Task<> { co_return; });
    // says on gcc 12: name it in a line
    co_await leat::callback<int>([text](leat::Callback<int> done) { done(1); });
}
leat::Task<> elsewhere(std::string text, leat::Remote& remote, leat::BlockingPool& pool, leat::Runtime& runtime) {
    // says on gcc 12: pass the name, work, or std::bind_front
    co_await remote.call([text] { return text.size(); });
    // says on gcc 12: destroys this temporary function object twice
    co_await pool.offload([text](int) {}, 1);
    // says on gcc 12: destroys this temporary function object twice
    co_await leat::offload_detached([text] {});
    // says on gcc 12: destroys this temporary function object twice
    co_await pool.offload_detached([text] {});
    // says on gcc 12: twice
    co_await runtime.run_on_all([text](leat::Executor&) -> leat::Task<> { co_return; });
    auto calls = [](auto function) { return function(); };
    co_await leat::offload(calls, [text] { return text.size(); });  // says on gcc 12: destroys this temporary
}
leat::Task<> children(std::string text, leat::TaskGroup& group, leat::TaskResults<int>& results) {
    co_await group.spawn_when_free([text]() -> leat::Task<> { co_return; });  // says on gcc 12: destroys this
    // says on gcc 12: twice
    co_await group.start<int>([text](leat::Ready<int>&) -> leat::Task<> { co_return; });
    co_await results.spawn_when_free([text]() -> leat::Task<int> { co_return 1; });  // says on gcc 12: twice
}
leat::Task<> waits(std::unique_ptr<int> number, leat::Condition& condition, leat::MutexGuard& guard) {
    co_await condition.wait(guard, [n = std::move(number)] { return *n == 1; });  // says on gcc 12: twice
}
template <class T>
leat::Task<> in_a_template(T text) {
    co_await leat::offload([text]<class U>(U&& other) { return other; }, 1);  // says on gcc 12: twice
    co_await leat::offload([text]() mutable noexcept { text.clear(); });  // says on gcc 12: twice
}
template leat::Task<> in_a_template(std::string);

// So it does with an aggregate.
struct Aggregate {
    std::string text;
    leat::Task<> operator()(leat::TaskGroup&) const { co_return; }
};
leat::Task<> aggregate(std::string text) {
    // says on gcc 12: destroys this temporary function object twice
    co_await leat::task_group(Aggregate{text});
}

leat::Task<> serves(leat::TcpListener& listener, std::string text) {
    // says on gcc 12: twice
    co_await leat::serve(listener, [text](leat::TcpStream) -> leat::Task<> { co_return; });
}
