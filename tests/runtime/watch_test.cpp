// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/watch.hpp>

#include "support/allocations.hpp"
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
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace watch_test {

namespace {

// Notes each value that it learns of, and "name." at the end.
Task<> follow(WatchReceiver<int> receiver, Log& log, std::string name) {
    for (bool is_open = true; is_open;) {
        is_open = co_await receiver.changed();
        log.note(is_open ? name + ":" + std::to_string(receiver.value()) : name + ".");
    }
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(watch)

BOOST_FIXTURE_TEST_CASE(receivers_learn_of_each_change_that_they_are_quick_enough_for, VirtualTime) {
    Watch<int> watch(0);
    Log log;
    Running<void> first = executor.start(follow(watch.subscribe(), log, "a"));
    Running<void> second = executor.start(follow(watch.subscribe(), log, "b"));
    settle(executor);
    BOOST_TEST(log.text() == "");

    watch.set(1);
    settle(executor);
    watch.set(2);
    settle(executor);
    watch.close();
    watch.close();
    executor.run();

    BOOST_TEST(log.text() == "a:1 b:1 a:2 b:2 a. b.");
}

BOOST_FIXTURE_TEST_CASE(changes_that_come_together_count_as_one_and_the_last_is_found, VirtualTime) {
    Watch<int> watch(0);
    Log log;
    Running<void> following = executor.start(follow(watch.subscribe(), log, "a"));
    settle(executor);

    for (int i = 1; i <= 5; ++i)
        watch.set(i);
    settle(executor);

    BOOST_TEST(log.text() == "a:5");
    watch.close();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(change_before_the_wait_is_not_missed_and_is_no_suspension, VirtualTime) {
    Watch<int> watch(0);
    WatchReceiver<int> receiver = watch.subscribe();
    BOOST_TEST(!receiver.has_changed());
    watch.set(1);
    BOOST_TEST(receiver.has_changed());
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        bool is_open = co_await receiver.changed();

        BOOST_TEST(is_open);
        BOOST_TEST(receiver.value() == 1);
        BOOST_TEST(!receiver.has_changed());
        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(new_receiver_has_the_value_that_is_there, VirtualTime) {
    Watch<int> watch(0);
    watch.set(3);

    WatchReceiver<int> receiver = watch.subscribe();

    BOOST_TEST(receiver.value() == 3);
    BOOST_TEST(watch.value() == 3);
    BOOST_TEST(!receiver.has_changed());
}

BOOST_FIXTURE_TEST_CASE(last_change_before_the_close_is_told_first, VirtualTime) {
    Watch<int> watch(0);
    Log log;
    WatchReceiver<int> receiver = watch.subscribe();
    watch.set(1);
    watch.close();

    executor.run_until(follow(std::move(receiver), log, "a"));

    BOOST_TEST(log.text() == "a:1 a.");
    BOOST_TEST(watch.is_closed());
    BOOST_CHECK_EXCEPTION(watch.set(2), std::system_error,
                          [](const std::system_error& error) { return error.code() == errc::closed; });
    BOOST_TEST(watch.value() == 1);
}

BOOST_FIXTURE_TEST_CASE(value_may_be_changed_where_it_is, VirtualTime) {
    Watch<std::unique_ptr<int>> watch(std::make_unique<int>(1));
    WatchReceiver<std::unique_ptr<int>> receiver = watch.subscribe();

    watch.modify([](std::unique_ptr<int>& value) { *value = 2; });

    BOOST_TEST(receiver.has_changed());
    BOOST_TEST(*receiver.value() == 2);
    auto fails = [](std::unique_ptr<int>&) { throw std::runtime_error("no"); };
    WatchReceiver<std::unique_ptr<int>> other = watch.subscribe();
    BOOST_CHECK_THROW(watch.modify(fails), std::runtime_error);
    BOOST_TEST(!other.has_changed());
}

BOOST_FIXTURE_TEST_CASE(receiver_can_be_moved, VirtualTime) {
    Watch<int> watch(0);
    WatchReceiver<int> receiver = watch.subscribe();
    watch.set(1);
    WatchReceiver<int> moved = std::move(receiver);
    WatchReceiver<int> other = watch.subscribe();
    other = std::move(moved);

    BOOST_TEST(watch.receivers() == 1u);
    BOOST_TEST(other.has_changed());
    other.unsubscribe();
    other.unsubscribe();
    BOOST_TEST(watch.receivers() == 0u);
}

BOOST_FIXTURE_TEST_CASE(two_tasks_may_wait_with_one_receiver_and_both_are_told, VirtualTime) {
    Watch<int> watch(0);
    WatchReceiver<int> receiver = watch.subscribe();
    Log log;
    auto wait = [&](std::string name) -> Task<> {
        bool is_open = co_await receiver.changed();
        log.note(is_open ? name : name + ".");
    };
    Running<void> first = executor.start(wait("a"));
    Running<void> second = executor.start(wait("b"));
    settle(executor);
    watch.set(1);
    executor.run();

    BOOST_TEST(log.text() == "a b");
}

BOOST_FIXTURE_TEST_CASE(wait_may_have_a_deadline_and_a_result, VirtualTime) {
    Watch<int> watch(0);
    WatchReceiver<int> receiver = watch.subscribe();
    run([&]() -> Task<> {
        std::optional<bool> late = co_await try_timeout(1s, receiver.changed());
        Result<bool> later = co_await as_result(timeout(1s, receiver.changed()));
        BOOST_TEST(!late.has_value());
        BOOST_TEST((!later && later.error() == errc::deadline_exceeded));
        watch.set(1);
        Result<bool> now = co_await as_result(receiver.changed());
        BOOST_TEST((now && *now));
    });
}

BOOST_FIXTURE_TEST_CASE(wait_that_is_cancelled_loses_no_change, VirtualTime) {
    Watch<int> watch(0);
    WatchReceiver<int> receiver = watch.subscribe();
    auto wait = [&]() -> Task<> { co_await receiver.changed(); };
    Running<void> waiting = executor.start(wait());
    settle(executor);
    waiting.cancel();
    executor.run();
    watch.set(1);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await receiver.changed();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(receiver.has_changed());
}

BOOST_FIXTURE_TEST_CASE(dump_tells_what_is_waited_for, VirtualTime) {
    Watch<int> watch(0);
    Log log;
    Running<void> following = executor.start(follow(watch.subscribe(), log, "a"));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("a change of a watched value") != std::string::npos);
    following.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(setting_and_waiting_allocate_nothing, VirtualTime) {
    Watch<int> watch(0);
    std::size_t allocations = 1;
    auto wait = [&](WatchReceiver<int> receiver) -> Task<> {
        for (bool is_open = true; is_open;)
            is_open = co_await receiver.changed();
    };
    auto set = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i) {
            watch.set(i);
            co_await yield();
        }
        allocations = allocations_made() - before;
        watch.close();
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(wait), watch.subscribe());
            group.spawn(std::ref(set));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(wait_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Watch<int> watch(0);
        auto wait = [](WatchReceiver<int> receiver) -> Task<> {
            for (bool is_open = true; is_open;)
                is_open = co_await receiver.changed();
        };
        auto set = [&]() -> Task<> {
            for (int i = 1; i < 4; ++i) {
                watch.set(i);
                co_await sleep_for(1s);
            }
            watch.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(wait, watch.subscribe());
            group.spawn(wait, watch.subscribe());
            group.spawn(std::ref(set));
            co_return;
        };
        co_await task_group(body);
    });
}

BOOST_FIXTURE_TEST_CASE(random_receivers_never_go_back_and_never_miss_the_last_change, VirtualTime) {
    Watch<std::size_t> watch(0);
    Random random(8);
    const std::size_t total = stress_iterations(20'000);
    std::size_t wrong = 0;
    std::size_t gave_up = 0;
    auto wait_once = [&](WatchReceiver<std::size_t>& receiver) -> Task<bool> {
        bool is_open = co_await receiver.changed();
        co_return is_open;
    };
    auto follower = [&](WatchReceiver<std::size_t> receiver) -> Task<> {
        std::size_t last = 0;
        for (bool is_open = true; is_open;) {
            std::optional<bool> answer;
            if (random.once_in(2))
                answer = co_await try_timeout(random.below(4) * 1ms, receiver.changed());
            else
                answer = co_await try_timeout(random.below(4) * 1ms, wait_once(receiver));
            if (!answer) {
                ++gave_up;
                // What it has not learnt of is still to come.
                wrong += receiver.value() != last && !receiver.has_changed();
                continue;
            }
            is_open = *answer;
            if (is_open) {
                wrong += receiver.value() <= last;
                last = receiver.value();
            }
            wrong += receiver.value() != watch.value();
            if (random.once_in(3)) co_await sleep_for(random.below(5) * 1ms);
        }
        wrong += last != total;
    };
    auto setter = [&]() -> Task<> {
        for (std::size_t i = 1; i <= total; ++i) {
            watch.set(i);
            if (random.once_in(2)) co_await sleep_for(random.below(3) * 1ms);
        }
        watch.close();
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 5; ++i)
                group.spawn(std::ref(follower), watch.subscribe());
            group.spawn(std::ref(setter));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(wrong == 0u);
    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(watch.receivers() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace watch_test
