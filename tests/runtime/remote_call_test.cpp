// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/other_thread.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace remote_call_test {

namespace {

Task<> nothing() { co_return; }

std::thread::id this_thread() { return std::this_thread::get_id(); }

Task<std::thread::id> this_thread_later() {
    co_await yield();
    co_return std::this_thread::get_id();
}

Task<int> fail_later() {
    co_await yield();
    throw std::runtime_error("it failed there");
}

Task<> sleep_long(Counted) { co_await sleep_for(1h); }

Task<> pass(Gate& gate) { co_await gate.pass(); }

/// Fixture: an executor here, and one on another thread.
struct TwoThreads {
    template <class Body>
    auto run(Body&& body) {
        return here.run_until(body());
    }

    Executor here;
    OtherThread there;
};

/// Fixture: two executors on one thread, which take turns as a test says.
struct TwoExecutors : VirtualTime {
    TwoExecutors() : there(std::in_place, options()) {}

    void turn_both(int times = 5) {
        for (int i = 0; i < times; ++i) {
            executor.turn();
            if (there) there->turn();
        }
    }

    std::optional<Executor> there;
};

template <class Call>
std::error_code code_of(Call&& call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code();
    }
    return std::error_code();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(remote_call)

// ---- What it gives ----

BOOST_FIXTURE_TEST_CASE(what_a_call_was_given_is_released_at_its_end_though_its_result_is_kept, TwoThreads) {
    auto later = [](Counted) -> Task<int> {
        co_await yield();
        co_return 7;
    };
    auto at_once = [](const Counted&) { return 8; };
    const int before = Counted::live();

    run([&]() -> Task<> {
        auto task = there.remote().call(later, Counted());
        auto plain = there.remote().call(at_once, Counted());
        int seven = co_await task;
        int eight = co_await plain;
        BOOST_TEST(Counted::live() == before);
        BOOST_TEST(seven == 7);
        BOOST_TEST(eight == 8);
    });
    BOOST_TEST(there.remote().block_on(later, Counted()) == 7);

    BOOST_TEST(Counted::live() == before);
}

BOOST_FIXTURE_TEST_CASE(plain_function_runs_on_the_other_thread_and_gives_its_value, TwoThreads) {
    run([&]() -> Task<> {
        std::thread::id ran_on = co_await there.remote().call(this_thread);

        BOOST_TEST((ran_on == there.id()));
        BOOST_TEST((std::this_thread::get_id() != there.id()));
    });
}

BOOST_FIXTURE_TEST_CASE(task_runs_on_the_other_thread_and_gives_its_value, TwoThreads) {
    run([&]() -> Task<> {
        std::thread::id ran_on = co_await there.remote().call(this_thread_later);

        BOOST_TEST((ran_on == there.id()));
    });
}

BOOST_FIXTURE_TEST_CASE(call_may_give_nothing_a_reference_or_what_can_only_be_moved, TwoThreads) {
    int object = 0;
    run([&]() -> Task<> {
        auto nothing_there = [&object] { object = 7; };
        auto reference = [&object]() -> int& { return object; };
        auto reference_later = [&object]() -> Task<int&> { co_return object; };
        auto unique = [] { return std::make_unique<int>(5); };
        auto unique_later = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(6); };

        co_await there.remote().call(nothing_there);
        int& first = co_await there.remote().call(reference);
        int& second = co_await there.remote().call(reference_later);
        std::unique_ptr<int> third = co_await there.remote().call(unique);
        std::unique_ptr<int> fourth = co_await there.remote().call(unique_later);

        BOOST_TEST(object == 7);
        BOOST_TEST(&first == &object);
        BOOST_TEST(&second == &object);
        BOOST_TEST(*third == 5);
        BOOST_TEST(*fourth == 6);
    });
}

BOOST_FIXTURE_TEST_CASE(callable_and_arguments_are_moved_into_the_callee, TwoThreads) {
    run([&]() -> Task<> {
        auto factor = std::make_unique<int>(2);
        auto times = [factor = std::move(factor)](std::unique_ptr<int> a, const std::string& b,
                                                  std::reference_wrapper<int> calls) -> Task<int> {
            co_await yield();
            ++calls.get();
            co_return *factor** a* static_cast<int>(b.size());
        };
        int calls = 0;
        auto seven = std::make_unique<int>(7);
        std::string three = "abc";
        int product = co_await there.remote().call(std::bind_front(std::move(times)), std::move(seven), three,
                                                   std::ref(calls));

        BOOST_TEST(product == 42);
        BOOST_TEST(three == "abc");
        BOOST_TEST(calls == 1);
    });
}

BOOST_FIXTURE_TEST_CASE(exception_comes_back, TwoThreads) {
    run([&]() -> Task<> {
        auto fail = [] { throw std::runtime_error("it failed at once"); };
        std::string caught;
        try {
            co_await there.remote().call(fail);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        std::string caught_later;
        try {
            co_await there.remote().call(fail_later);
        } catch (const std::runtime_error& error) {
            caught_later = error.what();
        }

        BOOST_TEST(caught == "it failed at once");
        BOOST_TEST(caught_later == "it failed there");
    });
    BOOST_TEST(there.end().empty());
}

BOOST_FIXTURE_TEST_CASE(as_result_and_as_outcome_give_what_ended_it, TwoThreads) {
    run([&]() -> Task<> {
        auto refuse = []() -> Task<int> {
            throw std::system_error(make_error_code(std::errc::no_space_on_device));
            co_return 1;
        };
        auto seven = [] { return 7; };
        Result<int> value = co_await as_result(there.remote().call(seven));
        Result<int> error = co_await as_result(there.remote().call(refuse));
        Outcome<int> outcome = co_await as_outcome(there.remote().call(fail_later));
        Result<void> nothing_to_give = co_await as_result(there.remote().call(nothing));

        BOOST_TEST(value.value() == 7);
        BOOST_TEST((error.error() == std::errc::no_space_on_device));
        BOOST_TEST(!outcome.has_value());
        BOOST_TEST(nothing_to_give.has_value());
    });
}

BOOST_FIXTURE_TEST_CASE(callee_is_gone_on_its_own_thread_before_the_await_ends, TwoThreads) {
    struct Witness {
        explicit Witness(std::thread::id& place) noexcept : place_(&place) {}
        Witness(Witness&& other) noexcept : place_(std::exchange(other.place_, nullptr)) {}
        ~Witness() {
            if (place_ != nullptr) *place_ = std::this_thread::get_id();
        }
        std::thread::id* place_;
    };
    run([&]() -> Task<> {
        std::thread::id of_callable;
        std::thread::id of_argument;
        std::thread::id of_frame;
        auto callable = [witness = Witness(of_callable), &of_frame](Witness) -> Task<> {
            Witness local(of_frame);
            co_await yield();
        };
        co_await there.remote().call(std::bind_front(std::move(callable)), Witness(of_argument));

        BOOST_TEST((of_callable == there.id()));
        BOOST_TEST((of_argument == there.id()));
        BOOST_TEST((of_frame == there.id()));
    });
}

BOOST_FIXTURE_TEST_CASE(call_to_one_s_own_executor_works, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto plain = [&] { log.note("plain"); };
        auto later = [&]() -> Task<int> {
            log.note("begin");
            co_await yield();
            log.note("end");
            co_return 3;
        };
        Remote own = executor.remote();
        co_await own.call(plain);
        int value = co_await own.call(later);
        log.note(std::to_string(value));
    });

    BOOST_TEST(log.text() == "plain begin end 3");
}

BOOST_FIXTURE_TEST_CASE(callee_may_call_back, TwoThreads) {
    run([&]() -> Task<> {
        Remote back = here.remote();
        std::thread::id own = std::this_thread::get_id();
        auto and_back = [back]() mutable -> Task<std::thread::id> {
            std::thread::id id = co_await back.call(this_thread_later);
            co_return id;
        };
        std::thread::id ran_on = co_await there.remote().call(and_back);

        BOOST_TEST((ran_on == own));
    });
}

BOOST_FIXTURE_TEST_CASE(callee_is_shown_with_the_line_of_the_call, TwoExecutors) {
    Gate gate;
    auto caller = [&]() -> Task<> { co_await there->remote().call(pass, std::ref(gate)); };
    Running<void> running = executor.start(caller());
    turn_both();

    std::string tasks = there->dump_tasks();
    std::string own_tasks = executor.dump_tasks();

    BOOST_TEST(tasks.find("pass") != std::string::npos);
    BOOST_TEST(tasks.find("remote_call_test.cpp") != std::string::npos);
    BOOST_TEST(own_tasks.find("a call on another executor") != std::string::npos);
    gate.open();
    turn_both();
    BOOST_TEST(running.has_ended());
}

// ---- Cancellation ----

BOOST_FIXTURE_TEST_CASE(cancelled_caller_waits_until_the_callee_has_unwound, TwoExecutors) {
    Log log;
    Gate gate;
    auto callee = [&]() -> Task<> {
        Guard guard(log, "callee");
        co_await gate.pass();
    };
    auto caller = [&]() -> Task<> {
        Guard guard(log, "caller");
        co_await there->remote().call(callee);
        log.note("resumed");
    };
    Running<void> running = executor.start(caller());
    turn_both();
    BOOST_TEST_REQUIRE(gate.has_waiter());

    running.cancel();
    for (int i = 0; i < 5; ++i)
        executor.turn();
    BOOST_TEST(!running.has_ended());
    BOOST_TEST(log.text() == "");
    turn_both();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "callee! caller!");
}

BOOST_FIXTURE_TEST_CASE(call_that_has_not_begun_is_taken_back_at_once, TwoExecutors) {
    Log log;
    auto callee = [&log, counted = Counted()](Counted) { log.note("ran"); };
    auto caller = [&]() -> Task<> { co_await there->remote().call(callee, Counted()); };
    Running<void> running = executor.start(caller());
    for (int i = 0; i < 5; ++i)
        executor.turn();

    running.cancel();
    for (int i = 0; i < 5; ++i)
        executor.turn();

    BOOST_TEST(running.has_ended());
    // The one in `callee`.
    BOOST_TEST(Counted::live() == 1);
    turn_both();
    BOOST_TEST(log.text() == "");
}

BOOST_FIXTURE_TEST_CASE(result_that_came_all_the_same_wins, TwoExecutors) {
    Log log;
    Gate gate;
    auto callee = [&]() -> Task<int> {
        co_await gate.pass();
        co_return 42;
    };
    auto caller = [&]() -> Task<> {
        Guard guard(log, "caller");
        int value = co_await there->remote().call(callee);
        log.note(std::to_string(value));
        co_await yield();
        log.note("resumed");
    };
    Running<void> running = executor.start(caller());
    turn_both();
    gate.open();
    there->turn();

    running.cancel();
    turn_both();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "42 caller!");
}

BOOST_FIXTURE_TEST_CASE(deadline_reaches_through_a_scope_of_the_callee_s_own, TwoExecutors) {
    Log log;
    auto callee = [&]() -> Task<int> {
        // A scope of its own, whose cancellation it survives.
        auto body = [](CancelScope&) -> Task<> { co_await sleep_for(1h); };
        bool finished = co_await cancel_scope(body);
        co_return finished ? 1 : 2;
    };
    auto caller = [&]() -> Task<> {
        Result<int> value = co_await as_result(leat::timeout(1s, there->remote().call(callee)));
        log.note(value ? std::to_string(*value) : value.error().message());
    };
    Running<void> running = executor.start(caller());
    turn_both();
    clock.advance(1s);
    turn_both();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == make_error_code(errc::deadline_exceeded).message());
}

BOOST_FIXTURE_TEST_CASE(deadline_of_the_caller_cancels_the_callee, TwoThreads) {
    Counted counted;
    run([&]() -> Task<> {
        Result<void> ended =
            co_await as_result(leat::timeout(1ms, there.remote().call(sleep_long, Counted())));

        BOOST_TEST(ended.error() == errc::deadline_exceeded);
        BOOST_TEST(Counted::live() == 1);
    });
}

BOOST_AUTO_TEST_CASE(call_to_one_s_own_executor_can_be_cancelled_everywhere) {
    sweep_all_endings([]() -> Task<> {
        Environment& here = co_await Here();
        auto callee = [](Counted, int steps) -> Task<Counted> {
            for (int i = 0; i < steps; ++i)
                co_await yield();
            co_await sleep_for(1ms);
            co_return Counted(steps);
        };
        Remote own = here.executor().remote();
        Counted value = co_await own.call(callee, Counted(), 2);
        BOOST_TEST(value.value() == 2);
        auto plain = [](Counted) { return Counted(3); };
        Counted other = co_await own.call(plain, Counted());
        BOOST_TEST(other.value() == 3);
    });
}

BOOST_AUTO_TEST_CASE(call_to_another_thread_can_be_cancelled_everywhere) {
    OtherThread there;
    SweepOptions options;
    options.after = [&there] { there.settle(); };
    auto scenario = [&]() -> Task<> {
        auto callee = [](Counted, int steps) -> Task<int> {
            for (int i = 0; i < steps; ++i)
                co_await sleep_for(100us);
            co_return steps;
        };
        int value = co_await there.remote().call(callee, Counted(), 3);
        BOOST_TEST(value == 3);
        Result<int> second = co_await as_result(there.remote().call(callee, Counted(), 1));
        BOOST_TEST(second.value() == 1);
    };
    there.settle();
    sweep_all_endings(scenario, options);
}

// ---- Executors that go ----

BOOST_FIXTURE_TEST_CASE(call_to_an_executor_that_is_gone_fails_with_closed, TwoExecutors) {
    Remote gone = there->remote();
    there.reset();
    run([&]() -> Task<> {
        Result<void> called = co_await as_result(gone.call(sleep_long, Counted()));
        std::error_code thrown;
        try {
            co_await gone.call(sleep_long, Counted());
        } catch (const std::system_error& error) {
            thrown = error.code();
        }

        BOOST_TEST(called.error() == errc::closed);
        BOOST_TEST(thrown == errc::closed);
    });
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(executor_that_goes_before_the_call_has_begun_gives_closed, TwoExecutors) {
    Log log;
    auto callee = [&](Counted) { log.note("ran"); };
    auto caller = [&]() -> Task<> {
        Result<void> called = co_await as_result(there->remote().call(callee, Counted()));
        log.note(called.error().message());
    };
    Running<void> running = executor.start(caller());
    executor.turn();

    there.reset();
    turn_both();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == make_error_code(errc::closed).message());
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(executor_that_goes_while_the_call_runs_gives_cancelled, TwoExecutors) {
    Log log;
    auto callee = [&](Counted) -> Task<> {
        Guard guard(log, "callee");
        co_await sleep_for(1h);
    };
    auto caller = [&]() -> Task<> {
        Result<void> called = co_await as_result(there->remote().call(callee, Counted()));
        log.note(called.error() == errc::cancelled ? "cancelled" : "?");
    };
    Running<void> running = executor.start(caller());
    turn_both();

    there.reset();
    turn_both();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "callee! cancelled");
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(caller_s_executor_may_go_while_the_call_runs) {
    OtherThread there;
    {
        Executor here;
        auto caller = [&]() -> Task<> { co_await there.remote().call(sleep_long, Counted()); };
        Running<void> running = here.start(caller());
        while (here.turn()) {
        }
    }

    BOOST_TEST(Counted::live() == 0);
}

// ---- From a thread without an executor ----

BOOST_AUTO_TEST_CASE(block_on_gives_the_value_or_the_exception) {
    OtherThread there;

    std::thread::id plain = there.remote().block_on(this_thread);
    std::thread::id later = there.remote().block_on(this_thread_later);
    auto add = [](int a, std::unique_ptr<int> b) -> Task<int> { co_return a + *b; };
    int sum = there.remote().block_on(add, 40, std::make_unique<int>(2));

    BOOST_TEST((plain == there.id()));
    BOOST_TEST((later == there.id()));
    BOOST_TEST(sum == 42);
    BOOST_CHECK_THROW(there.remote().block_on(fail_later), std::runtime_error);
}

BOOST_FIXTURE_TEST_CASE(block_on_of_the_thread_s_own_executor_fails_at_once, VirtualTime) {
    bool called = false;
    run([&]() -> Task<> {
        std::error_code code = code_of([&] { executor.remote().block_on([&called] { called = true; }); });
        BOOST_TEST(code == errc::deadlock);
        co_return;
    });
    // It is the thread that counts, not whether a task runs.
    std::error_code code = code_of([&] { executor.remote().block_on([&called] { called = true; }); });

    BOOST_TEST(code == errc::deadlock);
    BOOST_TEST(!called);
}

BOOST_AUTO_TEST_CASE(block_on_is_told_of_an_executor_that_is_gone_or_goes) {
    OtherThread there;
    Remote remote = there.remote();
    std::atomic<bool> sleeps = false;
    std::error_code while_it_ran;
    std::thread waiting([&, copy = remote]() mutable {
        auto callee = [&](Counted) -> Task<> {
            sleeps = true;
            co_await sleep_for(1h);
        };
        while_it_ran = code_of([&] { copy.block_on(callee, Counted()); });
    });
    while (!sleeps)
        std::this_thread::yield();
    there.end();
    waiting.join();

    std::error_code afterwards = code_of([&] { remote.block_on(this_thread); });

    BOOST_TEST(while_it_ran == errc::cancelled);
    BOOST_TEST(afterwards == errc::closed);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(many_threads_may_block_on_one_executor) {
    constexpr int threads = 8;
    constexpr int rounds = is_sanitized ? 100 : 1'000;
    OtherThread there;
    // The other executor's.
    int sum = 0;
    std::vector<std::thread> others;
    for (int number = 0; number < threads; ++number) {
        others.emplace_back([&, remote = there.remote()]() mutable {
            auto add_one = [&sum]() -> Task<int> {
                co_await yield();
                co_return ++sum;
            };
            for (int i = 0; i < rounds; ++i)
                remote.block_on(add_one);
        });
    }
    for (std::thread& other : others)
        other.join();

    int total = there.remote().block_on([&sum] { return sum; });
    BOOST_TEST(total == threads * rounds);
}

// ---- Races ----

// A call, its cancellation by a deadline, and the callee's end, in whatever order they come.
BOOST_FIXTURE_TEST_CASE(calls_and_cancellations_race, TwoThreads) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 500 : 5'000);
    std::size_t ended = 0;
    std::size_t timed_out = 0;
    run([&]() -> Task<> {
        std::minstd_rand random(1);
        auto callee = [](Counted, unsigned steps) -> Task<int> {
            for (unsigned i = 0; i < steps; ++i)
                co_await yield();
            co_return 1;
        };
        for (std::size_t i = 0; i < rounds; ++i) {
            Duration limit = std::chrono::microseconds(random() % 40);
            unsigned steps = static_cast<unsigned>(random() % 50);
            std::optional<int> value =
                co_await try_timeout(limit, there.remote().call(callee, Counted(), steps));
            ++(value ? ended : timed_out);
            if (Counted::live() != 0) BOOST_TEST_REQUIRE(Counted::live() == 0);
        }
    });

    BOOST_TEST(ended + timed_out == rounds);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_AUTO_TEST_CASE(calls_and_the_end_of_the_other_executor_race) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 50 : 300);
    std::size_t ended = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        Executor here;
        OtherThread there;
        auto callee = [](Counted) -> Task<int> {
            co_await yield();
            co_return 1;
        };
        auto caller = [&]() -> Task<> {
            for (std::size_t i = 0;; ++i) {
                if (i == round % 7) there.ask_to_end();
                Result<int> value = co_await as_result(there.remote().call(callee, Counted()));
                if (value) continue;
                BOOST_TEST((value.error() == errc::closed || value.error() == errc::cancelled));
                co_return;
            }
        };
        here.run_until(caller());
        ++ended;
    }

    BOOST_TEST(ended == rounds);
    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_CASE(calls_and_the_end_of_the_caller_s_executor_race) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 100 : 1'000);
    OtherThread there;
    for (std::size_t round = 0; round < rounds; ++round) {
        Executor here;
        auto callee = [](Counted) -> Task<> {
            for (int i = 0; i < 20; ++i)
                co_await yield();
        };
        auto caller = [&]() -> Task<> {
            for (;;)
                co_await there.remote().call(callee, Counted());
        };
        Running<void> running = here.start(caller());
        for (std::size_t i = 0; i < round % 50; ++i)
            here.turn();
    }

    BOOST_TEST(Counted::live() == 0);
    BOOST_TEST(Counted::misused() == 0);
}

BOOST_AUTO_TEST_CASE(two_executors_that_call_each_other_may_end_in_any_order) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 50 : 300);
    for (std::size_t round = 0; round < rounds; ++round) {
        OtherThread left;
        OtherThread right;
        auto call_for_ever = [](Remote other) -> Task<> {
            auto callee = [](Counted) -> Task<> { co_await yield(); };
            for (;;) {
                Result<void> called = co_await as_result(other.call(callee, Counted()));
                if (!called) co_await sleep_for(1h);
            }
        };
        auto begin = [&](OtherThread& from, OtherThread& to) {
            return std::thread([&, remote = from.remote(), other = to.remote()]() mutable {
                (void)code_of([&] { remote.block_on(call_for_ever, other); });
            });
        };
        std::thread first = begin(left, right);
        std::thread second = begin(right, left);
        left.ask_to_end();
        right.end();
        left.end();
        first.join();
        second.join();
    }

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace remote_call_test
