// SPDX-License-Identifier: BSL-1.0
// How a program ends that is told what it did wrong: seen from its parent, in a forked child.
#include <leat/reactor/config.hpp>
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/generator.hpp>
#include <leat/runtime/interval.hpp>
#include <leat/runtime/latch.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/remote_channel.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/watch.hpp>
#include <leat/runtime/when_all.hpp>

#include "support/child.hpp"
#include "support/stream_pair.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace posix_test {

namespace {

Task<int> ready(int value) { co_return value; }

Task<> send_to(Channel<int>& channel) { co_await channel.send(0); }

Task<> acquire_from(Semaphore& semaphore) { Permit permit = co_await semaphore.acquire(); }

AsyncGenerator<int> received_from(Channel<int>& channel) {
    std::optional<int> value = co_await channel.receive();
    co_yield value.value_or(0);
}

Task<> take_from(AsyncGenerator<int>& items) { co_await items.next(); }

Task<> take_tick(Interval& interval) { co_await interval.tick(); }

// Not of its own, whose destructors must not throw.
class Throwing {
public:
    ~Throwing() noexcept(false) { throw std::runtime_error("it had to be closed"); }
};

Task<> hold_and_sleep() {
    Throwing held;
    co_await sleep_for(1h);
}

Task<> await_one_that_holds() { co_await hold_and_sleep(); }

Generator<int> hold_and_yield() {
    Throwing held;
    co_yield 1;
}

AsyncGenerator<int> hold_and_yield_later() {
    Throwing held;
    co_await yield();
    co_yield 1;
}

Task<> drop_after_an_item() {
    AsyncGenerator<int> items = hold_and_yield_later();
    co_await items.next();
}

// Has no end.
Task<> be_ready_again_and_again() {
    for (;;)
        co_await yield();
}

#if LEAT_IS_ADDRESS_SANITIZED
// Gives the address of a variable that goes with its frame.
Task<> leave_behind(const int*& address) {
    int local[32] = {7};
    address = local;
    co_await yield();
    local[1] = local[0];
}
#endif

// The last of its moves has a destructor that throws.
class ThrowingLast {
public:
    ThrowingLast() noexcept = default;
    ThrowingLast(ThrowingLast&& other) noexcept : is_last_(std::exchange(other.is_last_, false)) {}
    ~ThrowingLast() noexcept(false) {
        if (is_last_) throw std::runtime_error("it had to be closed");
    }

    void operator()() const noexcept {}

private:
    bool is_last_ = true;
};

void throw_from_stop() { throw std::runtime_error("not now"); }

class ThrowingWhenCancelled {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
    CancelAnswer await_cancel(std::coroutine_handle<>) const { throw std::runtime_error("not now"); }
};

Task<> wait_for_one_that_throws_when_cancelled() {
    ThrowingWhenCancelled awaitable;
    co_await awaitable;
}

Task<> listen_and_throw() {
    std::optional<std::stop_callback<void (*)()>> called;
    auto listen = [&](std::stop_token token) -> Task<> {
        called.emplace(std::move(token), throw_from_stop);
        co_await sleep_for(1h);
    };
    co_await with_stop_token(listen);
}

Task<> post_one_whose_destructor_throws() {
    Environment& environment = co_await detail::CurrentEnvironment();
    environment.executor().remote().post(ThrowingLast());
    co_await sleep_for(1h);
}

Task<> offload_one_whose_destructor_throws() {
    ThrowingLast call;
    co_await offload(std::move(call));
}

class Never {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
};

}  // namespace

BOOST_AUTO_TEST_SUITE(posix)

BOOST_AUTO_TEST_CASE(channel_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Executor executor;
        std::optional<Channel<int>> channel(std::in_place, 0u);
        Running<void> running = executor.start(send_to(*channel));
        executor.turn();
        channel.reset();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a channel is destroyed") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(semaphore_destroyed_under_a_waiter_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Executor executor;
        std::optional<Semaphore> semaphore(std::in_place, 0u);
        Running<void> running = executor.start(acquire_from(*semaphore));
        executor.turn();
        semaphore.reset();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("semaphore") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(destructor_that_throws_in_a_cancelled_task_ends_the_program_with_a_sentence) {
    for (auto* task : {hold_and_sleep, await_one_that_holds}) {
        ChildEnd end = end_of_child([task] {
            Executor executor;
            Running<void> running = executor.start(task());
            executor.turn();
            running.cancel();
            executor.run();
        });

        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("a destructor threw an exception while its coroutine was destroyed: "
                                 "it had to be closed") != std::string::npos,
                   end.text);
    }
}

BOOST_AUTO_TEST_CASE(destructor_that_throws_in_a_dropped_generator_ends_the_program_with_a_sentence) {
    ChildEnd end = end_of_child([] {
        Generator<int> items = hold_and_yield();
        static_cast<void>(items.begin());
    });
    ChildEnd async_end = end_of_child([] { run(drop_after_an_item()); });

    for (const ChildEnd& each : {end, async_end}) {
        BOOST_TEST(each.signal == SIGABRT);
        BOOST_TEST(each.text.find("a destructor threw") != std::string::npos, each.text);
    }
}

BOOST_AUTO_TEST_CASE(generator_that_two_tasks_await_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        Channel<int> channel(0);
        AsyncGenerator<int> items = received_from(channel);
        Executor executor;
        Running<void> one = executor.start(take_from(items));
        Running<void> other = executor.start(take_from(items));
        executor.turn();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("asked for another item") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(generator_destroyed_under_its_consumer_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        Channel<int> channel(0);
        std::optional<AsyncGenerator<int>> items(received_from(channel));
        Executor executor;
        Running<void> one = executor.start(take_from(*items));
        executor.turn();
        items.reset();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("destroyed") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(interval_whose_tick_two_tasks_await_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        Interval interval(1h);
        Executor executor;
        Running<void> one = executor.start(take_tick(interval));
        Running<void> other = executor.start(take_tick(interval));
        executor.turn();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a tick of an interval") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(task_that_is_awaited_twice_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        run([]() -> Task<> {
            Task<int> task = ready(1);
            co_await std::move(task);
            co_await std::move(task);
        }());
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a second time") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(call_on_another_thread_that_is_awaited_twice_says_so_and_aborts) {
    ChildEnd offloaded = end_of_child([] {
        run([]() -> Task<> {
            auto call = offload([] { return 1; });
            co_await call;
            co_await call;
        }());
    });
    ChildEnd called = end_of_child([] {
        Executor executor;
        auto call_itself = [&]() -> Task<> {
            auto call = executor.remote().call([] { return 1; });
            co_await call;
            co_await call;
        };
        executor.run_until(call_itself());
    });
    ChildEnd grouped = end_of_child([] {
        run([]() -> Task<> {
            auto body = [](TaskGroup&) -> Task<> { co_return; };
            auto group = task_group(body);
            co_await group;
            co_await group;
        }());
    });

    for (const ChildEnd& end : {offloaded, called, grouped}) {
        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("a second time") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(operation_that_is_awaited_twice_says_so_and_aborts) {
    // Ended at once, ended after a wait, and moved into a timeout after its end.
    for (int how : {0, 1, 2}) {
        ChildEnd end = end_of_child([how] {
            StreamPair pair;
            std::array<std::byte, 8> buffer{};
            auto read_twice = [&]() -> Task<> {
                ReadSome operation = read_some(pair.left, buffer);
                if (how == 0) send_directly(pair.right, "x");
                auto write = [&]() -> Task<> {
                    co_await yield();
                    co_await write_some(pair.right, "x");
                };
                Executor& executor = (co_await detail::CurrentEnvironment()).executor();
                Running<void> writer = executor.start(write());
                co_await operation;
                if (how == 2) co_await timeout(1h, std::move(operation));
                co_await operation;
            };
            run(read_twice());
        });

        BOOST_TEST(end.signal == SIGABRT, how);
        BOOST_TEST(end.text.find("is awaited a second time") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(send_that_is_awaited_twice_says_so_and_aborts) {
    auto send_twice = [](auto& channel) -> Task<> {
        auto send = channel.send(1);
        co_await send;
        co_await send;
    };
    ChildEnd here = end_of_child([&] {
        Channel<int> channel(3);
        run(send_twice(channel));
    });
    ChildEnd between_threads = end_of_child([&] {
        RemoteChannel<int> channel(3);
        run(send_twice(channel));
    });
    auto send_what_was_moved = [](auto& channel) -> Task<> {
        auto send = channel.send(1);
        [[maybe_unused]] auto other = std::move(send);
        co_await send;
    };
    ChildEnd moved_here = end_of_child([&] {
        Channel<int> channel(3);
        run(send_what_was_moved(channel));
    });
    ChildEnd moved_between_threads = end_of_child([&] {
        RemoteChannel<int> channel(3);
        run(send_what_was_moved(channel));
    });

    for (const ChildEnd& end : {here, between_threads, moved_here, moved_between_threads}) {
        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("is awaited a second time") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(wrapped_task_or_scope_that_is_awaited_twice_says_so_and_aborts) {
    auto twice = [](auto make) {
        return end_of_child([&make] {
            auto await_twice = [&]() -> Task<> {
                auto wait = make();
                co_await wait;
                co_await wait;
            };
            run(await_twice());
        });
    };
    auto in_scope = [](CancelScope&) -> Task<> { co_return; };
    auto with_token = [](std::stop_token) -> Task<> { co_return; };

    for (const ChildEnd& end :
         {twice([] { return as_result(ready(1)); }), twice([] { return as_outcome(ready(1)); }),
          twice([] { return catch_cancelled(ready(1)); }), twice([] { return timeout(1h, ready(1)); }),
          twice([] { return shield(ready(1)); }), twice([] { return when_all(ready(1), ready(2)); }),
          twice([&] { return cancel_scope(in_scope); }),
          twice([&] { return with_stop_token(with_token); })}) {
        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("a second time") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(task_that_was_moved_from_cannot_be_run) {
    ChildEnd end = end_of_child([] {
        Task<int> task = ready(1);
        Task<int> other = std::move(task);
        run(std::move(task));
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("moved from") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(result_of_a_started_task_that_is_taken_twice_says_so_and_aborts) {
    for (bool fails : {false, true}) {
        ChildEnd end = end_of_child([fails] {
            Executor executor;
            auto task = [](bool throws) -> Task<int> {
                if (throws) throw std::runtime_error("it failed");
                co_return 1;
            };
            Running<int> running = executor.start(task(fails));
            executor.run();
            try {
                running.get();
            } catch (const std::runtime_error&) {
            }
            running.get();
        });

        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("a second time") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(started_task_whose_handle_was_moved_from_says_so_and_aborts) {
    for (const char* use : {"get", "cancel", "has_ended"}) {
        ChildEnd end = end_of_child([use] {
            Executor executor;
            Running<int> running = executor.start(ready(1));
            Running<int> other = std::move(running);
            executor.run();
            if (use == std::string("get")) running.get();
            if (use == std::string("cancel")) running.cancel();
            if (use == std::string("has_ended")) (void)running.has_ended();
        });

        BOOST_TEST(end.signal == SIGABRT, use);
        BOOST_TEST(end.text.find("moved from") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(shielded_task_that_is_always_ready_is_named_in_time_too) {
    ChildEnd end = end_of_child([] {
        ExecutorOptions options;
        options.shutdown_deadline = 10ms;
        Executor executor(options);
        Running<void> running =
            executor.start([]() -> Task<> { co_await shield(be_ready_again_and_again()); }());
        executor.turn();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("tasks did not end in time") != std::string::npos, end.text);
    BOOST_TEST(end.text.find("be_ready_again_and_again") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(executor_destroyed_on_another_thread_names_the_tasks_that_are_left) {
    ChildEnd end = end_of_child([] {
        std::optional<Executor> executor(std::in_place);
        std::optional<Running<void>> running;
        std::thread([&] {
            running.emplace(executor->start(be_ready_again_and_again()));
            executor->turn();
        }).join();
        executor.reset();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("on another thread") != std::string::npos, end.text);
    BOOST_TEST(end.text.find("be_ready_again_and_again") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(executor_without_tasks_may_be_destroyed_on_another_thread) {
    ChildEnd end = end_of_child([] {
        Executor executor;
        std::thread([&] { executor.run_until(ready(1)); }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(running_that_has_ended_may_be_used_once_its_executor_s_thread_has_ended) {
    ChildEnd end = end_of_child([] {
        Executor executor;
        std::optional<Running<int>> running;
        std::thread([&] {
            running.emplace(executor.start(ready(1)));
            executor.run();
        }).join();
        if (running->get() != 1) std::abort();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(runtime_destroyed_by_its_own_task_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        std::optional<Runtime> runtime(std::in_place, 2u);
        auto destroy = [&]() -> Task<> {
            runtime.reset();
            co_return;
        };
        runtime->executor().run_until(destroy());
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("by one of its own tasks") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(executor_destroyed_by_its_own_task_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        std::optional<Executor> executor(std::in_place);
        auto destroy = [&]() -> Task<> {
            executor.reset();
            co_return;
        };
        executor->run_until(destroy());
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("it still runs") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(executor_destroyed_by_what_it_calls_says_so_and_aborts) {
    // A function that was posted, or the diagnostic that its failure is given to.
    for (bool is_diagnostic : {false, true}) {
        ChildEnd end = end_of_child([is_diagnostic] {
            std::optional<Executor> executor;
            ExecutorOptions options;
            options.diagnostic = [&](std::string_view) { executor.reset(); };
            executor.emplace(options);
            executor->remote().post([&, is_diagnostic] {
                if (is_diagnostic) throw std::runtime_error("to be reported");
                executor.reset();
            });
            executor->run_until(be_ready_again_and_again());
        });

        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("it still runs") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(what_must_not_throw_and_throws_ends_the_program) {
    for (auto* task : {wait_for_one_that_throws_when_cancelled, listen_and_throw,
                       post_one_whose_destructor_throws, offload_one_whose_destructor_throws}) {
        ChildEnd end = end_of_child([task] {
            Executor executor;
            Running<void> running = executor.start(task());
            executor.turn();
            executor.turn();
            running.cancel();
            executor.run();
        });

        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("terminat") != std::string::npos, end.text);
    }
}

BOOST_AUTO_TEST_CASE(runtime_destroyed_on_another_thread_says_so_and_aborts) {
    ChildEnd end = end_of_child([] {
        std::optional<Runtime> runtime(std::in_place, 2u);
        std::thread([&] { runtime.reset(); }).join();
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a Runtime is destroyed on another thread") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(running_that_is_used_on_another_thread_is_named_and_the_process_aborts) {
    for (bool is_dropped : {false, true}) {
        ChildEnd end = end_of_child([is_dropped] {
            Executor executor;
            std::optional<Running<void>> running(executor.start(be_ready_again_and_again()));
            executor.turn();
            std::thread([&] {
                if (is_dropped)
                    running.reset();
                else
                    running->cancel();
            }).join();
        });

        BOOST_TEST(end.signal == SIGABRT);
        BOOST_TEST(end.text.find("a Running is used on another thread") != std::string::npos, end.text);
        BOOST_TEST(end.text.find("posix_test.cpp") != std::string::npos, end.text);
    }
}

#if LEAT_CHECKS_EXECUTORS
// A task of this thread waits, and another thread does what it waits for.
BOOST_AUTO_TEST_CASE(primitive_that_another_thread_uses_is_named_and_the_process_aborts) {
    const auto end_of = [](auto&& wait, auto&& use) {
        return end_of_child([&] {
            Executor executor;
            Running<void> waiting = executor.start(wait());
            while (executor.turn()) {
            }
            std::thread(use).join();
        });
    };
    Semaphore semaphore(0);
    ManualResetEvent event;
    Latch latch(1);
    Channel<int> channel(0);
    Mutex mutex;
    MutexGuard guard = mutex.try_lock();
    Watch<int> watch(0);
    const auto wait_for_event = [&]() -> Task<> { co_await event.wait(); };
    const auto wait_for_latch = [&]() -> Task<> { co_await latch.wait(); };
    const auto lock = [&]() -> Task<> { MutexGuard locked = co_await mutex.lock(); };
    const auto see_change = [&]() -> Task<> {
        WatchReceiver<int> receiver = watch.subscribe();
        co_await receiver.changed();
    };
    const auto lock_elsewhere = [&] {
        Executor other;
        other.run_until(lock());
    };
    const std::vector<std::pair<const char*, ChildEnd>> ends{
        {"a semaphore", end_of([&] { return acquire_from(semaphore); }, [&] { semaphore.add(); })},
        {"an event", end_of(wait_for_event, [&] { event.set(); })},
        {"a latch", end_of(wait_for_latch, [&] { latch.count_down(); })},
        {"a channel", end_of([&] { return send_to(channel); }, [&] { (void)channel.try_receive(); })},
        {"a mutex", end_of(lock, [&] { guard.unlock(); })},
        {"a mutex", end_of(lock, lock_elsewhere)},
        {"a watched value", end_of(see_change, [&] { watch.set(1); })},
    };

    for (const auto& [name, end] : ends) {
        BOOST_TEST(end.signal == SIGABRT, name);
        BOOST_TEST(end.text.find("another executor or thread uses it too") != std::string::npos,
                   name << ": " << end.text);
        BOOST_TEST(end.text.find(name) != std::string::npos, name << ": " << end.text);
    }
}

BOOST_AUTO_TEST_CASE(channel_between_executors_of_one_thread_is_named_and_the_process_aborts) {
    ChildEnd end = end_of_child([] {
        Channel<int> channel(0);
        Executor executor;
        Executor other;
        auto receive = [&]() -> Task<> { co_await channel.receive(); };
        Running<void> receiving = executor.start(receive());
        while (executor.turn()) {
        }
        other.run_until(send_to(channel));
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a channel's next value") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_CASE(group_that_another_thread_spawns_into_is_named_and_the_process_aborts) {
    ChildEnd end = end_of_child([] {
        auto spawn_elsewhere = [](TaskGroup& group) -> Task<> {
            std::thread([&group] { group.spawn(be_ready_again_and_again); }).join();
            co_return;
        };
        auto whole = [&]() -> Task<> { co_await task_group(spawn_elsewhere); };
        run(whole());
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("a task group is used on another thread") != std::string::npos, end.text);
}
#endif

#if LEAT_IS_ADDRESS_SANITIZED
BOOST_AUTO_TEST_CASE(sanitizer_sees_a_use_of_a_frame_after_its_end) {
    ChildEnd end = end_of_child([] {
        run([]() -> Task<> {
            const int* dangling = nullptr;
            co_await leave_behind(dangling);
            if (*dangling == 7) std::abort();
        }());
    });

    BOOST_TEST(end.text.find("use-after-poison") != std::string::npos, end.text);
}
#endif

BOOST_AUTO_TEST_CASE(task_that_does_not_end_in_time_is_named_and_the_process_aborts) {
    ChildEnd end = end_of_child([] {
        ExecutorOptions options;
        options.shutdown_deadline = 20ms;
        Executor executor(options);
        auto stubborn_task = []() -> Task<> { co_await Never(); };
        Running<void> running = executor.start(stubborn_task(), "stubborn");
        while (executor.turn()) {
        }
    });

    BOOST_TEST(end.signal == SIGABRT);
    BOOST_TEST(end.text.find("#1 \"stubborn\" task") != std::string::npos, end.text);
    BOOST_TEST(end.text.find("started at posix_test.cpp:") != std::string::npos, end.text);
    BOOST_TEST(end.text.find("another library") != std::string::npos, end.text);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace posix_test
