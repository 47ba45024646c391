// SPDX-License-Identifier: BSL-1.0
// The executor driven by somebody else's loop through the queue's own handle: here poll(2) and nothing more.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/gate.hpp"
#include "support/stream_pair.hpp"
#include "support/stress.hpp"
#include "support/system.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace embedding_posix_test {

namespace {

bool is_handle_readable(Executor& executor, int timeout_milliseconds = 0) {
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

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_a_thread_posts_before_the_first_turn) {
    Executor executor;
    bool is_called = false;
    is_handle_readable(executor);

    std::thread([&, remote = executor.remote()]() mutable { remote.post([&] { is_called = true; }); }).join();

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(is_called);
    BOOST_TEST(!is_handle_readable(executor));
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_a_thread_posts_after_a_run) {
    Executor executor;
    bool is_called = false;
    settle(executor);
    executor.run_until(yield_often(3));
    settle(executor);
    executor.run_until(yield_often(3));

    std::thread([&, remote = executor.remote()]() mutable { remote.post([&] { is_called = true; }); }).join();

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(is_called);
}

BOOST_AUTO_TEST_CASE(handle_becomes_readable_when_a_source_does_after_a_run) {
    StreamPair pair;
    Executor executor;
    bool has_read = false;
    auto read = [&]() -> Task<> {
        std::array<std::byte, 8> buffer;
        co_await read_some(pair.left, buffer);
        has_read = true;
    };
    settle(executor);
    Running<void> reading = executor.start(read());
    executor.run_until(yield_often(3));

    send_directly(pair.right, "x");

    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(has_read);
}

BOOST_AUTO_TEST_CASE(handle_is_readable_after_a_run_that_left_something_to_do) {
    Executor executor;
    settle(executor);
    Running<void> longer = executor.start(yield_often(5000));

    executor.run_until(yield_often(1));

    BOOST_TEST(!longer.has_ended());
    BOOST_TEST(is_handle_readable(executor));
    settle(executor);
    BOOST_TEST(longer.has_ended());
}

BOOST_AUTO_TEST_CASE(handle_is_refused_to_another_thread_by_its_own_name) {
    Executor executor;
    settle(executor);
    std::error_code refusal;

    std::thread([&] {
        try {
            executor.poll_handle();
        } catch (const std::system_error& error) {
            refusal = error.code();
        }
    }).join();

    BOOST_TEST((refusal == errc::busy));
}

BOOST_AUTO_TEST_CASE(edge_triggered_host_misses_nothing) {
    StreamPair pair;
    Executor executor;
    OwnedHandle set(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event interest{};
    interest.events = EPOLLIN | EPOLLET;
    BOOST_TEST_REQUIRE(::epoll_ctl(set.get(), EPOLL_CTL_ADD, executor.poll_handle(), &interest) == 0);
    int seen = 0;
    auto read = [&]() -> Task<> {
        for (;;) {
            std::array<std::byte, 8> buffer;
            co_await read_some(pair.left, buffer);
            ++seen;
        }
    };
    Running<void> reading = executor.start(read());
    auto host = [&](int wanted) {
        epoll_event event{};
        while (seen != wanted) {
            BOOST_TEST_REQUIRE(::epoll_wait(set.get(), &event, 1, 10'000) == 1);
            while (executor.turn()) {
            }
        }
    };

    for (int round = 1; round <= 300; ++round) {
        if (round % 3 == 0)
            send_directly(pair.right, "x");
        else if (round % 3 == 1)
            std::thread([&, remote = executor.remote()]() mutable { remote.post([&] { ++seen; }); }).join();
        else
            executor.remote().post([&] { ++seen; });
        host(round);
    }

    BOOST_TEST(seen == 300);
}

namespace {

/// A host that does at random whatever a host may do, and looks after each step whether the executor says
/// truly if there is work.
class RandomHost {
public:
    explicit RandomHost(unsigned seed) : random_(seed) {}

    void step() {
        switch (below(9)) {
        case 0:
            running_.push_back(executor_.start(yield_often(below(5))));
            break;
        case 1:
            running_.push_back(executor_.start(read_once(links_[random_.below(links_.size())])));
            break;
        case 2:
            running_.push_back(executor_.start(doze(std::chrono::microseconds(below(50)))));
            break;
        case 3:
            if (!running_.empty()) running_[at_random()].cancel();
            break;
        case 4:
            if (!running_.empty())
                running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(at_random()));
            break;
        case 5:
            executor_.remote().post([] {});
            break;
        case 6:
            std::thread([remote = executor_.remote()]() mutable { remote.post([] {}); }).join();
            break;
        case 7:
            send_directly(links_[random_.below(links_.size())].pair.right, "x");
            break;
        case 8:
            executor_.run_until(yield_often(below(4)));
            break;
        }
        if (below(2) == 0) executor_.turn(static_cast<std::size_t>(1 + below(3)));
        check();
    }

    void end() {
        for (Running<void>& running : running_)
            running.cancel();
        settle(executor_);
        BOOST_TEST(executor_.poll_timeout() == -1);
        BOOST_TEST(!is_handle_readable(executor_));
    }

private:
    struct Link {
        StreamPair pair;
        bool is_read = false;
    };

    static Task<> doze(Duration length) { co_await sleep_for(length); }
    static Task<> read_once(Link& link) {
        if (std::exchange(link.is_read, true)) co_return;
        struct End {
            Link& link;
            explicit End(Link& its_link) : link(its_link) {}
            ~End() { link.is_read = false; }
        };
        End end(link);
        std::array<std::byte, 4> buffer;
        co_await read_some(link.pair.left, buffer);
    }

    int below(std::size_t limit) { return static_cast<int>(random_.below(limit)); }
    std::size_t at_random() { return random_.below(running_.size()); }

    std::uint64_t done() const {
        const ExecutorStats& stats = executor_.stats();
        return stats.resumes + stats.unwound_frames + stats.posted + stats.timers_fired;
    }

    void check() {
        const bool says_so = executor_.poll_timeout() == 0 || is_handle_readable(executor_);
        const std::uint64_t before = done();
        const bool has_more = executor_.turn(1);
        const bool has_done = done() != before;
        if (!says_so && has_done) {
            // A timer may have become due in between.
            BOOST_TEST(executor_.stats().timers_fired != timers_fired_);
        }
        timers_fired_ = executor_.stats().timers_fired;
        if (says_so && !has_done && !has_more) BOOST_TEST(!is_handle_readable(executor_));
    }

    Random random_;
    std::array<Link, 3> links_;
    Executor executor_;
    std::vector<Running<void>> running_;
    std::uint64_t timers_fired_ = 0;
};

}  // namespace

BOOST_AUTO_TEST_CASE(random_host_is_woken_if_and_only_if_there_is_work) {
    for (unsigned seed = 1; seed <= 40; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            RandomHost host(seed);
            for (int i = 0; i < 60; ++i)
                host.step();
            host.end();
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace embedding_posix_test
