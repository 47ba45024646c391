// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/stream_pair.hpp"
#include "support/system.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace executor_test {

namespace {

Task<> nothing() { co_return; }

Task<> hold_counted_until_the_end(Counted) { co_return; }
Task<> hold_counted() { return hold_counted_until_the_end(Counted()); }

Task<int> give(int value) { co_return value; }

Task<int> give_later(int value) {
    co_await sleep_for(1s);
    co_return value;
}

Task<int> fail_later() {
    co_await sleep_for(1s);
    throw std::runtime_error("it failed");
}

Task<> note_later(Log& log, std::string word) {
    co_await sleep_for(1s);
    log.note(word);
}

template <class Call>
std::error_code code_of(Call&& call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return std::error_code();
}

void keep_busy_for(Duration time) {
    const TimePoint end = steady_clock().now() + time;
    while (steady_clock().now() < end) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(executor)

BOOST_FIXTURE_TEST_CASE(run_until_gives_the_value, VirtualTime) {
    BOOST_TEST(executor.run_until(give_later(7)) == 7);
}

BOOST_FIXTURE_TEST_CASE(run_until_throws_the_exception_and_the_executor_goes_on, VirtualTime) {
    BOOST_CHECK_THROW(executor.run_until(fail_later()), std::runtime_error);

    BOOST_TEST(executor.run_until(give(1)) == 1);
}

BOOST_FIXTURE_TEST_CASE(run_until_gives_a_value_that_only_moves, VirtualTime) {
    auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };

    BOOST_TEST(*executor.run_until(make()) == 3);
}

BOOST_FIXTURE_TEST_CASE(run_until_inside_a_task_is_refused_as_busy, VirtualTime) {
    run([&]() -> Task<> {
        std::error_code code = code_of([&] { executor.run_until(hold_counted()); });

        BOOST_TEST(code == errc::busy);
        co_return;
    });
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(run_and_turn_inside_a_task_are_refused_as_busy, VirtualTime) {
    run([&]() -> Task<> {
        BOOST_TEST(code_of([&] { executor.run(); }) == errc::busy);
        BOOST_TEST(code_of([&] { executor.turn(); }) == errc::busy);
        co_return;
    });
}

BOOST_FIXTURE_TEST_CASE(second_thread_is_refused_as_busy, VirtualTime) {
    executor.run_until(nothing());

    std::error_code between;
    std::thread([&] { between = code_of([&] { executor.run_until(nothing()); }); }).join();
    std::error_code meanwhile;
    run([&]() -> Task<> {
        std::thread([&] { meanwhile = code_of([&] { executor.run_until(nothing()); }); }).join();
        co_return;
    });

    BOOST_TEST(between == errc::busy);
    BOOST_TEST(meanwhile == errc::busy);
}

BOOST_AUTO_TEST_CASE(the_thread_that_runs_first_need_not_be_the_one_that_made_it) {
    Executor executor;
    int value = 0;

    std::thread([&] { value = executor.run_until(give(5)); }).join();

    BOOST_TEST(value == 5);
    BOOST_TEST(code_of([&] { executor.run_until(nothing()); }) == errc::busy);
}

BOOST_AUTO_TEST_CASE(run_makes_an_executor_of_its_own) {
    VirtualClock clock;
    ExecutorOptions options;
    options.clock = &clock;

    BOOST_TEST(leat::run(give(2)) == 2);
    BOOST_TEST(leat::run(give_later(3), options) == 3);
}

BOOST_FIXTURE_TEST_CASE(started_task_runs_while_another_one_is_waited_for, VirtualTime) {
    Running<int> running = executor.start(give_later(4));
    BOOST_TEST(!running.has_ended());

    executor.run_until(give_later(0));

    BOOST_TEST(running.has_ended());
    BOOST_TEST(running.get() == 4);
}

BOOST_FIXTURE_TEST_CASE(run_ends_when_all_started_tasks_have_ended, VirtualTime) {
    Log log;
    Running<void> first = executor.start(note_later(log, "first"));
    Running<void> second = executor.start(note_later(log, "second"));

    executor.run();
    executor.run();  // Nothing is left: returns at once.

    BOOST_TEST(log.text() == "first second");
    BOOST_TEST(elapsed() == Duration(1s));
}

BOOST_FIXTURE_TEST_CASE(get_throws_the_exception_of_a_started_task, VirtualTime) {
    Running<int> running = executor.start(fail_later());

    executor.run();

    BOOST_CHECK_THROW(running.get(), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(cancelled_started_task_gives_the_error_cancelled, VirtualTime) {
    Log log;
    auto waits = [&]() -> Task<int> {
        Guard guard(log, "task");
        co_await sleep_for(1h);
        co_return 1;
    };
    Running<int> running = executor.start(waits());
    executor.run_until(nothing());

    running.cancel();
    running.cancel();
    executor.run();

    BOOST_TEST(log.text() == "task!");
    BOOST_TEST(running.has_ended());
    BOOST_TEST(code_of([&] { running.get(); }) == errc::cancelled);
    BOOST_TEST(elapsed() == Duration::zero());
}

BOOST_FIXTURE_TEST_CASE(task_that_is_cancelled_before_its_first_resume_passes_no_wait, VirtualTime) {
    bool passed = false;
    auto waits = [&](Counted) -> Task<> {
        co_await sleep_for(1h);
        passed = true;
    };
    Running<void> running = executor.start(waits(Counted()));

    running.cancel();
    executor.run();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(!passed);
    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST(elapsed() == Duration::zero());
}

BOOST_FIXTURE_TEST_CASE(destroying_running_cancels_the_task, VirtualTime) {
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await sleep_for(1h);
    };
    {
        Running<void> running = executor.start(waits());
        executor.run_until(nothing());
    }
    executor.run();

    BOOST_TEST(log.text() == "task!");
    BOOST_TEST(elapsed() == Duration::zero());
}

BOOST_FIXTURE_TEST_CASE(running_that_has_ended_may_be_destroyed_without_a_look, VirtualTime) {
    auto make = []() -> Task<Counted> { co_return Counted(); };
    {
        Running<Counted> running = executor.start(make());
        executor.run();
        BOOST_TEST(running.has_ended());
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(running_can_be_moved, VirtualTime) {
    Running<int> first = executor.start(give_later(1));
    Running<int> second = executor.start(give_later(2));

    Running<int> third = std::move(first);
    third = std::move(second);
    executor.run();

    BOOST_TEST(third.get() == 2);
}

// A connection that was moved into the task is closed then, and not when somebody drops the result.
BOOST_FIXTURE_TEST_CASE(what_a_started_task_was_called_with_is_released_at_its_end, VirtualTime) {
    auto end = [](std::unique_ptr<Guard>, int how) -> Task<int> {
        if (how == 1) co_await sleep_for(1h);
        if (how == 2) throw std::runtime_error("it failed");
        co_return 7;
    };
    Log log;
    Running<int> finished = executor.start(end(std::make_unique<Guard>(log, "finished"), 0));
    Running<int> cancelled = executor.start(end(std::make_unique<Guard>(log, "cancelled"), 1));
    Running<int> failed = executor.start(end(std::make_unique<Guard>(log, "failed"), 2));
    auto waits = []() -> Task<> { co_await yield(); };

    run(waits);
    BOOST_TEST(log.text() == "finished failed");
    cancelled.cancel();
    executor.run();

    BOOST_TEST(log.text() == "finished failed cancelled!");
    BOOST_TEST(finished.get() == 7);
    BOOST_TEST((code_of([&] { cancelled.get(); }) == errc::cancelled));
    BOOST_CHECK_THROW(failed.get(), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(result_of_a_started_task_outlives_what_it_was_called_with, VirtualTime) {
    auto give_back = [](Counted argument) -> Task<Counted> { co_return argument; };
    auto refer = [](Counted, int& value) -> Task<int&> { co_return value; };
    int value = 3;
    const int before = Counted::live();
    Running<Counted> copy = executor.start(give_back(Counted(5)));
    Running<int&> reference = executor.start(refer(Counted(), value));

    executor.run();

    BOOST_TEST(Counted::live() == before + 1);
    BOOST_TEST(copy.get().value() == 5);
    BOOST_TEST(&reference.get() == &value);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_FIXTURE_TEST_CASE(destructor_of_an_argument_may_use_the_handle_of_its_task, VirtualTime) {
    struct AtEnd {
        explicit AtEnd(std::function<void()> action) : action_(std::move(action)) {}
        AtEnd(AtEnd&& other) noexcept : action_(std::exchange(other.action_, nullptr)) {}
        ~AtEnd() {
            if (action_) action_();
        }

    private:
        std::function<void()> action_;
    };
    auto end = [](AtEnd) -> Task<int> { co_return 1; };
    std::optional<Running<int>> running;
    std::error_code early;
    int calls = 0;
    auto cancel = [&] {
        ++calls;
        BOOST_TEST(!running->has_ended());
        running->cancel();
        early = code_of([&] { running->get(); });
        BOOST_TEST(executor.dump_tasks().find("end") == std::string::npos);
    };
    auto drop = [&] {
        ++calls;
        running.reset();
    };

    running.emplace(executor.start(end(AtEnd(cancel))));
    executor.run();
    BOOST_TEST(running->get() == 1);
    BOOST_TEST((early == errc::busy));
    running.emplace(executor.start(end(AtEnd(drop))));
    executor.run();

    BOOST_TEST(!running);
    BOOST_TEST(calls == 2);
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(result_that_cannot_be_moved_out_is_the_failure_of_a_started_task, VirtualTime) {
    struct Stubborn {
        Stubborn() = default;
        Stubborn(Stubborn&& other) : moves(other.moves + 1) {
            if (moves == 2) throw std::runtime_error("moved once too often");
        }
        int moves = 0;
    };
    auto give_stubborn = [](Counted) -> Task<Stubborn> { co_return Stubborn(); };
    const int before = Counted::live();
    Running<Stubborn> running = executor.start(give_stubborn(Counted()));

    executor.run();

    BOOST_TEST(Counted::live() == before);
    BOOST_CHECK_THROW(running.get(), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(task_may_start_another_one, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        Running<void> running = executor.start(note_later(log, "started"));
        co_await sleep_for(2s);
        BOOST_TEST(running.has_ended());
        log.note("starter");
    });

    BOOST_TEST(log.text() == "started starter");
}

BOOST_FIXTURE_TEST_CASE(yield_lets_every_other_ready_task_run_first, VirtualTime) {
    Log log;
    auto speak = [&](std::string word) -> Task<> {
        for (int i = 0; i < 3; ++i) {
            log.note(word);
            co_await yield();
        }
    };
    Running<void> a = executor.start(speak("a"));
    Running<void> b = executor.start(speak("b"));
    Running<void> c = executor.start(speak("c"));

    executor.run();

    BOOST_TEST(log.text() == "a b c a b c a b c");
}

BOOST_FIXTURE_TEST_CASE(pair_that_plays_ping_pong_does_not_starve_a_third, VirtualTime) {
    bool is_over = false;
    int strokes = 0;
    Gate ping;
    Gate pong;
    auto player = [&](Gate& ours, Gate& theirs) -> Task<> {
        while (!is_over && strokes < 100'000) {
            ++strokes;
            theirs.open();
            co_await ours.pass();
        }
        theirs.open();
    };
    auto third = [&]() -> Task<> {
        for (int i = 0; i < 100; ++i)
            co_await yield();
        is_over = true;
    };
    Running<void> left = executor.start(player(ping, pong));
    Running<void> right = executor.start(player(pong, ping));
    Running<void> other = executor.start(third());

    executor.run();

    BOOST_TEST(strokes <= 1000);
}

BOOST_FIXTURE_TEST_CASE(a_million_ready_awaits_do_not_starve_another_task, VirtualTime) {
    bool other_has_run = false;
    int awaits = 0;
    auto busy = [&]() -> Task<> {
        while (!other_has_run && awaits < 1'000'000) {
            int one = co_await give(1);
            awaits += one;
        }
    };
    auto other = [&]() -> Task<> {
        other_has_run = true;
        co_return;
    };
    Running<void> first = executor.start(busy());
    Running<void> second = executor.start(other());

    executor.run();

    BOOST_TEST(other_has_run);
    BOOST_TEST(awaits <= 1000);
}

BOOST_AUTO_TEST_CASE(yield_loop_does_not_starve_a_timer) {
    Executor executor;
    bool timer_has_fired = false;
    auto timer = [&]() -> Task<> {
        co_await sleep_for(1ms);
        timer_has_fired = true;
    };
    auto loop = [&]() -> Task<> {
        while (!timer_has_fired)
            co_await yield();
    };
    Running<void> sleeping = executor.start(timer());

    executor.run_until(loop());

    BOOST_TEST(timer_has_fired);
}

BOOST_AUTO_TEST_CASE(yield_loop_does_not_starve_io) {
    StreamPair pair;
    Executor executor;
    bool is_readable = false;
    int yields = 0;
    auto reader = [&]() -> Task<> {
        co_await readable(pair.left);
        is_readable = true;
    };
    auto loop = [&]() -> Task<> {
        co_await yield();
        send_directly(pair.right, "x");
        while (!is_readable && yields < 100'000) {
            ++yields;
            co_await yield();
        }
    };
    Running<void> reading = executor.start(reader());

    executor.run_until(loop());

    BOOST_TEST(is_readable);
    BOOST_TEST(yields <= 1024);
}

BOOST_AUTO_TEST_CASE(yield_loop_does_not_starve_what_others_post) {
    Executor executor;
    bool has_come = false;
    auto loop = [&]() -> Task<> {
        while (!has_come)
            co_await yield();
    };
    std::thread other([&, remote = executor.remote()]() mutable { remote.post([&] { has_come = true; }); });

    executor.run_until(loop());

    other.join();
    BOOST_TEST(has_come);
}

BOOST_AUTO_TEST_CASE(tasks_that_take_long_and_never_wait_let_io_be_polled_for_between_them) {
    Executor executor;
    ManualResetEvent is_set(true);
    int running = 0;
    int changes = 0;
    auto work = [&](int self) -> Task<> {
        while (changes < 200) {
            if (std::exchange(running, self) != self) ++changes;
            keep_busy_for(20us);
            co_await is_set.wait();
        }
    };
    Running<void> one = executor.start(work(1));
    Running<void> other = executor.start(work(2));

    executor.run();

    BOOST_TEST(executor.stats().polls >= 50u);
}

BOOST_AUTO_TEST_CASE(each_task_of_many_that_take_long_lets_io_be_polled_for_once_more) {
    Executor executor;
    ManualResetEvent is_set(true);
    int running = 0;
    auto work = [&](int self) -> Task<> {
        running = self;
        // Until it has given way.
        while (running == self) {
            keep_busy_for(20us);
            co_await is_set.wait();
        }
        running = 0;
        keep_busy_for(60us);
    };
    std::vector<Running<void>> tasks;
    for (int self = 1; self <= 60; ++self)
        tasks.push_back(executor.start(work(self)));

    executor.run();

    BOOST_TEST(executor.stats().polls >= 50u);
}

BOOST_AUTO_TEST_CASE(yield_makes_no_system_call_of_its_own) {
    Executor executor;
    auto loop = [&]() -> Task<> {
        for (int i = 0; i < 100'000; ++i)
            co_await yield();
    };

    executor.run_until(loop());

    // The bounded look at I/O apart: every 256 resumes, or after 50 microseconds, for which the clock is read every 32.
    BOOST_TEST(executor.stats().polls <= 3'200u);
    BOOST_TEST(executor.stats().resumes >= 100'000u);
}

BOOST_FIXTURE_TEST_CASE(stats_count_what_was_done, VirtualTime) {
    run([&]() -> Task<> {
        executor.remote().post([] {});
        co_await sleep_for(1s);
        co_await sleep_for(1s);
    });

    BOOST_TEST(executor.stats().timers_fired == 2u);
    BOOST_TEST(executor.stats().posted == 1u);
    BOOST_TEST(executor.stats().resumes >= 3u);
    BOOST_TEST(executor.stats().unwound_frames == 0u);
}

BOOST_FIXTURE_TEST_CASE(notices_go_to_the_diagnostic_of_the_options, VirtualTime) {
    executor.notice("something happened");

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("something happened") != std::string::npos);
    BOOST_TEST(executor.stats().notices == 1u);
}

BOOST_FIXTURE_TEST_CASE(notices_beyond_the_rate_are_counted_and_told_with_the_next, VirtualTime) {
    for (int i = 0; i < 25; ++i)
        executor.notice("again");
    std::size_t at_once = notices.size();
    clock.advance(2s);
    executor.notice("later");

    BOOST_TEST(at_once == 10u);
    BOOST_TEST(executor.stats().notices_suppressed == 15u);
    std::string told;
    for (std::size_t i = at_once; i < notices.size(); ++i)
        told += notices[i] + '\n';
    BOOST_TEST(told.find("later") != std::string::npos);
    BOOST_TEST(told.find("15") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(exception_of_the_diagnostic_stays_there, VirtualTime) {
    ExecutorOptions throwing = options();
    throwing.diagnostic = [](std::string_view) { throw std::runtime_error("no paper"); };
    Executor other(throwing);

    BOOST_CHECK_NO_THROW(other.notice("something"));
    BOOST_TEST(other.run_until(give(1)) == 1);
}

BOOST_AUTO_TEST_CASE(default_diagnostic_is_not_needed_to_run) {
    ExecutorOptions options;
    options.diagnostic = nullptr;
    Executor executor(options);

    BOOST_TEST(executor.run_until(give(1)) == 1);
}

BOOST_AUTO_TEST_CASE(a_thousand_executors_leak_no_descriptor) {
    // The descriptor limit of a process is 1024 by default, and each executor has several.
    for (int i = 0; i < 1000; ++i) {
        Executor executor;
        executor.run_until(nothing());
    }
    const std::set<NativeHandle> before = open_handles();
    for (int i = 0; i < 10; ++i)
        leat::run(nothing());

    BOOST_TEST(open_handles() == before);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace executor_test
