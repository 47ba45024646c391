// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace callback_test {

namespace {

// A value whose move calls back again, or fails.
class Restless {
public:
    explicit Restless(std::function<void()> moves) : moves_(std::move(moves)) {}
    Restless(Restless&& other) : moves_(other.moves_) {
        if (moves_) moves_();
    }

private:
    std::function<void()> moves_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(callback)

BOOST_FIXTURE_TEST_CASE(value_of_the_call_is_the_result, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<Callback<int>> kept;
        auto start = [&](Callback<int> done) { kept = done; };
        auto caller = [&]() -> Task<> {
            co_await yield();
            (*kept)(42);
        };
        Running<void> calling = executor.start(caller());
        int answer = co_await leat::callback<int>(start);

        BOOST_TEST(answer == 42);
    });
}

BOOST_FIXTURE_TEST_CASE(call_within_start_counts, VirtualTime) {
    run([&]() -> Task<> {
        auto start = [](Callback<std::string> done) { done("at once"); };
        std::string answer = co_await leat::callback<std::string>(start);

        BOOST_TEST(answer == "at once");
    });
}

BOOST_FIXTURE_TEST_CASE(value_that_only_moves_is_handed_over, VirtualTime) {
    run([&]() -> Task<> {
        auto start = [](Callback<std::unique_ptr<int>> done) { done(std::make_unique<int>(5)); };
        std::unique_ptr<int> answer = co_await leat::callback<std::unique_ptr<int>>(start);

        BOOST_TEST(*answer == 5);
    });
}

BOOST_FIXTURE_TEST_CASE(later_calls_do_nothing, VirtualTime) {
    run([&]() -> Task<> {
        std::optional<Callback<int>> kept;
        auto start = [&](Callback<int> done) {
            kept = done;
            done(1);
            done(2);
        };
        int answer = co_await leat::callback<int>(start);
        (*kept)(3);
        co_await yield();

        BOOST_TEST(answer == 1);
    });
}

BOOST_FIXTURE_TEST_CASE(value_may_call_again_while_it_is_moved, VirtualTime) {
    int moves = 0;
    run([&]() -> Task<> {
        // Not in the value, which would then own what owns it.
        std::optional<Callback<Restless>> kept;
        auto call_again = [&] {
            ++moves;
            (*kept)(Restless(nullptr));
        };
        auto start = [&](Callback<Restless> done) {
            kept = done;
            done(Restless(call_again));
        };
        co_await leat::callback<Restless>(start);
    });

    // Into the callback, and out of the await.
    BOOST_TEST(moves >= 2);
}

BOOST_FIXTURE_TEST_CASE(call_whose_value_cannot_be_moved_does_not_count, VirtualTime) {
    int answers = 0;
    run([&]() -> Task<> {
        auto start = [&](Callback<Restless> done) {
            auto fail = [] { throw std::runtime_error("cannot be moved"); };
            BOOST_CHECK_THROW(done(Restless(fail)), std::runtime_error);
            done(Restless([&answers] { ++answers; }));
        };
        co_await leat::callback<Restless>(start);
    });

    BOOST_TEST(answers >= 2);
}

BOOST_AUTO_TEST_CASE(call_may_come_from_another_thread) {
    leat::run([]() -> Task<> {
        std::thread other;
        auto start = [&](Callback<std::thread::id> done) {
            other = std::thread([done] { done(std::this_thread::get_id()); });
        };
        std::thread::id answer = co_await leat::callback<std::thread::id>(start);
        BOOST_TEST((answer == other.get_id()));
        other.join();
    }());
}

BOOST_AUTO_TEST_CASE(many_calls_from_other_threads_are_all_heard) {
    constexpr int rounds = is_sanitized ? 100 : 500;
    leat::run([]() -> Task<> {
        for (int i = 0; i < rounds; ++i) {
            std::vector<std::thread> others;
            auto start = [&](Callback<int> done) {
                for (int number = 0; number < 3; ++number)
                    others.emplace_back([done, number] { done(number); });
            };
            int first = co_await leat::callback<int>(start);
            for (std::thread& other : others)
                other.join();
            BOOST_TEST_REQUIRE((first >= 0 && first < 3));
        }
    }());
}

BOOST_FIXTURE_TEST_CASE(exception_of_start_comes_out_of_the_await, VirtualTime) {
    run([&]() -> Task<> {
        auto start = [](Callback<int>) { throw std::runtime_error("cannot begin"); };
        std::string caught;
        try {
            co_await leat::callback<int>(start);
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "cannot begin");
    });
}

BOOST_FIXTURE_TEST_CASE(exception_of_start_is_a_value_for_as_outcome_and_as_result, VirtualTime) {
    run([&]() -> Task<> {
        auto start = [](Callback<int>) { throw std::system_error(make_error_code(errc::busy)); };
        Outcome<int> outcome = co_await as_outcome(leat::callback<int>(start));
        Result<int> result = co_await as_result(leat::callback<int>(start));
        Result<int> in_time = co_await as_result(timeout(1s, leat::callback<int>(start)));

        BOOST_TEST(!outcome.has_value());
        BOOST_TEST(result.error() == errc::busy);
        BOOST_TEST(in_time.error() == errc::busy);
    });
}

BOOST_FIXTURE_TEST_CASE(call_of_a_start_that_then_fails_does_not_end_the_next_wait, VirtualTime) {
    run([&]() -> Task<> {
        auto start = [](Callback<int> done) {
            done(1);
            throw std::runtime_error("could not begin");
        };
        auto operation = leat::callback<int>(start);
        Outcome<int> outcome = co_await as_outcome(leat::callback<int>(start));
        BOOST_TEST(!outcome.has_value());
        bool has_failed = false;
        try {
            co_await operation;
        } catch (const std::runtime_error&) {
            has_failed = true;
        }
        co_await sleep_for(1s);

        BOOST_TEST(has_failed);
        BOOST_TEST((elapsed() == 1s));
    });
}

BOOST_FIXTURE_TEST_CASE(start_may_cancel_its_own_scope_and_fail_after_that, VirtualTime) {
    Log log;
    std::optional<Callback<int>> kept;
    run([&]() -> Task<> {
        for (bool fails : {false, true}) {
            auto body = [&](CancelScope& scope) -> Task<> {
                Guard guard(log, "body");
                auto start = [&](Callback<int> done) {
                    kept = done;
                    scope.cancel();
                    if (fails) throw std::runtime_error("too late to begin");
                };
                co_await leat::callback<int>(start);
            };
            bool has_finished = co_await cancel_scope(body);
            BOOST_TEST(!has_finished);
            (*kept)(1);
            kept.reset();
        }
        co_await sleep_for(1s);
    });

    BOOST_TEST(log.text() == "body! body!");
    BOOST_TEST((elapsed() == 1s));
    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("too late to begin") != std::string::npos, notices[0]);
}

BOOST_FIXTURE_TEST_CASE(call_after_a_cancellation_does_nothing, VirtualTime) {
    std::optional<Callback<Counted>> kept;
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope&) -> Task<> {
            Guard guard(log, "body");
            auto start = [&](Callback<Counted> done) { kept = done; };
            co_await leat::callback<Counted>(start);
            log.note("resumed");
        };
        auto task = [&]() -> Task<> { co_await leat::cancel_scope(body); };
        Running<void> running = executor.start(task());
        co_await yield();
        co_await yield();
        running.cancel();
        co_await yield();
        co_await yield();
        (*kept)(Counted());
        co_await yield();
    });
    kept.reset();
    executor.turn();

    BOOST_TEST(log.text() == "body!");
    BOOST_TEST(Counted::live() == 0);
}

BOOST_FIXTURE_TEST_CASE(value_that_came_before_the_cancellation_wins, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            std::optional<Callback<int>> kept;
            auto start = [&](Callback<int> done) { kept = done; };
            auto caller = [&]() -> Task<> {
                co_await yield();
                (*kept)(42);
                scope.cancel();
            };
            Running<void> calling = executor.start(caller());
            int answer = co_await leat::callback<int>(start);
            log.note(std::to_string(answer));
            co_await yield();
            log.note("resumed");
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(log.text() == "42");
}

BOOST_AUTO_TEST_CASE(cancellation_races_with_a_call_from_another_thread) {
    constexpr int rounds = is_sanitized ? 100 : 1'000;
    Executor executor;
    int answered = 0;
    int cancelled = 0;
    executor.run_until([](int& heard, int& unheard) -> Task<> {
        for (int i = 0; i < rounds; ++i) {
            std::thread other;
            auto body = [&]() -> Task<int> {
                auto start = [&](Callback<int> done) { other = std::thread([done] { done(1); }); };
                int value = co_await leat::callback<int>(start);
                co_return value;
            };
            std::optional<int> answer = co_await try_timeout(std::chrono::microseconds(i % 100), body());
            other.join();
            ++(answer ? heard : unheard);
        }
    }(answered, cancelled));

    BOOST_TEST(answered + cancelled == rounds);
}

BOOST_FIXTURE_TEST_CASE(deadline_ends_the_wait_itself, VirtualTime) {
    // The clock stands while a Remote is held, and a callback holds one: the test moves it.
    std::optional<Callback<int>> kept;
    auto waits = [&]() -> Task<> {
        auto start = [&](Callback<int> done) { kept = done; };
        Result<int> answer = co_await as_result(leat::timeout(1s, leat::callback<int>(start)));
        BOOST_TEST(answer.error() == errc::deadline_exceeded);
    };
    Running<void> running = executor.start(waits());
    executor.turn();
    clock.advance(1s);
    for (int i = 0; i < 5; ++i)
        executor.turn();

    BOOST_TEST(running.has_ended());
    (*kept)(1);
    executor.turn();
}

BOOST_AUTO_TEST_CASE(callback_may_outlive_task_and_executor) {
    std::optional<Callback<Counted>> kept;
    {
        Executor executor;
        auto waits = [&]() -> Task<> {
            auto start = [&](Callback<Counted> done) { kept = done; };
            co_await leat::callback<Counted>(start);
        };
        Running<void> running = executor.start(waits());
        while (executor.turn()) {
        }
        BOOST_TEST(kept.has_value());
    }

    (*kept)(Counted());
    kept.reset();

    BOOST_TEST(Counted::live() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace callback_test
