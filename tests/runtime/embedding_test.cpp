// SPDX-License-Identifier: BSL-1.0
// The executor driven by somebody else, who only turns it: the queue's own handle is in embedding_posix_test.cpp.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/gate.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace embedding_test {

namespace {

// Turns until there is nothing to do at once: the executor then counts as asleep.
void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

// A host that does nothing else.
template <class Predicate>
void turn_until(Executor& executor, Predicate is_over) {
    while (!is_over())
        if (!executor.turn()) std::this_thread::yield();
}

Task<> yield_often(int times) {
    for (int i = 0; i < times; ++i)
        co_await yield();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(embedding)

BOOST_AUTO_TEST_CASE(turn_with_nothing_to_do_returns_at_once) {
    Executor executor;

    BOOST_TEST(!executor.turn());
    BOOST_TEST(!executor.turn());
}

BOOST_AUTO_TEST_CASE(turn_resumes_at_most_its_budget) {
    Executor executor;
    Running<void> running = executor.start(yield_often(100));

    bool has_more = executor.turn(10);

    BOOST_TEST(has_more);
    BOOST_TEST(executor.stats().resumes <= 10u);
    BOOST_TEST(executor.stats().resumes > 0u);
}

BOOST_AUTO_TEST_CASE(turn_resumes_at_most_its_budget_of_tasks_that_wait_for_io) {
    std::array<StreamPair, 5> pairs;
    Executor executor;
    int resumed = 0;
    auto reader = [&](Source& source) -> Task<> {
        co_await readable(source);
        ++resumed;
    };
    std::vector<Running<void>> readers;
    for (StreamPair& pair : pairs)
        readers.push_back(executor.start(reader(pair.left)));
    settle(executor);
    for (StreamPair& pair : pairs)
        send_directly(pair.right, "x");

    for (int before = 0; resumed < 5; before = resumed) {
        executor.turn(2);
        BOOST_TEST_REQUIRE(resumed - before <= 2);
    }
}

BOOST_AUTO_TEST_CASE(smallest_budget_serves_io_and_ready_tasks_alike) {
    StreamPair pair;
    Executor executor;
    bool is_over = false;
    int ready_turns = 0;
    int io_turns = 0;
    auto yielder = [&]() -> Task<> {
        while (!is_over) {
            co_await yield();
            ++ready_turns;
        }
    };
    auto reader = [&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        while (!is_over) {
            co_await read_some(pair.left, buffer);
            send_directly(pair.right, "x");
            ++io_turns;
        }
    };
    Running<void> yielding = executor.start(yielder());
    Running<void> reading = executor.start(reader());
    for (int i = 0; i < 10; ++i)
        executor.turn(1);
    send_directly(pair.right, "x");

    for (int i = 0; i < 1000; ++i)
        executor.turn(1);
    is_over = true;

    BOOST_TEST(ready_turns >= 100);
    BOOST_TEST(io_turns >= 100);
}

BOOST_AUTO_TEST_CASE(turn_says_when_there_is_more_to_do_at_once) {
    Executor executor;
    Gate gate;
    auto waits = [&]() -> Task<> { co_await gate.pass(); };
    Running<void> first = executor.start(waits());
    Running<void> second = executor.start(yield_often(2));

    int turns = 0;
    while (executor.turn(1) && turns < 100)
        ++turns;

    BOOST_TEST(turns < 100);
    BOOST_TEST(second.has_ended());
    BOOST_TEST(!first.has_ended());
}

BOOST_AUTO_TEST_CASE(next_timeout_is_zero_while_there_is_work) {
    Executor executor;
    Running<void> running = executor.start(yield_often(1000));

    executor.turn(1);

    BOOST_TEST_REQUIRE(executor.next_timeout().has_value());
    BOOST_TEST((*executor.next_timeout() == Duration::zero()));
}

BOOST_AUTO_TEST_CASE(next_timeout_is_nothing_if_only_an_event_can_bring_work) {
    StreamPair pair;
    Executor executor;
    auto reader = [&]() -> Task<> { co_await readable(pair.left); };
    Running<void> running = executor.start(reader());

    settle(executor);

    BOOST_TEST(!executor.next_timeout().has_value());
}

BOOST_FIXTURE_TEST_CASE(next_timeout_is_what_is_left_until_the_first_deadline, VirtualTime) {
    auto sleeper = [](Duration duration) -> Task<> { co_await sleep_for(duration); };
    Running<void> longer = executor.start(sleeper(5s));
    Running<void> shorter = executor.start(sleeper(3s));

    settle(executor);
    std::optional<Duration> at_first = executor.next_timeout();
    clock.advance(1s);
    std::optional<Duration> later = executor.next_timeout();

    // An earlier instant is allowed: the wheel then sorts a crowded slot.
    BOOST_TEST_REQUIRE(at_first.has_value());
    BOOST_TEST((*at_first > Duration::zero() && *at_first <= Duration(3s)));
    BOOST_TEST_REQUIRE(later.has_value());
    BOOST_TEST((*later <= Duration(2s)));
}

BOOST_FIXTURE_TEST_CASE(turn_does_not_move_a_virtual_clock, VirtualTime) {
    auto sleeper = []() -> Task<> { co_await sleep_for(1s); };
    Running<void> running = executor.start(sleeper());

    settle(executor);
    settle(executor);
    Duration before = elapsed();
    clock.advance(1s);
    settle(executor);

    BOOST_TEST((before == Duration::zero()));
    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_CASE(host_that_only_turns_fires_timers_and_never_early) {
    Executor executor;
    auto sleeper = [&]() -> Task<> {
        for (int i = 0; i < 5; ++i) {
            TimePoint before = executor.now();
            co_await sleep_for(2ms);
            BOOST_TEST((executor.now() - before >= Duration(2ms)));
        }
    };
    Running<void> running = executor.start(sleeper());

    turn_until(executor, [&] { return running.has_ended(); });

    running.get();
}

BOOST_AUTO_TEST_CASE(host_that_only_turns_misses_no_post) {
    Executor executor;
    int come = 0;
    constexpr int rounds = 2000;
    std::thread other([&, remote = executor.remote()]() mutable {
        for (int i = 0; i < rounds; ++i)
            remote.post([&] { ++come; });
    });

    turn_until(executor, [&] { return come == rounds; });

    other.join();
    BOOST_TEST(come == rounds);
}

BOOST_AUTO_TEST_CASE(handle_of_the_queue_is_there_or_not_supported) {
    Executor executor;
    NativeHandle handle = invalid_handle;
    std::error_code code;
    try {
        handle = executor.poll_handle();
    } catch (const std::system_error& error) {
        code = error.code();
    }

    BOOST_TEST((handle == invalid_handle) == (code == std::errc::operation_not_supported));
    BOOST_TEST((handle == invalid_handle) == static_cast<bool>(code));
}

BOOST_AUTO_TEST_CASE(turn_and_run_until_can_take_turns) {
    Executor executor;
    Running<void> running = executor.start(yield_often(3));

    executor.turn(1);
    executor.run_until(yield_often(10));
    settle(executor);

    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace embedding_test
