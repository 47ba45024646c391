// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/log.hpp"
#include "support/stress.hpp"
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

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace mutex_test {

BOOST_AUTO_TEST_SUITE(mutex)

BOOST_FIXTURE_TEST_CASE(what_is_done_under_it_stays_in_one_piece_across_awaits, VirtualTime) {
    Mutex mutex;
    Log log;
    auto work = [&](std::string name) -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        log.note(name + "(");
        co_await sleep_for(1s);
        log.note(")" + name);
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const char* name : {"a", "b", "c"})
                group.spawn(std::ref(work), name);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a( )a b( )b c( )c");
    BOOST_TEST(!mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(unlocking_early_lets_the_next_one_in, VirtualTime) {
    Mutex mutex;
    Log log;
    auto first = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        co_await sleep_for(1s);
        guard.unlock();
        guard.unlock();
        co_await sleep_for(1s);
        log.note("first");
    };
    auto second = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        BOOST_TEST(guard.is_locked());
        log.note("second");
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(first));
            group.spawn(std::ref(second));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "second first");
}

BOOST_FIXTURE_TEST_CASE(try_lock_never_waits, VirtualTime) {
    Mutex mutex;

    MutexGuard guard = mutex.try_lock();
    MutexGuard other = mutex.try_lock();

    BOOST_TEST(guard.is_locked());
    BOOST_TEST(!other.is_locked());
    guard.unlock();
    other = mutex.try_lock();
    BOOST_TEST(other.is_locked());
}

BOOST_FIXTURE_TEST_CASE(lock_may_have_a_deadline_and_a_result, VirtualTime) {
    Mutex mutex;
    run([&]() -> Task<> {
        MutexGuard held = co_await mutex.lock();
        Result<MutexGuard> late = co_await as_result(timeout(1s, mutex.lock()));
        std::optional<MutexGuard> later = co_await try_timeout(1s, mutex.lock());

        BOOST_TEST((!late && late.error() == errc::deadline_exceeded));
        BOOST_TEST(!later.has_value());
        held.unlock();
        Result<MutexGuard> now = co_await as_result(mutex.lock());
        BOOST_TEST((now && now->is_locked()));
    });

    BOOST_TEST(!mutex.is_locked());
}

BOOST_AUTO_TEST_CASE(lock_is_lost_at_no_suspension_point_and_never_held_twice) {
    std::optional<Mutex> mutex;
    int holders = 0;
    int most = 0;
    SweepOptions options;
    options.before = [&] { mutex.emplace(); };
    options.after = [&] {
        BOOST_TEST(!mutex->is_locked());
        BOOST_TEST(holders == 0);
        mutex.reset();
    };
    struct Holding {
        explicit Holding(int& count, int& largest) : holders_(count) {
            largest = std::max(largest, ++holders_);
        }
        Holding(const Holding&) = delete;
        ~Holding() { --holders_; }
        int& holders_;
    };
    auto worker = [&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            MutexGuard guard = co_await mutex->lock();
            Holding holding(holders, most);
            co_await sleep_for(1s);
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 3; ++i)
                group.spawn(std::ref(worker));
            co_return;
        };
        co_await task_group(body);
    };

    sweep_all_endings(scenario, options);

    BOOST_TEST(most == 1);
}

// Those that get it do so in the order in which they began to wait, but for those that gave up.
BOOST_FIXTURE_TEST_CASE(random_use_never_breaks_exclusion_nor_the_order, VirtualTime) {
    Mutex mutex;
    Random random(9);
    std::size_t left = stress_iterations(20'000);
    std::size_t tickets = 0;
    std::size_t last_served = 0;
    std::size_t out_of_order = 0;
    std::size_t overlapping = 0;
    std::size_t gave_up = 0;
    bool is_held = false;
    auto use = [&](std::size_t ticket) -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        out_of_order += ticket < last_served;
        last_served = ticket;
        overlapping += std::exchange(is_held, true);
        auto release = [&](void*) { is_held = false; };
        std::unique_ptr<void, decltype(release)> held(&is_held, release);
        if (random.once_in(2)) co_await yield();
        if (random.once_in(4)) co_await sleep_for(random.below(3) * 1ms);
    };
    auto user = [&]() -> Task<> {
        while (left != 0) {
            --left;
            bool done = co_await try_timeout(random.below(6) * 1ms, use(++tickets));
            gave_up += !done;
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 6; ++i)
                group.spawn(std::ref(user));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(out_of_order == 0u);
    BOOST_TEST(overlapping == 0u);
    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(!mutex.is_locked());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace mutex_test
