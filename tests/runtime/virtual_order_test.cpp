// SPDX-License-Identifier: BSL-1.0
// On a virtual clock with a seed, what a program does in which order depends on nothing else.
#include <leat/reactor/error.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/stress.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <system_error>
#include <thread>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace virtual_order_test {

namespace {

/// A program of many tasks that sleep, yield, send, post and give up, and the trace of what they did.
class Program {
public:
    explicit Program(std::size_t steps) : steps_left_(steps) {}

    std::uint64_t trace() {
        executor_.run_until(act_together());
        return trace_;
    }

private:
    ExecutorOptions options() {
        ExecutorOptions options;
        options.clock = &clock_;
        options.seed = 7;
        return options;
    }

    Task<> act_together() {
        auto body = [this](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 20; ++i)
                group.spawn(act, std::ref(*this), i);
            co_return;
        };
        co_await task_group(body);
    }

    static Task<> act(Program& program, int self) {
        while (program.step(self)) {
            const std::uint64_t chance = program.executor_.random();
            switch (chance % 6) {
            case 0:
                co_await sleep_for(Duration(static_cast<Duration::rep>(chance % 100'000)));
                break;
            case 1:
                co_await try_timeout(10us, program.channel_.send(self));
                break;
            case 2: {
                std::optional<std::optional<int>> received =
                    co_await try_timeout(20us, program.channel_.receive());
                if (received && *received) program.note(static_cast<std::uint64_t>(**received));
                break;
            }
            case 3:
                program.executor_.remote().post([&program] { program.note(99); });
                co_await yield();
                break;
            default:
                // Real time passes, more or less of it.
                for (std::uint64_t turns = chance % 200; turns != 0; --turns)
                    program.load_.store(turns, std::memory_order_relaxed);
                co_await yield();
            }
        }
    }

    bool step(int self) {
        if (steps_left_ == 0) return false;
        --steps_left_;
        note(static_cast<std::uint64_t>(self));
        note(static_cast<std::uint64_t>(clock_.now().time_since_epoch().count()));
        return true;
    }
    void note(std::uint64_t what) { trace_ = (trace_ ^ what) * 0x100000001b3; }

    VirtualClock clock_;
    Executor executor_{options()};
    std::size_t steps_left_;
    Channel<int> channel_{3};
    std::atomic<std::uint64_t> load_ = 0;
    std::uint64_t trace_ = 0xcbf29ce484222325;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(virtual_order)

BOOST_AUTO_TEST_CASE(program_does_the_same_in_each_run_whatever_loads_the_machine) {
    const std::size_t steps = stress_iterations(100'000);
    std::atomic<bool> is_over = false;
    std::thread load([&is_over] {
        while (!is_over) {
        }
    });
    std::optional<std::uint64_t> first;
    for (int run = 0; run < 10; ++run) {
        const std::uint64_t trace = Program(steps).trace();
        if (!first) first = trace;
        BOOST_TEST(trace == *first);
    }
    is_over = true;
    load.join();
}

BOOST_FIXTURE_TEST_CASE(posted_function_comes_after_as_many_resumes_however_long_they_take, VirtualTime) {
    std::optional<int> expected;
    for (Duration work : {Duration(0), Duration(20us)}) {
        bool was_called = false;
        int resumes = 0;
        run([&]() -> Task<> {
            executor.remote().post([&was_called] { was_called = true; });
            while (!was_called) {
                const TimePoint end = steady_clock().now() + work;
                while (steady_clock().now() < end) {
                }
                ++resumes;
                co_await yield();
            }
        });
        if (!expected) expected = resumes;
        BOOST_TEST(resumes == *expected);
    }
}

BOOST_FIXTURE_TEST_CASE(sleep_for_the_longest_time_never_ends, VirtualTime) {
    auto sleep = []() -> Task<> { co_await sleep_for(Duration::max()); };

    BOOST_CHECK_EXCEPTION(executor.run_until(sleep()), std::system_error,
                          [](const std::system_error& error) { return error.code() == errc::deadlock; });
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace virtual_order_test
