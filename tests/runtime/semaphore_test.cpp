// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/semaphore.hpp>
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
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace semaphore_test {

namespace {

// Takes permits, notes it, keeps them for a second.
Task<> use(Semaphore& semaphore, std::size_t count, Log& log, std::string name) {
    Permit permit = co_await semaphore.acquire(count);
    log.note(name);
    co_await sleep_for(1s);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(semaphore)

BOOST_FIXTURE_TEST_CASE(permits_that_are_there_are_taken_without_a_suspension, VirtualTime) {
    Semaphore semaphore(3);
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        Permit one = co_await semaphore.acquire();
        Permit two = co_await semaphore.acquire(2);

        BOOST_TEST(executor.stats().resumes == before);
        BOOST_TEST(semaphore.available() == 0u);
        BOOST_TEST(one.count() + two.count() == 3u);
    });

    BOOST_TEST(semaphore.available() == 3u);
}

BOOST_FIXTURE_TEST_CASE(who_finds_too_few_waits_and_is_served_in_turn, VirtualTime) {
    Semaphore semaphore(2);
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const char* name : {"a", "b", "c", "d", "e"})
                group.spawn(use, std::ref(semaphore), 1u, std::ref(log), name);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a b c d e");
    BOOST_TEST((elapsed() == 3s));
    BOOST_TEST(semaphore.available() == 2u);
}

// Else one that wants much would wait for ever beside many that want little.
BOOST_FIXTURE_TEST_CASE(who_wants_several_is_not_overtaken, VirtualTime) {
    Semaphore semaphore(2);
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(use, std::ref(semaphore), 1u, std::ref(log), "first");
            group.spawn(use, std::ref(semaphore), 2u, std::ref(log), "both");
            group.spawn(use, std::ref(semaphore), 1u, std::ref(log), "last");
            co_await yield();
            BOOST_TEST(!semaphore.try_acquire().is_held());
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "first both last");
}

BOOST_FIXTURE_TEST_CASE(who_gives_up_its_place_lets_those_behind_it_through, VirtualTime) {
    Semaphore semaphore(1);
    Log log;
    run([&]() -> Task<> {
        auto wait_for_two = [&]() -> Task<> {
            co_await try_timeout(1s, semaphore.acquire(2));
            log.note("gave up");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(wait_for_two));
            group.spawn(use, std::ref(semaphore), 1u, std::ref(log), "behind");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "behind gave up");
    BOOST_TEST((elapsed() == 2s));
    BOOST_TEST(!semaphore.has_waiters());
}

BOOST_FIXTURE_TEST_CASE(added_permits_go_to_who_waits, VirtualTime) {
    Semaphore semaphore(0);
    Log log;
    Running<void> first = executor.start(use(semaphore, 1, log, "a"));
    Running<void> second = executor.start(use(semaphore, 1, log, "b"));
    while (executor.turn()) {
    }
    BOOST_TEST(log.text() == "");

    semaphore.add(3);

    BOOST_TEST(semaphore.available() == 1u);
    executor.run();
    BOOST_TEST(log.text() == "a b");
    BOOST_TEST(semaphore.available() == 3u);
}

BOOST_FIXTURE_TEST_CASE(permit_can_be_moved_released_early_and_forgotten, VirtualTime) {
    Semaphore semaphore(3);

    Permit first = semaphore.try_acquire(2);
    Permit moved = std::move(first);
    BOOST_TEST(!first.is_held());
    BOOST_TEST(semaphore.available() == 1u);
    moved.release();
    moved.release();
    BOOST_TEST(semaphore.available() == 3u);
    moved = semaphore.try_acquire();
    moved = semaphore.try_acquire();
    BOOST_TEST(semaphore.available() == 2u);
    moved.forget();

    BOOST_TEST(semaphore.available() == 2u);
    BOOST_TEST(!semaphore.try_acquire(3).is_held());
}

// A permit that was handed over wins: it is held, and given back by the unwinding.
BOOST_AUTO_TEST_CASE(permit_is_lost_at_no_suspension_point) {
    std::optional<Semaphore> semaphore;
    SweepOptions options;
    options.before = [&] { semaphore.emplace(2u); };
    options.after = [&] {
        BOOST_TEST(semaphore->available() == 2u);
        BOOST_TEST(!semaphore->has_waiters());
        semaphore.reset();
    };
    auto worker = [&](std::size_t count) -> Task<> {
        for (int i = 0; i < 2; ++i) {
            Permit permit = co_await semaphore->acquire(count);
            co_await yield();
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t count : {1u, 2u, 1u, 1u})
                group.spawn(std::ref(worker), count);
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
}

// One that leaves makes room for those behind it; but those of the same scope are about to leave, too.
BOOST_FIXTURE_TEST_CASE(cancelled_scope_hands_nothing_to_its_own, VirtualTime) {
    Semaphore semaphore(1);
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto inner = [&](TaskGroup& group) -> Task<> {
                group.spawn(use, std::ref(semaphore), 1u, std::ref(log), "child");
                Permit both = co_await semaphore.acquire(2);
                log.note("body");
            };
            auto cancel_later = [&]() -> Task<> {
                co_await sleep_for(1s);
                scope.cancel();
            };
            auto outer = [&](TaskGroup& group) -> Task<> {
                group.spawn(std::ref(cancel_later));
                co_await task_group(inner);
            };
            co_await task_group(outer);
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(log.text() == "");
    BOOST_TEST(semaphore.available() == 1u);
    BOOST_TEST(!semaphore.has_waiters());
}

BOOST_FIXTURE_TEST_CASE(acquire_in_a_cancelled_scope_takes_nothing, VirtualTime) {
    Semaphore semaphore(1);
    bool went_on = false;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            Permit permit = co_await semaphore.acquire();
            went_on = true;
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(!went_on);
    BOOST_TEST(semaphore.available() == 1u);
}

BOOST_FIXTURE_TEST_CASE(task_that_never_waits_lets_others_run_all_the_same, VirtualTime) {
    Semaphore semaphore(1);
    bool other_ran = false;
    bool ran_in_between = false;
    auto greedy = [&]() -> Task<> {
        for (int i = 0; i < 1'000; ++i) {
            Permit permit = co_await semaphore.acquire();
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

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    Semaphore semaphore(0);
    std::size_t allocations = 1;
    auto wait = [&]() -> Task<> {
        for (int i = 0; i < 100; ++i) {
            Permit permit = co_await semaphore.acquire();
            permit.forget();
        }
    };
    auto feed = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i) {
            semaphore.add();
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

BOOST_FIXTURE_TEST_CASE(dump_tells_what_a_waiter_waits_for, VirtualTime) {
    Semaphore semaphore(1);
    Log log;
    Running<void> running = executor.start(use(semaphore, 2, log, "never"));
    while (executor.turn()) {
    }

    BOOST_TEST(executor.dump_tasks().find("a semaphore, 1 of 2 permits there") != std::string::npos);
    running.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(random_use_neither_loses_a_permit_nor_hands_one_out_twice, VirtualTime) {
    constexpr std::size_t permits = 5;
    Semaphore semaphore(permits);
    Random random(10);
    std::size_t left = stress_iterations(20'000);
    std::size_t in_use = 0;
    std::size_t too_many = 0;
    std::size_t gave_up = 0;
    auto use = [&](std::size_t count) -> Task<> {
        Permit permit = co_await semaphore.acquire(count);
        in_use += count;
        auto release = [&, count](void*) { in_use -= count; };
        std::unique_ptr<void, decltype(release)> held(&in_use, release);
        too_many += in_use > permits || in_use + semaphore.available() > permits;
        if (random.once_in(2)) co_await yield();
        if (random.once_in(3)) co_await sleep_for(random.below(3) * 1ms);
    };
    auto user = [&]() -> Task<> {
        while (left != 0) {
            --left;
            const std::size_t count = 1 + random.below(permits);
            if (random.once_in(4)) {
                std::optional<Permit> permit =
                    co_await try_timeout(random.below(4) * 1ms, semaphore.acquire(count));
                gave_up += !permit;
            } else {
                bool done = co_await try_timeout(random.below(4) * 1ms, use(count));
                gave_up += !done;
            }
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 8; ++i)
                group.spawn(std::ref(user));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(too_many == 0u);
    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(in_use == 0u);
    BOOST_TEST(semaphore.available() == permits);
    BOOST_TEST(!semaphore.has_waiters());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace semaphore_test
