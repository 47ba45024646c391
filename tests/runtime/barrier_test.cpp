// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/barrier.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
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
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace barrier_test {

namespace {

Task<> arrive(Barrier& barrier, Log& log, std::string name) {
    bool was_last = co_await barrier.arrive_and_wait();
    log.note(was_last ? name + "!" : name);
}

void settle(Executor& executor) {
    while (executor.turn()) {
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(barrier)

BOOST_FIXTURE_TEST_CASE(nobody_goes_on_before_all_have_arrived_and_one_was_the_last, VirtualTime) {
    Barrier barrier(3);
    Log log;
    Running<void> first = executor.start(arrive(barrier, log, "a"));
    Running<void> second = executor.start(arrive(barrier, log, "b"));
    settle(executor);
    BOOST_TEST(log.text() == "");
    BOOST_TEST(barrier.arrived() == 2u);
    BOOST_TEST(barrier.phase() == 0u);

    Running<void> third = executor.start(arrive(barrier, log, "c"));
    executor.run();

    BOOST_TEST(log.text() == "c! a b");
    BOOST_TEST(barrier.arrived() == 0u);
    BOOST_TEST(barrier.phase() == 1u);
}

BOOST_FIXTURE_TEST_CASE(it_serves_phase_after_phase, VirtualTime) {
    Barrier barrier(3);
    std::vector<int> phases(3);
    int ahead = 0;
    auto worker = [&](std::size_t index) -> Task<> {
        for (int phase = 0; phase < 10; ++phase) {
            co_await sleep_for((index + 1) * 1ms);
            phases[index] = phase;
            co_await barrier.arrive_and_wait();
            for (int each : phases)
                ahead += each < phase;
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < 3; ++i)
                group.spawn(std::ref(worker), i);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(ahead == 0);
    BOOST_TEST(barrier.phase() == 10u);
}

BOOST_FIXTURE_TEST_CASE(barrier_for_one_never_waits, VirtualTime) {
    Barrier barrier(1);
    run([&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            bool was_last = co_await barrier.arrive_and_wait();
            BOOST_TEST(was_last);
        }
    });
    BOOST_TEST(barrier.phase() == 3u);
}

BOOST_FIXTURE_TEST_CASE(arrival_that_is_cancelled_is_withdrawn, VirtualTime) {
    Barrier barrier(3);
    Log log;
    Running<void> first = executor.start(arrive(barrier, log, "a"));
    Running<void> second = executor.start(arrive(barrier, log, "b"));
    settle(executor);
    first.cancel();
    settle(executor);
    BOOST_TEST(barrier.arrived() == 1u);

    Running<void> third = executor.start(arrive(barrier, log, "c"));
    settle(executor);
    BOOST_TEST(log.text() == "");
    Running<void> fourth = executor.start(arrive(barrier, log, "d"));
    executor.run();

    BOOST_TEST(log.text() == "d! b c");
}

BOOST_FIXTURE_TEST_CASE(who_drops_out_is_expected_no_more_and_may_end_the_phase, VirtualTime) {
    Barrier barrier(3);
    Log log;
    Running<void> first = executor.start(arrive(barrier, log, "a"));
    Running<void> second = executor.start(arrive(barrier, log, "b"));
    settle(executor);

    barrier.arrive_and_drop();
    executor.run();
    BOOST_TEST(log.text() == "a b");
    BOOST_TEST(barrier.participants() == 2u);
    BOOST_TEST(barrier.phase() == 1u);

    first = executor.start(arrive(barrier, log, "a"));
    settle(executor);
    BOOST_TEST(log.text() == "a b");
    second = executor.start(arrive(barrier, log, "b"));
    executor.run();
    BOOST_TEST(log.text() == "a b b! a");
}

// What a participant's destructor does that ends for good, by a cancellation or otherwise.
BOOST_FIXTURE_TEST_CASE(cancelled_participant_that_drops_out_lets_the_others_go_on, VirtualTime) {
    struct Participant {
        explicit Participant(Barrier& b) : barrier(b) {}
        Participant(const Participant&) = delete;
        ~Participant() { barrier.arrive_and_drop(); }
        Barrier& barrier;
    };
    Barrier barrier(3);
    Log log;
    auto worker = [&](std::string name) -> Task<> {
        Participant participant(barrier);
        co_await arrive(barrier, log, name);
    };
    Running<void> first = executor.start(worker("a"));
    Running<void> second = executor.start(worker("b"));
    settle(executor);
    first.cancel();
    settle(executor);
    BOOST_TEST(barrier.participants() == 2u);
    BOOST_TEST(barrier.arrived() == 1u);

    Running<void> third = executor.start(worker("c"));
    executor.run();

    BOOST_TEST(log.text() == "c! b");
    BOOST_TEST(barrier.participants() == 0u);
}

BOOST_FIXTURE_TEST_CASE(wait_may_have_a_deadline_and_a_result, VirtualTime) {
    Barrier barrier(2);
    run([&]() -> Task<> {
        std::optional<bool> late = co_await try_timeout(1s, barrier.arrive_and_wait());
        BOOST_TEST(!late.has_value());
        BOOST_TEST(barrier.arrived() == 0u);
        Result<bool> later = co_await as_result(timeout(1s, barrier.arrive_and_wait()));
        BOOST_TEST((!later && later.error() == errc::deadline_exceeded));
        BOOST_TEST(barrier.arrived() == 0u);
    });
}

BOOST_FIXTURE_TEST_CASE(arrival_in_a_cancelled_scope_does_not_count, VirtualTime) {
    Barrier barrier(1);
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await barrier.arrive_and_wait();
            BOOST_ERROR("it went on");
        };
        co_await cancel_scope(body);
    });

    BOOST_TEST(barrier.phase() == 0u);
}

BOOST_FIXTURE_TEST_CASE(dump_tells_how_many_have_arrived, VirtualTime) {
    Barrier barrier(3);
    Log log;
    Running<void> running = executor.start(arrive(barrier, log, "a"));
    settle(executor);

    BOOST_TEST(executor.dump_tasks().find("a barrier, 1 of 3 have arrived") != std::string::npos);
    running.cancel();
    executor.run();
}

BOOST_FIXTURE_TEST_CASE(waiting_allocates_nothing, VirtualTime) {
    Barrier barrier(2);
    std::size_t allocations = 1;
    auto worker = [&](bool measures) -> Task<> {
        co_await yield();
        std::size_t before = allocations_made();
        for (int i = 0; i < 100; ++i)
            co_await barrier.arrive_and_wait();
        if (measures) allocations = allocations_made() - before;
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(std::ref(worker), true);
            group.spawn(std::ref(worker), false);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(arrival_can_be_cancelled_anywhere_and_leaves_no_trace) {
    std::optional<Barrier> barrier;
    SweepOptions options;
    options.before = [&] { barrier.emplace(3u); };
    options.after = [&] {
        BOOST_TEST(barrier->arrived() == 0u);
        barrier.reset();
    };
    auto worker = [&](Duration pause) -> Task<> {
        for (int i = 0; i < 3; ++i) {
            co_await sleep_for(pause);
            co_await barrier->arrive_and_wait();
        }
    };
    auto scenario = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (Duration pause : {1s, 2s, 2s})
                group.spawn(std::ref(worker), pause);
            co_return;
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 0u);
}

// Each counts its phases; none is ever ahead of one that has not ended the same phase, though arrivals are given up and
// made again all the time.
BOOST_FIXTURE_TEST_CASE(random_arrivals_never_let_anybody_ahead, VirtualTime) {
    constexpr std::size_t workers = 6;
    Barrier barrier(workers);
    Random random(5);
    const std::size_t phases = stress_iterations(20'000) / workers + 1;
    std::vector<std::size_t> reached(workers);
    std::size_t gave_up = 0;
    std::size_t last = 0;
    auto worker = [&](std::size_t index) -> Task<> {
        while (reached[index] != phases) {
            if (random.once_in(3)) co_await sleep_for(random.below(3) * 1ms);
            std::optional<bool> done;
            while (!done) {
                done = co_await try_timeout(random.below(5) * 1ms, barrier.arrive_and_wait());
                gave_up += !done;
            }
            last += *done;
            ++reached[index];
            BOOST_TEST_REQUIRE(barrier.phase() >= reached[index]);
            for (std::size_t each : reached)
                BOOST_TEST_REQUIRE(each + 1 >= reached[index]);
        }
    };
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            for (std::size_t i = 0; i < workers; ++i)
                group.spawn(std::ref(worker), i);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(gave_up > 0u);
    BOOST_TEST(last == phases);
    BOOST_TEST(barrier.phase() == phases);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace barrier_test
