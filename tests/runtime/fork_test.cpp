// SPDX-License-Identifier: BSL-1.0
// What a child process may do with its parent's executor: nothing, and it is told so; and its signals are its own.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/posix.hpp"
#include "support/system.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include <signal.h>
#include <unistd.h>

using namespace std::chrono_literals;

namespace leat::test::fork_test {
namespace {

template <class Call>
bool gives_forked(Call call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code() == errc::forked;
    }
    return false;
}

Task<> do_nothing() { co_return; }

Task<int> next_of(Signals& signals) {
    int signal = co_await signals.next();
    co_return signal;
}

// Nothing that happened before this reached the watcher.
bool has_seen_nothing(Executor& executor, Signals& signals) {
    std::optional<int> seen = executor.run_until([](Signals& watched) -> Task<std::optional<int>> {
        std::optional<int> signal = co_await try_timeout(1ms, watched.next());
        co_return signal;
    }(signals));
    return !seen.has_value();
}

// Notes what came, for `former_handler_is_called_in_the_child`.
volatile sig_atomic_t noted = 0;
extern "C" void leat_test_note(int signal) { noted = signal; }

struct Fixture {
    std::optional<Executor> executor{std::in_place};
    Remote remote = executor->remote();

    // It still calls what is posted, and nobody else has called anything.
    void check_that_the_parent_is_unaffected() {
        int called = 0;
        auto wait_for_call = [&]() -> Task<> {
            while (called == 0)
                co_await yield();
        };
        remote.post([&called] { ++called; });
        executor->run_until(wait_for_call());
        BOOST_TEST(called == 1);
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(fork, Fixture)

// ---- The executor ----

BOOST_AUTO_TEST_CASE(post_in_the_child_is_refused) {
    executor->run_until(do_nothing());
    int called = 0;

    const int status = run_in_child([&] {
        return gives_forked([&] { remote.post([&called] { ++called; }); }) &&
               !remote.try_post([&called] { ++called; });
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
    BOOST_TEST(called == 0);
}

BOOST_AUTO_TEST_CASE(post_to_a_sleeping_executor_does_not_wake_it_from_the_child) {
    while (executor->turn()) {
    }

    const int status = run_in_child([&] {
        Remote copy = remote;
        return !copy.try_post([] {});
    });

    BOOST_TEST(status == 0);
    const std::uint64_t polls = executor->stats().polls;
    BOOST_TEST(!executor->turn());
    BOOST_TEST(executor->stats().polls == polls + 1);
    BOOST_TEST(executor->stats().posted == 0u);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(closed_executor_is_still_closed_and_not_forked) {
    executor.reset();

    BOOST_CHECK_EXCEPTION(remote.post([] {}), std::system_error,
                          [](const std::system_error& error) { return error.code() == errc::closed; });
}

BOOST_AUTO_TEST_CASE(running_in_the_child_is_refused) {
    executor->run_until(do_nothing());

    const int status = run_in_child([&] {
        return gives_forked([&] { executor->run(); }) && gives_forked([&] { executor->turn(); }) &&
               gives_forked([&] { executor->run_until(do_nothing()); }) &&
               gives_forked([&] { auto running = executor->start(do_nothing()); });
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(executor_destroyed_in_the_child_lives_on_in_the_parent) {
    Link link = stream_link();
    int ended = 0;
    int called = 0;
    auto wait = [&]() -> Task<> {
        ReadinessOperation operation = readable(link.source);
        co_await operation;
        ++ended;
    };
    auto sleep = [&]() -> Task<> { co_await sleep_for(Duration::max()); };
    Running<void> waiting = executor->start(wait());
    Running<void> sleeping = executor->start(sleep());
    while (executor->turn()) {
    }
    remote.post([&called] { ++called; });

    const int status = run_in_child([&] {
        executor.reset();
        return waiting.has_ended() && sleeping.has_ended() && ended == 0 && called == 0;
    });
    write_text(link.peer.get(), "x");
    sleeping.cancel();
    executor->run();

    BOOST_TEST(status == 0);
    BOOST_TEST(ended == 1);
    BOOST_TEST(called == 1);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(call_in_the_child_is_refused) {
    executor->run_until(do_nothing());
    int called = 0;
    auto count = [&called] { ++called; };

    const int status = run_in_child([&] {
        Executor own;
        auto call = [&]() -> Task<bool> {
            Result<void> result = co_await as_result(remote.call(count));
            co_return !result && result.error() == errc::forked;
        };
        return own.run_until(call()) && gives_forked([&] { remote.block_on(count); });
    });

    BOOST_TEST(status == 0);
    BOOST_TEST(called == 0);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(both_executors_of_a_call_may_be_destroyed_in_the_child_in_any_order) {
    std::optional<Executor> other(std::in_place);
    bool callee_runs = false;
    int ended = 0;
    auto callee = [&]() -> Task<> {
        callee_runs = true;
        co_await sleep_for(Duration::max());
    };
    auto caller = [&]() -> Task<> {
        Result<void> result = co_await as_result(other->remote().call(callee));
        if (!result && result.error() == errc::cancelled) ++ended;
    };
    Running<void> running = executor->start(caller());
    while (!callee_runs) {
        executor->turn();
        other->turn();
    }

    const int caller_first = run_in_child([&] {
        executor.reset();
        other.reset();
        return running.has_ended() && ended == 0;
    });
    const int callee_first = run_in_child([&] {
        other.reset();
        executor.reset();
        return running.has_ended() && ended == 0;
    });
    other.reset();
    executor->run();

    BOOST_TEST(caller_first == 0);
    BOOST_TEST(callee_first == 0);
    BOOST_TEST(ended == 1);
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(pool_of_threads_is_refused_in_the_child_and_can_be_destroyed) {
    auto five = [] { return 5; };
    std::atomic<bool> runs = false;
    std::atomic<bool> may_end = false;
    auto hold = [&] {
        runs = true;
        while (!may_end)
            std::this_thread::yield();
    };
    auto pool = std::make_shared<BlockingPool>();
    auto holder = [&]() -> Task<> { co_await pool->offload(hold); };
    Running<void> running = executor->start(holder());
    while (!runs)
        executor->turn();

    const int status = run_in_child([&] {
        // The copy of the task that waits for a thread which is not there.
        executor.reset();
        Executor own;
        auto call = [&]() -> Task<bool> {
            Result<int> result = co_await as_result(pool->offload(five));
            co_return !result && result.error() == errc::forked;
        };
        bool is_refused = own.run_until(call());
        pool.reset();
        return running.has_ended() && is_refused;
    });
    may_end = true;
    executor->run();

    BOOST_TEST(status == 0);
    BOOST_TEST(running.has_ended());
    check_that_the_parent_is_unaffected();
}

BOOST_AUTO_TEST_CASE(child_may_make_an_executor_of_its_own) {
    executor->run_until(do_nothing());

    const int status = run_in_child([&] {
        Executor own;
        int called = 0;
        auto wait_for_call = [&]() -> Task<> {
            while (called == 0)
                co_await sleep_for(1us);
        };
        own.remote().post([&called] { ++called; });
        own.run_until(wait_for_call());
        return called == 1;
    });

    BOOST_TEST(status == 0);
    check_that_the_parent_is_unaffected();
}

// ---- Signals ----

BOOST_AUTO_TEST_CASE(watched_signal_kills_the_child_as_it_would_have_without) {
    Signals signals{SIGTERM};

    const int status = run_in_child([] {
        ::raise(SIGTERM);
        return true;
    });

    BOOST_TEST(status == -SIGTERM);
    BOOST_TEST(has_seen_nothing(*executor, signals));
}

BOOST_AUTO_TEST_CASE(signal_that_was_ignored_is_ignored_in_the_child) {
    ::signal(SIGUSR1, SIG_IGN);
    {
        Signals signals{SIGUSR1};

        const int status = run_in_child([] {
            ::raise(SIGUSR1);
            ::raise(SIGUSR1);
            return true;
        });

        BOOST_TEST(status == 0);
        BOOST_TEST(has_seen_nothing(*executor, signals));
    }
    ::signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(former_handler_is_called_in_the_child) {
    ::signal(SIGUSR1, leat_test_note);
    {
        Signals signals{SIGUSR1};

        const int status = run_in_child([] {
            ::raise(SIGUSR1);
            bool first = noted == SIGUSR1;
            noted = 0;
            ::raise(SIGUSR1);
            return first && noted == SIGUSR1;
        });

        BOOST_TEST(status == 0);
        BOOST_TEST(has_seen_nothing(*executor, signals));
    }
    ::signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(inherited_watcher_is_refused_in_the_child_and_takes_nothing_from_the_parent) {
    Signals signals{SIGUSR1};
    ::raise(SIGUSR1);

    const int status = run_in_child([&] {
        Executor own;
        return gives_forked([&] { own.run_until(next_of(signals)); });
    });

    BOOST_TEST(status == 0);
    BOOST_TEST(executor->run_until(next_of(signals)) == SIGUSR1);
}

BOOST_AUTO_TEST_CASE(watcher_destroyed_in_the_child_goes_on_in_the_parent) {
    std::optional<Signals> signals;
    signals.emplace(std::initializer_list<int>{SIGUSR1});

    const int status = run_in_child([&] {
        signals.reset();
        return true;
    });
    ::raise(SIGUSR1);

    BOOST_TEST(status == 0);
    BOOST_TEST(executor->run_until(next_of(*signals)) == SIGUSR1);
}

BOOST_AUTO_TEST_CASE(child_may_watch_signals_itself) {
    std::optional<Signals> inherited;
    inherited.emplace(std::initializer_list<int>{SIGUSR1, SIGUSR2});

    const int status = run_in_child([&] {
        Executor own;
        Signals signals{SIGUSR1};
        // The parent's: its end takes nothing from the child's either.
        inherited.reset();
        ::raise(SIGUSR1);
        if (own.run_until(next_of(signals)) != SIGUSR1) return false;
        ::raise(SIGUSR2);
        return false;
    });

    BOOST_TEST(status == -SIGUSR2);
    BOOST_TEST(has_seen_nothing(*executor, *inherited));
    ::raise(SIGUSR2);
    BOOST_TEST(executor->run_until(next_of(*inherited)) == SIGUSR2);
}

BOOST_AUTO_TEST_CASE(child_lets_go_of_a_runtime_and_of_its_threads) {
    std::optional<Runtime> runtime(std::in_place, 3);
    auto nothing = [](std::size_t) -> Task<> { co_return; };
    runtime->run(nothing);

    const int status = run_in_child([&] {
        runtime.reset();
        return true;
    });

    BOOST_TEST(status == 0);
    runtime->run(nothing);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::fork_test
