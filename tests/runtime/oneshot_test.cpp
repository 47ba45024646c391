// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/oneshot.hpp>
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
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace oneshot_test {

namespace {

Task<> receive_into(Log& log, OneshotReceiver<int>& receiver) {
    Result<int> value = co_await as_result(receiver.receive());
    if (value)
        log.note(std::to_string(*value));
    else
        log.note(value.error() == errc::closed ? "closed" : "else");
}

// It can be moved into being, and no more.
struct Unassignable {
    explicit Unassignable(int v) noexcept : value(v) {}
    Unassignable(Unassignable&&) noexcept = default;
    Unassignable& operator=(Unassignable&&) = delete;
    int value;
};

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(oneshot)

BOOST_FIXTURE_TEST_CASE(value_that_cannot_be_assigned_to_arrives, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<Unassignable>();
    auto [other_sender, other_receiver] = leat::oneshot<Unassignable>();
    BOOST_TEST(sender.send(Unassignable(7)));
    BOOST_TEST(other_sender.send(Unassignable(8)));
    OneshotReceiver<Unassignable>& end = receiver;
    run([&]() -> Task<> {
        Unassignable received = co_await end.receive();
        BOOST_TEST(received.value == 7);
        BOOST_TEST(!end.is_open());
    });
    std::optional<Unassignable> tried = other_receiver.try_receive();
    BOOST_TEST(tried->value == 8);
    BOOST_TEST(!other_receiver.is_open());
}

BOOST_FIXTURE_TEST_CASE(value_that_was_sent_before_is_there_without_a_suspension, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    BOOST_TEST(sender.send(7));
    BOOST_TEST(sender.is_done());
    OneshotReceiver<int>& end = receiver;
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        int value = co_await end.receive();

        BOOST_TEST(value == 7);
        BOOST_TEST(executor.stats().resumes == before);
        BOOST_TEST(!end.is_open());
    });
}

BOOST_FIXTURE_TEST_CASE(who_waits_is_handed_the_value, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    Running<void> receiving = executor.start(receive_into(log, receiver));
    settle(executor);
    BOOST_TEST(log.text() == "");

    BOOST_TEST(sender.send(7));
    executor.run();

    BOOST_TEST(log.text() == "7");
}

BOOST_FIXTURE_TEST_CASE(sender_that_goes_without_a_value_is_an_error_to_the_receiver, VirtualTime) {
    Log log;
    auto [sender, receiver] = leat::oneshot<int>();
    Running<void> receiving = executor.start(receive_into(log, receiver));
    settle(executor);
    BOOST_TEST(receiver.is_open());
    sender.close();
    sender.close();
    executor.run();
    BOOST_TEST(!receiver.is_open());

    OneshotReceiver<int>& end = receiver;
    run([&]() -> Task<> {
        std::error_code code;
        try {
            co_await end.receive();
        } catch (const std::system_error& error) {
            code = error.code();
        }
        BOOST_TEST((code == errc::closed));
    });
    BOOST_TEST(log.text() == "closed");
}

BOOST_FIXTURE_TEST_CASE(value_is_received_once, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    BOOST_TEST(!receiver.try_receive().has_value());
    BOOST_TEST(sender.send(7));

    BOOST_TEST(receiver.try_receive().value() == 7);

    BOOST_TEST(!receiver.try_receive().has_value());
    executor.run_until(receive_into(log, receiver));
    BOOST_TEST(log.text() == "closed");
}

BOOST_FIXTURE_TEST_CASE(sender_learns_that_the_receiver_has_gone_and_keeps_the_value, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<std::unique_ptr<int>>();
    BOOST_TEST(sender.has_receiver());
    receiver.close();
    receiver.close();
    BOOST_TEST(!sender.has_receiver());

    std::unique_ptr<int> value = std::make_unique<int>(7);
    bool was_sent = sender.send(std::move(value));

    BOOST_TEST(!was_sent);
    BOOST_TEST_REQUIRE(value != nullptr);
    BOOST_TEST(*value == 7);
}

BOOST_FIXTURE_TEST_CASE(sender_can_wait_for_the_receiver_to_go, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    auto watch = [&log, &end = sender]() -> Task<> {
        co_await end.receiver_gone();
        log.note("gone");
        co_await end.receiver_gone();
        log.note("gone");
    };
    Running<void> watching = executor.start(watch());
    settle(executor);
    BOOST_TEST(log.text() == "");

    receiver.close();
    executor.run();

    BOOST_TEST(log.text() == "gone gone");
}

BOOST_FIXTURE_TEST_CASE(wait_for_the_receiver_to_go_outlasts_the_sending, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    auto watch = [&log, &end = sender]() -> Task<> {
        co_await end.receiver_gone();
        log.note("gone");
    };
    Running<void> watching = executor.start(watch());
    settle(executor);
    BOOST_TEST(sender.send(7));
    settle(executor);
    BOOST_TEST(log.text() == "");

    receiver.close();
    executor.run();

    BOOST_TEST(log.text() == "gone");
}

BOOST_FIXTURE_TEST_CASE(value_that_nobody_received_goes_with_the_receiver, VirtualTime) {
    {
        auto [sender, receiver] = leat::oneshot<Counted>();
        BOOST_TEST(sender.send(Counted(7)));
        BOOST_TEST(Counted::live() == 1);
    }
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(ends_may_be_moved_also_while_a_task_waits, VirtualTime) {
    std::optional<Oneshot<int>> ends(std::in_place);
    Log log;
    Running<void> receiving = executor.start(receive_into(log, ends->receiver));
    settle(executor);

    OneshotSender<int> sender = std::move(ends->sender);
    OneshotReceiver<int> receiver = std::move(ends->receiver);
    ends.reset();
    BOOST_TEST(sender.send(7));
    executor.run();

    BOOST_TEST(log.text() == "7");
}

BOOST_FIXTURE_TEST_CASE(receive_that_times_out_leaves_the_value_for_the_next_one, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    OneshotReceiver<int>& end = receiver;
    OneshotSender<int>& start = sender;
    run([&]() -> Task<> {
        std::optional<int> late = co_await try_timeout(1s, end.receive());
        Result<int> later = co_await as_result(timeout(1s, end.receive()));
        BOOST_TEST(!late.has_value());
        BOOST_TEST((!later && later.error() == errc::deadline_exceeded));
        BOOST_TEST(start.send(7));
        int value = co_await timeout(1s, end.receive());
        BOOST_TEST(value == 7);
    });
}

BOOST_FIXTURE_TEST_CASE(receive_in_a_cancelled_scope_takes_nothing, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    BOOST_TEST(sender.send(7));
    OneshotReceiver<int>& end = receiver;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await end.receive();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(receiver.try_receive().value() == 7);
}

BOOST_FIXTURE_TEST_CASE(value_that_was_handed_over_wins_over_a_cancellation, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    Running<void> receiving = executor.start(receive_into(log, receiver));
    settle(executor);

    BOOST_TEST(sender.send(7));
    receiving.cancel();
    executor.run();

    BOOST_TEST(log.text() == "7");
}

BOOST_FIXTURE_TEST_CASE(it_may_carry_what_is_over_aligned, VirtualTime) {
    struct alignas(64) Wide {
        explicit Wide(int v) noexcept : value(v) {}
        int value;
    };
    auto [sender, receiver] = leat::oneshot<Wide>();
    BOOST_TEST(sender.send(Wide(7)));

    std::optional<Wide> wide = receiver.try_receive();

    BOOST_TEST(wide->value == 7);
    BOOST_TEST(reinterpret_cast<std::uintptr_t>(&*wide) % 64 == 0u);
}

BOOST_FIXTURE_TEST_CASE(dump_tells_what_is_waited_for, VirtualTime) {
    auto [sender, receiver] = leat::oneshot<int>();
    Log log;
    Running<void> receiving = executor.start(receive_into(log, receiver));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("a oneshot's value") != std::string::npos);
    sender.close();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(nothing_is_allocated_while_the_pool_of_frames_serves, VirtualTime) {
    std::size_t allocations = 1;
    run([&]() -> Task<> {
        for (int i = 0; i < 20; ++i) {
            std::size_t before = allocations_made();
            auto [sender, receiver] = leat::oneshot<int>();
            bool was_sent = sender.send(int{i});
            int value = co_await receiver.receive();
            allocations = allocations_made() - before;
            BOOST_TEST(was_sent);
            BOOST_TEST(value == i);
        }
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(both_ends_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Oneshot<Counted> question;
        Oneshot<Counted> answer;
        auto ask = [&]() -> Task<> {
            OneshotSender<Counted> sender = std::move(question.sender);
            OneshotReceiver<Counted> receiver = std::move(answer.receiver);
            co_await yield();
            bool was_sent = sender.send(Counted(1));
            (void)was_sent;
            // Nobody answers if the other was cancelled first.
            Result<Counted> got = co_await as_result(receiver.receive());
        };
        auto reply = [&]() -> Task<> {
            OneshotReceiver<Counted> receiver = std::move(question.receiver);
            OneshotSender<Counted> sender = std::move(answer.sender);
            Result<Counted> got = co_await as_result(receiver.receive());
            co_await sleep_for(1s);
            bool was_sent = sender.send(Counted(2));
            (void)was_sent;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(ask));
            group.spawn(std::ref(reply));
            co_return;
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(wait_for_the_receiver_to_go_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Oneshot<int> ends;
        auto watch = [&]() -> Task<> { co_await ends.sender.receiver_gone(); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(watch));
            group.spawn(std::ref(watch));
            co_await sleep_for(1s);
            ends.receiver.close();
        };
        co_await task_group(body);
    });
}

// A value is received once, or is still with its sender, or has gone with the receiver: the figures add up.
BOOST_FIXTURE_TEST_CASE(random_ends_lose_no_value_in_silence, VirtualTime) {
    Random random(6);
    std::size_t left = stress_iterations(20'000);
    std::size_t sent = 0;
    std::size_t refused = 0;
    std::size_t dropped = 0;
    std::size_t received = 0;
    std::size_t told_closed = 0;
    std::size_t left_unread = 0;
    std::size_t rounds = 0;
    auto pair = [&]() -> Task<> {
        while (left != 0) {
            --left;
            ++rounds;
            Oneshot<std::size_t> ends;
            auto send = [&]() -> Task<> {
                OneshotSender<std::size_t> sender = std::move(ends.sender);
                if (random.once_in(2)) co_await sleep_for(random.below(4) * 1ms);
                if (random.once_in(4)) {
                    ++dropped;
                    co_return;
                }
                std::size_t value = rounds;
                if (sender.send(std::move(value)))
                    ++sent;
                else
                    ++refused;
            };
            auto receive = [&]() -> Task<> {
                OneshotReceiver<std::size_t> receiver = std::move(ends.receiver);
                if (random.once_in(2)) co_await yield();
                Result<std::optional<std::size_t>> value =
                    co_await as_result(try_timeout(random.below(4) * 1ms, receiver.receive()));
                if (!value)
                    ++told_closed;
                else if (*value)
                    ++received;
                else if (random.once_in(2))
                    received += receiver.try_receive().has_value();
                // It may have come in between.
                left_unread += receiver.try_receive().has_value();
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(std::ref(send));
                group.spawn(std::ref(receive));
                co_return;
            };
            co_await task_group(body);
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 4; ++i)
                group.spawn(std::ref(pair));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(sent + refused + dropped == rounds);
    BOOST_TEST(sent == received + left_unread);
    BOOST_TEST(told_closed <= dropped);
    BOOST_TEST(refused > 0u);
    BOOST_TEST(told_closed > 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace oneshot_test
