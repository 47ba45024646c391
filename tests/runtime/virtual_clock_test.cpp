// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/callback.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/other_thread.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace virtual_clock_test {

namespace {

constexpr int waiting_line = __LINE__ + 1;
Task<> wait_for_ever(Gate& gate) { co_await gate.pass(); }

// Lets an executor that is about to idle do so, as far as that can be had without a measure of time.
void let_others_run() {
    for (int i = 0; i < 2000; ++i)
        std::this_thread::yield();
}

struct OneThread : VirtualTime {
    OneThread() : VirtualTime(VirtualClock::Remotes::of_one_thread) {}

    Task<> sleep(Duration duration) { co_await sleep_for(duration); }

    /// Notes when it is destroyed.
    class NoteTime {
    public:
        NoteTime(const OneThread& test, std::optional<Duration>& into) noexcept : test_(test), into_(into) {}
        NoteTime(const NoteTime&) = delete;
        NoteTime& operator=(const NoteTime&) = delete;
        ~NoteTime() { into_ = test_.elapsed(); }

    private:
        const OneThread& test_;
        std::optional<Duration>& into_;
    };
};

}  // namespace

BOOST_AUTO_TEST_SUITE(virtual_clock)

BOOST_FIXTURE_TEST_CASE(idle_executor_jumps_exactly_to_the_next_deadline, VirtualTime) {
    run([&]() -> Task<> {
        co_await sleep_for(1h + 1ns);
        BOOST_TEST((elapsed() == Duration(1h + 1ns)));
        co_await sleep_for(24h * 365);
        BOOST_TEST((elapsed() == Duration(1h + 1ns + 24h * 365)));
    });
}

BOOST_FIXTURE_TEST_CASE(time_stands_still_while_a_task_can_run, VirtualTime) {
    run([&]() -> Task<> {
        auto sleeper = []() -> Task<> { co_await sleep_for(1ns); };
        Running<void> running = executor.start(sleeper());
        for (int i = 0; i < 1000; ++i)
            co_await yield();

        BOOST_TEST((elapsed() == Duration::zero()));
        BOOST_TEST(!running.has_ended());
    });
}

BOOST_FIXTURE_TEST_CASE(task_may_advance_the_clock, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto sleeper = [&]() -> Task<> {
            co_await sleep_for(1s);
            log.note("awake");
        };
        Running<void> running = executor.start(sleeper());
        co_await yield();
        clock.advance(5s);
        co_await yield();
        co_await sleep_for(0s);
        co_await sleep_for(1ns);

        BOOST_TEST(running.has_ended());
        BOOST_TEST((elapsed() == Duration(5s + 1ns)));
    });

    BOOST_TEST(log.text() == "awake");
}

BOOST_FIXTURE_TEST_CASE(clock_never_goes_back, VirtualTime) {
    clock.advance(-1h);
    clock.advance_to(beginning - 1s);
    BOOST_TEST((elapsed() == Duration::zero()));

    clock.advance(Duration::max());
    clock.advance(1s);

    BOOST_TEST((clock.now() == TimePoint::max()));
}

BOOST_FIXTURE_TEST_CASE(deadlock_is_reported_at_once_with_file_and_line_of_the_wait, VirtualTime) {
    Gate gate;
    std::string message;
    std::error_code code;
    auto parent = [&]() -> Task<> { co_await wait_for_ever(gate); };

    try {
        run(parent);
    } catch (const std::system_error& error) {
        code = error.code();
        message = error.what();
    }

    BOOST_TEST(code == errc::deadlock);
    BOOST_TEST_INFO(message);
    BOOST_TEST(message.find("virtual_clock_test.cpp:" + std::to_string(waiting_line)) != std::string::npos);
    BOOST_TEST(message.find("wait_for_ever") != std::string::npos);
    BOOST_TEST(message.find("a gate") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(deadlocked_task_is_unwound_before_the_report, VirtualTime) {
    Gate gate;
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await gate.pass();
    };

    BOOST_CHECK_THROW(run(waits), std::system_error);

    BOOST_TEST(log.text() == "task!");
    BOOST_TEST(!gate.has_waiter());
    BOOST_CHECK_NO_THROW(run([]() -> Task<> { co_await sleep_for(1s); }));
}

BOOST_FIXTURE_TEST_CASE(deadlock_of_a_group_names_each_child, VirtualTime) {
    Gate first;
    Gate second;
    std::string message;
    auto waits = [](Gate& gate) -> Task<> { co_await gate.pass(); };
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(waits, std::ref(first));
        group.spawn(waits, std::ref(second));
        co_return;
    };
    auto parent = [&]() -> Task<> { co_await task_group(body); };

    try {
        run(parent);
    } catch (const std::system_error& error) {
        message = error.what();
    }

    std::size_t found = message.find("a gate");
    BOOST_TEST_REQUIRE(found != std::string::npos);
    BOOST_TEST(message.find("a gate", found + 1) != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(run_reports_a_deadlock_too, VirtualTime) {
    Gate gate;
    Running<void> running = executor.start(wait_for_ever(gate));
    std::error_code code;

    try {
        executor.run();
    } catch (const std::system_error& error) {
        code = error.code();
    }

    BOOST_TEST(code == errc::deadlock);
}

BOOST_FIXTURE_TEST_CASE(other_tasks_run_to_their_end_before_a_deadlock_is_reported, VirtualTime) {
    Gate gate;
    Log log;
    auto sleeper = [&]() -> Task<> {
        co_await sleep_for(1h);
        log.note("awake");
    };
    Running<void> running = executor.start(sleeper());

    BOOST_CHECK_THROW(executor.run_until(wait_for_ever(gate)), std::system_error);

    BOOST_TEST(log.text() == "awake");
}

BOOST_FIXTURE_TEST_CASE(clock_does_not_jump_while_an_operation_is_in_flight, VirtualTime) {
    StreamPair pair;
    std::atomic<bool> is_about_to_read = false;
    Duration at_read = Duration::max();
    std::thread peer([&] {
        while (!is_about_to_read)
            std::this_thread::yield();
        let_others_run();
        send_directly(pair.right, "x");
    });
    auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
    Running<void> sleeping = executor.start(sleeper());

    run([&]() -> Task<> {
        co_await yield();
        is_about_to_read = true;
        co_await readable(pair.left);
        at_read = elapsed();
    });

    peer.join();
    BOOST_TEST((at_read == Duration::zero()));
    executor.run();
    BOOST_TEST((elapsed() == Duration(1h)));
}

BOOST_FIXTURE_TEST_CASE(clock_does_not_jump_while_a_remote_is_held, VirtualTime) {
    Gate gate;
    Duration at_post = Duration::max();
    auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
    Running<void> sleeping = executor.start(sleeper());
    std::thread other([&, remote = executor.remote()]() mutable {
        let_others_run();
        remote.post([&] {
            at_post = elapsed();
            gate.open();
        });
    });

    executor.run_until(wait_for_ever(gate));

    other.join();
    BOOST_TEST((at_post == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(clock_jumps_again_when_the_last_remote_has_gone, VirtualTime) {
    std::thread other([remote = executor.remote()] { let_others_run(); });

    run([]() -> Task<> { co_await sleep_for(1h); });

    other.join();
    BOOST_TEST((elapsed() == Duration(1h)));
}

BOOST_FIXTURE_TEST_CASE(deadlock_is_reported_when_the_last_remote_has_gone, VirtualTime) {
    Gate gate;
    std::thread other([remote = executor.remote()] { let_others_run(); });

    BOOST_CHECK_THROW(executor.run_until(wait_for_ever(gate)), std::system_error);

    other.join();
}

BOOST_FIXTURE_TEST_CASE(remote_that_was_not_used_does_not_hold_the_clock, VirtualTime) {
    executor.remote().post([] {});

    run([]() -> Task<> { co_await sleep_for(1h); });

    BOOST_TEST((elapsed() == Duration(1h)));
}

BOOST_FIXTURE_TEST_CASE(host_may_advance_while_an_operation_is_in_flight, VirtualTime) {
    StreamPair pair;
    auto reader = [&]() -> Task<> { co_await readable(pair.left); };
    auto sleeper = []() -> Task<> { co_await sleep_for(1s); };
    Running<void> reading = executor.start(reader());
    Running<void> sleeping = executor.start(sleeper());
    while (executor.turn()) {
    }

    clock.advance(1s);
    while (executor.turn()) {
    }

    BOOST_TEST(sleeping.has_ended());
    BOOST_TEST(!reading.has_ended());
}

// ---- A clock of one thread ----

BOOST_FIXTURE_TEST_CASE(clock_of_one_thread_jumps_while_a_remote_is_held, OneThread) {
    Remote remote = executor.remote();

    executor.run_until(sleep(1h));

    BOOST_TEST((elapsed() == Duration(1h)));
}

BOOST_FIXTURE_TEST_CASE(deadlock_beside_a_held_remote_is_reported_on_a_clock_of_one_thread, OneThread) {
    Gate gate;
    Remote remote = executor.remote();
    auto is_deadlock = [](const std::system_error& error) { return error.code() == errc::deadlock; };

    BOOST_CHECK_EXCEPTION(executor.run_until(wait_for_ever(gate)), std::system_error, is_deadlock);
}

BOOST_FIXTURE_TEST_CASE(what_sleeps_beneath_a_stop_token_is_in_virtual_time_on_a_clock_of_one_thread,
                        OneThread) {
    run([&]() -> Task<> {
        std::stop_source source;
        bool finished = co_await cancel_on(source.get_token(), sleep(1h));
        BOOST_TEST(finished);
        BOOST_TEST((elapsed() == Duration(1h)));

        auto stopper = [&]() -> Task<> {
            co_await sleep_for(30min);
            source.request_stop();
        };
        Running<void> stopping = executor.start(stopper());
        finished = co_await cancel_on(source.get_token(), sleep(1h));
        BOOST_TEST(!finished);
        BOOST_TEST((elapsed() == Duration(90min)));
    });
}

BOOST_FIXTURE_TEST_CASE(callback_that_a_task_calls_is_in_virtual_time_on_a_clock_of_one_thread, OneThread) {
    run([&]() -> Task<> {
        std::optional<Callback<int>> called_later;
        auto caller = [&]() -> Task<> {
            co_await sleep_for(1h);
            (*called_later)(7);
        };
        Running<void> calling = executor.start(caller());
        auto start = [&](Callback<int> done) { called_later.emplace(std::move(done)); };
        int value = co_await callback<int>(start);

        BOOST_TEST(value == 7);
        BOOST_TEST((elapsed() == Duration(1h)));
    });
}

BOOST_FIXTURE_TEST_CASE(call_of_the_own_executor_is_in_virtual_time_on_a_clock_of_one_thread, OneThread) {
    run([&]() -> Task<> {
        auto callee = [this] { return sleep(1h); };
        co_await executor.remote().call(callee);
        BOOST_TEST((elapsed() == Duration(1h)));
    });
}

BOOST_FIXTURE_TEST_CASE(clock_of_one_thread_stands_while_a_call_runs_on_another_thread, OneThread) {
    Running<void> sleeping = executor.start(sleep(1h));
    run([&]() -> Task<> {
        co_await offload(let_others_run);
        BOOST_TEST((elapsed() == Duration::zero()));

        OtherThread other;
        co_await other.remote().call(let_others_run);
        BOOST_TEST((elapsed() == Duration::zero()));

        co_await sleep_for(2h);
        BOOST_TEST((elapsed() == Duration(2h)));
    });
}

BOOST_FIXTURE_TEST_CASE(cancelled_call_on_another_thread_holds_the_clock_of_one_thread_until_it_ends,
                        OneThread) {
    run([&]() -> Task<> {
        auto stop_slowly = [](const std::stop_token& token) {
            while (!token.stop_requested())
                std::this_thread::yield();
            let_others_run();
        };
        std::optional<Duration> ended_at;
        auto body = [&]() -> Task<> {
            NoteTime note(*this, ended_at);
            co_await offload(stop_slowly);
        };
        Running<void> sleeping = executor.start(sleep(1h));
        Running<void> calling = executor.start(body());
        co_await yield();
        calling.cancel();
        co_await sleep_for(2h);
        BOOST_TEST((ended_at == Duration::zero()));
        BOOST_TEST((elapsed() == Duration(2h)));
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace virtual_clock_test
