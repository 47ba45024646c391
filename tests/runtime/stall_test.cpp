// SPDX-License-Identifier: BSL-1.0
// Tasks that keep their executor's thread. They do so until they are told of, so that nothing hangs on how fast the machine is.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace leat;
using namespace std::chrono_literals;

namespace stall_test {

namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// What the watch says, and an executor that is watched.
class Watched {
public:
    explicit Watched(Duration threshold = 20ms) : executor(options(threshold)) {}

    /// Keeps the thread until `count` stalls have been told.
    void hold(std::size_t count = 1) {
        std::unique_lock guard(lock_);
        bool came = changed_.wait_for(guard, 60s, [&] { return told_.size() >= count; });
        BOOST_REQUIRE(came);
    }

    std::vector<std::string> told() {
        std::lock_guard guard(lock_);
        return told_;
    }

private:
    ExecutorOptions options(Duration threshold) {
        ExecutorOptions options;
        options.stall_threshold = threshold;
        options.diagnostic = [this](std::string_view text) {
            std::lock_guard guard(lock_);
            told_.emplace_back(text);
            changed_.notify_all();
        };
        return options;
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::vector<std::string> told_;

public:
    // Last: its watch tells until it has gone.
    Executor executor;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(stall)

BOOST_FIXTURE_TEST_CASE(task_that_keeps_its_thread_is_told_with_the_line_it_went_on_from, Watched) {
    constexpr int awaiting_line = __LINE__ + 2;
    auto hog = [&]() -> Task<> {
        co_await yield();
        hold();
    };
    Running<void> running = executor.start(hog(), "the hog");

    executor.run();

    const std::string text = told().at(0);
    BOOST_TEST(text.starts_with("leat: a stall: task "), text);
    BOOST_TEST(contains(text, "stall_test.cpp:" + std::to_string(awaiting_line)), text);
    BOOST_TEST(contains(text, " ms, and still does"), text);
}

BOOST_FIXTURE_TEST_CASE(task_that_has_not_awaited_yet_is_told_too, Watched) {
    auto hog = [&]() -> Task<> {
        hold();
        co_return;
    };

    executor.run_until(hog());

    BOOST_TEST(contains(told().at(0), "stall_test.cpp:"), told().at(0));
}

BOOST_FIXTURE_TEST_CASE(posted_function_that_keeps_the_thread_is_told, Watched) {
    auto wait_for_it = [&]() -> Task<> {
        while (told().empty())
            co_await yield();
    };
    executor.remote().post([&] { hold(); });

    executor.run_until(wait_for_it());

    BOOST_TEST(contains(told().at(0), "a posted function"), told().at(0));
}

BOOST_FIXTURE_TEST_CASE(turn_of_a_foreign_loop_is_watched_too, Watched) {
    auto hog = [&]() -> Task<> {
        co_await yield();
        hold();
    };
    Running<void> running = executor.start(hog());

    while (!running.has_ended())
        executor.turn();

    BOOST_TEST(told().size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(stall_is_told_once_however_long_it_lasts, Watched) {
    auto hog = [&]() -> Task<> {
        co_await yield();
        hold();
        std::this_thread::sleep_for(100ms);
    };

    executor.run_until(hog());

    BOOST_TEST(told().size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(five_stalls_are_told_within_a_minute_and_no_more, Watched) {
    auto hog = [&]() -> Task<> {
        for (std::size_t i = 1; i <= 5; ++i) {
            co_await yield();
            hold(i);
        }
        for (int i = 0; i < 2; ++i) {
            co_await yield();
            std::this_thread::sleep_for(100ms);
        }
    };

    executor.run_until(hog());

    BOOST_TEST(told().size() == 5u);
}

BOOST_AUTO_TEST_CASE(loop_that_waits_is_no_stall) {
    Watched watched(300ms);
    auto sleeper = []() -> Task<> { co_await sleep_for(700ms); };

    watched.executor.run_until(sleeper());

    BOOST_TEST(watched.told().empty());
}

// Where a thread can be looked at.
BOOST_FIXTURE_TEST_CASE(stack_and_name_of_the_task_on_top_are_told, Watched,
                        *boost::unit_test::label("posix")) {
    auto child = [&]() -> Task<> {
        hold();
        co_return;
    };
    constexpr int awaiting_line = __LINE__ + 3;
    auto parent = [&]() -> Task<> {
        co_await yield();
        co_await child();
    };
    Running<void> running = executor.start(parent(), "the parent");

    executor.run();

    const std::string text = told().at(0);
    BOOST_TEST(contains(text, "it is at\n"), text);
    BOOST_TEST(contains(text, "+0x"), text);
    // Of the child, which has not awaited anything: not the line at which its parent went on, nor its name.
    BOOST_TEST(!contains(text, "stall_test.cpp:" + std::to_string(awaiting_line)), text);
    BOOST_TEST(!contains(text, "the parent"), text);
}

BOOST_FIXTURE_TEST_CASE(name_of_the_task_is_told, Watched, *boost::unit_test::label("posix")) {
    auto hog = [&]() -> Task<> {
        hold();
        co_return;
    };
    Running<void> running = executor.start(hog(), "the hog");

    executor.run();

    BOOST_TEST(contains(told().at(0), "\"the hog\""), told().at(0));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace stall_test
