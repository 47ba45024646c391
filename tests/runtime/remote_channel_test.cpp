// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/remote_channel.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/other_thread.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace remote_channel_test {

namespace {

Task<> send_range(RemoteChannel<int>& channel, int first, int last) {
    for (int value = first; value < last; ++value)
        co_await channel.send(value);
}

Task<> receive_all(RemoteChannel<int>& channel, std::vector<int>& received) {
    for (;;) {
        std::optional<int> value = co_await channel.receive();
        if (!value) co_return;
        received.push_back(*value);
    }
}

bool is_in_order(const std::vector<int>& values, int count) {
    if (values.size() != static_cast<std::size_t>(count)) return false;
    for (int i = 0; i < count; ++i)
        if (values[static_cast<std::size_t>(i)] != i) return false;
    return true;
}

constexpr std::size_t capacities[] = {0, 1, 7};

}  // namespace

BOOST_AUTO_TEST_SUITE(remote_channel)

// ---- On one executor, as a Channel ----

BOOST_FIXTURE_TEST_CASE(values_arrive_in_the_order_of_sending_whatever_the_capacity, VirtualTime) {
    for (std::size_t capacity : capacities) {
        RemoteChannel<int> channel(capacity);
        std::vector<int> received;
        auto send = [&]() -> Task<> {
            co_await send_range(channel, 0, 300);
            channel.close();
        };
        run([&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(receive_all, std::ref(channel), std::ref(received));
                group.spawn(std::ref(send));
                co_return;
            };
            co_await task_group(body);
        });
        BOOST_TEST(is_in_order(received, 300));
    }
}

BOOST_FIXTURE_TEST_CASE(sender_waits_while_it_is_full_and_a_receiver_while_it_is_empty, VirtualTime) {
    RemoteChannel<int> channel(2);
    Running<void> sending = executor.start(send_range(channel, 0, 4));
    while (executor.turn()) {
    }
    BOOST_TEST(!sending.has_ended());
    BOOST_TEST(channel.size() == 2u);

    std::vector<int> received;
    Running<void> receiving = executor.start(receive_all(channel, received));
    while (executor.turn()) {
    }
    BOOST_TEST(sending.has_ended());
    BOOST_TEST(!receiving.has_ended());
    BOOST_TEST(is_in_order(received, 4));
    channel.close();
    executor.run();
    BOOST_TEST(receiving.has_ended());
}

BOOST_FIXTURE_TEST_CASE(first_come_first_served_on_both_sides, VirtualTime) {
    RemoteChannel<int> channel(0);
    Log log;
    auto receive = [&](std::string name) -> Task<> {
        std::optional<int> value = co_await channel.receive();
        log.note(name + std::to_string(*value));
    };
    auto send = [&](int value) -> Task<> { co_await channel.send(value); };
    std::vector<Running<void>> running;
    for (const char* name : {"a", "b", "c"})
        running.push_back(executor.start(receive(name)));
    while (executor.turn()) {
    }
    for (int value : {1, 2, 3})
        running.push_back(executor.start(send(value)));
    executor.run();
    for (int value : {4, 5, 6})
        running.push_back(executor.start(send(value)));
    while (executor.turn()) {
    }
    for (const char* name : {"d", "e", "f"})
        running.push_back(executor.start(receive(name)));
    executor.run();

    BOOST_TEST(log.text() == "a1 b2 c3 d4 e5 f6");
}

BOOST_FIXTURE_TEST_CASE(receive_that_is_awaited_again_gives_the_next_value_and_nothing_at_the_end,
                        VirtualTime) {
    run([&]() -> Task<> {
        for (bool waits : {false, true}) {
            RemoteChannel<std::string> channel(2);
            auto next = channel.receive();
            co_await channel.send("one");
            std::optional<std::string> one = co_await next;
            BOOST_TEST((one == "one"));
            auto close = [&]() -> Task<> {
                co_await yield();
                channel.close();
            };
            std::optional<Running<void>> closing;
            if (waits)
                closing.emplace(executor.start(close()));
            else
                channel.close();
            std::optional<std::string> none = co_await next;
            BOOST_TEST(!none.has_value());
        }
    });
}

BOOST_FIXTURE_TEST_CASE(close_tells_who_waits_and_leaves_what_was_sent, VirtualTime) {
    RemoteChannel<int> channel(1);
    Log log;
    auto send = [&](int value) -> Task<> {
        Result<void> sent = co_await as_result(channel.send(value));
        log.note(sent ? "sent" : "refused");
    };
    Running<void> first = executor.start(send(1));
    Running<void> second = executor.start(send(2));
    while (executor.turn()) {
    }
    channel.close();
    channel.close();
    executor.run();
    int three = 3;
    bool is_sent = channel.try_send(three);
    run([&]() -> Task<> {
        std::optional<int> value = co_await channel.receive();
        std::optional<int> end = co_await channel.receive();
        BOOST_TEST(value.value() == 1);
        BOOST_TEST(!end.has_value());
        std::error_code code;
        try {
            co_await channel.send(4);
        } catch (const std::system_error& error) {
            code = error.code();
        }
        BOOST_TEST(code == errc::closed);
    });

    BOOST_TEST(log.text() == "sent refused");
    BOOST_TEST(!is_sent);
    BOOST_TEST(channel.is_closed());
}

BOOST_FIXTURE_TEST_CASE(try_forms_leave_what_they_cannot_send, VirtualTime) {
    RemoteChannel<std::unique_ptr<int>> channel(1);
    auto one = std::make_unique<int>(1);
    auto two = std::make_unique<int>(2);

    BOOST_TEST(channel.try_send(one));
    BOOST_TEST(!channel.try_send(two));
    BOOST_TEST(*two == 2);
    std::optional<std::unique_ptr<int>> received = channel.try_receive();
    BOOST_TEST(**received == 1);
    BOOST_TEST(!channel.try_receive().has_value());
}

BOOST_FIXTURE_TEST_CASE(value_that_was_handed_over_wins_over_a_cancellation, VirtualTime) {
    RemoteChannel<int> channel(0);
    Log log;
    auto receive = [&]() -> Task<> {
        Guard guard(log, "receiver");
        std::optional<int> value = co_await channel.receive();
        log.note(std::to_string(*value));
        co_await yield();
        log.note("resumed");
    };
    Running<void> receiving = executor.start(receive());
    while (executor.turn()) {
    }
    int value = 7;
    BOOST_TEST(channel.try_send(value));
    receiving.cancel();
    executor.run();

    BOOST_TEST(log.text() == "7 receiver!");
}

BOOST_FIXTURE_TEST_CASE(cancelled_waiters_take_and_send_nothing, VirtualTime) {
    RemoteChannel<Counted> channel(0);
    auto receive = [&]() -> Task<> { co_await channel.receive(); };
    auto send = [&]() -> Task<> { co_await channel.send(Counted(1)); };
    Running<void> receiving = executor.start(receive());
    while (executor.turn()) {
    }
    receiving.cancel();
    executor.run();
    Counted value(2);
    BOOST_TEST(!channel.try_send(value));
    Running<void> sending = executor.start(send());
    while (executor.turn()) {
    }
    sending.cancel();
    executor.run();

    BOOST_TEST(!channel.try_receive().has_value());
    BOOST_TEST(Counted::live() == 1);
}

BOOST_FIXTURE_TEST_CASE(values_that_nobody_received_go_with_the_channel, VirtualTime) {
    {
        RemoteChannel<Counted> channel(3);
        Counted value;
        BOOST_TEST(channel.try_send(value));
        BOOST_TEST(channel.try_send(value));
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(waits_can_be_cancelled_everywhere) {
    sweep_all_endings([]() -> Task<> {
        RemoteChannel<Counted> channel(1);
        auto body = [&](TaskGroup& group) -> Task<> {
            auto send = [&]() -> Task<> {
                for (int i = 0; i < 4; ++i)
                    co_await channel.send(Counted(i));
                channel.close();
            };
            group.spawn(send);
            for (;;) {
                std::optional<Counted> value = co_await channel.receive();
                if (!value) co_return;
            }
        };
        co_await task_group(body);
    });
}

// ---- Between threads ----

BOOST_AUTO_TEST_CASE(values_go_from_one_executor_to_another_in_order) {
    constexpr int count = is_sanitized ? 2'000 : 20'000;
    for (std::size_t capacity : capacities) {
        OtherThread there;
        RemoteChannel<int> channel(capacity);
        std::vector<int> received;
        Executor here;
        auto both = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                auto receive = [&]() -> Task<> {
                    co_await there.remote().call(receive_all, std::ref(channel), std::ref(received));
                };
                group.spawn(receive);
                co_await send_range(channel, 0, count);
                channel.close();
            };
            co_await task_group(body);
        };
        here.run_until(both());
        BOOST_TEST(is_in_order(received, count));
    }
}

BOOST_AUTO_TEST_CASE(thread_and_executor_may_be_either_end) {
    constexpr int count = is_sanitized ? 2'000 : 20'000;
    for (std::size_t capacity : capacities) {
        RemoteChannel<int> to_thread(capacity);
        RemoteChannel<int> back(capacity);
        std::thread thread([&] {
            while (std::optional<int> value = to_thread.blocking_receive())
                back.blocking_send(*value);
            back.close();
        });
        std::vector<int> received;
        auto both = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(receive_all, std::ref(back), std::ref(received));
                co_await send_range(to_thread, 0, count);
                to_thread.close();
            };
            co_await task_group(body);
        };
        leat::run(both());
        thread.join();
        BOOST_TEST(is_in_order(received, count));
    }
}

BOOST_AUTO_TEST_CASE(close_ends_threads_that_wait) {
    RemoteChannel<int> full(0);
    std::atomic<int> refused = 0;
    std::atomic<int> ended = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            try {
                full.blocking_send(1);
            } catch (const std::system_error& error) {
                if (error.code() == errc::closed) ++refused;
            }
        });
    }
    RemoteChannel<int> empty(1);
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            if (!empty.blocking_receive()) ++ended;
        });

    full.close();
    empty.close();

    for (std::thread& thread : threads)
        thread.join();
    BOOST_TEST(refused == 3);
    BOOST_TEST(ended == 3);
}

// Nobody's wake-up may be lost: each value is sent once the one before has come back.
BOOST_AUTO_TEST_CASE(no_wake_up_is_lost_between_two_executors) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 1'000 : 10'000);
    OtherThread there;
    RemoteChannel<std::size_t> ping(0);
    RemoteChannel<std::size_t> pong(1);
    Executor here;
    std::size_t done = 0;
    auto echo = [&]() -> Task<> {
        for (;;) {
            std::optional<std::size_t> value = co_await ping.receive();
            if (!value) co_return;
            co_await pong.send(*value);
        }
    };
    auto all = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto echo_there = [&]() -> Task<> { co_await there.remote().call(echo); };
            group.spawn(echo_there);
            for (; done < rounds; ++done) {
                co_await ping.send(done);
                std::optional<std::size_t> value = co_await pong.receive();
                if (value != done) BOOST_TEST_REQUIRE(value.value() == done);
            }
            ping.close();
        };
        co_await task_group(body);
    };

    here.run_until(all());

    BOOST_TEST(done == rounds);
}

// Two executors and two threads send and receive; tasks give up at chance. Every value is either received once, or was kept by
// its sender.
BOOST_AUTO_TEST_CASE(cancellations_of_both_sides_lose_no_value) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 500 : 5'000);
    for (std::size_t capacity : capacities) {
        OtherThread there;
        RemoteChannel<Counted> channel(capacity);
        std::atomic<std::size_t> sent = 0;
        std::atomic<std::size_t> received = 0;
        auto send = [&](unsigned seed) -> Task<> {
            std::minstd_rand random(seed);
            for (std::size_t i = 0; i < rounds; ++i) {
                Duration limit = std::chrono::microseconds(random() % 20);
                bool is_sent = co_await try_timeout(limit, channel.send(Counted(1)));
                if (is_sent) ++sent;
            }
        };
        std::atomic<bool> is_over = false;
        auto receive = [&](unsigned seed) -> Task<> {
            std::minstd_rand random(seed);
            while (!is_over) {
                Duration limit = std::chrono::microseconds(random() % 20);
                std::optional<std::optional<Counted>> value = co_await try_timeout(limit, channel.receive());
                if (value && *value) ++received;
            }
        };
        std::thread sending_thread([&] {
            for (std::size_t i = 0; i < rounds; ++i) {
                channel.blocking_send(Counted(2));
                ++sent;
            }
        });
        std::thread receiving_thread([&] {
            while (channel.blocking_receive())
                ++received;
        });
        Executor here;
        auto all = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                auto there_too = [&]() -> Task<> { co_await there.remote().call(receive, 3u); };
                group.spawn(there_too);
                group.spawn(std::ref(receive), 4u);
                auto senders = [&](TaskGroup& inner) -> Task<> {
                    auto send_there = [&]() -> Task<> { co_await there.remote().call(send, 1u); };
                    inner.spawn(send_there);
                    inner.spawn(std::ref(send), 2u);
                    co_return;
                };
                co_await task_group(senders);
                is_over = true;
            };
            co_await task_group(body);
        };
        here.run_until(all());
        sending_thread.join();
        channel.close();
        receiving_thread.join();

        BOOST_TEST(sent == received);
        BOOST_TEST(Counted::live() == 0);
        BOOST_TEST(Counted::misused() == 0);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace remote_channel_test
