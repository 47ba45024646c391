// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/log.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace group_limit_test {

namespace {

/// How many run at the same time.
class Load {
public:
    Task<> work(Duration duration) {
        ++running_;
        ++begun_;
        most_ = std::max(most_, running_);
        co_await sleep_for(duration);
        --running_;
    }

    std::size_t most() const noexcept { return most_; }
    std::size_t begun() const noexcept { return begun_; }

private:
    std::size_t running_ = 0;
    std::size_t begun_ = 0;
    std::size_t most_ = 0;
};

Task<> note(Log& log, std::string word, Duration duration) {
    log.note(word);
    co_await sleep_for(duration);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(group_limit)

BOOST_FIXTURE_TEST_CASE(no_more_run_at_the_same_time_than_the_limit_says, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto work = [&] { return load.work(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(3);
            for (int i = 0; i < 10; ++i)
                co_await group.spawn_when_free(work);
        };
        co_await task_group(body);
    });

    BOOST_TEST(load.begun() == 10u);
    BOOST_TEST(load.most() == 3u);
    BOOST_TEST((elapsed() == 4s));
}

BOOST_FIXTURE_TEST_CASE(group_without_a_limit_has_room_at_once, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto work = [&] { return load.work(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 1000; ++i)
                co_await group.spawn_when_free(work);
        };
        co_await task_group(body);
    });

    BOOST_TEST(load.begun() == 1000u);
    BOOST_TEST((elapsed() == 1s));
}

BOOST_FIXTURE_TEST_CASE(who_has_waited_longest_for_room_gets_it, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(1);
            group.spawn(note, std::ref(log), "running", Duration(1s));
            auto wanting = [&](std::string word) -> Task<> {
                co_await group.spawn_when_free(note, std::ref(log), word, Duration(1s));
            };
            auto others = [&](TaskGroup& waiting) -> Task<> {
                waiting.spawn(wanting, "a");
                waiting.spawn(wanting, "b");
                waiting.spawn(wanting, "c");
                co_return;
            };
            co_await task_group(others);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "running a b c");
}

BOOST_FIXTURE_TEST_CASE(plain_spawn_does_not_ask_for_room, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto work = [&] { return load.work(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(1);
            for (int i = 0; i < 5; ++i)
                group.spawn(work);
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(load.most() == 5u);
}

BOOST_FIXTURE_TEST_CASE(limit_of_none_counts_as_one, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto work = [&] { return load.work(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(0);
            BOOST_TEST(group.limit() == 1u);
            for (int i = 0; i < 3; ++i)
                co_await group.spawn_when_free(work);
        };
        co_await task_group(body);
    });

    BOOST_TEST(load.most() == 1u);
}

BOOST_FIXTURE_TEST_CASE(raised_limit_lets_those_in_who_wait, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto work = [&] { return load.work(1h); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(1);
            auto raiser = [&]() -> Task<> {
                co_await sleep_for(1s);
                group.set_limit(10);
            };
            group.spawn(raiser);
            co_await group.spawn_when_free(work);
            BOOST_TEST((elapsed() == 1s));
            group.cancel();
        };
        co_await task_group(body);
    });

    BOOST_TEST(load.begun() == 1u);
}

BOOST_FIXTURE_TEST_CASE(who_is_cancelled_while_waiting_starts_nothing_and_holds_nobody_up, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(1);
            group.spawn(note, std::ref(log), "running", Duration(5s));
            auto wanting = [&](std::string word) -> Task<> {
                co_await group.spawn_when_free(note, std::ref(log), word, Duration(1s));
            };
            auto impatient = [&]() -> Task<> {
                bool started = co_await try_timeout(1s, wanting("impatient"));
                BOOST_TEST(!started);
            };
            auto others = [&](TaskGroup& waiting) -> Task<> {
                waiting.spawn(impatient);
                waiting.spawn(wanting, "patient");
                co_return;
            };
            co_await task_group(others);
        };
        co_await task_group(body);
    });

    BOOST_TEST(log.text() == "running patient");
}

BOOST_FIXTURE_TEST_CASE(failed_child_makes_room_in_a_group_that_ends, VirtualTime) {
    Load load;
    run([&]() -> Task<> {
        auto fail = []() -> Task<> {
            co_await sleep_for(1s);
            throw std::runtime_error("failed");
        };
        auto work = [&] { return load.work(1s); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(1);
            group.spawn(fail);
            co_await group.spawn_when_free(work);
        };
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        BOOST_TEST_REQUIRE(!outcome);
        BOOST_TEST(describe_failure(outcome.error()) == "failed");
    });

    BOOST_TEST(load.begun() == 0u);
}

BOOST_FIXTURE_TEST_CASE(join_waits_for_the_children_and_the_group_goes_on, VirtualTime) {
    run([&]() -> Task<> {
        Load load;
        auto work = [&](Duration duration) { return load.work(duration); };
        auto body = [&](TaskGroup& group) -> Task<> {
            co_await group.join();
            BOOST_TEST((elapsed() == Duration::zero()));

            group.spawn(work, Duration(1s));
            group.spawn(work, Duration(3s));
            co_await group.join();
            BOOST_TEST((elapsed() == 3s));
            BOOST_TEST(group.size() == 0u);

            group.spawn(work, Duration(1s));
        };
        co_await task_group(body);
    });

    BOOST_TEST((elapsed() == 4s));
}

BOOST_FIXTURE_TEST_CASE(join_can_be_given_up, VirtualTime) {
    run([&]() -> Task<> {
        Load load;
        auto work = [&] { return load.work(1h); };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(work);
            bool joined = co_await try_timeout(1s, group.join());
            BOOST_TEST(!joined);
            BOOST_TEST(group.size() == 1u);
            group.cancel();
        };
        co_await task_group(body);
    });

    BOOST_TEST((elapsed() == 1s));
}

BOOST_FIXTURE_TEST_CASE(named_child_tells_its_name_to_who_asks, VirtualTime) {
    std::string name;
    std::string unnamed = "?";
    run([&]() -> Task<> {
        auto ask = [](std::string& told) -> Task<> {
            Environment& environment = co_await Here();
            (void)environment;
            co_await yield();
            told += "!";
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn_named("session " + std::to_string(17), ask, std::ref(name));
            name = group.first_child()->task_name();
            group.spawn(ask, std::ref(unnamed));
            unnamed = group.first_child()->task_name();
            co_return;
        };
        co_await task_group(body);
    });

    BOOST_TEST(name == "session 17!");
    BOOST_TEST(unnamed == "!");
}

BOOST_AUTO_TEST_CASE(waiting_for_room_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto child = [](Counted) -> Task<> {
            Counted local;
            co_await sleep_for(1s);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.set_limit(2);
            for (int i = 0; i < 5; ++i)
                co_await group.spawn_when_free(child, Counted());
            co_await group.join();
            co_await yield();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace group_limit_test
