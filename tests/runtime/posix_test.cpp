// SPDX-License-Identifier: BSL-1.0
// How a program ends that is told what it did wrong: seen from its parent, in a forked child.
#include <leat/runtime/async_generator.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/interval.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/task.hpp>

#include "support/child.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <coroutine>
#include <csignal>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

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
