// SPDX-License-Identifier: BSL-1.0
// The end of an executor that still has tasks.
#include <leat/runtime/callback.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/foreign.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace shutdown_test {

namespace {

// Starts `task`, lets it come to its wait, and destroys the executor.
void start_and_destroy(Task<> task) {
    Executor executor;
    Running<void> running = executor.start(std::move(task));
    while (executor.turn()) {
    }
}

class HandleTo {
public:
    explicit HandleTo(std::coroutine_handle<>& place) noexcept : place_(place) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const noexcept { place_ = handle; }
    void await_resume() const noexcept {}

private:
    std::coroutine_handle<>& place_;
};

}  // namespace

// Else the suite's namespace might be a function of the system's headers.
namespace runtime_suites {

BOOST_AUTO_TEST_SUITE(shutdown)

BOOST_AUTO_TEST_CASE(sleeping_task_is_unwound) {
    Log log;
    auto task = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await sleep_for(1h);
        log.note("resumed");
    };
    start_and_destroy(task());

    BOOST_TEST(log.text() == "task!");
}

BOOST_AUTO_TEST_CASE(chain_of_tasks_is_unwound_innermost_first) {
    Log log;
    auto inner = [&]() -> Task<> {
        Guard guard(log, "inner");
        co_await sleep_for(1h);
    };
    auto outer = [&]() -> Task<> {
        Guard guard(log, "outer");
        co_await inner();
    };
    start_and_destroy(outer());

    BOOST_TEST(log.text() == "inner! outer!");
}

BOOST_AUTO_TEST_CASE(task_that_waits_for_io_is_unwound_and_its_source_may_live_on) {
    Log log;
    StreamPair pair;
    auto reader = [&]() -> Task<> {
        Guard guard(log, "reader");
        std::array<std::byte, 16> buffer;
        co_await read_some(pair.left, buffer);
    };
    start_and_destroy(reader());

    BOOST_TEST(log.text() == "reader!");
    send_directly(pair.right, "still open");
    BOOST_TEST(receive_directly(pair.left) == "still open");
}

BOOST_AUTO_TEST_CASE(source_that_the_task_owns_is_closed) {
    StreamPair pair;
    auto reader = [](Source source) -> Task<> { co_await readable(source); };
    start_and_destroy(reader(std::move(pair.left)));

    BOOST_CHECK_THROW(send_directly(pair.left, "x"), std::system_error);
    BOOST_TEST(receive_directly(pair.right) == "");
}

BOOST_AUTO_TEST_CASE(group_with_all_its_children_is_unwound) {
    Log log;
    Gate gate;
    StreamPair pair;
    auto task = [&]() -> Task<> {
        auto sleeper = [&]() -> Task<> {
            Guard guard(log, "sleeper");
            co_await sleep_for(1h);
        };
        auto waiter = [&]() -> Task<> {
            Guard guard(log, "waiter");
            co_await gate.pass();
        };
        auto reader = [&]() -> Task<> {
            Guard guard(log, "reader");
            co_await timeout(1h, readable(pair.left));
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(sleeper);
            group.spawn(waiter);
            group.spawn(reader);
            Guard guard(log, "body");
            co_await sleep_for(1h);
        };
        Guard guard(log, "task");
        co_await task_group(body);
    };
    start_and_destroy(task());

    for (const char* word : {"sleeper!", "waiter!", "reader!", "body!"})
        BOOST_TEST(log.text().find(word) != std::string::npos);
    BOOST_TEST(log.text().ends_with("task!"));
}

BOOST_AUTO_TEST_CASE(task_that_waits_for_a_callback_or_a_signal_is_unwound) {
    Log log;
    std::optional<Callback<int>> kept;
    auto called = [&]() -> Task<> {
        Guard guard(log, "called");
        auto start = [&](Callback<int> done) { kept = done; };
        co_await callback<int>(start);
    };
    auto signalled = [&]() -> Task<> {
        Guard guard(log, "signalled");
        Signals signals{SIGINT};
        co_await signals.next();
    };
    start_and_destroy(called());
    start_and_destroy(signalled());

    BOOST_TEST(log.text() == "called! signalled!");
    (*kept)(1);
}

BOOST_AUTO_TEST_CASE(task_that_never_started_is_destroyed) {
    {
        Executor executor;
        auto holds = [](Counted) -> Task<> { co_await sleep_for(1h); };
        Running<void> running = executor.start(holds(Counted()));
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(ready_task_ends_at_its_next_wait) {
    Log log;
    {
        Executor executor;
        Gate gate;
        auto task = [&]() -> Task<> {
            Guard guard(log, "task");
            co_await gate.pass();
            log.note("passed");
            co_await yield();
            log.note("went-on");
        };
        Running<void> running = executor.start(task());
        while (executor.turn()) {
        }
        gate.open();
    }

    // A result that has arrived wins.
    BOOST_TEST(log.text() == "passed task!");
}

BOOST_AUTO_TEST_CASE(running_may_be_gone_before_the_executor) {
    Log log;
    {
        Executor executor;
        auto task = [&]() -> Task<> {
            Guard guard(log, "task");
            co_await sleep_for(1h);
        };
        {
            Running<void> running = executor.start(task());
            while (executor.turn()) {
            }
        }
        BOOST_TEST(log.text() == "");
    }

    BOOST_TEST(log.text() == "task!");
}

BOOST_AUTO_TEST_CASE(child_spawned_during_the_end_runs_to_its_first_wait_and_is_not_leaked) {
    struct Spawner {
        Spawner(TaskGroup& g, Log& l) noexcept : group(g), log(l) {}
        Spawner(const Spawner&) = delete;
        ~Spawner() {
            group.spawn(
                [](Log& to, Counted) -> Task<> {
                    Guard guard(to, "late");
                    co_await sleep_for(1h);
                },
                std::ref(log), Counted());
        }
        TaskGroup& group;
        Log& log;
    };
    Log log;
    auto task = [&]() -> Task<> {
        auto child = [&](TaskGroup& group) -> Task<> {
            Spawner spawner(group, log);
            co_await sleep_for(1h);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(child, std::ref(group));
            co_return;
        };
        co_await task_group(body);
    };
    start_and_destroy(task());

    BOOST_TEST(log.text() == "late!");
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(task_started_by_a_destructor_during_the_end_is_not_leaked) {
    struct Starter {
        Starter(Executor& e, Log& l) noexcept : executor(e), log(l) {}
        Starter(const Starter&) = delete;
        ~Starter() {
            auto late = [](Log& to, Counted) -> Task<> {
                Guard guard(to, "late");
                co_await sleep_for(1h);
            };
            Running<void> running = executor.start(late(log, Counted()));
        }
        Executor& executor;
        Log& log;
    };
    Log log;
    {
        Executor executor;
        auto task = [&]() -> Task<> {
            Starter starter(executor, log);
            co_await sleep_for(1h);
        };
        Running<void> running = executor.start(task());
        while (executor.turn()) {
        }
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(task_started_by_the_function_that_was_posted_last_is_not_leaked) {
    Log log;
    std::optional<Running<void>> kept;
    {
        Executor executor;
        auto late = [&](Counted) -> Task<> {
            Guard guard(log, "late");
            co_await sleep_for(1h);
        };
        executor.remote().post([&] { kept.emplace(executor.start(late(Counted()))); });
        executor.remote().post([&] { Running<void> dropped = executor.start(late(Counted())); });
    }

    // Its end has come with the executor's; asking for it is all that is left.
    BOOST_TEST_REQUIRE(kept.has_value());
    BOOST_TEST(kept->has_ended());
    BOOST_TEST(log.text() == "late! late!");
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(foreign_wait_is_waited_for) {
    Log log;
    std::coroutine_handle<> handle;
    std::thread other;
    {
        Executor executor;
        auto task = [&]() -> Task<> {
            Guard guard(log, "task");
            co_await HandleTo(handle);
            log.note("resumed");
            co_await yield();
            log.note("went-on");
        };
        Running<void> running = executor.start(task());
        while (executor.turn()) {
        }
        other = std::thread([handle] {
            for (int i = 0; i < 1000; ++i)
                std::this_thread::yield();
            handle.resume();
        });
    }
    other.join();

    BOOST_TEST(log.text() == "resumed task!");
}

BOOST_AUTO_TEST_CASE(exception_of_a_task_that_ends_with_the_executor_is_a_notice) {
    VirtualTime outer;
    {
        Executor executor(outer.options());
        Gate gate;
        auto task = [&]() -> Task<> {
            co_await gate.pass();
            throw std::runtime_error("at the end");
        };
        {
            Running<void> running = executor.start(task());
            while (executor.turn()) {
            }
            gate.open();
        }
    }

    BOOST_TEST_REQUIRE(outer.notices.size() == 1u);
    BOOST_TEST(outer.notices[0].find("at the end") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(virtual_clock_executor_ends_too) {
    Log log;
    {
        VirtualTime time;
        auto task = [&]() -> Task<> {
            Guard guard(log, "task");
            co_await sleep_for(1h);
        };
        Running<void> running = time.executor.start(task());
        while (time.executor.turn()) {
        }
    }

    BOOST_TEST(log.text() == "task!");
}

BOOST_AUTO_TEST_CASE(running_that_outlives_its_executor_is_harmless_and_told_with_its_line) {
    VirtualTime outer;
    std::optional<Executor> executor(std::in_place, outer.options());
    auto give = []() -> Task<Counted> { co_return Counted(); };
    auto sleep = []() -> Task<> { co_await sleep_for(1h); };
    {
        constexpr int starting_line = __LINE__ + 1;
        Running<Counted> finished = executor->start(give());
        Running<void> cancelled = executor->start(sleep());
        Running<void> let_go = executor->start(sleep());
        while (executor->turn()) {
        }
        Running<void>(std::move(let_go)).cancel();

        executor.reset();

        BOOST_TEST(finished.has_ended());
        BOOST_TEST(cancelled.has_ended());
        BOOST_TEST(outer.notices.size() == 2u);
        const std::string line = "started at shutdown_test.cpp:" + std::to_string(starting_line);
        auto names_line = [&](const std::string& text) { return text.ends_with(line); };
        BOOST_TEST(std::ranges::count_if(outer.notices, names_line) == 1);
        Counted value = finished.get();
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(failure_of_a_task_that_nobody_has_asked_for_is_a_notice_when_its_running_goes) {
    VirtualTime outer;
    Executor executor(outer.options());
    auto fail = []() -> Task<> {
        co_await yield();
        throw std::runtime_error("unheard");
    };
    {
        Running<void> running = executor.start(fail());
        executor.run();
        BOOST_TEST(outer.notices.empty());
    }

    BOOST_TEST_REQUIRE(outer.notices.size() == 1u);
    BOOST_TEST(outer.notices[0].find("unheard") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(failure_that_was_asked_for_is_no_notice) {
    VirtualTime outer;
    Executor executor(outer.options());
    auto fail = []() -> Task<> {
        co_await yield();
        throw std::runtime_error("heard");
    };
    {
        Running<void> running = executor.start(fail());
        executor.run();
        BOOST_CHECK_THROW(running.get(), std::runtime_error);
    }

    BOOST_TEST(outer.notices.empty());
}

BOOST_AUTO_TEST_CASE(task_that_a_last_post_starts_still_hears_of_other_threads) {
    std::atomic<int> written = 0;
    std::optional<Running<void>> running;
    {
        Executor executor;
        auto write = [&written] { ++written; };
        auto save = [&]() -> Task<> {
            auto offloaded = [&]() -> Task<> { co_await offload(write); };
            co_await shield(offloaded());
        };
        executor.remote().post([&] { running.emplace(executor.start(save())); });
        // Nothing has run yet; the end calls what was posted.
    }

    BOOST_TEST(written == 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace runtime_suites

}  // namespace shutdown_test
