// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace retry_test {

namespace {

std::system_error refusal(int number) {
    return std::system_error(std::make_error_code(std::errc::connection_refused), std::to_string(number));
}

// Fails so often, and notes when it was tried.
class Flaky {
public:
    explicit Flaky(Executor& executor, std::size_t failures) : executor_(executor), failures_(failures) {}

    Task<std::unique_ptr<int>> operator()() {
        times.push_back(executor_.now());
        int number = static_cast<int>(times.size());
        if (times.size() <= failures_) throw refusal(number);
        co_return std::make_unique<int>(number);
    }

    /// The pauses between the tries.
    std::vector<Duration> pauses() const {
        std::vector<Duration> result;
        for (std::size_t i = 1; i < times.size(); ++i)
            result.push_back(times[i] - times[i - 1]);
        return result;
    }

    std::vector<TimePoint> times;

private:
    Executor& executor_;
    std::size_t failures_;
};

RetryOptions without_chance() {
    RetryOptions options;
    options.jitter = 0;
    return options;
}

std::string first_words(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        std::string text = error.what();
        return text.substr(0, text.find(':'));
    } catch (...) {
        return "?";
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(retry)

BOOST_FIXTURE_TEST_CASE(success_at_once_needs_no_second_try_and_no_pause, VirtualTime) {
    Flaky flaky(executor, 0);
    run([&]() -> Task<> {
        std::unique_ptr<int> value = co_await leat::retry(flaky);
        BOOST_TEST(*value == 1);
    });
    BOOST_TEST(flaky.times.size() == 1u);
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(value_of_the_try_that_succeeded_is_given, VirtualTime) {
    Flaky flaky(executor, 3);
    int ended = 0;
    auto without_value = [&]() -> Task<> {
        if (++ended < 3) throw refusal(ended);
        co_return;
    };
    run([&]() -> Task<> {
        std::unique_ptr<int> value = co_await leat::retry(flaky);
        BOOST_TEST(*value == 4);
        co_await leat::retry(without_value);
        BOOST_TEST(ended == 3);
    });
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(pauses_grow_up_to_the_longest, VirtualTime) {
    Flaky flaky(executor, 7);
    run([&]() -> Task<> {
        RetryOptions options = without_chance();
        options.attempts = 8;
        options.longest_pause = 1s;
        co_await leat::retry(flaky, options);
    });
    std::vector<Duration> expected{100ms, 200ms, 400ms, 800ms, 1s, 1s, 1s};
    BOOST_TEST((flaky.pauses() == expected));
}

BOOST_FIXTURE_TEST_CASE(chance_shortens_each_pause_by_up_to_the_jitter, VirtualTime) {
    for (double jitter : {0.5, 1.0, 0.1}) {
        Flaky flaky(executor, 40);
        run([&]() -> Task<> {
            RetryOptions options;
            options.attempts = 50;
            options.first_pause = 1s;
            options.factor = 1;
            options.jitter = jitter;
            co_await leat::retry(flaky, options);
        });
        Duration least = Duration::max();
        Duration most = Duration::zero();
        for (Duration pause : flaky.pauses()) {
            least = std::min(least, pause);
            most = std::max(most, pause);
        }
        auto shortest = std::chrono::duration_cast<Duration>((1 - jitter) * std::chrono::duration<double>(1));
        BOOST_TEST((least >= shortest - 1us));
        BOOST_TEST((most <= Duration(1s)));
        // Of forty, not all alike.
        BOOST_TEST((most - least > std::chrono::duration<double>(jitter / 4)));
    }
}

BOOST_AUTO_TEST_CASE(pauses_of_one_seed_are_the_same_and_of_another_are_others) {
    auto pauses_of = [](std::uint64_t seed) {
        VirtualClock clock;
        ExecutorOptions options;
        options.clock = &clock;
        options.seed = seed;
        Executor executor(std::move(options));
        Flaky flaky(executor, 4);
        executor.run_until([](Flaky& attempt) -> Task<> { co_await leat::retry(attempt); }(flaky));
        return flaky.pauses();
    };
    BOOST_TEST((pauses_of(1) == pauses_of(1)));
    BOOST_TEST((pauses_of(1) != pauses_of(2)));
    BOOST_TEST((pauses_of(0) == pauses_of(0)));
    BOOST_TEST(pauses_of(0).size() == 4u);
}

BOOST_FIXTURE_TEST_CASE(without_a_seed_each_executor_draws_its_own_numbers, VirtualTime) {
    Executor other(options());
    bool differs = false;
    for (int i = 0; i < 4; ++i)
        differs = differs || executor.random() != other.random();
    BOOST_TEST(differs);
}

BOOST_FIXTURE_TEST_CASE(after_the_last_try_its_failure_is_thrown_with_the_others_attached, VirtualTime) {
    Flaky flaky(executor, 100);
    run([&]() -> Task<> {
        Outcome<std::unique_ptr<int>> outcome = co_await as_outcome(leat::retry(flaky, without_chance()));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_TEST(first_words(outcome.error()) == "5");
        // The earlier ones, however they are attached, each told once.
        std::string text = describe_failure(outcome.error());
        for (const char* number : {"5: ", "4: ", "3: ", "2: ", "1: "}) {
            std::size_t place = text.find(number);
            BOOST_TEST(place != std::string::npos);
            BOOST_TEST(text.find(number, place + 1) == std::string::npos);
        }
    });
    BOOST_TEST(flaky.times.size() == 5u);
    BOOST_TEST((elapsed() == Duration(1500ms)));
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(no_attempts_or_one_is_one_try, VirtualTime) {
    for (std::size_t attempts : {std::size_t(0), std::size_t(1)}) {
        Flaky flaky(executor, 100);
        run([&]() -> Task<> {
            RetryOptions options;
            options.attempts = attempts;
            Outcome<std::unique_ptr<int>> outcome = co_await as_outcome(leat::retry(flaky, options));
            BOOST_TEST_REQUIRE(!outcome.has_value());
            BOOST_TEST(attached_failures(outcome.error()).empty());
        });
        BOOST_TEST(flaky.times.size() == 1u);
    }
    BOOST_TEST((elapsed() == Duration::zero()));
}

BOOST_FIXTURE_TEST_CASE(only_what_the_world_does_may_pass_by_default, VirtualTime) {
    int tries = 0;
    auto logic = [&]() -> Task<> {
        ++tries;
        throw std::logic_error("a mistake");
        co_return;
    };
    auto cancelled = [&]() -> Task<> {
        ++tries;
        throw std::system_error(make_error_code(errc::cancelled));
        co_return;
    };
    auto no_exception = [&]() -> Task<> {
        ++tries;
        throw 5;
        co_return;
    };
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(leat::retry(logic));
        BOOST_TEST(!outcome.has_value());
        outcome = co_await as_outcome(leat::retry(cancelled));
        BOOST_TEST(!outcome.has_value());
        outcome = co_await as_outcome(leat::retry(no_exception));
        BOOST_TEST(!outcome.has_value());
    });
    BOOST_TEST(tries == 3);
}

BOOST_FIXTURE_TEST_CASE(what_may_pass_can_be_said, VirtualTime) {
    Flaky flaky(executor, 100);
    std::vector<std::string> asked;
    run([&]() -> Task<> {
        RetryOptions options = without_chance();
        options.may_pass = [&](const std::exception_ptr& failure) {
            asked.push_back(first_words(failure));
            return asked.size() < 3;
        };
        Outcome<std::unique_ptr<int>> outcome = co_await as_outcome(leat::retry(flaky, options));
        BOOST_TEST(first_words(outcome.error()) == "3");
        BOOST_TEST(!attached_failures(outcome.error()).empty());
    });
    BOOST_TEST((asked == std::vector<std::string>{"1", "2", "3"}));
}

BOOST_FIXTURE_TEST_CASE(pause_that_would_outlast_the_deadline_is_not_made, VirtualTime) {
    for (Duration limit : {Duration(1s), Duration(350ms), Duration(700ms), Duration(50ms)}) {
        Flaky flaky(executor, 100);
        auto all = [&]() -> Task<> {
            RetryOptions options = without_chance();
            co_await leat::retry(flaky, options);
        };
        TimePoint before = executor.now();
        run([&]() -> Task<> {
            Outcome<void> outcome = co_await as_outcome(all());
            BOOST_TEST(!outcome.has_value());
        });
        TimePoint undisturbed = executor.now();
        BOOST_TEST((undisturbed - before == Duration(1500ms)));

        Flaky limited(executor, 100);
        auto limited_all = [&]() -> Task<> { co_await leat::retry(limited, without_chance()); };
        run([&]() -> Task<> {
            Outcome<void> outcome = Outcome<void>();
            try {
                co_await with_deadline(limit, limited_all());
            } catch (...) {
                outcome = Unexpected<std::exception_ptr>(std::current_exception());
            }
            BOOST_TEST_REQUIRE(!outcome.has_value());
            // The failure itself, not the deadline.
            BOOST_TEST(first_words(outcome.error()) == std::to_string(limited.times.size()));
        });
        BOOST_TEST((executor.now() - undisturbed < limit));
    }
}

BOOST_FIXTURE_TEST_CASE(try_that_outlasts_the_deadline_is_ended_by_it, VirtualTime) {
    auto hangs = []() -> Task<int> {
        co_await sleep_for(1h);
        co_return 1;
    };
    auto all = [&]() -> Task<int> {
        int value = co_await leat::retry(hangs);
        co_return value;
    };
    run([&]() -> Task<> {
        Result<int> result = co_await as_result(with_deadline(1s, all()));
        BOOST_TEST((result.error() == errc::deadline_exceeded));
    });
}

BOOST_FIXTURE_TEST_CASE(timeout_of_each_try_is_a_failure_that_may_pass, VirtualTime) {
    int tries = 0;
    auto slow_at_first = [&]() -> Task<int> {
        ++tries;
        auto work = [](int number) -> Task<int> {
            co_await sleep_for(number < 3 ? Duration(1h) : Duration(1s));
            co_return number;
        };
        int value = co_await leat::timeout(2s, work(tries));
        co_return value;
    };
    run([&]() -> Task<> {
        int value = co_await leat::retry(slow_at_first, without_chance());
        BOOST_TEST(value == 3);
    });
    BOOST_TEST((elapsed() == Duration(5s + 300ms)));
}

BOOST_FIXTURE_TEST_CASE(odd_numbers_make_no_odd_pauses, VirtualTime) {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    struct Case {
        double factor;
        double jitter;
        Duration first;
        Duration longest;
        std::vector<Duration> pauses;
    };
    const std::vector<Case> cases{
        {nan, 0, 1s, 10s, {1s, 1s, 1s}},
        {infinity, 0, 1s, 10s, {1s, 10s, 10s}},
        {-infinity, 0, 1s, 10s, {1s, 1s, 1s}},
        {-3, 0, 1s, 10s, {1s, 1s, 1s}},
        {0, 0, 1s, 10s, {1s, 1s, 1s}},
        {0.5, 0, 1s, 10s, {1s, 1s, 1s}},
        {1e300, 0, 1s, 10s, {1s, 10s, 10s}},
        {infinity, 0, 0s, 10s, {0s, 0s, 0s}},
        {2, 0, -1s, 10s, {0s, 0s, 0s}},
        {2, 0, 1s, -1s, {0s, 0s, 0s}},
        {2, 0, 20s, 10s, {10s, 10s, 10s}},
        {2, -1, 1s, 10s, {1s, 2s, 4s}},
        {2, -infinity, 1s, 10s, {1s, 2s, 4s}},
        {2, nan, 1s, 10s, {1s, 2s, 4s}},
        {2, 0, Duration::min(), Duration::max(), {0s, 0s, 0s}},
    };
    for (const Case& each : cases) {
        Flaky flaky(executor, 3);
        run([&]() -> Task<> {
            RetryOptions options;
            options.factor = each.factor;
            options.jitter = each.jitter;
            options.first_pause = each.first;
            options.longest_pause = each.longest;
            co_await leat::retry(flaky, options);
        });
        BOOST_TEST_INFO("factor " << each.factor << ", jitter " << each.jitter);
        BOOST_TEST((flaky.pauses() == each.pauses));
    }
    // More than everything is everything.
    Flaky flaky(executor, 20);
    run([&]() -> Task<> {
        RetryOptions options;
        options.jitter = 100;
        options.attempts = 30;
        co_await leat::retry(flaky, options);
    });
    for (Duration pause : flaky.pauses())
        BOOST_TEST((pause >= Duration::zero() && pause <= Duration(10s)));
}

BOOST_FIXTURE_TEST_CASE(longest_pause_there_is_ends_the_tries, VirtualTime) {
    Flaky flaky(executor, 100);
    run([&]() -> Task<> {
        RetryOptions options = without_chance();
        options.first_pause = Duration::max();
        options.longest_pause = Duration::max();
        Outcome<std::unique_ptr<int>> outcome = co_await as_outcome(leat::retry(flaky, options));
        BOOST_TEST(!outcome.has_value());
    });
    BOOST_TEST(flaky.times.size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(cancellation_ends_the_try_or_the_pause, VirtualTime) {
    Log log;
    auto attempt = [&]() -> Task<> {
        Guard guard(log, "try");
        co_await sleep_for(1s);
        throw refusal(1);
    };
    run([&]() -> Task<> {
        for (Duration end : {Duration(500ms), Duration(1050ms)}) {
            auto body = [&](CancelScope& scope) -> Task<> {
                auto cancel = [&]() -> Task<> {
                    co_await sleep_for(end);
                    scope.cancel();
                };
                Running<void> canceller = executor.start(cancel());
                co_await leat::retry(attempt, without_chance());
                log.note("never");
            };
            bool finished = co_await cancel_scope(body);
            BOOST_TEST(!finished);
        }
    });
    BOOST_TEST(log.text() == "try! try");
    BOOST_TEST((elapsed() == Duration(1550ms)));
}

BOOST_FIXTURE_TEST_CASE(tries_that_fail_with_one_and_the_same_exception_tell_of_it_once, VirtualTime) {
    std::exception_ptr same = std::make_exception_ptr(refusal(1));
    std::exception_ptr other = std::make_exception_ptr(refusal(2));
    int tries = 0;
    auto attempt = [&]() -> Task<> {
        std::rethrow_exception(++tries == 2 ? other : same);
        co_return;
    };
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(leat::retry(attempt, without_chance()));
        BOOST_TEST((outcome.error() == same));
        std::string text = describe_failure(outcome.error());
        BOOST_TEST(text.find("1: ") == text.rfind("1: "));
    });
}

BOOST_FIXTURE_TEST_CASE(very_many_tries_are_no_matter_of_the_stack, VirtualTime) {
    constexpr std::size_t count = 50'000;
    {
        Flaky flaky(executor, 10 * count);
        run([&]() -> Task<> {
            RetryOptions options = without_chance();
            options.attempts = count;
            options.first_pause = 0s;
            Outcome<std::unique_ptr<int>> outcome = co_await as_outcome(leat::retry(flaky, options));
            BOOST_TEST(!outcome.has_value());
        });
        BOOST_TEST(flaky.times.size() == count);
    }
}

BOOST_AUTO_TEST_CASE(it_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        int tries = 0;
        auto attempt = [&]() -> Task<Counted> {
            Counted local;
            co_await sleep_for(1s);
            if (++tries < 3) throw refusal(tries);
            co_return Counted(1);
        };
        Counted value = co_await leat::retry(attempt);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace retry_test
