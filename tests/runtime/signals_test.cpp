// SPDX-License-Identifier: BSL-1.0
// With the two signals that every system has; what only POSIX has is in signals_posix_test.cpp.
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/sanitizer.hpp"
#include "support/system.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace signals_test {

namespace {

// SIGKILL on POSIX, and on Windows the number of none.
constexpr int unwatchable = 9;

using Handler = void (*)(int);

// Only while nobody watches it: it is set anew.
Handler handler_of(int signal) {
    Handler handler = std::signal(signal, SIG_DFL);
    std::signal(signal, handler);
    return handler;
}

volatile std::sig_atomic_t handled = 0;
extern "C" void leat_test_count(int) { handled = handled + 1; }

Task<> raise_and_wait(int raised, int& seen) {
    Signals signals{raised};
    std::raise(raised);
    seen = co_await signals.next();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(signals)

BOOST_AUTO_TEST_CASE(raised_signal_wakes_the_task_that_waits) {
    Executor executor;
    Signals signals{SIGINT, SIGTERM};
    int seen = 0;
    auto wait_once = [&]() -> Task<> { seen = co_await signals.next(); };
    Running<void> running = executor.start(wait_once());
    while (executor.turn()) {
    }

    std::raise(SIGTERM);
    executor.run();

    BOOST_TEST(seen == SIGTERM);
}

BOOST_AUTO_TEST_CASE(signal_that_another_thread_raises_while_the_loop_sleeps_ends_the_wait) {
    std::atomic<bool> is_about_to_wait = false;
    std::thread other([&] {
        while (!is_about_to_wait)
            std::this_thread::yield();
        for (int i = 0; i < 1000; ++i)
            std::this_thread::yield();
        std::raise(SIGINT);
    });
    int seen = 0;

    leat::run([](std::atomic<bool>& about, int& signal) -> Task<> {
        Signals signals{SIGINT};
        about = true;
        signal = co_await signals.next();
    }(is_about_to_wait, seen));

    other.join();
    BOOST_TEST(seen == SIGINT);
}

BOOST_AUTO_TEST_CASE(signals_that_come_before_the_wait_are_kept_one_of_a_kind) {
    leat::run([]() -> Task<> {
        Signals signals{SIGINT, SIGTERM};
        for (int i = 0; i < 100; ++i)
            std::raise(SIGTERM);
        for (int i = 0; i < 100; ++i)
            std::raise(SIGINT);

        int first = co_await signals.next();
        int second = co_await signals.next();
        std::optional<int> third = co_await try_timeout(2ms, signals.next());

        BOOST_TEST(first + second == SIGINT + SIGTERM);
        BOOST_TEST(first != second);
        BOOST_TEST(!third.has_value());
    }());
}

BOOST_AUTO_TEST_CASE(signal_after_one_that_was_taken_is_seen_again) {
    leat::run([]() -> Task<> {
        Signals signals{SIGINT};
        for (int i = 0; i < 10; ++i) {
            std::raise(SIGINT);
            int signal = co_await signals.next();
            BOOST_TEST(signal == SIGINT);
        }
    }());
}

BOOST_AUTO_TEST_CASE(each_of_two_watchers_sees_the_signal) {
    leat::run([]() -> Task<> {
        Signals one{SIGINT, SIGTERM};
        Signals two{SIGINT};
        std::raise(SIGINT);
        int first = co_await one.next();
        int second = co_await two.next();
        std::raise(SIGTERM);
        std::optional<int> not_wanted = co_await try_timeout(2ms, two.next());
        int wanted = co_await one.next();

        BOOST_TEST(first == SIGINT);
        BOOST_TEST(second == SIGINT);
        BOOST_TEST(!not_wanted.has_value());
        BOOST_TEST(wanted == SIGTERM);
    }());
}

BOOST_AUTO_TEST_CASE(watchers_of_two_executors_both_see_a_raised_signal) {
    std::atomic<int> ready = 0;
    auto wait_for_one = [](std::atomic<int>& count, int& seen) -> Task<> {
        Signals signals{SIGINT};
        ++count;
        seen = co_await signals.next();
    };
    int here = 0;
    int there = 0;
    std::thread other([&] { leat::run(wait_for_one(ready, there)); });
    std::thread sender([&] {
        while (ready != 2)
            std::this_thread::yield();
        std::raise(SIGINT);
    });
    leat::run(wait_for_one(ready, here));

    sender.join();
    other.join();
    BOOST_TEST(here == SIGINT);
    BOOST_TEST(there == SIGINT);
}

BOOST_AUTO_TEST_CASE(former_handler_is_not_called_meanwhile_and_comes_back) {
    const Handler before = std::signal(SIGINT, leat_test_count);
    const Handler before_other = handler_of(SIGTERM);
    handled = 0;
    leat::run([]() -> Task<> {
        Signals outer{SIGINT};
        {
            Signals inner{SIGINT, SIGTERM};
        }
        for (int i = 0; i < 2; ++i) {
            std::raise(SIGINT);
            int signal = co_await outer.next();
            BOOST_TEST(signal == SIGINT);
        }
    }());

    BOOST_TEST(handled == 0);
    BOOST_TEST((handler_of(SIGINT) == leat_test_count));
    BOOST_TEST((handler_of(SIGTERM) == before_other));
    std::raise(SIGINT);
    BOOST_TEST(handled == 1);
    std::signal(SIGINT, before);
}

BOOST_AUTO_TEST_CASE(ignored_signal_is_ignored_again_afterwards) {
    const Handler before = std::signal(SIGTERM, SIG_IGN);
    int seen = 0;
    leat::run(raise_and_wait(SIGTERM, seen));

    BOOST_TEST(seen == SIGTERM);
    BOOST_TEST((handler_of(SIGTERM) == SIG_IGN));
    std::signal(SIGTERM, before);
}

BOOST_AUTO_TEST_CASE(signal_that_cannot_be_handled_is_an_error_that_names_it_and_changes_nothing) {
    const Handler before = handler_of(SIGINT);
    std::string message;
    try {
        Signals signals{SIGINT, unwatchable};
    } catch (const std::system_error& error) {
        message = error.what();
    }

    BOOST_TEST(message.find(std::to_string(unwatchable)) != std::string::npos, message);
    BOOST_TEST((handler_of(SIGINT) == before));
    BOOST_CHECK_THROW(Signals({-1}), std::system_error);
    BOOST_CHECK_THROW(Signals({0}), std::system_error);
    BOOST_CHECK_THROW(Signals({10'000}), std::system_error);
}

BOOST_AUTO_TEST_CASE(watcher_that_is_one_too_many_is_refused_until_another_goes) {
    const Handler before = handler_of(SIGTERM);
    std::deque<Signals> watchers;
    for (int i = 0; i < 64; ++i)
        watchers.emplace_back(std::initializer_list<int>{SIGINT});

    BOOST_CHECK_EXCEPTION(Signals({SIGTERM}), std::system_error, [](const std::system_error& error) {
        return error.code() == std::errc::resource_unavailable_try_again;
    });

    BOOST_TEST((handler_of(SIGTERM) == before));
    watchers.pop_front();
    int seen = 0;
    leat::run(raise_and_wait(SIGTERM, seen));
    BOOST_TEST(seen == SIGTERM);
}

BOOST_AUTO_TEST_CASE(second_task_that_waits_is_refused_as_busy) {
    Executor executor;
    Signals signals{SIGINT};
    auto wait_once = [&]() -> Task<> { co_await signals.next(); };
    Running<void> first = executor.start(wait_once());
    std::error_code code;
    executor.run_until([](Signals& s, std::error_code& error) -> Task<> {
        co_await yield();
        Result<int> second = co_await as_result(s.next());
        if (!second) error = second.error();
    }(signals, code));

    BOOST_TEST(code == errc::busy);
    BOOST_TEST(!first.has_ended());
    std::raise(SIGINT);
    executor.run();
    BOOST_TEST(first.has_ended());
}

BOOST_AUTO_TEST_CASE(cancelled_wait_leaves_the_signal_for_the_next) {
    leat::run([]() -> Task<> {
        Signals signals{SIGINT};
        std::optional<int> none = co_await try_timeout(1ms, signals.next());
        BOOST_TEST(!none.has_value());

        std::optional<int> seen;
        auto body = [&](CancelScope& scope) -> Task<> {
            std::raise(SIGINT);
            scope.cancel();
            seen = co_await signals.next();
        };
        co_await cancel_scope(body);
        if (!seen) seen = co_await signals.next();
        BOOST_TEST((seen == SIGINT));
    }());
}

BOOST_AUTO_TEST_CASE(cancellation_in_the_turn_of_the_signal_loses_nothing) {
    Executor executor;
    Signals signals{SIGINT};
    int taken = 0;
    auto wait_once = [&]() -> Task<> {
        co_await signals.next();
        ++taken;
    };
    for (int turns = 0; turns < 4; ++turns) {
        Running<void> first = executor.start(wait_once());
        while (executor.turn()) {
        }
        std::raise(SIGINT);
        for (int i = 0; i < turns; ++i)
            executor.turn(1);
        first.cancel();
        executor.run();
        Running<void> second = executor.start(wait_once());
        for (int i = 0; i < 10; ++i)
            executor.turn();
        second.cancel();
        executor.run();
        BOOST_TEST(taken == turns + 1);
    }
}

BOOST_AUTO_TEST_CASE(flood_of_raised_signals_is_survived_and_the_last_one_is_seen) {
    constexpr int flood = is_sanitized ? 2'000 : 20'000;
    std::atomic<bool> may_begin = false;
    std::thread other([&] {
        while (!may_begin)
            std::this_thread::yield();
        for (int i = 0; i < flood; ++i)
            std::raise(SIGINT);
        std::raise(SIGTERM);
    });
    leat::run([](std::atomic<bool>& begin) -> Task<> {
        Signals signals{SIGINT, SIGTERM};
        begin = true;
        int seen = 0;
        for (int signal = 0; signal != SIGTERM;) {
            signal = co_await signals.next();
            ++seen;
        }
        BOOST_TEST(seen >= 2);
        // What was sent before the last one may still be there, once.
        co_await try_timeout(1ms, signals.next());
    }(may_begin));
    other.join();
}

BOOST_AUTO_TEST_CASE(signals_can_be_watched_again_and_again_without_leaking_descriptors) {
    auto watch = [] { Signals signals{SIGINT, SIGTERM}; };
    // The first one may leave what all later ones use.
    watch();
    const Handler before_handler = handler_of(SIGINT);
    const std::set<NativeHandle> before = open_handles();

    for (int i = 0; i < 3000; ++i)
        watch();

    BOOST_TEST(open_handles() == before);
    BOOST_TEST((handler_of(SIGINT) == before_handler));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace signals_test
