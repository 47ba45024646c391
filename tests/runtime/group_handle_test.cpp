// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace group_handle_test {

namespace {

Task<> note_thread(std::thread::id& place) {
    place = std::this_thread::get_id();
    co_return;
}

Task<> count(std::atomic<int>& counter, Counted) {
    co_await yield();
    ++counter;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(group_handle)

BOOST_AUTO_TEST_CASE(child_of_another_thread_runs_on_the_group_s) {
    Executor executor;
    std::thread::id ran_on;
    std::thread other;
    auto body = [&](TaskGroup& group) -> Task<> {
        other = std::thread(
            [&, handle = group.handle()]() mutable { handle.spawn(note_thread, std::ref(ran_on)); });
        while (ran_on == std::thread::id())
            co_await yield();
    };
    auto whole = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(whole());

    other.join();
    BOOST_TEST((ran_on == std::this_thread::get_id()));
}

BOOST_AUTO_TEST_CASE(what_a_child_was_given_is_released_at_its_end_though_its_group_goes_on) {
    Executor executor;
    std::atomic<int> counter = 0;
    const int before = Counted::live();
    auto body = [&](TaskGroup& group) -> Task<> {
        group.handle().spawn(count, std::ref(counter), Counted());
        while (counter == 0 || group.size() != 0)
            co_await yield();
        BOOST_TEST(Counted::live() == before);
    };
    auto whole = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(whole());

    BOOST_TEST(Counted::misused() == 0);
}

BOOST_AUTO_TEST_CASE(group_waits_for_what_was_accepted) {
    Executor executor;
    std::atomic<int> counter = 0;
    auto body = [&](TaskGroup& group) -> Task<> {
        GroupHandle handle = group.handle();
        // From here, the body ends before the children are there.
        handle.spawn(count, std::ref(counter), Counted());
        handle.spawn(count, std::ref(counter), Counted());
        co_return;
    };
    auto whole = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(whole());

    BOOST_TEST(counter == 2);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(ended_group_refuses) {
    Executor executor;
    std::optional<GroupHandle> handle;
    auto body = [&](TaskGroup& group) -> Task<> {
        handle = group.handle();
        co_return;
    };
    auto whole = [&]() -> Task<> { co_await task_group(body); };
    executor.run_until(whole());
    std::atomic<int> counter = 0;

    bool started = handle->try_spawn(count, std::ref(counter), Counted());
    std::error_code error;
    try {
        handle->spawn(count, std::ref(counter), Counted());
    } catch (const std::system_error& failure) {
        error = failure.code();
    }

    BOOST_TEST(!started);
    BOOST_TEST((error == errc::closed));
    BOOST_TEST(counter == 0);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(handle_may_outlive_the_executor) {
    std::optional<GroupHandle> handle;
    {
        Executor executor;
        auto body = [&](TaskGroup& group) -> Task<> {
            handle = group.handle();
            co_return;
        };
        auto whole = [&]() -> Task<> { co_await task_group(body); };
        executor.run_until(whole());
    }
    std::atomic<int> counter = 0;

    BOOST_TEST(!handle->try_spawn(count, std::ref(counter), Counted()));
}

BOOST_AUTO_TEST_CASE(child_that_cannot_be_made_fails_the_group) {
    Executor executor;
    std::string failure;
    auto body = [&](TaskGroup& group) -> Task<> {
        GroupHandle handle = group.handle();
        auto refuse = []() -> Task<> { throw std::runtime_error("cannot be made"); };
        // A plain function that throws before there is a task.
        auto broken = [refuse](int) -> Task<> {
            if (true) throw std::runtime_error("no task");
            return refuse();
        };
        handle.spawn(broken, 1);
        co_await sleep_for(1h);
    };
    auto whole = [&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        if (!outcome) failure = describe_failure(outcome.error());
    };

    executor.run_until(whole());

    BOOST_TEST(failure == "no task");
}

BOOST_AUTO_TEST_CASE(child_of_a_cancelled_group_ends_at_its_first_wait) {
    Executor executor;
    std::atomic<int> counter = 0;
    auto body = [&](TaskGroup& group) -> Task<> {
        GroupHandle handle = group.handle();
        handle.spawn(count, std::ref(counter), Counted());
        group.cancel();
        co_return;
    };
    auto whole = [&]() -> Task<> { co_await task_group(body); };

    executor.run_until(whole());

    BOOST_TEST(counter == 0);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(what_was_accepted_is_started_and_what_was_refused_is_not_however_threads_race_the_end) {
    constexpr int rounds = 50;
    constexpr int thread_count = 3;
    for (int round = 0; round < rounds; ++round) {
        Executor executor;
        std::atomic<int> counter = 0;
        std::atomic<int> accepted = 0;
        std::vector<std::thread> threads;
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < thread_count; ++i)
                threads.emplace_back([&, handle = group.handle()]() mutable {
                    while (handle.try_spawn(count, std::ref(counter), Counted()))
                        ++accepted;
                });
            while (counter < 20)
                co_await yield();
            // What comes now races the end: it comes until it is refused.
            group.cancel();
        };
        auto whole = [&]() -> Task<> { co_await task_group(body); };

        executor.run_until(whole());

        for (std::thread& thread : threads)
            thread.join();
        BOOST_TEST(accepted >= counter);
        BOOST_TEST(Counted::live() == 0);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace group_handle_test
