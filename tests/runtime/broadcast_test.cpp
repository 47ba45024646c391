// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace broadcast_test {

namespace {

// Notes "name:value", or "name:value(missed)", and "name." at the end.
Task<> listen(BroadcastSubscriber<int> subscriber, Log& log, std::string name) {
    for (;;) {
        std::optional<BroadcastItem<int>> item = co_await subscriber.receive();
        if (!item) break;
        std::string word = name + ":" + std::to_string(item->value);
        if (item->missed != 0) word += "(" + std::to_string(item->missed) + ")";
        log.note(word);
    }
    log.note(name + ".");
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

// Cannot be copied when it says so.
class Fragile {
public:
    explicit Fragile(bool& breaks) noexcept : breaks_(&breaks) {}
    Fragile(Fragile&&) noexcept = default;
    Fragile(const Fragile& other) : breaks_(other.breaks_) {
        if (*breaks_) throw std::runtime_error("it breaks");
    }

private:
    bool* breaks_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(broadcast)

BOOST_FIXTURE_TEST_CASE(each_subscriber_sees_each_value_since_it_subscribed, VirtualTime) {
    Broadcast<int> broadcast(4);
    Log log;
    broadcast.send(1);
    Running<void> first = executor.start(listen(broadcast.subscribe(), log, "a"));
    broadcast.send(2);
    settle(executor);
    Running<void> second = executor.start(listen(broadcast.subscribe(), log, "b"));
    settle(executor);
    broadcast.send(3);
    settle(executor);
    broadcast.close();
    broadcast.close();
    executor.run();

    BOOST_TEST(log.text() == "a:2 a:3 b:3 a. b.");
}

BOOST_FIXTURE_TEST_CASE(slow_subscriber_is_told_how_many_it_has_missed, VirtualTime) {
    Broadcast<int> broadcast(2);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    for (int i = 0; i < 5; ++i)
        broadcast.send(i);
    BOOST_TEST(subscriber.pending() == 5u);

    std::optional<BroadcastItem<int>> first = subscriber.try_receive();
    std::optional<BroadcastItem<int>> second = subscriber.try_receive();
    std::optional<BroadcastItem<int>> third = subscriber.try_receive();

    BOOST_TEST_REQUIRE(first.has_value());
    BOOST_TEST(first->value == 3);
    BOOST_TEST(first->missed == 3u);
    BOOST_TEST_REQUIRE(second.has_value());
    BOOST_TEST(second->value == 4);
    BOOST_TEST(second->missed == 0u);
    BOOST_TEST(!third.has_value());
}

BOOST_FIXTURE_TEST_CASE(slow_subscriber_holds_up_neither_the_sender_nor_the_others, VirtualTime) {
    Broadcast<int> broadcast(1);
    Log log;
    BroadcastSubscriber<int> slow = broadcast.subscribe();
    Running<void> quick = executor.start(listen(broadcast.subscribe(), log, "q"));
    for (int i = 0; i < 3; ++i) {
        settle(executor);
        broadcast.send(i);
    }
    broadcast.close();
    executor.run();

    BOOST_TEST(log.text() == "q:0 q:1 q:2 q.");
    BOOST_TEST(slow.try_receive()->missed == 2u);
}

BOOST_FIXTURE_TEST_CASE(what_is_pushed_out_before_a_woken_subscriber_goes_on_is_told_too, VirtualTime) {
    Broadcast<int> broadcast(2);
    Log log;
    Running<void> listening = executor.start(listen(broadcast.subscribe(), log, "a"));
    settle(executor);

    for (int i = 0; i < 5; ++i)
        broadcast.send(i);
    broadcast.close();
    executor.run();

    BOOST_TEST(log.text() == "a:3(3) a:4 a.");
}

BOOST_FIXTURE_TEST_CASE(closing_leaves_what_was_sent_and_refuses_more, VirtualTime) {
    Broadcast<int> broadcast(4);
    Log log;
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    broadcast.send(1);
    broadcast.close();

    BOOST_CHECK_EXCEPTION(broadcast.send(2), std::system_error,
                          [](const std::system_error& error) { return error.code() == errc::closed; });
    executor.run_until(listen(std::move(subscriber), log, "a"));
    executor.run_until(listen(broadcast.subscribe(), log, "b"));

    BOOST_TEST(log.text() == "a:1 a. b.");
}

BOOST_FIXTURE_TEST_CASE(value_that_waits_is_no_suspension, VirtualTime) {
    Broadcast<int> broadcast(4);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    broadcast.send(1);
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        std::optional<BroadcastItem<int>> item = co_await subscriber.receive();

        BOOST_TEST(item->value == 1);
        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(nothing_is_kept_without_subscribers, VirtualTime) {
    Broadcast<Counted> broadcast(4);
    broadcast.send(Counted(1));
    BOOST_TEST(Counted::live() == 0);
    {
        BroadcastSubscriber<Counted> first = broadcast.subscribe();
        BroadcastSubscriber<Counted> second = broadcast.subscribe();
        for (int i = 0; i < 6; ++i)
            broadcast.send(Counted(i));
        BOOST_TEST(Counted::live() == 4);
        first.unsubscribe();
        first.unsubscribe();
        BOOST_TEST(Counted::live() == 4);
    }
    BOOST_TEST(Counted::live() == 0);
    BroadcastSubscriber<Counted> later = broadcast.subscribe();
    BOOST_TEST(!later.try_receive().has_value());
    broadcast.send(Counted(7));
    std::optional<BroadcastItem<Counted>> item = later.try_receive();
    BOOST_TEST(item->value.value() == 7);
    BOOST_TEST(item->missed == 0u);
}

BOOST_FIXTURE_TEST_CASE(subscriber_can_be_moved, VirtualTime) {
    Broadcast<int> broadcast(4);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    broadcast.send(1);
    BroadcastSubscriber<int> moved = std::move(subscriber);
    BroadcastSubscriber<int> other = broadcast.subscribe();
    other = std::move(moved);
    BOOST_TEST(broadcast.subscribers() == 1u);

    BOOST_TEST(other.try_receive()->value == 1);
}

BOOST_FIXTURE_TEST_CASE(receive_may_have_a_deadline_and_a_result, VirtualTime) {
    Broadcast<int> broadcast(4);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    run([&]() -> Task<> {
        std::optional<std::optional<BroadcastItem<int>>> late =
            co_await try_timeout(1s, subscriber.receive());
        Result<std::optional<BroadcastItem<int>>> later =
            co_await as_result(timeout(1s, subscriber.receive()));
        BOOST_TEST(!late.has_value());
        BOOST_TEST((!later && later.error() == errc::deadline_exceeded));
        broadcast.send(7);
        Result<std::optional<BroadcastItem<int>>> now = co_await as_result(subscriber.receive());
        BOOST_TEST((now && (*now)->value == 7));
    });
}

BOOST_FIXTURE_TEST_CASE(second_task_that_waits_with_one_subscriber_is_told_so, VirtualTime) {
    Broadcast<int> broadcast(4);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    Log log;
    auto receive = [&]() -> Task<> {
        Result<std::optional<BroadcastItem<int>>> item = co_await as_result(subscriber.receive());
        log.note(item ? std::to_string((*item)->value) : item.error() == errc::busy ? "busy" : "else");
    };
    Running<void> first = executor.start(receive());
    Running<void> second = executor.start(receive());
    settle(executor);
    broadcast.send(7);
    // It is the first one's.
    BOOST_TEST(!subscriber.try_receive().has_value());
    executor.run();

    BOOST_TEST(log.text() == "busy 7");
}

BOOST_FIXTURE_TEST_CASE(receive_that_is_cancelled_leaves_the_value_for_the_next, VirtualTime) {
    Broadcast<int> broadcast(4);
    BroadcastSubscriber<int> subscriber = broadcast.subscribe();
    auto receive = [&]() -> Task<> { co_await subscriber.receive(); };
    Running<void> receiving = executor.start(receive());
    settle(executor);
    receiving.cancel();
    executor.run();
    broadcast.send(7);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await subscriber.receive();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(subscriber.try_receive()->value == 7);
}

BOOST_FIXTURE_TEST_CASE(value_that_cannot_be_copied_is_still_there, VirtualTime) {
    Broadcast<Fragile> broadcast(2);
    BroadcastSubscriber<Fragile> subscriber = broadcast.subscribe();
    bool breaks = true;
    broadcast.send(Fragile(breaks));
    run([&]() -> Task<> {
        Outcome<std::optional<BroadcastItem<Fragile>>> first = co_await as_outcome(subscriber.receive());
        BOOST_TEST(!first.has_value());
        BOOST_TEST(subscriber.pending() == 1u);
        breaks = false;
        std::optional<BroadcastItem<Fragile>> second = co_await subscriber.receive();
        BOOST_TEST(second.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(dump_tells_what_is_waited_for, VirtualTime) {
    Broadcast<int> broadcast(2);
    Log log;
    Running<void> listening = executor.start(listen(broadcast.subscribe(), log, "a"));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("a broadcast's next value") != std::string::npos);
    listening.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(sending_and_receiving_allocate_nothing, VirtualTime) {
    Broadcast<int> broadcast(4);
    std::size_t allocations = 1;
    auto receive = [&](BroadcastSubscriber<int> subscriber) -> Task<> {
        for (bool is_open = true; is_open;) {
            std::optional<BroadcastItem<int>> item = co_await subscriber.receive();
            is_open = item.has_value();
        }
    };
    auto send = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i) {
            broadcast.send(i);
            if (i % 3 == 0) co_await yield();
        }
        allocations = allocations_made() - before;
        broadcast.close();
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(receive), broadcast.subscribe());
            group.spawn(std::ref(receive), broadcast.subscribe());
            group.spawn(std::ref(send));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(receive_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Broadcast<Counted> broadcast(2);
        auto receive = [](BroadcastSubscriber<Counted> subscriber) -> Task<> {
            for (bool is_open = true; is_open;) {
                std::optional<BroadcastItem<Counted>> item = co_await subscriber.receive();
                is_open = item.has_value();
            }
        };
        auto send = [&]() -> Task<> {
            for (int i = 0; i < 6; ++i) {
                broadcast.send(Counted(i));
                if (i % 3 == 0) co_await sleep_for(1s);
            }
            broadcast.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(receive, broadcast.subscribe());
            group.spawn(receive, broadcast.subscribe());
            group.spawn(std::ref(send));
            co_return;
        };
        co_await task_group(body);
    });
}

// What a subscriber has seen and what it was told to have missed are all that was sent, in order.
BOOST_FIXTURE_TEST_CASE(random_subscribers_account_for_every_value, VirtualTime) {
    Broadcast<std::uint64_t> broadcast(5);
    Random random(7);
    const std::size_t total = stress_iterations(20'000);
    std::size_t unaccounted = 0;
    std::uint64_t missed = 0;
    std::uint64_t sent = 0;
    auto listener = [&](std::size_t slowness) -> Task<> {
        for (bool is_over = false; !is_over;) {
            // Joins and leaves now and then.
            BroadcastSubscriber<std::uint64_t> subscriber = broadcast.subscribe();
            std::uint64_t next = sent;
            for (bool stays = true; stays; stays = !random.once_in(100)) {
                std::optional<std::optional<BroadcastItem<std::uint64_t>>> item =
                    co_await try_timeout(random.below(4) * 1ms, subscriber.receive());
                if (!item) continue;
                is_over = !item->has_value();
                if (is_over) {
                    unaccounted += next != sent;
                    break;
                }
                unaccounted += (*item)->value != next + (*item)->missed;
                next = (*item)->value + 1;
                missed += (*item)->missed;
                if (random.once_in(3)) co_await sleep_for(random.below(slowness) * 1ms);
            }
        }
    };
    auto sender = [&]() -> Task<> {
        while (sent != total) {
            broadcast.send(sent);
            ++sent;
            if (random.once_in(2)) co_await sleep_for(random.below(3) * 1ms);
        }
        broadcast.close();
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < 5; ++i)
                group.spawn(std::ref(listener), 4 * i + 1);
            group.spawn(std::ref(sender));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(unaccounted == 0u);
    BOOST_TEST(missed > 0u);
    BOOST_TEST(broadcast.subscribers() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace broadcast_test
