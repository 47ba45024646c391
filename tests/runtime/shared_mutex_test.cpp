// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/shared_mutex.hpp>
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
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace shared_mutex_test {

namespace {

Task<> read_under(SharedMutex& mutex, Log& log, std::string name) {
    SharedGuard guard = co_await mutex.lock_shared();
    log.note(name + "(");
    co_await sleep_for(1s);
    log.note(")" + name);
}

Task<> write_under(SharedMutex& mutex, Log& log, std::string name) {
    ExclusiveGuard guard = co_await mutex.lock();
    log.note(name + "(");
    co_await sleep_for(1s);
    log.note(")" + name);
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

// Who holds it, as its holders see it.
struct Holders {
    int readers = 0;
    int writers = 0;
    bool was_broken = false;

    void check() { was_broken = was_broken || writers > 1 || (writers == 1 && readers != 0); }
};

class Held {
public:
    Held(int& count, Holders& holders) : count_(count) {
        ++count_;
        holders.check();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { --count_; }

private:
    int& count_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(shared_mutex)

BOOST_FIXTURE_TEST_CASE(readers_hold_it_together_and_a_writer_alone, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(read_under, std::ref(mutex), std::ref(log), "a");
            group.spawn(read_under, std::ref(mutex), std::ref(log), "b");
            group.spawn(write_under, std::ref(mutex), std::ref(log), "C");
            group.spawn(write_under, std::ref(mutex), std::ref(log), "D");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a( b( )a )b C( )C D( )D");
    BOOST_TEST(!mutex.is_locked());
    BOOST_TEST(mutex.shares() == 0u);
}

BOOST_FIXTURE_TEST_CASE(lock_that_is_free_is_taken_without_a_suspension, VirtualTime) {
    SharedMutex mutex;
    run([&]() -> Task<> {
        std::uint64_t before = executor.stats().resumes;
        SharedGuard one = co_await mutex.lock_shared();
        SharedGuard two = co_await mutex.lock_shared();
        BOOST_TEST(mutex.shares() == 2u);
        one.unlock();
        two.unlock();
        ExclusiveGuard alone = co_await mutex.lock();

        BOOST_TEST(mutex.is_locked());
        BOOST_TEST(executor.stats().resumes == before);
    });
}

BOOST_FIXTURE_TEST_CASE(readers_that_come_after_a_writer_do_not_starve_it, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(read_under, std::ref(mutex), std::ref(log), "a");
            group.spawn(write_under, std::ref(mutex), std::ref(log), "B");
            group.spawn(read_under, std::ref(mutex), std::ref(log), "c");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a( )a B( )B c( )c");
}

BOOST_FIXTURE_TEST_CASE(writers_that_come_after_a_reader_do_not_starve_it, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const char* name : {"A", "B"})
                group.spawn(write_under, std::ref(mutex), std::ref(log), name);
            group.spawn(read_under, std::ref(mutex), std::ref(log), "c");
            group.spawn(write_under, std::ref(mutex), std::ref(log), "D");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "A( )A B( )B c( )c D( )D");
}

BOOST_FIXTURE_TEST_CASE(run_of_readers_is_let_in_together_and_stops_at_the_next_writer, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(write_under, std::ref(mutex), std::ref(log), "A");
            for (const char* name : {"b", "c", "d"})
                group.spawn(read_under, std::ref(mutex), std::ref(log), name);
            group.spawn(write_under, std::ref(mutex), std::ref(log), "E");
            group.spawn(read_under, std::ref(mutex), std::ref(log), "f");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "A( )A b( c( d( )b )c )d E( )E f( )f");
    BOOST_TEST((elapsed() == 4s));
}

BOOST_FIXTURE_TEST_CASE(writer_waits_for_the_last_reader, VirtualTime) {
    SharedMutex mutex;
    Log log;
    SharedGuard one = mutex.try_lock_shared();
    SharedGuard two = mutex.try_lock_shared();
    Running<void> writing = executor.start(write_under(mutex, log, "W"));
    settle(executor);

    one.unlock();
    one.unlock();
    settle(executor);
    BOOST_TEST(log.text() == "");
    two.unlock();
    settle(executor);
    BOOST_TEST(log.text() == "W(");
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(try_forms_never_wait_and_overtake_nobody, VirtualTime) {
    SharedMutex mutex;
    Log log;

    SharedGuard reading = mutex.try_lock_shared();
    BOOST_TEST(reading.is_locked());
    BOOST_TEST(mutex.try_lock_shared().is_locked());
    BOOST_TEST(!mutex.try_lock().is_locked());
    Running<void> writing = executor.start(write_under(mutex, log, "W"));
    settle(executor);
    BOOST_TEST(!mutex.try_lock_shared().is_locked());
    reading.unlock();
    BOOST_TEST(mutex.is_locked());
    BOOST_TEST(!mutex.try_lock_shared().is_locked());
    BOOST_TEST(!mutex.try_lock().is_locked());
    executor.run();
    ExclusiveGuard alone = mutex.try_lock();
    BOOST_TEST(alone.is_locked());
}

BOOST_FIXTURE_TEST_CASE(guards_can_be_moved, VirtualTime) {
    SharedMutex mutex;

    SharedGuard reading = mutex.try_lock_shared();
    SharedGuard moved = std::move(reading);
    BOOST_TEST(!reading.is_locked());
    BOOST_TEST(mutex.shares() == 1u);
    moved = SharedGuard();
    BOOST_TEST(mutex.shares() == 0u);
    ExclusiveGuard writing = mutex.try_lock();
    ExclusiveGuard other = std::move(writing);
    BOOST_TEST(mutex.is_locked());
    other = ExclusiveGuard();
    BOOST_TEST(!mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(writer_that_gives_up_lets_the_readers_behind_it_in, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto impatient = [&]() -> Task<> {
            std::optional<ExclusiveGuard> guard = co_await try_timeout(100ms, mutex.lock());
            log.note(guard ? "got it" : "gave up");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(read_under, std::ref(mutex), std::ref(log), "a");
            group.spawn(std::ref(impatient));
            group.spawn(read_under, std::ref(mutex), std::ref(log), "b");
            group.spawn(read_under, std::ref(mutex), std::ref(log), "c");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "a( b( c( gave up )a )b )c");
    BOOST_TEST((elapsed() == 1100ms));
}

BOOST_FIXTURE_TEST_CASE(reader_that_gives_up_in_the_middle_costs_nobody_a_turn, VirtualTime) {
    SharedMutex mutex;
    Log log;
    run([&]() -> Task<> {
        auto impatient = [&]() -> Task<> {
            Result<SharedGuard> guard = co_await as_result(timeout(100ms, mutex.lock_shared()));
            BOOST_TEST((!guard && guard.error() == errc::deadline_exceeded));
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(write_under, std::ref(mutex), std::ref(log), "A");
            group.spawn(write_under, std::ref(mutex), std::ref(log), "B");
            group.spawn(std::ref(impatient));
            group.spawn(write_under, std::ref(mutex), std::ref(log), "C");
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "A( )A B( )B C( )C");
}

// A writer that leaves lets readers in behind it; but those of the same scope are about to leave, too.
BOOST_FIXTURE_TEST_CASE(scope_that_is_cancelled_hands_nothing_to_its_own, VirtualTime) {
    SharedMutex mutex;
    Log log;
    SharedGuard held = mutex.try_lock_shared();
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto inner = [&](TaskGroup& group) -> Task<> {
                group.spawn(read_under, std::ref(mutex), std::ref(log), "child");
                ExclusiveGuard alone = co_await mutex.lock();
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
    BOOST_TEST(mutex.shares() == 1u);
    BOOST_TEST(!mutex.has_waiters());
}

BOOST_FIXTURE_TEST_CASE(lock_in_a_cancelled_scope_takes_nothing, VirtualTime) {
    SharedMutex mutex;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            ExclusiveGuard guard = co_await mutex.lock();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(!mutex.is_locked());
}

BOOST_FIXTURE_TEST_CASE(dump_tells_who_is_in_the_way, VirtualTime) {
    SharedMutex mutex;
    Log log;
    SharedGuard held = mutex.try_lock_shared();
    Running<void> writing = executor.start(write_under(mutex, log, "W"));
    settle(executor);
    BOOST_TEST(executor.dump_tasks().find("a shared mutex, to write; 1 reads") != std::string::npos);
    held.unlock();
    Running<void> reading = executor.start(read_under(mutex, log, "r"));
    settle(executor);
    BOOST_TEST(executor.dump_tasks().find("a shared mutex, to read; one writes") != std::string::npos);
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    SharedMutex mutex;
    std::size_t allocations = 1;
    auto use = [&](bool writes) -> Task<> {
        for (int i = 0; i < 100; ++i) {
            if (writes) {
                ExclusiveGuard guard = co_await mutex.lock();
                co_await yield();
            } else {
                SharedGuard guard = co_await mutex.lock_shared();
                co_await yield();
            }
        }
    };
    auto measure = [&]() -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 50; ++i)
            co_await yield();
        allocations = allocations_made() - before;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (bool writes : {true, false, true, false})
                group.spawn(std::ref(use), writes);
            group.spawn(std::ref(measure));
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(lock_is_lost_at_no_suspension_point) {
    std::optional<SharedMutex> mutex;
    Holders holders;
    SweepOptions options;
    options.before = [&] { mutex.emplace(); };
    options.after = [&] {
        BOOST_TEST(!mutex->is_locked());
        BOOST_TEST(mutex->shares() == 0u);
        BOOST_TEST(!mutex->has_waiters());
        mutex.reset();
    };
    auto reader = [&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            SharedGuard guard = co_await mutex->lock_shared();
            Held held(holders.readers, holders);
            co_await sleep_for(1s);
        }
    };
    auto writer = [&]() -> Task<> {
        for (int i = 0; i < 2; ++i) {
            ExclusiveGuard guard = co_await mutex->lock();
            Held held(holders.writers, holders);
            co_await yield();
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(reader));
            group.spawn(std::ref(writer));
            group.spawn(std::ref(reader));
            group.spawn(std::ref(reader));
            group.spawn(std::ref(writer));
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
    BOOST_TEST(!holders.was_broken);
}

BOOST_FIXTURE_TEST_CASE(random_use_never_breaks_exclusion_nor_loses_a_lock, VirtualTime) {
    SharedMutex mutex;
    Holders holders;
    Random random(1);
    std::size_t left = stress_iterations(20'000);
    std::size_t gave_up = 0;
    auto hold = [&]() -> Task<> {
        if (random.once_in(2)) co_await yield();
        if (random.once_in(4)) co_await sleep_for(random.below(3) * 1ms);
    };
    auto read_once = [&]() -> Task<> {
        SharedGuard guard = co_await mutex.lock_shared();
        Held held(holders.readers, holders);
        co_await hold();
    };
    auto write_once = [&]() -> Task<> {
        ExclusiveGuard guard = co_await mutex.lock();
        Held held(holders.writers, holders);
        co_await hold();
    };
    auto user = [&]() -> Task<> {
        while (left != 0) {
            --left;
            Duration limit = random.below(4) * 1ms;
            // The wait alone has a deadline, or what is done under the lock, too.
            if (random.once_in(3)) {
                std::optional<SharedGuard> guard = co_await try_timeout(limit, mutex.lock_shared());
                if (!guard) {
                    ++gave_up;
                    continue;
                }
                Held held(holders.readers, holders);
                co_await hold();
            } else if (random.once_in(2)) {
                bool done = co_await try_timeout(limit, write_once());
                gave_up += !done;
            } else {
                bool done = co_await try_timeout(limit, read_once());
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

    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(!holders.was_broken);
    BOOST_TEST(!mutex.is_locked());
    BOOST_TEST(mutex.shares() == 0u);
    BOOST_TEST(!mutex.has_waiters());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace shared_mutex_test
