// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace channel_test {

namespace {

Task<> send_range(Channel<int>& channel, int first, int last) {
    for (int value = first; value < last; ++value)
        co_await channel.send(value);
}

Task<> receive_all(Channel<int>& channel, std::vector<int>& received) {
    for (;;) {
        std::optional<int> value = co_await channel.receive();
        if (!value) co_return;
        received.push_back(*value);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(channel)

BOOST_FIXTURE_TEST_CASE(value_that_gives_no_address_arrives, VirtualTime) {
    struct Shy {
        explicit Shy(int v) noexcept : value(v) {}
        void operator&() const = delete;
        int value;
    };
    run([&]() -> Task<> {
        Channel<Shy> channel(1);
        co_await channel.send(Shy(7));
        std::optional<Shy> received = co_await channel.receive();
        BOOST_TEST(received->value == 7);
    });
}

BOOST_FIXTURE_TEST_CASE(values_arrive_in_the_order_of_sending_whatever_the_capacity, VirtualTime) {
    for (std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
        Channel<int> channel(capacity);
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

        BOOST_TEST_REQUIRE(received.size() == 300u);
        for (int i = 0; i < 300; ++i)
            BOOST_TEST(received[static_cast<std::size_t>(i)] == i);
    }
}

BOOST_FIXTURE_TEST_CASE(sender_waits_while_the_channel_is_full, VirtualTime) {
    Channel<int> channel(2);
    Running<void> sending = executor.start(send_range(channel, 0, 4));
    while (executor.turn()) {
    }

    BOOST_TEST(!sending.has_ended());
    BOOST_TEST(channel.size() == 2u);
    int refused = 9;
    BOOST_TEST(!channel.try_send(refused));
    BOOST_TEST(channel.try_receive().value() == 0);
    BOOST_TEST(channel.size() == 2u);
    executor.turn();
    BOOST_TEST(channel.try_receive().value() == 1);
    executor.run();
    BOOST_TEST(sending.has_ended());
    BOOST_TEST(channel.try_receive().value() == 2);
    BOOST_TEST(channel.try_receive().value() == 3);
    BOOST_TEST(!channel.try_receive().has_value());
}

BOOST_FIXTURE_TEST_CASE(channel_without_room_hands_from_one_to_the_other, VirtualTime) {
    Channel<int> channel(0);
    int value = 1;
    BOOST_TEST(!channel.try_send(value));
    Running<void> sending = executor.start(send_range(channel, 5, 6));
    while (executor.turn()) {
    }

    BOOST_TEST(!sending.has_ended());
    BOOST_TEST(channel.try_receive().value() == 5);
    executor.run();
    BOOST_TEST(sending.has_ended());
}

BOOST_FIXTURE_TEST_CASE(many_senders_and_receivers_lose_and_double_nothing_and_leave_nobody_out,
                        VirtualTime) {
    Channel<int> channel(3);
    std::vector<std::vector<int>> received(3);
    run([&]() -> Task<> {
        auto senders = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                for (int i = 0; i < 4; ++i)
                    group.spawn(send_range, std::ref(channel), 100 * i, 100 * i + 100);
                co_return;
            };
            co_await task_group(body);
            channel.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::vector<int>& each : received)
                group.spawn(receive_all, std::ref(channel), std::ref(each));
            group.spawn(std::ref(senders));
            co_return;
        };
        co_await task_group(body);
    });

    std::vector<int> all;
    for (const std::vector<int>& each : received) {
        BOOST_TEST(each.size() > 10u);
        all.insert(all.end(), each.begin(), each.end());
    }
    std::sort(all.begin(), all.end());
    BOOST_TEST(all.size() == 400u);
    BOOST_TEST((std::adjacent_find(all.begin(), all.end()) == all.end()));
}

BOOST_FIXTURE_TEST_CASE(closed_channel_gives_what_is_left_and_then_the_end, VirtualTime) {
    Channel<int> channel(4);
    run([&]() -> Task<> {
        co_await channel.send(1);
        co_await channel.send(2);
        channel.close();
        channel.close();
        int value = 3;
        Result<void> sent = co_await as_result(channel.send(value));
        std::optional<int> first = co_await channel.receive();
        std::optional<int> second = co_await channel.receive();
        std::optional<int> end = co_await channel.receive();

        BOOST_TEST((!sent && sent.error() == errc::closed));
        BOOST_TEST(!channel.try_send(value));
        BOOST_TEST((first == 1));
        BOOST_TEST((second == 2));
        BOOST_TEST(!end.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(closing_tells_everybody_who_waits, VirtualTime) {
    Log log;
    Channel<int> full(0);
    Channel<int> empty(1);
    auto send = [&]() -> Task<> {
        try {
            co_await full.send(1);
        } catch (const std::system_error& error) {
            log.note(error.code() == errc::closed ? "closed" : "else");
        }
    };
    auto receive = [&]() -> Task<> {
        std::optional<int> value = co_await empty.receive();
        log.note(value ? "value" : "end");
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 2; ++i) {
                group.spawn(std::ref(send));
                group.spawn(std::ref(receive));
            }
            co_await sleep_for(1s);
            full.close();
            empty.close();
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "closed closed end end");
}

BOOST_FIXTURE_TEST_CASE(values_may_be_such_as_can_only_be_moved, VirtualTime) {
    Channel<std::unique_ptr<int>> channel(1);
    run([&]() -> Task<> {
        std::unique_ptr<int> sent = std::make_unique<int>(7);
        co_await channel.send(std::move(sent));
        std::optional<std::unique_ptr<int>> received = co_await channel.receive();
        BOOST_TEST(**received == 7);
    });
}

BOOST_FIXTURE_TEST_CASE(values_that_nobody_received_go_with_the_channel, VirtualTime) {
    {
        Channel<Counted> channel(3);
        run([&]() -> Task<> {
            for (int i = 0; i < 4; ++i) {
                Counted value(i);
                co_await channel.send(std::move(value));
                if (i == 0) (void)channel.try_receive();
            }
        });
        BOOST_TEST(Counted::live() == 3);
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(receive_that_times_out_loses_no_value, VirtualTime) {
    Channel<int> channel(0);
    std::vector<int> received;
    run([&]() -> Task<> {
        auto receive = [&]() -> Task<> {
            while (received.size() < 50) {
                std::optional<std::optional<int>> value = co_await try_timeout(3ms, channel.receive());
                if (value && *value) received.push_back(**value);
            }
        };
        auto send = [&]() -> Task<> {
            for (int i = 0; i < 50; ++i) {
                co_await sleep_for((i % 7) * 1ms);
                co_await channel.send(i);
            }
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(receive));
            group.spawn(std::ref(send));
            co_return;
        };
        co_await task_group(body);
    });

    for (int i = 0; i < 50; ++i)
        BOOST_TEST(received[static_cast<std::size_t>(i)] == i);
}

BOOST_FIXTURE_TEST_CASE(batch_is_what_is_there_up_to_its_limit, VirtualTime) {
    Channel<int> channel(8);
    std::vector<int> batch;
    run([&]() -> Task<> {
        co_await send_range(channel, 0, 5);
        std::size_t first = co_await channel.receive_many(batch, 3);
        std::size_t second = co_await channel.receive_many(batch, 3);

        BOOST_TEST(first == 3u);
        BOOST_TEST(second == 2u);
    });

    std::vector<int> expected{0, 1, 2, 3, 4};
    BOOST_TEST(batch == expected, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(batch_waits_for_the_first_value_and_takes_what_came_with_it, VirtualTime) {
    Channel<int> channel(8);
    std::vector<int> batch;
    auto receive = [&]() -> Task<> {
        std::size_t count = co_await channel.receive_many(batch, 10);
        BOOST_TEST(count == 3u);
    };
    Running<void> receiving = executor.start(receive());
    while (executor.turn()) {
    }
    BOOST_TEST(batch.empty());

    for (int value : {1, 2, 3})
        BOOST_TEST(channel.try_send(value));
    executor.run();

    std::vector<int> expected{1, 2, 3};
    BOOST_TEST(batch == expected, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(batch_takes_from_the_hands_of_those_who_wait_to_send, VirtualTime) {
    for (std::size_t capacity : {std::size_t{0}, std::size_t{2}}) {
        Channel<int> channel(capacity);
        std::vector<int> batch;
        std::vector<Running<void>> senders;
        for (int i = 0; i < 5; ++i)
            senders.push_back(executor.start(send_range(channel, i, i + 1)));
        while (executor.turn()) {
        }
        BOOST_TEST(channel.size() == capacity);

        run([&]() -> Task<> {
            std::size_t count = co_await channel.receive_many(batch, 4);
            BOOST_TEST(count == 4u);
        });

        std::vector<int> expected{0, 1, 2, 3};
        BOOST_TEST(batch == expected, boost::test_tools::per_element());
        channel.close();
        executor.run();
    }
}

BOOST_FIXTURE_TEST_CASE(batch_of_a_closed_channel_is_what_is_left_and_then_empty, VirtualTime) {
    Channel<int> channel(4);
    std::vector<int> batch;
    run([&]() -> Task<> {
        co_await send_range(channel, 0, 2);
        channel.close();
        std::size_t rest = co_await channel.receive_many(batch, 10);
        std::size_t end = co_await channel.receive_many(batch, 10);
        BOOST_TEST(rest == 2u);
        BOOST_TEST(end == 0u);
    });
}

BOOST_FIXTURE_TEST_CASE(closing_ends_a_batch_that_waits, VirtualTime) {
    Channel<int> channel(0);
    std::vector<int> batch;
    run([&]() -> Task<> {
        auto close = [&]() -> Task<> {
            co_await sleep_for(1s);
            channel.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(close));
            std::size_t count = co_await channel.receive_many(batch, 10);
            BOOST_TEST(count == 0u);
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(batch_that_finds_no_memory_leaves_the_rest_in_the_channel, VirtualTime) {
    Channel<int> channel(8);
    std::vector<int> batch;
    run([&]() -> Task<> {
        co_await send_range(channel, 0, 5);
        {
            FailingAllocation failing(1);
            Outcome<std::size_t> outcome = co_await as_outcome(channel.receive_many(batch, 5));
            BOOST_TEST(!outcome.has_value());
        }
        BOOST_TEST(batch.empty());
        BOOST_TEST(channel.size() == 5u);
        {
            FailingAllocation failing(2);
            Outcome<std::size_t> outcome = co_await as_outcome(channel.receive_many(batch, 5));
            BOOST_TEST(!outcome.has_value());
        }
        BOOST_TEST(batch.size() == 1u);
        BOOST_TEST(channel.size() == 4u);
        std::size_t rest = co_await channel.receive_many(batch, 5);
        BOOST_TEST(rest == 4u);
    });

    std::vector<int> expected{0, 1, 2, 3, 4};
    BOOST_TEST(batch == expected, boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(batches_may_have_a_deadline_and_a_result, VirtualTime) {
    Channel<int> channel(1);
    std::vector<int> batch;
    run([&]() -> Task<> {
        std::optional<std::size_t> late = co_await try_timeout(1s, channel.receive_many(batch, 5));
        Result<std::size_t> later = co_await as_result(timeout(1s, channel.receive_many(batch, 5)));
        BOOST_TEST(!late.has_value());
        BOOST_TEST((!later && later.error() == errc::deadline_exceeded));
        co_await channel.send(1);
        Result<std::size_t> now = co_await as_result(channel.receive_many(batch, 5));
        BOOST_TEST((now && *now == 1u));
    });
}

// Each value is either received, or still there, or was never sent: wherever the cancellation falls.
BOOST_AUTO_TEST_CASE(value_is_lost_at_no_suspension_point) {
    for (std::size_t capacity : {std::size_t{0}, std::size_t{2}}) {
        std::optional<Channel<int>> channel;
        int sent = 0;
        int received = 0;
        SweepOptions options;
        options.before = [&] {
            channel.emplace(capacity);
            sent = received = 0;
        };
        options.after = [&] {
            int left = static_cast<int>(channel->size());
            // The last one may have been taken from its sender's hands when that was ended.
            BOOST_TEST(received + left >= sent);
            BOOST_TEST(received + left <= sent + 2);
            channel.reset();
        };
        auto send = [&]() -> Task<> {
            for (int i = 0; i < 4; ++i) {
                co_await channel->send(i);
                ++sent;
            }
        };
        auto receive = [&]() -> Task<> {
            for (int i = 0; i < 3; ++i) {
                std::optional<int> value = co_await channel->receive();
                if (value) ++received;
                co_await yield();
            }
        };
        auto receive_some = [&]() -> Task<> {
            std::vector<int> batch;
            while (batch.size() < 2) {
                std::size_t count = co_await channel->receive_many(batch, 2 - batch.size());
                received += static_cast<int>(count);
            }
        };
        auto scenario = [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(std::ref(send));
                group.spawn(std::ref(receive));
                group.spawn(std::ref(receive_some));
                group.spawn(std::ref(receive));
                group.spawn(std::ref(send));
                co_return;
            };
            co_await task_group(body);
        };

        SweepReport report = sweep_all_endings(scenario, options);

        BOOST_TEST(report.unwound > 0u);
    }
}

BOOST_FIXTURE_TEST_CASE(sending_and_receiving_allocate_nothing, VirtualTime) {
    Channel<int> channel(1);
    std::size_t allocations = 1;
    auto send = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 200; ++i)
            co_await channel.send(i);
        allocations = allocations_made() - before;
        channel.close();
    };
    auto receive = [&]() -> Task<> {
        for (bool is_open = true; is_open;) {
            std::optional<int> value = co_await channel.receive();
            is_open = value.has_value();
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(receive));
            group.spawn(std::ref(send));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_FIXTURE_TEST_CASE(task_that_finds_room_each_time_lets_others_run_all_the_same, VirtualTime) {
    Channel<int> channel(1'000);
    bool other_ran = false;
    bool ran_in_between = false;
    auto greedy = [&]() -> Task<> {
        for (int i = 0; i < 1'000; ++i) {
            co_await channel.send(i);
            ran_in_between = ran_in_between || other_ran;
        }
    };
    auto other = [&]() -> Task<> {
        other_ran = true;
        co_return;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(greedy));
            group.spawn(std::ref(other));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(ran_in_between);
}

BOOST_FIXTURE_TEST_CASE(receive_that_is_awaited_again_gives_the_next_value_and_nothing_at_the_end,
                        VirtualTime) {
    run([&]() -> Task<> {
        for (bool waits : {false, true}) {
            Channel<std::string> channel(2);
            auto next = channel.receive();
            co_await channel.send("one");
            std::optional<std::string> one = co_await next;
            BOOST_TEST((one == "one"));
            auto close = [&]() -> Task<> {
                co_await yield();
                channel.close();
            };
            Running<void> closing = executor.start(close());
            if (!waits) channel.close();
            std::optional<std::string> none = co_await next;
            BOOST_TEST(!none.has_value());
        }
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace channel_test
