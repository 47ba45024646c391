// SPDX-License-Identifier: BSL-1.0
// What the library calls of a program's own on an executor's thread, place by place, and what holds when
// that misbehaves: the table of docs/user-code.md. Deaths are in posix_test.cpp.
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/group_handle.hpp>
#include <leat/runtime/group_start.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/task_results.hpp>
#include <leat/runtime/watch.hpp>

#include "support/allocations.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace user_code_test {

namespace {

enum class Deed { nothing, throws, cancels_its_scope, drops_its_task, runs_the_executor };

class Misdeed : public std::exception {};

ExecutorOptions options_with(std::function<void(std::string_view)> diagnostic) {
    ExecutorOptions options;
    options.diagnostic = std::move(diagnostic);
    return options;
}

// An executor with a task in a scope, in which something of the program's own does `deed`, once.
class Stage {
public:
    explicit Stage(Deed d)
        : executor(options_with([this](std::string_view) {
              if (diagnostic_misbehaves) misbehave();
          })),
          deed(d) {}

    void misbehave() {
        switch (std::exchange(deed, Deed::nothing)) {
        case Deed::nothing:
            return;
        case Deed::throws:
            throw Misdeed();
        case Deed::cancels_its_scope:
            scope->cancel();
            return;
        case Deed::drops_its_task:
            own.reset();
            return;
        case Deed::runs_the_executor:
            break;
        }
        try {
            executor.turn();
        } catch (const std::system_error& error) {
            was_refused = error.code() == errc::busy;
        }
    }

    Executor executor;
    Deed deed;
    bool diagnostic_misbehaves = false;
    CancelScope* scope = nullptr;
    std::optional<Running<void>> own;
    bool was_refused = false;
    bool is_over = false;
    // What the task has come to, in its order.
    std::string outcome;
};

Task<> end_without_waiting() { co_return; }

// Makes a task, whatever it is called with.
class Maker {
public:
    explicit Maker(Stage& stage) noexcept : stage_(&stage) {}

    template <class... Any>
    Task<> operator()(Any&&...) const {
        stage_->misbehave();
        return end_without_waiting();
    }

private:
    Stage* stage_;
};

// Misbehaves in one of its moves; the first is number zero.
class Moving {
public:
    Moving(Stage& stage, int move) noexcept : stage_(&stage), moves_left_(move) {}
    Moving(Moving&& other) : stage_(other.stage_), moves_left_(other.moves_left_ - 1) {
        if (other.moves_left_ == 0) stage_->misbehave();
    }

private:
    Stage* stage_;
    int moves_left_;
};

class Copied {
public:
    explicit Copied(Stage& stage) noexcept : stage_(&stage) {}
    Copied(const Copied& other) : stage_(other.stage_) { stage_->misbehave(); }
    Copied(Copied&& other) noexcept : stage_(other.stage_) {}

private:
    Stage* stage_;
};

class Destroyed {
public:
    explicit Destroyed(Stage& stage) noexcept : stage_(&stage) {}
    Destroyed(const Destroyed&) noexcept : stage_(nullptr) {}
    Destroyed(Destroyed&& other) noexcept : stage_(std::exchange(other.stage_, nullptr)) {}
    ~Destroyed() {
        if (stage_ != nullptr) stage_->misbehave();
    }

private:
    Stage* stage_;
};

// ---- The places ----

Task<> in_task(Stage& stage) {
    stage.misbehave();
    co_return;
}

Task<> in_awaited_task(Stage& stage) { co_await in_task(stage); }

Task<Moving> give_moving(Stage& stage, int move) { co_return Moving(stage, move); }

Task<> in_result_that_is_returned(Stage& stage) { co_await give_moving(stage, 0); }

Task<> in_result_that_is_taken(Stage& stage) { co_await give_moving(stage, 1); }

Task<> in_body_of_a_group(Stage& stage) {
    Maker make(stage);
    co_await task_group(make);
}

Task<> in_body_of_a_scope(Stage& stage) {
    Maker make(stage);
    co_await cancel_scope(make);
}

Task<> in_body_with_a_stop_token(Stage& stage) {
    Maker make(stage);
    co_await with_stop_token(make);
}

Task<> in_clean_up(Stage& stage) {
    Maker make(stage);
    co_await finally(end_without_waiting(), make);
}

template <class Act>
Task<> in_group(Act act) {
    auto body = [&act](TaskGroup& group) -> Task<> {
        act(group);
        co_return;
    };
    co_await task_group(body);
}

Task<> in_callable_of_spawn(Stage& stage) {
    auto spawn = [&](TaskGroup& group) { group.spawn(Maker(stage)); };
    co_await in_group(spawn);
}

Task<> take_moving(Moving) { co_return; }

Task<> in_argument_of_spawn(Stage& stage) {
    auto spawn = [&](TaskGroup& group) { group.spawn(take_moving, Moving(stage, 0)); };
    co_await in_group(spawn);
}

Task<> in_child(Stage& stage) {
    auto spawn = [&](TaskGroup& group) { group.spawn(in_task, std::ref(stage)); };
    co_await in_group(spawn);
}

Task<> in_callable_through_a_handle(Stage& stage) {
    auto spawn = [&](TaskGroup& group) {
        GroupHandle handle = group.handle();
        handle.spawn(Maker(stage));
    };
    co_await in_group(spawn);
}

Task<> in_callable_of_spawn_when_free(Stage& stage) {
    auto body = [&](TaskGroup& group) -> Task<> {
        Maker make(stage);
        co_await group.spawn_when_free(make);
    };
    co_await task_group(body);
}

Task<> be_ready_with(Ready<Moving>& ready, Stage& stage) {
    ready(Moving(stage, 0));
    co_return;
}

Task<> in_value_of_start(Stage& stage) {
    auto body = [&](TaskGroup& group) -> Task<> {
        co_await group.start<Moving>(be_ready_with, std::ref(stage));
    };
    co_await task_group(body);
}

Task<int> make_result(Stage& stage) {
    stage.misbehave();
    auto give = []() -> Task<int> { co_return 1; };
    return give();
}

Task<> in_callable_of_results(Stage& stage) {
    auto body = [&](TaskGroup& group) -> Task<> {
        TaskResults<int> results(group);
        results.spawn(make_result, std::ref(stage));
        co_await results.next();
    };
    co_await task_group(body);
}

Task<> in_attempt(Stage& stage) {
    Maker make(stage);
    co_await retry(make);
}

Task<> in_predicate_of_retry(Stage& stage) {
    RetryOptions options;
    options.first_pause = 1ns;
    options.may_pass = [&](const std::exception_ptr&) {
        stage.misbehave();
        return true;
    };
    bool has_failed = false;
    auto attempt = [&]() -> Task<> {
        if (!std::exchange(has_failed, true)) throw std::runtime_error("it is the first time");
        co_return;
    };
    co_await retry(attempt, options);
}

Task<> in_predicate_of_a_condition(Stage& stage) {
    Mutex mutex;
    Condition condition;
    MutexGuard guard = co_await mutex.lock();
    auto predicate = [&] {
        stage.misbehave();
        return true;
    };
    co_await condition.wait(guard, predicate);
}

Task<> in_remote_call(Stage& stage) {
    Remote remote = stage.executor.remote();
    co_await remote.call(&Stage::misbehave, &stage);
}

Task<> in_posted_function(Stage& stage) {
    ManualResetEvent was_called;
    auto function = [&] {
        was_called.set();
        stage.misbehave();
    };
    stage.executor.remote().post(function);
    co_await was_called.wait();
}

Task<> in_start_of_a_callback(Stage& stage) {
    auto start = [&](const Callback<int>& done) {
        stage.misbehave();
        done(1);
    };
    co_await callback<int>(start);
}

Task<> in_value_of_a_callback(Stage& stage) {
    auto start = [&](const Callback<Moving>& done) { done(Moving(stage, 0)); };
    co_await callback<Moving>(start);
}

enum class Part { ready, suspend, resume };

template <Part part>
class Awaitable {
public:
    explicit Awaitable(Stage& stage) noexcept : stage_(stage) {}

    bool await_ready() const {
        if (part == Part::ready) stage_.misbehave();
        return false;
    }
    void await_suspend(std::coroutine_handle<> handle) const {
        if (part == Part::suspend) stage_.misbehave();
        handle.resume();
    }
    void await_resume() const {
        if (part == Part::resume) stage_.misbehave();
    }

private:
    Stage& stage_;
};

template <Part part>
Task<> in_third_party_awaitable(Stage& stage) {
    Awaitable<part> awaitable(stage);
    co_await awaitable;
}

AsyncGenerator<int> yield_one(Stage& stage) {
    stage.misbehave();
    co_yield 1;
}

Task<> in_generator(Stage& stage) {
    AsyncGenerator<int> items = yield_one(stage);
    co_await items.next();
}

Task<> in_copy_for_a_subscriber(Stage& stage) {
    Broadcast<Copied> broadcast(1);
    BroadcastSubscriber<Copied> subscriber = broadcast.subscribe();
    broadcast.send(Copied(stage));
    co_await subscriber.receive();
}

Task<> in_destructor_of_a_value_that_is_pushed_out(Stage& stage) {
    Broadcast<Destroyed> broadcast(1);
    BroadcastSubscriber<Destroyed> subscriber = broadcast.subscribe();
    broadcast.send(Destroyed(stage));
    broadcast.send(Destroyed(stage));
    co_await subscriber.receive();
}

Task<> in_change_of_a_watch(Stage& stage) {
    Watch<int> watch(0);
    watch.modify([&](int&) { stage.misbehave(); });
    co_return;
}

Task<> in_diagnostic(Stage& stage) {
    stage.diagnostic_misbehaves = true;
    stage.executor.notice("something to report");
    stage.diagnostic_misbehaves = false;
    co_return;
}

// Cancelled before its first step, it touches nothing: what it refers to is gone.
Task<> cancel_soon(CancelScope& scope) {
    co_await sleep_for(1ns);
    scope.cancel();
}

Task<> in_destructor_of_a_cancelled_task(Stage& stage) {
    auto body = [&](CancelScope& scope) -> Task<> {
        Running<void> cancelling = stage.executor.start(cancel_soon(scope));
        Destroyed local(stage);
        co_await sleep_for(1h);
    };
    co_await cancel_scope(body);
}

// Not a local of the body: the unwinding would end it before it is called.
Task<> in_stop_callback(Stage& stage) {
    auto misbehave = [&] { stage.misbehave(); };
    std::optional<std::stop_callback<decltype(misbehave)>> called;
    auto body = [&](CancelScope& scope) -> Task<> {
        Running<void> cancelling = stage.executor.start(cancel_soon(scope));
        auto listen = [&](std::stop_token token) -> Task<> {
            called.emplace(std::move(token), misbehave);
            co_await sleep_for(1h);
        };
        co_await with_stop_token(listen);
    };
    co_await cancel_scope(body);
}

Task<> cancel_once_it_runs(CancelScope& scope, const std::atomic<bool>& runs) {
    do
        co_await sleep_for(1us);
    while (!runs);
    scope.cancel();
}

// The callable listens on a thread of the pool; who cancels calls what it listens with.
Task<> in_stop_callback_of_an_offload(Stage& stage) {
    std::atomic<bool> runs = false;
    auto body = [&](CancelScope& scope) -> Task<> {
        Running<void> cancelling = stage.executor.start(cancel_once_it_runs(scope, runs));
        auto call = [&](const std::stop_token& token) {
            std::atomic<bool> has_returned = false;
            std::stop_callback called(token, [&] {
                stage.misbehave();
                has_returned = true;
            });
            runs = true;
            // In Wine, mingw-w64's std::stop_callback was seen to wait for ever for a call that was over.
            while (!has_returned)
                std::this_thread::yield();
        };
        co_await offload(call);
    };
    co_await cancel_scope(body);
}

Task<> in_offloaded_call(Stage& stage) {
    auto call = [&] { stage.misbehave(); };
    co_await offload(call);
}

// ---- What holds ----

// Null where the deed is a death (posix_test.cpp), or is not done on the executor's thread.
struct UserCode {
    const char* name;
    Task<> (*place)(Stage&);
    const char* when_it_throws;
    const char* when_it_cancels;
};

const UserCode places[] = {
    {"task", in_task, "failed", "done cancelled"},
    {"awaited task", in_awaited_task, "failed", "done cancelled"},
    {"result, returned", in_result_that_is_returned, "failed", "done cancelled"},
    {"result, taken", in_result_that_is_taken, "failed", "done cancelled"},
    {"group body", in_body_of_a_group, "failed", "done cancelled"},
    {"scope body", in_body_of_a_scope, "failed", "done cancelled"},
    {"stop token body", in_body_with_a_stop_token, "failed", "done cancelled"},
    {"clean-up", in_clean_up, "failed", "done cancelled"},
    {"spawn", in_callable_of_spawn, "failed", "done cancelled"},
    {"argument of spawn", in_argument_of_spawn, "failed", "done cancelled"},
    {"child", in_child, "failed", "done cancelled"},
    {"group handle", in_callable_through_a_handle, "failed", "done cancelled"},
    {"spawn_when_free", in_callable_of_spawn_when_free, "failed", "cancelled"},
    {"value of start", in_value_of_start, "failed", "done cancelled"},
    {"results", in_callable_of_results, "failed", "cancelled"},
    {"attempt", in_attempt, "failed", "done cancelled"},
    {"retry predicate", in_predicate_of_retry, "failed", "cancelled"},
    {"condition predicate", in_predicate_of_a_condition, "failed", "done cancelled"},
    {"remote call", in_remote_call, "failed", "done cancelled"},
    {"posted function", in_posted_function, "done", "done cancelled"},
    {"callback start", in_start_of_a_callback, "failed", "cancelled"},
    {"callback value", in_value_of_a_callback, "failed", "cancelled"},
    {"await_ready", in_third_party_awaitable<Part::ready>, "failed", "cancelled"},
    {"await_suspend", in_third_party_awaitable<Part::suspend>, "failed", "done cancelled"},
    {"await_resume", in_third_party_awaitable<Part::resume>, "failed", "done cancelled"},
    {"generator", in_generator, "failed", "done cancelled"},
    {"copy of a broadcast", in_copy_for_a_subscriber, "failed", "done cancelled"},
    {"pushed out value", in_destructor_of_a_value_that_is_pushed_out, nullptr, "cancelled"},
    {"watch change", in_change_of_a_watch, "failed", "done cancelled"},
    {"diagnostic", in_diagnostic, "done", "done cancelled"},
    {"unwound local", in_destructor_of_a_cancelled_task, nullptr, "cancelled"},
    {"stop callback", in_stop_callback, nullptr, "cancelled"},
    {"stop callback of an offload", in_stop_callback_of_an_offload, nullptr, "done cancelled"},
    {"offloaded call", in_offloaded_call, "failed", nullptr},
};

bool uses_a_pool(const UserCode& code) {
    return code.place == in_offloaded_call || code.place == in_stop_callback_of_an_offload;
}

class Over {
public:
    explicit Over(bool& is_over) noexcept : is_over_(is_over) {}
    Over(const Over&) = delete;
    ~Over() { is_over_ = true; }

private:
    bool& is_over_;
};

Task<> perform(Stage& stage, Task<> (*place)(Stage&)) {
    Over over(stage.is_over);
    auto body = [&](CancelScope& scope) -> Task<> {
        stage.scope = &scope;
        co_await place(stage);
        stage.outcome += "done ";
        co_await sleep_for(1ns);
    };
    try {
        bool has_finished = co_await cancel_scope(body);
        if (!has_finished) stage.outcome += "cancelled ";
    } catch (const Misdeed&) {
        stage.outcome += "failed ";
    } catch (const std::bad_alloc&) {
        stage.outcome += "no memory ";
    }
}

// In one word or two.
std::string outcome_of(const UserCode& code, Deed deed) {
    Stage stage(deed);
    stage.own.emplace(stage.executor.start(perform(stage, code.place)));
    stage.executor.run();

    BOOST_TEST(stage.is_over);
    BOOST_TEST((stage.deed == Deed::nothing), "it was never called");
    BOOST_TEST(stage.was_refused == (deed == Deed::runs_the_executor));
    if (!stage.outcome.empty()) stage.outcome.pop_back();
    return stage.outcome;
}

std::string without_cancelled(const std::string& outcome) {
    return outcome == "done cancelled" ? "done" : "";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(user_code)

BOOST_AUTO_TEST_CASE(what_it_throws_comes_out_of_the_await_or_is_reported) {
    for (const UserCode& code : places) {
        if (code.when_it_throws == nullptr) continue;
        BOOST_TEST_CONTEXT(code.name) { BOOST_TEST(outcome_of(code, Deed::throws) == code.when_it_throws); }
    }
}

BOOST_AUTO_TEST_CASE(cancelling_its_own_scope_ends_the_task_at_that_wait_or_the_next) {
    for (const UserCode& code : places) {
        if (code.when_it_cancels == nullptr) continue;
        BOOST_TEST_CONTEXT(code.name) {
            BOOST_TEST(outcome_of(code, Deed::cancels_its_scope) == code.when_it_cancels);
        }
    }
}

BOOST_AUTO_TEST_CASE(dropping_its_own_task_cancels_that) {
    for (const UserCode& code : places) {
        if (code.when_it_cancels == nullptr) continue;
        BOOST_TEST_CONTEXT(code.name) {
            BOOST_TEST(outcome_of(code, Deed::drops_its_task) == without_cancelled(code.when_it_cancels));
        }
    }
}

BOOST_AUTO_TEST_CASE(running_the_executor_is_refused_and_harms_nothing) {
    for (const UserCode& code : places) {
        BOOST_TEST_CONTEXT(code.name) {
            BOOST_TEST(outcome_of(code, Deed::runs_the_executor) == outcome_of(code, Deed::nothing));
        }
    }
}

BOOST_AUTO_TEST_CASE(without_memory_the_await_fails_or_the_work_is_done) {
    for (const UserCode& code : places) {
        BOOST_TEST_CONTEXT(code.name) {
            Stage stage(Deed::nothing);
            bool has_struck = true;
            // What is allocated once and kept is so after the first.
            for (std::size_t which = 0; has_struck; ++which) {
                detail::FramePool::trim();
                const std::size_t before = outstanding_allocations();
                stage.outcome.clear();
                {
                    FailingAllocation failing(which);
                    try {
                        stage.executor.run_until(perform(stage, code.place));
                    } catch (const std::bad_alloc&) {
                        stage.outcome = "no memory ";
                    }
                    has_struck = which == 0 || FailingAllocation::has_struck();
                }
                detail::FramePool::trim();
                BOOST_TEST_INFO("allocation " << which << ": " << stage.outcome);
                BOOST_TEST((stage.outcome == "done " || stage.outcome == "no memory "));
                // A pool may start one more thread, which stays.
                if (which != 0 && !uses_a_pool(code)) BOOST_TEST(outstanding_allocations() <= before);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(broadcast_may_be_destroyed_by_the_last_value_that_it_kept) {
    struct Room {
        Broadcast<std::shared_ptr<Room>> news{2};
    };
    // In a block of its own, which goes although somebody sees it.
    std::shared_ptr<Room> room(new Room);
    std::weak_ptr<Room> seen = room;
    std::optional subscriber = room->news.subscribe();
    room->news.send(room);
    room->news.send(std::move(room));

    subscriber.reset();

    BOOST_TEST(seen.expired());
}

BOOST_AUTO_TEST_CASE(diagnostic_of_a_pool_that_ends_may_ask_the_pool) {
    struct Shared {
        std::binary_semaphore signal{0};
        std::atomic<bool> runs = false;
    };
    auto shared = std::make_shared<Shared>();
    std::size_t queued = 1;
    std::optional<BlockingPool> pool;
    BlockingPoolOptions options;
    options.shutdown_deadline = 1ms;
    const BlockingPool* address = nullptr;
    options.diagnostic = [&](std::string_view) { queued = address->stats().queued; };
    address = &pool.emplace(options);
    {
        Executor executor;
        auto call = [shared] {
            shared->runs = true;
            shared->signal.acquire();
        };
        auto task = [&]() -> Task<> { co_await pool->offload(call); };
        Running<void> running = executor.start(task());
        while (!shared->runs)
            executor.turn();

        pool.reset();

        BOOST_TEST(queued == 0u);
        shared->signal.release();
        executor.run();
    }
    while (shared.use_count() != 1)
        std::this_thread::yield();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace user_code_test
