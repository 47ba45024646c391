// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace offload_test {

namespace {

std::thread::id this_thread() { return std::this_thread::get_id(); }

int add(int a, int b) { return a + b; }

int fail() { throw std::runtime_error("it failed there"); }

BlockingPoolOptions one_thread() {
    BlockingPoolOptions options;
    options.threads = 1;
    return options;
}

/// Fixture: a pool of one thread, which a call occupies until `let_go` is called.
struct OneThread {
    explicit OneThread(const BlockingPoolOptions& options = one_thread()) : pool(std::in_place, options) {}
    ~OneThread() { let_go(); }

    template <class Body>
    auto run(Body&& body) {
        return executor.run_until(body());
    }

    /// Starts a call that holds the thread up, and comes back when it does.
    void occupy() {
        auto task = [this]() -> Task<> {
            auto hold = [this] {
                is_held = true;
                signal.acquire();
            };
            co_await pool->offload(hold);
        };
        holder.emplace(executor.start(task()));
        turn_until([this] { return is_held.load(); });
    }
    void let_go() {
        if (is_held.exchange(false)) signal.release();
    }

    template <class Condition>
    void turn_until(Condition condition) {
        while (!condition()) {
            if (!executor.turn()) std::this_thread::yield();
        }
    }
    void turn_some() {
        for (int i = 0; i < 5; ++i)
            executor.turn();
    }

    std::optional<BlockingPool> pool;
    std::binary_semaphore signal{0};
    std::atomic<bool> is_held = false;
    Executor executor;
    std::optional<Running<void>> holder;
};

int nothing() { return 0; }

/// Of a pool that may be at its end.
auto detached_pool_call(const std::shared_ptr<detail::PoolCore>& core) {
    return DetachedOffloadOperation<int (*)()>(core, &nothing);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(offload)

// ---- What it gives ----

BOOST_AUTO_TEST_CASE(function_runs_on_another_thread_and_gives_its_value) {
    leat::run([]() -> Task<> {
        std::thread::id ran_on = co_await leat::offload(this_thread);
        int sum = co_await leat::offload(add, 40, 2);

        BOOST_TEST((ran_on != std::this_thread::get_id()));
        BOOST_TEST(sum == 42);
    }());
}

BOOST_AUTO_TEST_CASE(call_may_give_nothing_a_reference_or_what_can_only_be_moved) {
    leat::run([]() -> Task<> {
        int object = 0;
        auto set = [&object] { object = 7; };
        auto reference = [&object]() -> int& { return object; };
        auto unique = [](std::unique_ptr<int> value) { return value; };

        co_await leat::offload(set);
        int& got = co_await leat::offload(reference);
        std::unique_ptr<int> five = co_await leat::offload(unique, std::make_unique<int>(5));

        BOOST_TEST(object == 7);
        BOOST_TEST(&got == &object);
        BOOST_TEST(*five == 5);
    }());
}

BOOST_AUTO_TEST_CASE(exception_comes_back) {
    leat::run([]() -> Task<> {
        std::string caught;
        try {
            co_await leat::offload(fail);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        auto refuse = []() -> int { throw std::system_error(make_error_code(std::errc::io_error)); };
        Result<int> result = co_await as_result(leat::offload(refuse));
        Outcome<int> outcome = co_await as_outcome(leat::offload_detached(fail));

        BOOST_TEST(caught == "it failed there");
        BOOST_TEST((result.error() == std::errc::io_error));
        BOOST_TEST(!outcome.has_value());
    }());
}

BOOST_AUTO_TEST_CASE(callable_and_arguments_are_gone_before_the_await_ends) {
    leat::run([]() -> Task<> {
        auto callable = [counted = Counted()](Counted) {};
        co_await leat::offload(std::bind_front(std::move(callable)), Counted());
        BOOST_TEST(Counted::live() == 1);
        co_await leat::offload_detached(std::bind_front(std::move(callable)), Counted());
        BOOST_TEST(Counted::live() == 1);
    }());
}

// ---- Threads ----

BOOST_FIXTURE_TEST_CASE(no_thread_is_started_before_it_is_needed, OneThread) {
    BOOST_TEST(pool->stats().threads == 0u);
    run([&]() -> Task<> { co_await pool->offload(this_thread); });

    BOOST_TEST(pool->stats().threads == 1u);
}

BOOST_AUTO_TEST_CASE(no_more_threads_are_started_than_the_limit_says) {
    constexpr int limit = 3;
    BlockingPoolOptions options;
    options.threads = limit;
    BlockingPool pool(options);
    std::atomic<int> at_once = 0;
    std::atomic<int> most = 0;
    std::mutex mutex;
    std::set<std::thread::id> threads;
    auto work = [&] {
        int now = ++at_once;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        {
            std::lock_guard lock(mutex);
            threads.insert(std::this_thread::get_id());
        }
        std::this_thread::yield();
        --at_once;
    };
    auto body = [&](TaskGroup& group) -> Task<> {
        auto one = [&]() -> Task<> { co_await pool.offload(work); };
        for (int i = 0; i < 200; ++i)
            group.spawn(one);
        co_return;
    };
    auto all = [&]() -> Task<> { co_await task_group(body); };

    leat::run(all());

    BOOST_TEST(most <= limit);
    BOOST_TEST(threads.size() <= static_cast<std::size_t>(limit));
    BOOST_TEST(pool.stats().running == 0u);
}

BOOST_AUTO_TEST_CASE(calls_that_wait_for_each_other_find_a_thread_each) {
    std::binary_semaphore first(0);
    std::binary_semaphore second(0);
    auto body = [&](TaskGroup& group) -> Task<> {
        auto left = [&]() -> Task<> {
            auto call = [&] {
                first.release();
                second.acquire();
            };
            co_await leat::offload(call);
        };
        auto right = [&]() -> Task<> {
            auto call = [&] {
                second.release();
                first.acquire();
            };
            co_await leat::offload(call);
        };
        group.spawn(left);
        group.spawn(right);
        co_return;
    };
    auto all = [&]() -> Task<> { co_await task_group(body); };

    BOOST_CHECK_NO_THROW(leat::run(all()));
}

BOOST_AUTO_TEST_CASE(idle_thread_ends_and_another_is_started_when_needed) {
    BlockingPoolOptions options = one_thread();
    options.idle_time = Duration::zero();
    BlockingPool pool(options);
    auto task = [&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            co_await pool.offload(this_thread);
            while (pool.stats().threads != 0)
                co_await yield();
        }
    };

    leat::run(task());

    BOOST_TEST(pool.stats().threads == 0u);
}

BOOST_FIXTURE_TEST_CASE(queued_calls_run_in_the_order_of_coming, OneThread) {
    occupy();
    std::string order;
    std::vector<Running<void>> running;
    auto task = [&](char name) -> Task<> {
        auto note = [&order, name] { order += name; };
        co_await pool->offload(note);
    };
    for (char name : {'a', 'b', 'c', 'd'})
        running.push_back(executor.start(task(name)));
    turn_some();
    let_go();
    executor.run();

    BOOST_TEST(order == "abcd");
}

BOOST_AUTO_TEST_CASE(calls_beyond_the_queue_wait_for_a_place_and_are_served_too) {
    BlockingPoolOptions options = one_thread();
    options.queue = 2;
    OneThread fixture(options);
    fixture.occupy();
    int served = 0;
    auto task = [&]() -> Task<> {
        co_await fixture.pool->offload(add, 1, 2);
        ++served;
    };
    std::vector<Running<void>> running;
    for (int i = 0; i < 5; ++i)
        running.push_back(fixture.executor.start(task()));
    fixture.turn_some();

    BlockingPoolStats stats = fixture.pool->stats();
    BOOST_TEST(stats.running == 1u);
    BOOST_TEST(stats.queued == 2u);
    BOOST_TEST(stats.waiting == 3u);
    // One that waits for a place may leave, too.
    running.back().cancel();
    fixture.turn_some();
    BOOST_TEST(running.back().has_ended());
    BOOST_TEST(fixture.pool->stats().waiting == 2u);
    fixture.let_go();
    fixture.executor.run();
    BOOST_TEST(served == 4);
}

BOOST_AUTO_TEST_CASE(executors_may_share_a_pool) {
    ExecutorOptions options;
    options.blocking_pool = std::make_shared<BlockingPool>(one_thread());
    Executor first(options);
    Executor second(options);
    auto task = []() -> Task<std::thread::id> {
        std::thread::id id = co_await leat::offload(this_thread);
        co_return id;
    };

    BOOST_TEST((first.run_until(task()) == second.run_until(task())));
}

// ---- Cancellation ----

BOOST_FIXTURE_TEST_CASE(cancelled_call_that_is_queued_is_taken_out_at_once, OneThread) {
    occupy();
    bool has_run = false;
    auto task = [&]() -> Task<> {
        auto call = [&has_run](Counted) { has_run = true; };
        co_await pool->offload(call, Counted());
    };
    Running<void> running = executor.start(task());
    turn_some();
    BOOST_TEST(pool->stats().queued == 1u);

    running.cancel();
    turn_some();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(pool->stats().queued == 0u);
    BOOST_TEST(Counted::live() == 0);
    let_go();
    executor.run();
    BOOST_TEST(!has_run);
}

BOOST_FIXTURE_TEST_CASE(cancelled_call_that_runs_is_told_by_its_stop_token_and_waited_for, OneThread) {
    Log log;
    std::atomic<bool> runs = false;
    auto task = [&]() -> Task<> {
        Guard guard(log, "task");
        auto call = [&](std::stop_token stop, int answer) {
            runs = true;
            while (!stop.stop_requested())
                std::this_thread::yield();
            return answer;
        };
        int answer = co_await pool->offload(call, 42);
        log.note(std::to_string(answer));
        co_await yield();
        log.note("resumed");
    };
    Running<void> running = executor.start(task());
    turn_until([&] { return runs.load(); });

    running.cancel();
    executor.run();

    // The result came all the same, and the task ended at its next wait.
    BOOST_TEST(log.text() == "42 task!");
}

BOOST_FIXTURE_TEST_CASE(call_without_a_stop_token_is_waited_for, OneThread) {
    std::atomic<bool> runs = false;
    bool has_ended = false;
    auto task = [&]() -> Task<> {
        auto call = [&] {
            runs = true;
            signal.acquire();
            has_ended = true;
        };
        co_await pool->offload(call);
        co_await yield();
    };
    Running<void> running = executor.start(task());
    turn_until([&] { return runs.load(); });
    running.cancel();
    turn_some();
    BOOST_TEST(!running.has_ended());

    signal.release();
    executor.run();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(has_ended);
}

BOOST_FIXTURE_TEST_CASE(detached_call_is_abandoned_at_once_and_its_result_discarded, OneThread) {
    struct Shared {
        std::binary_semaphore signal{0};
        std::atomic<bool> runs = false;
        std::atomic<bool> was_told = false;
    };
    auto shared = std::make_shared<Shared>();
    auto task = [&]() -> Task<> {
        auto call = [shared](std::stop_token stop, Counted value) {
            shared->runs = true;
            shared->signal.acquire();
            shared->was_told = stop.stop_requested();
            return value;
        };
        co_await pool->offload_detached(std::bind_front(std::move(call)), Counted());
    };
    Running<void> running = executor.start(task());
    turn_until([&] { return shared->runs.load(); });

    running.cancel();
    turn_some();
    BOOST_TEST(running.has_ended());
    BOOST_TEST(pool->stats().running == 1u);

    shared->signal.release();
    while (shared.use_count() != 1 || Counted::live() != 0)
        std::this_thread::yield();
    BOOST_TEST(shared->was_told.load());
}

BOOST_FIXTURE_TEST_CASE(result_of_a_detached_call_that_has_come_wins, OneThread) {
    Log log;
    std::atomic<bool> runs = false;
    auto task = [&]() -> Task<> {
        Guard guard(log, "task");
        auto three = [&runs] {
            runs = true;
            return 3;
        };
        int sum = co_await pool->offload_detached(three);
        log.note(std::to_string(sum));
        co_await yield();
        log.note("resumed");
    };
    Running<void> running = executor.start(task());
    executor.turn();
    while (!runs)
        std::this_thread::yield();
    // Its thread ends after it has told the executor, which takes no mail meanwhile.
    pool.reset();
    running.cancel();
    executor.run();

    BOOST_TEST(log.text() == "3 task!");
}

BOOST_FIXTURE_TEST_CASE(deadline_that_passes_while_it_is_queued_takes_it_out, OneThread) {
    occupy();
    auto task = [&]() -> Task<> {
        Result<int> sum = co_await as_result(leat::timeout(1ms, pool->offload(add, 1, 2)));
        BOOST_TEST(sum.error() == errc::deadline_exceeded);
        BOOST_TEST(pool->stats().queued == 0u);
    };
    executor.run_until(task());
}

BOOST_AUTO_TEST_CASE(offload_can_be_cancelled_everywhere) {
    // Threads that stay, so that their own memory is the same before and after.
    BlockingPool pool(one_thread());
    auto settle = [&pool] {
        Executor executor;
        auto task = [&]() -> Task<> {
            // The one thread has left what came before.
            co_await pool.offload(add, 1, 2);
        };
        executor.run_until(task());
    };
    SweepOptions options;
    options.after = settle;
    settle();
    auto scenario = [&]() -> Task<> {
        auto call = [](Counted counted, int value) { return counted.value() + value; };
        int three = co_await pool.offload(call, Counted(1), 2);
        BOOST_TEST(three == 3);
        Result<int> seven = co_await as_result(pool.offload_detached(call, Counted(3), 4));
        BOOST_TEST(seven.value() == 7);
    };
    sweep_all_endings(scenario, options);
}

// ---- The end of a pool ----

BOOST_FIXTURE_TEST_CASE(end_of_the_pool_drops_what_is_queued_and_waits_for_what_runs, OneThread) {
    occupy();
    bool has_run = false;
    std::optional<std::error_code> code;
    auto task = [&]() -> Task<> {
        auto call = [&has_run](Counted) { has_run = true; };
        Result<void> result = co_await as_result(pool->offload(call, Counted()));
        code = result.error();
    };
    Running<void> running = executor.start(task());
    turn_some();
    std::thread ends([&] { pool.reset(); });
    executor.run_until([](std::optional<std::error_code>& told) -> Task<> {
        while (!told)
            co_await sleep_for(100us);
    }(code));
    BOOST_TEST(is_held.load());
    let_go();
    ends.join();
    executor.run();

    BOOST_TEST((*code == errc::closed));
    BOOST_TEST(!has_run);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(end_of_the_pool_names_what_still_runs_at_the_deadline) {
    std::vector<std::string> notices;
    struct Shared {
        std::binary_semaphore signal{0};
        std::atomic<bool> runs = false;
        std::atomic<bool> has_ended = false;
    };
    auto shared = std::make_shared<Shared>();
    BlockingPoolOptions options = one_thread();
    options.shutdown_deadline = 1ms;
    options.diagnostic = [&](std::string_view text) { notices.emplace_back(text); };
    Executor executor;
    std::optional<BlockingPool> pool(std::in_place, options);
    auto task = [&]() -> Task<> {
        auto call = [shared] {
            shared->runs = true;
            shared->signal.acquire();
            shared->has_ended = true;
        };
        co_await pool->offload(std::bind_front(std::move(call)));
    };
    Running<void> running = executor.start(task());
    while (!shared->runs)
        executor.turn();

    pool.reset();

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("offload_test.cpp") != std::string::npos);
    shared->signal.release();
    executor.run();
    BOOST_TEST(shared->has_ended.load());
}

// The pools of these cases would wait for an hour.
BOOST_AUTO_TEST_CASE(end_of_the_pool_does_not_wait_for_what_was_abandoned) {
    struct Shared {
        std::binary_semaphore signal{0};
        std::atomic<bool> runs = false;
    };
    // Before the end begins, and while it waits.
    for (bool is_late : {false, true}) {
        std::atomic<int> notices = 0;
        auto shared = std::make_shared<Shared>();
        BlockingPoolOptions options;
        options.shutdown_deadline = 1h;
        options.diagnostic = [&](std::string_view) { ++notices; };
        Executor executor;
        std::optional<BlockingPool> pool(std::in_place, options);
        auto task = [&]() -> Task<> {
            auto call = [shared] {
                shared->runs = true;
                shared->signal.acquire();
            };
            co_await pool->offload_detached(std::bind_front(std::move(call)));
        };
        Running<void> running = executor.start(task());
        while (!shared->runs)
            executor.turn();

        std::thread ends;
        if (is_late) {
            const std::shared_ptr<detail::PoolCore> core = pool->core();
            ends = std::thread([&] { pool.reset(); });
            auto wait_for_the_end = [&]() -> Task<> {
                Result<int> refused = co_await as_result(detached_pool_call(core));
                while (refused) {
                    co_await sleep_for(100us);
                    refused = co_await as_result(detached_pool_call(core));
                }
            };
            executor.run_until(wait_for_the_end());
        }
        running.cancel();
        executor.run();
        if (is_late) ends.join();
        pool.reset();

        BOOST_TEST(notices == 0);
        shared->signal.release();
        while (shared.use_count() != 1)
            std::this_thread::yield();
    }
}

BOOST_AUTO_TEST_CASE(executor_s_own_pool_does_not_hold_its_end_up_for_what_was_abandoned) {
    struct Shared {
        std::binary_semaphore signal{0};
        std::atomic<bool> runs = false;
    };
    auto shared = std::make_shared<Shared>();
    BlockingPoolOptions pool_options;
    pool_options.shutdown_deadline = 1h;
    ExecutorOptions options;
    options.blocking_pool = std::make_shared<BlockingPool>(pool_options);
    {
        Executor executor(std::move(options));
        auto task = [&]() -> Task<> {
            auto call = [shared] {
                shared->runs = true;
                shared->signal.acquire();
            };
            co_await leat::offload_detached(std::bind_front(std::move(call)));
        };
        Running<void> running = executor.start(task());
        while (!shared->runs)
            executor.turn();
    }

    shared->signal.release();
    while (shared.use_count() != 1)
        std::this_thread::yield();
}

BOOST_AUTO_TEST_CASE(pool_that_one_of_its_own_calls_lets_go_of_does_not_wait_for_that_call) {
    std::atomic<int> notices = 0;
    BlockingPoolOptions options;
    options.shutdown_deadline = 1h;
    options.diagnostic = [&](std::string_view) { ++notices; };
    Executor executor;
    // In the call, and with what the call holds.
    for (bool is_inside : {true, false}) {
        auto pool = std::make_shared<BlockingPool>(options);
        const std::weak_ptr<BlockingPool> alive = pool;
        BlockingPool& used = *pool;
        auto task = [&]() -> Task<int> {
            auto call = [is_inside, held = std::move(pool)]() mutable {
                if (is_inside) held.reset();
                return 7;
            };
            int seven = co_await used.offload(std::bind_front(std::move(call)));
            co_return seven;
        };

        BOOST_TEST(executor.run_until(task()) == 7);
        BOOST_TEST(alive.expired());
    }

    BOOST_TEST(notices == 0);
}

BOOST_AUTO_TEST_CASE(pool_that_one_of_its_own_calls_lets_go_of_waits_for_the_others) {
    BlockingPoolOptions options;
    options.shutdown_deadline = 1h;
    auto pool = std::make_shared<BlockingPool>(options);
    BlockingPool& used = *pool;
    std::atomic<bool> other_runs = false;
    std::atomic<bool> lets_go = false;
    std::atomic<bool> other_has_ended = false;
    bool other_had_ended = false;
    Executor executor;
    auto other = [&]() -> Task<> {
        auto call = [&] {
            other_runs = true;
            while (!lets_go)
                std::this_thread::yield();
            other_has_ended = true;
        };
        co_await used.offload(call);
    };
    auto task = [&]() -> Task<> {
        auto call = [&, held = std::move(pool)]() mutable {
            while (!other_runs)
                std::this_thread::yield();
            lets_go = true;
            held.reset();
            other_had_ended = other_has_ended;
        };
        co_await used.offload(std::bind_front(std::move(call)));
    };
    Running<void> running = executor.start(other());

    executor.run_until(task());
    executor.run();

    BOOST_TEST(other_had_ended);
}

BOOST_AUTO_TEST_CASE(offload_to_a_pool_that_has_ended_fails_with_closed) {
    std::optional<BlockingPool> pool(std::in_place);
    auto task = [&]() -> Task<> {
        auto late = pool->offload(add, 1, 2);
        pool.reset();
        Result<int> result = co_await as_result(std::move(late));
        BOOST_TEST(result.error() == errc::closed);
    };
    leat::run(task());
}

BOOST_AUTO_TEST_CASE(executor_s_own_pool_ends_with_it) {
    std::atomic<bool> runs = false;
    std::atomic<bool> has_ended = false;
    {
        Executor executor;
        auto task = [&]() -> Task<> {
            auto call = [&](std::stop_token stop) {
                runs = true;
                while (!stop.stop_requested())
                    std::this_thread::yield();
                has_ended = true;
            };
            co_await leat::offload(call);
        };
        Running<void> running = executor.start(task());
        while (!runs)
            executor.turn();
    }

    BOOST_TEST(has_ended.load());
}

// ---- Races ----

BOOST_AUTO_TEST_CASE(calls_and_cancellations_race) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 500 : 5'000);
    std::size_t ended = 0;
    std::size_t timed_out = 0;
    std::atomic<std::size_t> calls = 0;
    BlockingPoolOptions options;
    options.threads = 2;
    BlockingPool pool(options);
    auto task = [&]() -> Task<> {
        std::minstd_rand random(1);
        auto call = [&calls](std::stop_token stop, Counted counted, unsigned spins) {
            for (unsigned i = 0; i < spins && !stop.stop_requested(); ++i)
                std::this_thread::yield();
            ++calls;
            return counted;
        };
        auto detached = [](Counted counted, unsigned spins) {
            for (unsigned i = 0; i < spins; ++i)
                std::this_thread::yield();
            return counted;
        };
        for (std::size_t i = 0; i < rounds; ++i) {
            Duration limit = std::chrono::microseconds(random() % 30);
            unsigned spins = static_cast<unsigned>(random() % 20);
            std::optional<Counted> value = co_await try_timeout(limit, pool.offload(call, Counted(), spins));
            std::optional<Counted> other =
                co_await try_timeout(limit, pool.offload_detached(detached, Counted(), spins));
            ++(value ? ended : timed_out);
        }
    };

    leat::run(task());

    BOOST_TEST(ended + timed_out == rounds);
    BOOST_TEST(calls >= ended);
    while (pool.stats().running != 0 || Counted::live() != 0)
        std::this_thread::yield();
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_AUTO_TEST_CASE(calls_and_the_end_of_the_pool_race) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 50 : 300);
    for (std::size_t round = 0; round < rounds; ++round) {
        Executor executor;
        BlockingPoolOptions options;
        options.threads = 2;
        auto pool = std::make_unique<BlockingPool>(options);
        std::shared_ptr<detail::PoolCore> core = pool->core();
        std::atomic<bool> begun = false;
        std::vector<std::error_code> errors;
        auto task = [&]() -> Task<> {
            for (;;) {
                // Not through the pool itself, which another thread ends.
                OffloadOperation<int (*)(int, int), int, int> call(core, &add, 1, 2);
                Result<int> sum = co_await as_result(std::move(call));
                begun = true;
                if (sum) continue;
                errors.push_back(sum.error());
                co_return;
            }
        };
        std::thread ends([&] {
            while (!begun)
                std::this_thread::yield();
            pool.reset();
        });
        executor.run_until(task());
        ends.join();
        BOOST_TEST_REQUIRE(errors.size() == 1u);
        BOOST_TEST((errors[0] == errc::closed));
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace offload_test
