// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace remote_test {

namespace {

Task<> nothing() { co_return; }

Task<> pass(Gate& gate) { co_await gate.pass(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(remote)

BOOST_AUTO_TEST_CASE(posted_function_runs_on_the_executor_s_thread) {
    Executor executor;
    Gate gate;
    std::thread::id ran_on;
    std::thread other([&, remote = executor.remote()]() mutable {
        remote.post([&] {
            ran_on = std::this_thread::get_id();
            gate.open();
        });
    });

    executor.run_until(pass(gate));

    other.join();
    BOOST_TEST((ran_on == std::this_thread::get_id()));
}

BOOST_FIXTURE_TEST_CASE(functions_run_in_the_order_of_posting, VirtualTime) {
    Log log;
    Remote remote = executor.remote();
    for (const char* word : {"a", "b", "c"})
        remote.post([&log, word] { log.note(word); });

    BOOST_TEST(log.text() == "");
    executor.turn();

    BOOST_TEST(log.text() == "a b c");
    BOOST_TEST(executor.stats().posted == 3u);
}

BOOST_FIXTURE_TEST_CASE(thousands_of_posts_that_nobody_takes_keep_their_order, VirtualTime) {
    constexpr int posts = 10'000;
    Remote remote = executor.remote();
    int next = 0;
    bool in_order = true;
    for (int i = 0; i < posts; ++i) {
        remote.post([&, i] {
            in_order = in_order && next == i;
            ++next;
        });
    }

    while (executor.turn()) {
    }

    BOOST_TEST(in_order);
    BOOST_TEST(next == posts);
}

// Whatever is posted in a hurry must not keep a connection waiting.
BOOST_AUTO_TEST_CASE(io_and_timers_are_served_while_others_post_without_end) {
    Executor executor;
    StreamPair pair;
    std::atomic<bool> enough = false;
    std::thread poster([&, remote = executor.remote()]() mutable {
        while (!enough)
            remote.post([] {});
    });
    auto task = [&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        for (int i = 0; i < 100; ++i) {
            co_await write_some(pair.left, "ping");
            std::size_t received = co_await read_some(pair.right, buffer);
            BOOST_TEST(received == 4u);
            co_await sleep_for(1us);
        }
    };

    executor.run_until(task());

    enough = true;
    poster.join();
}

// The host may sleep as soon as a turn is over.
BOOST_AUTO_TEST_CASE(turn_takes_a_share_of_what_was_posted_and_says_that_there_is_more) {
    Executor executor;
    Remote remote = executor.remote();
    int called = 0;
    for (int i = 0; i < 1'000; ++i)
        remote.post([&called] { ++called; });

    bool has_more = executor.turn();

    BOOST_TEST(has_more);
    BOOST_TEST(called > 0);
    BOOST_TEST(called < 1'000);
    BOOST_TEST((executor.next_timeout() == Duration::zero()));
    while (executor.turn()) {
    }
    BOOST_TEST(called == 1'000);
}

BOOST_FIXTURE_TEST_CASE(task_may_post_to_its_own_executor, VirtualTime) {
    Gate gate;
    run([&]() -> Task<> {
        executor.remote().post([&] { gate.open(); });
        BOOST_TEST(!gate.has_waiter());
        co_await gate.pass();
    });

    BOOST_TEST(gate.arrivals() == 1);
}

BOOST_FIXTURE_TEST_CASE(posted_function_may_post_another, VirtualTime) {
    Log log;
    Gate gate;
    {
        Remote remote = executor.remote();
        remote.post([&log, &gate, remote]() mutable {
            log.note("first");
            remote.post([&log, &gate] {
                log.note("second");
                gate.open();
            });
        });
    }

    executor.run_until(pass(gate));

    BOOST_TEST(log.text() == "first second");
}

BOOST_FIXTURE_TEST_CASE(posted_function_may_start_a_task, VirtualTime) {
    std::optional<Running<void>> running;
    executor.remote().post([&] { running.emplace(executor.start(nothing())); });

    executor.turn();
    executor.run();

    BOOST_TEST_REQUIRE(running.has_value());
    BOOST_TEST(running->has_ended());
}

BOOST_FIXTURE_TEST_CASE(functions_of_any_size_that_only_move_can_be_posted, VirtualTime) {
    int sum = 0;
    auto pointer = std::make_unique<int>(1);
    std::array<int, 64> large{};
    large[63] = 2;
    std::function<void()> wrapped = [&] { sum += 4; };
    Counted counted;
    Remote remote = executor.remote();

    remote.post([&sum, pointer = std::move(pointer)] { sum += *pointer; });
    remote.post([&sum, large] { sum += large[63]; });
    remote.post(wrapped);
    remote.post([&sum, counted, large] { sum += 8 + large[0]; });
    remote.post([&sum, counted] { sum += 16; });
    executor.turn();

    BOOST_TEST(sum == 31);
    BOOST_TEST(Counted::live() == 1);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_FIXTURE_TEST_CASE(exception_of_a_posted_function_becomes_a_notice, VirtualTime) {
    bool next_has_run = false;
    Remote remote = executor.remote();
    remote.post([] { throw std::runtime_error("it failed"); });
    remote.post([] { throw 7; });
    remote.post([&] { next_has_run = true; });

    executor.turn();

    BOOST_TEST(next_has_run);
    BOOST_TEST_REQUIRE(notices.size() == 2u);
    BOOST_TEST(notices[0].find("it failed") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(post_after_the_executor_s_end_fails_with_closed_and_destroys_the_function) {
    std::optional<Executor> executor(std::in_place);
    Remote remote = executor->remote();
    Remote copy = remote;
    executor.reset();
    bool has_run = false;

    std::error_code code;
    try {
        remote.post([&has_run, counted = Counted()] { has_run = true; });
    } catch (const std::system_error& error) {
        code = error.code();
    }
    bool accepted = copy.try_post([&has_run, counted = Counted()] { has_run = true; });

    BOOST_TEST(code == errc::closed);
    BOOST_TEST(!accepted);
    BOOST_TEST(!has_run);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(what_was_posted_before_the_end_is_called) {
    int called = 0;
    {
        Executor executor;
        executor.run_until(nothing());
        for (int i = 0; i < 3; ++i)
            executor.remote().post([&called, counted = Counted()] { ++called; });
    }

    BOOST_TEST(called == 3);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(function_posted_by_the_last_functions_is_called_or_refused_but_never_lost) {
    int called = 0;
    bool was_accepted = false;
    {
        Executor executor;
        Remote remote = executor.remote();
        remote.post([&called, &was_accepted, remote]() mutable {
            was_accepted = remote.try_post([&called, counted = Counted()] { ++called; });
        });
    }

    BOOST_TEST(called == (was_accepted ? 1 : 0));
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(eight_threads_lose_nothing_and_each_keeps_its_order) {
    constexpr int threads = 8;
    constexpr int posts = is_sanitized ? 10'000 : 100'000;
    Executor executor;
    Gate gate;
    std::array<int, threads> next{};
    int ended = 0;
    bool in_order = true;
    std::vector<std::thread> posters;
    for (std::size_t number = 0; number < threads; ++number) {
        posters.emplace_back([&, number, remote = executor.remote()]() mutable {
            for (int i = 0; i < posts; ++i) {
                remote.post([&, number, i] {
                    in_order = in_order && next[number] == i;
                    ++next[number];
                });
            }
            remote.post([&] {
                if (++ended == threads) gate.open();
            });
        });
    }

    executor.run_until(pass(gate));

    for (std::thread& poster : posters)
        poster.join();
    BOOST_TEST(in_order);
    for (int count : next)
        BOOST_TEST(count == posts);
    BOOST_TEST(executor.stats().posted == static_cast<std::uint64_t>(threads) * (posts + 1));
}

// Each round finds the executor asleep, about to sleep, or just awake.
BOOST_AUTO_TEST_CASE(no_wake_up_is_lost_when_each_post_waits_for_the_one_before) {
    constexpr int rounds = is_sanitized ? 2'000 : 20'000;
    Executor executor;
    Gate gate;
    std::atomic<int> done = 0;
    std::thread other([&, remote = executor.remote()]() mutable {
        for (int i = 1; i <= rounds; ++i) {
            remote.post([&done, i] { done = i; });
            while (done != i)
                std::this_thread::yield();
        }
        remote.post([&] { gate.open(); });
    });

    executor.run_until(pass(gate));

    other.join();
    BOOST_TEST(done == rounds);
}

BOOST_AUTO_TEST_CASE(no_wake_up_is_lost_between_two_executors) {
    constexpr int rounds = is_sanitized ? 1'000 : 10'000;
    Executor here;
    Gate gate;
    std::atomic<Remote*> there_remote = nullptr;
    int count = 0;
    std::thread other([&] {
        Executor there;
        Gate over;
        Remote remote = there.remote();
        there_remote = &remote;
        // The gate's address is known to the other side through the last message.
        there.run_until([](Gate& g, Remote own, std::atomic<Remote*>& shared) -> Task<> {
            (void)own;
            while (shared.load() != nullptr)
                co_await sleep_for(100us);
            g.open();
            co_await g.pass();
        }(over, remote, there_remote));
    });
    while (there_remote == nullptr)
        std::this_thread::yield();
    Remote to_there = *there_remote.load();
    Remote to_here = here.remote();
    std::function<void()> ping = [&] {
        if (++count == rounds) return gate.open();
        to_there.post([&] { to_here.post([&] { ping(); }); });
    };
    to_here.post([&] { ping(); });

    here.run_until(pass(gate));

    there_remote = nullptr;
    other.join();
    BOOST_TEST(count == rounds);
}

BOOST_AUTO_TEST_CASE(posts_and_the_executor_s_end_may_race) {
    constexpr int rounds = is_sanitized ? 50 : 300;
    for (int round = 0; round < rounds; ++round) {
        std::atomic<int> accepted = 0;
        int called = 0;
        std::thread other;
        {
            Executor executor;
            other = std::thread([&, remote = executor.remote()]() mutable {
                while (remote.try_post([&called, counted = Counted()] { ++called; }))
                    ++accepted;
            });
            executor.run_until(nothing());
        }
        other.join();
        BOOST_TEST_REQUIRE(called == accepted);
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(another_thread_cancels_a_task_by_posting) {
    Executor executor;
    Log log;
    auto sleeper = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await sleep_for(1h);
    };
    Running<void> running = executor.start(sleeper());
    std::thread other([&, remote = executor.remote()]() mutable { remote.post([&] { running.cancel(); }); });

    executor.run();

    other.join();
    BOOST_TEST(log.text() == "task!");
}

// Eight threads start tasks, wake them, cancel them and drop them, as chance has it.
BOOST_AUTO_TEST_CASE(random_operations_of_eight_threads_lose_nothing) {
    constexpr int threads = 8;
    constexpr int operations = is_sanitized ? 2'000 : 20'000;
    constexpr std::size_t places = 16;
    Executor executor;
    std::array<Gate, places> gates;
    std::array<std::optional<Running<void>>, places> running;
    int started = 0;
    int ended = 0;
    int threads_ended = 0;
    Gate over;
    auto task = [&](std::size_t place, Counted) -> Task<> {
        struct Count {
            explicit Count(int& c) noexcept : count(c) {}
            Count(const Count&) = delete;
            ~Count() { ++count; }
            int& count;
        };
        Count at_end(ended);
        co_await gates[place].pass();
        co_await yield();
    };
    auto operate = [&](std::size_t place, unsigned choice) {
        std::optional<Running<void>>& here = running[place];
        if (choice == 0 && here) here->cancel();
        if (choice == 1 && gates[place].has_waiter()) gates[place].open();
        if (choice == 2 && here && here->has_ended()) here.reset();
        if (choice == 3 && !here && !gates[place].has_waiter()) {
            ++started;
            here.emplace(executor.start(task(place, Counted())));
        }
    };
    std::vector<std::thread> others;
    for (unsigned number = 0; number < threads; ++number) {
        others.emplace_back([&, number, remote = executor.remote()]() mutable {
            std::minstd_rand random(number + 1);
            for (int i = 0; i < operations; ++i) {
                std::size_t place = random() % places;
                unsigned choice = static_cast<unsigned>(random() % 4);
                remote.post([&operate, place, choice] { operate(place, choice); });
            }
            remote.post([&] {
                if (++threads_ended == threads) over.open();
            });
        });
    }

    executor.run_until(pass(over));
    for (std::thread& other : others)
        other.join();
    for (std::optional<Running<void>>& each : running)
        if (each) each->cancel();
    executor.run();
    // A task that ended by itself keeps its parameters until nobody can ask for its result.
    for (std::optional<Running<void>>& each : running)
        each.reset();

    BOOST_TEST(started > 0);
    // A task that was cancelled before it began has begun all the same, up to its first wait.
    BOOST_TEST(ended == started);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(remote_can_be_copied_and_dropped_on_any_thread) {
    Executor executor;
    std::vector<std::thread> others;
    for (int i = 0; i < 4; ++i) {
        others.emplace_back([remote = executor.remote()]() mutable {
            for (int round = 0; round < 1000; ++round) {
                Remote copy = remote;
                Remote moved = std::move(copy);
                remote = moved;
            }
        });
    }
    for (std::thread& other : others)
        other.join();

    BOOST_CHECK_NO_THROW(executor.run_until(nothing()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace remote_test
