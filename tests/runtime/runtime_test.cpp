// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>
#include <leat/runtime/cpus.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_channel.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/sleep.hpp>

#include "support/counted.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace runtime_test {

// Else the suite's namespace would hide the library's folder of that name.
namespace runtime_suites {

BOOST_AUTO_TEST_SUITE(runtime)

BOOST_AUTO_TEST_CASE(there_are_as_many_executors_as_asked_for_or_cpus) {
    Runtime one(1);
    Runtime three(3);
    Runtime by_default;

    BOOST_TEST(one.size() == 1u);
    BOOST_TEST(three.size() == 3u);
    BOOST_TEST(by_default.size() == available_cpus());
}

BOOST_AUTO_TEST_CASE(there_is_no_remote_beyond_the_last_executor) {
    Runtime runtime(2);

    BOOST_CHECK_THROW(runtime.remote(2), std::out_of_range);
}

BOOST_AUTO_TEST_CASE(runtime_is_busy_for_other_threads_than_that_which_made_it) {
    Runtime runtime(2);
    std::error_code seen;
    std::thread([&] {
        try {
            runtime.run([](Executor&) -> Task<> { co_return; });
        } catch (const std::system_error& error) {
            seen = error.code();
        }
    }).join();

    BOOST_TEST(seen == errc::busy);
}

BOOST_AUTO_TEST_CASE(run_runs_a_task_on_each_and_the_first_on_the_calling_thread) {
    Runtime runtime(4);
    std::mutex mutex;
    std::set<std::thread::id> threads;
    std::vector<std::thread::id> by_index(4);
    auto note = [&](Executor& executor, std::size_t index) -> Task<> {
        co_await yield();
        std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
        by_index[index] = std::this_thread::get_id();
        BOOST_TEST(executor.remote().is_own_thread());
    };

    runtime.run(note);

    BOOST_TEST(threads.size() == 4u);
    BOOST_TEST((by_index[0] == std::this_thread::get_id()));
    // Each stays with its thread.
    std::vector<std::thread::id> before = by_index;
    runtime.run(note);
    BOOST_TEST((by_index == before));
}

BOOST_AUTO_TEST_CASE(callable_may_take_the_executor_or_the_number_alone) {
    Runtime runtime(3);
    std::atomic<std::size_t> sum = 0;
    auto by_number = [&](std::size_t index) -> Task<> {
        sum += index;
        co_return;
    };
    auto by_executor = [&](Executor& executor) -> Task<> {
        if (&executor == &runtime.executor()) sum += 100;
        co_return;
    };

    runtime.run(by_number);
    runtime.run(by_executor);

    BOOST_TEST(sum == 103u);
}

BOOST_AUTO_TEST_CASE(first_failure_cancels_the_others_and_is_thrown) {
    for (std::size_t failing : {std::size_t{0}, std::size_t{2}}) {
        Runtime runtime(3);
        auto task = [&](std::size_t index) -> Task<> {
            Counted counted;
            if (index == failing) {
                co_await sleep_for(1ms);
                throw std::runtime_error("number " + std::to_string(index));
            }
            co_await sleep_for(1h);
        };
        BOOST_CHECK_EXCEPTION(runtime.run(task), std::runtime_error, [&](const std::runtime_error& error) {
            return error.what() == "number " + std::to_string(failing);
        });
        BOOST_TEST(Counted::live() == 0);
    }
}

BOOST_AUTO_TEST_CASE(later_failures_are_attached_to_the_first) {
    Runtime runtime(3);
    std::atomic<int> arrived = 0;
    auto fail = [&](std::size_t index) -> Task<> {
        // The others are past the point where a cancellation could reach them.
        while (index == 0 && arrived != 2)
            co_await yield();
        ++arrived;
        while (arrived != 3)
            std::this_thread::yield();
        throw std::runtime_error("number " + std::to_string(index));
    };

    std::size_t attached = 0;
    try {
        runtime.run(fail);
    } catch (const std::runtime_error&) {
        attached = attached_failures(std::current_exception()).size();
    }

    BOOST_TEST(attached == 2u);
}

BOOST_AUTO_TEST_CASE(executors_share_one_pool_for_calls_that_block) {
    Runtime runtime(3);
    auto offload_one = [](std::size_t) -> Task<> {
        auto nothing = [] {};
        co_await offload(nothing);
    };

    BOOST_TEST(runtime.blocking_pool().stats().threads == 0u);
    runtime.run(offload_one);

    BOOST_TEST(runtime.blocking_pool().stats().threads >= 1u);
}

BOOST_AUTO_TEST_CASE(tasks_talk_through_a_channel_between_threads) {
    constexpr std::size_t count = 1'000;
    Runtime runtime(3);
    RemoteChannel<std::size_t> numbers(4);
    std::atomic<std::size_t> sum = 0;
    auto task = [&](std::size_t index) -> Task<> {
        if (index == 0) {
            for (std::size_t number = 1; number <= count; ++number)
                co_await numbers.send(number);
            numbers.close();
            co_return;
        }
        for (;;) {
            std::optional<std::size_t> number = co_await numbers.receive();
            if (!number) co_return;
            sum += *number;
        }
    };

    runtime.run(task);

    BOOST_TEST(sum == count * (count + 1) / 2);
}

// ---- The end ----

BOOST_AUTO_TEST_CASE(end_cancels_what_runs_on_its_own_thread) {
    std::thread::id cancelled_on;
    std::thread::id ran_on;
    {
        Runtime runtime(2);
        struct Witness {
            explicit Witness(std::thread::id& place) noexcept : place_(place) {}
            Witness(const Witness&) = delete;
            ~Witness() { place_ = std::this_thread::get_id(); }
            std::thread::id& place_;
        };
        std::optional<Running<void>> running;
        auto task = [&]() -> Task<> {
            Witness witness(cancelled_on);
            ran_on = std::this_thread::get_id();
            co_await sleep_for(1h);
        };
        auto begin = [&](Executor& executor, std::size_t index) -> Task<> {
            if (index == 1) running.emplace(executor.start(task()));
            for (int i = 0; i < 5; ++i)
                co_await yield();
        };
        runtime.run(begin);
        auto let_go = [&] { running.reset(); };
        runtime.remote(1).block_on(let_go);
    }

    BOOST_TEST((ran_on != std::this_thread::get_id()));
    BOOST_TEST((cancelled_on == ran_on));
}

// The others' tasks may have calls on executor 0, and wait for their end while they are cancelled.
BOOST_AUTO_TEST_CASE(end_while_executors_call_each_other_hangs_nowhere) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 30 : 200);
    for (std::size_t round = 0; round < rounds; ++round) {
        // Left to the executors, which cancel them in the end.
        std::vector<std::optional<Running<void>>> left(3);
        Runtime runtime(3);
        auto call_for_ever = [](Remote next) -> Task<> {
            auto callee = [](Counted) -> Task<> { co_await sleep_for(1us); };
            for (;;) {
                Result<void> called = co_await as_result(next.call(callee, Counted()));
                if (!called) co_return;
            }
        };
        auto begin = [&](Executor& executor, std::size_t index) -> Task<> {
            left[index].emplace(executor.start(call_for_ever(runtime.remote((index + 1) % 3))));
            co_await yield();
        };
        runtime.run(begin);
        auto callers = [&runtime](Executor&, std::size_t index) -> Task<> {
            Remote next = runtime.remote((index + 1) % 3);
            auto callee = [](Counted) -> Task<> { co_await sleep_for(1us); };
            for (int i = 0; i < 3; ++i)
                co_await next.call(callee, Counted());
            if (index == 2) throw std::runtime_error("enough");
            for (;;)
                co_await next.call(callee, Counted());
        };
        BOOST_CHECK_THROW(runtime.run(callers), std::runtime_error);
        auto let_go = [&](std::size_t index) -> Task<> {
            left[index].reset();
            co_return;
        };
        if (round % 2 == 0) runtime.run(let_go);
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(run_inside_a_task_is_refused) {
    Runtime runtime(2);
    auto nested = [&](std::size_t index) -> Task<> {
        if (index == 0) {
            auto nothing = [](std::size_t) -> Task<> { co_return; };
            std::error_code code;
            try {
                runtime.run(nothing);
            } catch (const std::system_error& error) {
                code = error.code();
            }
            BOOST_TEST(code == errc::busy);
        }
        co_return;
    };
    runtime.run(nested);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace runtime_suites

}  // namespace runtime_test
