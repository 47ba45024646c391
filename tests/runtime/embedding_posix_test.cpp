// SPDX-License-Identifier: BSL-1.0
// The executor driven by somebody else's loop through the queue's own handle: here poll(2) and nothing more.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/gate.hpp"
#include "support/stream_pair.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <optional>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace {

bool is_handle_readable(const Executor& executor, int timeout_milliseconds = 0) {
    pollfd handle{executor.poll_handle(), POLLIN, 0};
    return ::poll(&handle, 1, timeout_milliseconds) > 0;
}

int milliseconds_rounded_up(std::optional<Duration> timeout) {
    if (!timeout) return -1;
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(*timeout).count());
}

// Turns until there is nothing to do at once: the executor then counts as asleep.
void settle(Executor& executor) {
    while (executor.turn()) {
    }
    if (is_handle_readable(executor))
        while (executor.turn()) {
        }
}

// The foreign loop.
template <class Predicate>
void drive(Executor& executor, Predicate is_over) {
    for (;;) {
        bool has_more = executor.turn();
        if (is_over()) return;
        if (!has_more) is_handle_readable(executor, milliseconds_rounded_up(executor.next_timeout()));
    }
}

Task<> yield_often(int times) {
    for (int i = 0; i < times; ++i)
        co_await yield();
}

Task<> send_back(Source& source, int times) {
    std::array<std::byte, 64> buffer;
    for (int i = 0; i < times; ++i) {
        std::size_t received = co_await read_some(source, buffer);
        co_await WriteSome(source, std::span(buffer).first(received));
    }
}

Task<> send_and_expect(Source& source, int times) {
    std::array<std::byte, 64> buffer;
    for (int i = 0; i < times; ++i) {
        co_await write_some(source, "ping");
        std::size_t received = co_await read_some(source, buffer);
        BOOST_TEST(received == 4u);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(embedding_posix)

BOOST_AUTO_TEST_CASE(turn_counts_the_tasks_that_io_resumes_too) {
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

    bool has_more = executor.turn(2);

    BOOST_TEST(resumed == 2);
    BOOST_TEST(has_more);
    settle(executor);
    BOOST_TEST(resumed == 5);
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_the_host_starts_a_task) {
    Executor executor;
    settle(executor);
    BOOST_TEST(!is_handle_readable(executor));

    Running<void> running = executor.start(yield_often(1));

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_the_host_makes_a_task_ready) {
    Executor executor;
    Gate gate;
    auto waits = [&]() -> Task<> { co_await gate.pass(); };
    Running<void> running = executor.start(waits());
    settle(executor);
    BOOST_TEST(!is_handle_readable(executor));

    gate.open();

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_the_host_cancels_a_task) {
    Executor executor;
    Gate gate;
    auto waits = [&]() -> Task<> { co_await gate.pass(); };
    Running<void> running = executor.start(waits());
    settle(executor);

    running.cancel();

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_another_thread_posts) {
    Executor executor;
    settle(executor);
    bool has_come = false;

    std::thread([&, remote = executor.remote()]() mutable { remote.post([&] { has_come = true; }); }).join();

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(has_come);
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_the_host_posts) {
    Executor executor;
    settle(executor);
    bool has_come = false;

    executor.remote().post([&] { has_come = true; });

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(has_come);
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_a_source_does) {
    StreamPair pair;
    Executor executor;
    auto reader = [&]() -> Task<> { co_await readable(pair.left); };
    Running<void> running = executor.start(reader());
    settle(executor);
    BOOST_TEST(!is_handle_readable(executor));

    send_directly(pair.right, "x");

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(running.has_ended());
}

BOOST_AUTO_TEST_CASE(spurious_readiness_of_the_handle_ends_after_one_turn) {
    Executor executor;
    settle(executor);
    for (int i = 0; i < 3; ++i)
        executor.remote().post([] {});
    BOOST_TEST(is_handle_readable(executor));

    while (executor.turn()) {
    }

    if (is_handle_readable(executor)) executor.turn();
    BOOST_TEST(!is_handle_readable(executor));
}

BOOST_AUTO_TEST_CASE(handle_can_be_nested_in_another_queue) {
    StreamPair pair;
    Executor executor;
    auto reader = [&]() -> Task<> { co_await readable(pair.left); };
    Running<void> running = executor.start(reader());
    settle(executor);
    int outer = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    BOOST_TEST_REQUIRE(::epoll_ctl(outer, EPOLL_CTL_ADD, executor.poll_handle(), &event) == 0);
    BOOST_TEST(::epoll_wait(outer, &event, 1, 0) == 0);

    send_directly(pair.right, "x");

    BOOST_TEST(::epoll_wait(outer, &event, 1, 0) == 1);
    settle(executor);
    BOOST_TEST(running.has_ended());
    ::close(outer);
}

BOOST_AUTO_TEST_CASE(foreign_loop_carries_a_conversation) {
    StreamPair pair;
    Executor executor;
    Running<void> server = executor.start(send_back(pair.left, 100));
    Running<void> client = executor.start(send_and_expect(pair.right, 100));

    drive(executor, [&] { return server.has_ended() && client.has_ended(); });

    server.get();
    client.get();
}

BOOST_AUTO_TEST_CASE(foreign_loop_fires_timers_and_never_early) {
    Executor executor;
    auto sleeper = [&]() -> Task<> {
        for (int i = 0; i < 5; ++i) {
            TimePoint before = executor.now();
            co_await sleep_for(2ms);
            BOOST_TEST((executor.now() - before >= Duration(2ms)));
        }
    };
    Running<void> running = executor.start(sleeper());

    drive(executor, [&] { return running.has_ended(); });

    running.get();
}

// The handle is what a system call would make readable.
BOOST_AUTO_TEST_CASE(post_to_an_executor_that_is_awake_makes_no_system_call) {
    Executor executor;
    Remote remote = executor.remote();
    settle(executor);
    int called = 0;

    // Asleep since the end of `turn`: the first post wakes it, and is seen.
    remote.post([&called] { ++called; });
    BOOST_TEST(is_handle_readable(executor));
    bool was_readable = true;
    remote.post([&] {
        ++called;
        // Awake: it is in the midst of a turn.
        for (int i = 0; i < 3; ++i)
            remote.post([&called] { ++called; });
        was_readable = is_handle_readable(executor);
    });
    executor.turn();

    BOOST_TEST(!was_readable);
    while (executor.turn()) {
    }
    BOOST_TEST(called == 5);
}

BOOST_AUTO_TEST_CASE(foreign_loop_loses_no_wake_up) {
    Executor executor;
    int come = 0;
    constexpr int rounds = 2000;
    std::thread other([&, remote = executor.remote()]() mutable {
        for (int i = 0; i < rounds; ++i)
            remote.post([&] { ++come; });
    });

    drive(executor, [&] { return come == rounds; });

    other.join();
    BOOST_TEST(come == rounds);
}

BOOST_AUTO_TEST_SUITE_END()
