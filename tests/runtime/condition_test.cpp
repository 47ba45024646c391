// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/allocations.hpp"
#include "support/log.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
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

namespace condition_test {

namespace {

struct Monitor {
    Mutex mutex;
    Condition condition;
    Log log;
};

// Waits once, notes that it goes on, keeps the mutex for a while.
Task<> wait_in(Monitor& monitor, std::string name) {
    MutexGuard guard = co_await monitor.mutex.lock();
    co_await monitor.condition.wait(guard);
    monitor.log.note(guard.is_locked() ? name + "(" : name + " without the mutex");
    co_await sleep_for(1s);
    monitor.log.note(")" + name);
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(condition)

BOOST_FIXTURE_TEST_CASE(mutex_is_free_while_a_task_waits, VirtualTime) {
    Monitor monitor;
    Running<void> waiting = executor.start(wait_in(monitor, "a"));
    settle(executor);

    BOOST_TEST(!monitor.mutex.is_locked());
    BOOST_TEST(monitor.condition.has_waiters());
    monitor.condition.notify_one();
    BOOST_TEST(monitor.mutex.is_locked());
    executor.run();
    BOOST_TEST(monitor.log.text() == "a( )a");
    BOOST_TEST(!monitor.mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(notify_one_lets_the_longest_waiting_go_on_alone, VirtualTime) {
    Monitor monitor;
    std::vector<Running<void>> waiting;
    for (const char* name : {"a", "b", "c"})
        waiting.push_back(executor.start(wait_in(monitor, name)));
    settle(executor);

    monitor.condition.notify_one();
    settle(executor);
    BOOST_TEST(monitor.log.text() == "a(");
    monitor.condition.notify_one();
    settle(executor);
    BOOST_TEST(monitor.log.text() == "a(");
    BOOST_TEST(monitor.condition.has_waiters());
    monitor.condition.notify_one();
    monitor.condition.notify_one();
    executor.run();
    BOOST_TEST(monitor.log.text() == "a( )a b( )b c( )c");
}

BOOST_FIXTURE_TEST_CASE(notify_all_lets_everybody_go_on_one_after_the_other, VirtualTime) {
    Monitor monitor;
    std::vector<Running<void>> waiting;
    for (const char* name : {"a", "b", "c"})
        waiting.push_back(executor.start(wait_in(monitor, name)));
    settle(executor);

    monitor.condition.notify_all();
    BOOST_TEST(!monitor.condition.has_waiters());
    executor.run();

    BOOST_TEST(monitor.log.text() == "a( )a b( )b c( )c");
}

BOOST_FIXTURE_TEST_CASE(notification_without_waiters_is_not_kept, VirtualTime) {
    Monitor monitor;
    monitor.condition.notify_one();
    monitor.condition.notify_all();
    Running<void> waiting = executor.start(wait_in(monitor, "a"));
    settle(executor);

    BOOST_TEST(monitor.condition.has_waiters());
    waiting.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(notified_task_stands_in_line_for_the_mutex_from_then_on, VirtualTime) {
    Monitor monitor;
    auto lock = [&](std::string name) -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        monitor.log.note(name);
    };
    Running<void> waiting = executor.start(wait_in(monitor, "w"));
    settle(executor);
    MutexGuard held = monitor.mutex.try_lock();
    Running<void> before = executor.start(lock("before"));
    settle(executor);
    monitor.condition.notify_one();
    Running<void> behind = executor.start(lock("behind"));
    settle(executor);
    BOOST_TEST(monitor.log.text() == "");

    held.unlock();
    executor.run();

    BOOST_TEST(monitor.log.text() == "before w( )w behind");
}

BOOST_FIXTURE_TEST_CASE(wait_for_a_predicate_goes_on_only_when_it_holds, VirtualTime) {
    Monitor monitor;
    int value = 0;
    auto waiter = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        auto is_two = [&] { return value == 2; };
        co_await monitor.condition.wait(guard, is_two);
        BOOST_TEST(guard.is_locked());
        BOOST_TEST(value == 2);
        co_await monitor.condition.wait(guard, is_two);
    };
    Running<void> waiting = executor.start(waiter());
    for (value = 0; value < 2; ++value) {
        settle(executor);
        monitor.condition.notify_one();
        settle(executor);
        BOOST_TEST(!waiting.has_ended());
    }
    monitor.condition.notify_one();
    executor.run();

    BOOST_TEST(waiting.has_ended());
}

BOOST_FIXTURE_TEST_CASE(predicate_that_throws_leaves_the_mutex_held, VirtualTime) {
    Monitor monitor;
    run([&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        auto fails = []() -> bool { throw std::runtime_error("no"); };
        Outcome<void> outcome = co_await as_outcome(monitor.condition.wait(guard, fails));
        BOOST_TEST(!outcome.has_value());
        BOOST_TEST(guard.is_locked());
    });
}

BOOST_FIXTURE_TEST_CASE(wait_whose_deadline_passes_holds_the_mutex_again, VirtualTime) {
    Monitor monitor;
    run([&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        bool in_time = co_await try_timeout(1s, monitor.condition.wait(guard));
        BOOST_TEST(!in_time);
        BOOST_TEST(guard.is_locked());
        Result<void> result = co_await as_result(timeout(1s, monitor.condition.wait(guard)));
        BOOST_TEST((!result && result.error() == errc::deadline_exceeded));
        BOOST_TEST(guard.is_locked());
    });

    BOOST_TEST((elapsed() == 2s));
    BOOST_TEST(!monitor.mutex.is_locked());
    BOOST_TEST(!monitor.condition.has_waiters());
}

BOOST_FIXTURE_TEST_CASE(wait_whose_deadline_passes_waits_for_the_mutex_all_the_same, VirtualTime) {
    Monitor monitor;
    auto waiter = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        bool in_time = co_await try_timeout(1s, monitor.condition.wait(guard));
        monitor.log.note(in_time ? "notified" : "late");
        BOOST_TEST(guard.is_locked());
    };
    auto holder = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        co_await sleep_for(5s);
        // Too late for it: it is in the mutex's queue already.
        monitor.condition.notify_all();
        monitor.log.note("unlocks");
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter));
            group.spawn(std::ref(holder));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(monitor.log.text() == "unlocks late");
    BOOST_TEST((elapsed() == 5s));
}

BOOST_FIXTURE_TEST_CASE(notification_in_time_wins_although_the_mutex_comes_late, VirtualTime) {
    Monitor monitor;
    auto waiter = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        bool in_time = co_await try_timeout(1s, monitor.condition.wait(guard));
        monitor.log.note(in_time ? "notified" : "late");
        BOOST_TEST(guard.is_locked());
    };
    auto holder = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        monitor.condition.notify_one();
        co_await sleep_for(5s);
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(waiter));
            group.spawn(std::ref(holder));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(monitor.log.text() == "notified");
}

BOOST_FIXTURE_TEST_CASE(cancelled_waiter_leaves_the_guard_without_the_mutex, VirtualTime) {
    Monitor monitor;
    run([&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        auto never = [] { return false; };
        bool met = co_await try_timeout(1s, monitor.condition.wait(guard, never));
        BOOST_TEST(!met);
        BOOST_TEST(!guard.is_locked());
        guard = co_await monitor.mutex.lock();
        BOOST_TEST(guard.is_locked());
    });
    BOOST_TEST(!monitor.condition.has_waiters());
}

BOOST_FIXTURE_TEST_CASE(notification_of_a_waiter_that_is_cancelled_goes_to_the_next, VirtualTime) {
    Monitor monitor;
    Running<void> first = executor.start(wait_in(monitor, "a"));
    Running<void> second = executor.start(wait_in(monitor, "b"));
    settle(executor);
    MutexGuard held = monitor.mutex.try_lock();
    monitor.condition.notify_one();
    first.cancel();
    settle(executor);
    BOOST_TEST(first.has_ended());
    BOOST_TEST(!monitor.condition.has_waiters());

    held.unlock();
    executor.run();

    BOOST_TEST(monitor.log.text() == "b( )b");
    BOOST_TEST(!monitor.mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(notification_of_all_is_not_passed_on_to_who_came_later, VirtualTime) {
    Monitor monitor;
    Running<void> first = executor.start(wait_in(monitor, "a"));
    settle(executor);
    MutexGuard held = monitor.mutex.try_lock();
    monitor.condition.notify_all();
    // It waits with another mutex, since the first one stands before it at this one.
    Mutex other;
    MutexGuard other_held = other.try_lock();
    auto later = [&]() -> Task<> {
        co_await monitor.condition.wait(other_held);
        monitor.log.note("later");
    };
    Running<void> second = executor.start(later());
    settle(executor);

    first.cancel();
    settle(executor);

    BOOST_TEST(first.has_ended());
    BOOST_TEST(monitor.condition.has_waiters());
    BOOST_TEST(monitor.log.text() == "");
    second.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(notification_reaches_who_stays_past_those_of_the_same_cancelled_scope, VirtualTime) {
    Monitor monitor;
    std::optional<Running<void>> outside;
    run([&]() -> Task<> {
        MutexGuard held;
        auto body = [&](CancelScope& scope) -> Task<> {
            auto waiters = [&](TaskGroup& group) -> Task<> {
                group.spawn(wait_in, std::ref(monitor), "a");
                group.spawn(wait_in, std::ref(monitor), "b");
                co_await yield();
                co_await yield();
                outside.emplace(executor.start(wait_in(monitor, "outside")));
                co_await yield();
                co_await yield();
                held = monitor.mutex.try_lock();
                monitor.condition.notify_one();
                scope.cancel();
            };
            co_await task_group(waiters);
        };
        co_await cancel_scope(body);
        BOOST_TEST(!monitor.condition.has_waiters());
    });
    executor.run();

    BOOST_TEST(monitor.log.text() == "outside( )outside");
}

BOOST_FIXTURE_TEST_CASE(waiter_that_gives_up_its_deadline_can_still_be_cancelled, VirtualTime) {
    Monitor monitor;
    auto waiter = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        co_await try_timeout(1s, monitor.condition.wait(guard));
        monitor.log.note("went on");
    };
    Running<void> waiting = executor.start(waiter());
    settle(executor);
    MutexGuard held = monitor.mutex.try_lock();
    clock.advance(2s);
    settle(executor);
    BOOST_TEST(executor.dump_tasks().find("its deadline has passed") != std::string::npos);

    waiting.cancel();
    executor.run();

    BOOST_TEST(monitor.log.text() == "");
    held.unlock();
    BOOST_TEST(!monitor.mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(wait_in_a_cancelled_scope_does_not_even_unlock, VirtualTime) {
    Monitor monitor;
    run([&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await monitor.condition.wait(guard);
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
        BOOST_TEST(guard.is_locked());
    });
}

BOOST_FIXTURE_TEST_CASE(dump_tells_what_a_waiter_waits_for, VirtualTime) {
    Monitor monitor;
    Running<void> waiting = executor.start(wait_in(monitor, "a"));
    settle(executor);
    BOOST_TEST(executor.dump_tasks().find("a condition") != std::string::npos);
    MutexGuard held = monitor.mutex.try_lock();
    monitor.condition.notify_one();
    BOOST_TEST(executor.dump_tasks().find("a condition's mutex, notified") != std::string::npos);
    held.unlock();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    Monitor monitor;
    std::size_t allocations = 1;
    auto wait = [&]() -> Task<> {
        MutexGuard guard = co_await monitor.mutex.lock();
        for (int i = 0; i < 100; ++i)
            co_await monitor.condition.wait(guard);
    };
    auto feed = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i) {
            monitor.condition.notify_all();
            co_await yield();
        }
        allocations = allocations_made() - before;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(wait));
            group.spawn(std::ref(feed));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

// A queue under a mutex: what is put in is taken out once, wherever the cancellation falls, and no notification is lost
// while somebody waits.
BOOST_AUTO_TEST_CASE(notification_is_lost_at_no_suspension_point) {
    std::optional<Monitor> monitor;
    int jobs = 0;
    SweepOptions options;
    options.before = [&] {
        monitor.emplace();
        jobs = 0;
    };
    options.after = [&] {
        BOOST_TEST(!monitor->mutex.is_locked());
        BOOST_TEST(!monitor->condition.has_waiters());
        monitor.reset();
    };
    auto consumer = [&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            MutexGuard guard = co_await monitor->mutex.lock();
            auto has_jobs = [&] { return jobs != 0; };
            co_await monitor->condition.wait(guard, has_jobs);
            --jobs;
            co_await yield();
        }
    };
    auto producer = [&]() -> Task<> {
        for (int i = 0; i < 4; ++i) {
            co_await sleep_for(1s);
            MutexGuard guard = co_await monitor->mutex.lock();
            ++jobs;
            monitor->condition.notify_one();
            if (i % 2 == 0) co_await yield();
        }
    };
    auto impatient = [&]() -> Task<> {
        MutexGuard guard = co_await monitor->mutex.lock();
        co_await try_timeout(2s, monitor->condition.wait(guard));
        // Whatever it has learnt, it passes it on.
        monitor->condition.notify_one();
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(consumer));
            group.spawn(std::ref(impatient));
            group.spawn(std::ref(consumer));
            group.spawn(std::ref(producer));
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
}

BOOST_FIXTURE_TEST_CASE(random_producers_and_consumers_lose_neither_job_nor_notification, VirtualTime) {
    Monitor monitor;
    Random random(3);
    std::deque<std::size_t> jobs;
    const std::size_t total = stress_iterations(20'000);
    std::size_t made = 0;
    std::vector<bool> done(total);
    std::size_t done_count = 0;
    bool is_over = false;
    auto take_one = [&]() -> Task<bool> {
        MutexGuard guard = co_await monitor.mutex.lock();
        auto has_jobs = [&] { return !jobs.empty() || is_over; };
        co_await monitor.condition.wait(guard, has_jobs);
        if (jobs.empty()) co_return false;
        std::size_t job = jobs.front();
        jobs.pop_front();
        BOOST_TEST_REQUIRE(!done[job]);
        done[job] = true;
        ++done_count;
        if (random.once_in(3)) co_await yield();
        co_return true;
    };
    auto consumer = [&](bool is_patient) -> Task<> {
        for (bool goes_on = true; goes_on;) {
            if (is_patient) {
                goes_on = co_await take_one();
            } else {
                std::optional<bool> taken = co_await try_timeout(random.below(4) * 1ms, take_one());
                goes_on = taken.value_or(true);
                // One that was cut off with a job in its hands has taken it.
                if (goes_on) co_await yield();
            }
        }
    };
    auto producer = [&]() -> Task<> {
        while (made != total) {
            MutexGuard guard = co_await monitor.mutex.lock();
            if (made == total) break;
            jobs.push_back(made++);
            monitor.condition.notify_one();
            if (random.once_in(4)) co_await yield();
            guard.unlock();
            if (random.once_in(2)) co_await sleep_for(random.below(3) * 1ms);
        }
    };
    run([&]() -> Task<> {
        auto producers = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(producer));
            group.spawn(std::ref(producer));
            co_return;
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 6; ++i)
                group.spawn(std::ref(consumer), i % 2 == 0);
            co_await task_group(producers);
            MutexGuard guard = co_await monitor.mutex.lock();
            is_over = true;
            monitor.condition.notify_all();
        };
        co_await task_group(body);
    });

    BOOST_TEST(done_count == total);
    BOOST_TEST(!monitor.mutex.is_locked());
    BOOST_TEST(!monitor.condition.has_waiters());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace condition_test
