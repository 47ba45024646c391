// SPDX-License-Identifier: BSL-1.0
// What only POSIX has: signals to the process or to one of its threads, users' signals, sigaction.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/posix.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace signals_posix_test {

namespace {

void send_to_process(int signal) { ::kill(::getpid(), signal); }

auto handler_of(int signal) {
    struct sigaction action{};
    ::sigaction(signal, nullptr, &action);
    return action.sa_handler;
}

extern "C" void leat_test_handler(int) {}

/// A thread that acts and then stays until its owner goes. A signal may be handed to whatever thread there is, and the
/// thread sanitizer keeps it for that thread's next call of the library: with a thread that has ended, it would be lost. It
/// waits on a condition variable, since the sanitizer holds signals back while a thread waits on a bare futex.
class Bystander {
public:
    template <class Action>
    explicit Bystander(Action action)
        : thread_([this, action] {
              action();
              std::unique_lock lock(mutex_);
              changed_.wait(lock, [this] { return may_end_; });
          }) {}
    Bystander(const Bystander&) = delete;
    Bystander& operator=(const Bystander&) = delete;
    ~Bystander() {
        {
            std::lock_guard lock(mutex_);
            may_end_ = true;
        }
        changed_.notify_one();
        thread_.join();
    }
    pthread_t handle() { return thread_.native_handle(); }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool may_end_ = false;
    std::thread thread_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(signals_posix)

BOOST_AUTO_TEST_CASE(signal_to_the_process_wakes_the_task_that_waits) {
    Executor executor;
    Signals signals{SIGUSR1, SIGUSR2};
    int seen = 0;
    auto wait_once = [&]() -> Task<> { seen = co_await signals.next(); };
    Running<void> running = executor.start(wait_once());
    while (executor.turn()) {
    }

    send_to_process(SIGUSR2);
    executor.run();

    BOOST_TEST(seen == SIGUSR2);
}

BOOST_AUTO_TEST_CASE(signal_to_the_process_while_the_loop_sleeps_ends_the_wait) {
    Executor executor;
    std::atomic<bool> is_about_to_wait = false;
    Bystander other([&] {
        is_about_to_wait.wait(false);
        for (int i = 0; i < 1000; ++i)
            std::this_thread::yield();
        send_to_process(SIGUSR1);
    });

    executor.run_until([](std::atomic<bool>& about) -> Task<> {
        Signals signals{SIGUSR1};
        about = true;
        about.notify_one();
        int signal = co_await signals.next();
        BOOST_TEST(signal == SIGUSR1);
    }(is_about_to_wait));
}

BOOST_AUTO_TEST_CASE(signal_to_another_thread_is_seen_too) {
    Bystander other([] {});
    leat::run([](pthread_t thread) -> Task<> {
        Signals signals{SIGUSR1};
        ::pthread_kill(thread, SIGUSR1);
        int signal = co_await signals.next();
        BOOST_TEST(signal == SIGUSR1);
    }(other.handle()));
}

BOOST_AUTO_TEST_CASE(watchers_of_two_executors_both_see_the_signal) {
    std::atomic<int> ready = 0;
    int there = 0;
    auto wait_for_one = [](std::atomic<int>& count, int& seen) -> Task<> {
        Signals signals{SIGUSR1};
        ++count;
        count.notify_all();
        seen = co_await signals.next();
    };
    std::thread other([&] { leat::run(wait_for_one(ready, there)); });
    Bystander sender([&] {
        for (int seen = ready; seen != 2; seen = ready)
            ready.wait(seen);
        send_to_process(SIGUSR1);
    });
    int here = 0;
    leat::run(wait_for_one(ready, here));

    other.join();
    BOOST_TEST(here == SIGUSR1);
    BOOST_TEST(there == SIGUSR1);
}

BOOST_AUTO_TEST_CASE(no_handler_is_set_unless_asked_and_the_former_one_comes_back) {
    leat::run([]() -> Task<> { co_return; }());
    BOOST_TEST((handler_of(SIGUSR1) == SIG_DFL));
    ::signal(SIGUSR1, leat_test_handler);
    {
        Signals outer{SIGUSR1};
        {
            Signals inner{SIGUSR1, SIGUSR2};
            BOOST_TEST((handler_of(SIGUSR1) != leat_test_handler));
            BOOST_TEST((handler_of(SIGUSR2) != SIG_DFL));
        }
        BOOST_TEST((handler_of(SIGUSR1) != leat_test_handler));
        BOOST_TEST((handler_of(SIGUSR2) == SIG_DFL));
    }

    BOOST_TEST((handler_of(SIGUSR1) == leat_test_handler));
    ::signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(handler_that_the_program_has_set_meanwhile_stays) {
    {
        Signals signals{SIGUSR1, SIGUSR2};
        ::signal(SIGUSR1, leat_test_handler);
    }

    BOOST_TEST((handler_of(SIGUSR1) == leat_test_handler));
    BOOST_TEST((handler_of(SIGUSR2) == SIG_DFL));
    ::signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(flood_of_signals_is_survived_and_the_last_one_is_seen) {
    constexpr int flood = is_sanitized ? 2'000 : 20'000;
    std::atomic<bool> may_begin = false;
    Bystander other([&] {
        may_begin.wait(false);
        for (int i = 0; i < flood; ++i)
            send_to_process(SIGUSR1);
        send_to_process(SIGUSR2);
    });
    leat::run([](std::atomic<bool>& begin) -> Task<> {
        Signals signals{SIGUSR1, SIGUSR2};
        begin = true;
        begin.notify_one();
        int seen = 0;
        for (int signal = 0; signal != SIGUSR2;) {
            signal = co_await signals.next();
            ++seen;
        }
        BOOST_TEST(seen >= 2);
        // What was sent before the last one may still be there, once.
        co_await try_timeout(1ms, signals.next());
    }(may_begin));
}

BOOST_AUTO_TEST_CASE(dump_on_a_signal_goes_to_the_application_s_diagnostic_in_one_piece) {
    std::vector<std::string> notices;
    ExecutorOptions options;
    options.diagnostic = [&](std::string_view text) { notices.emplace_back(text); };
    Executor executor(options);
    Signals signals{SIGUSR1};
    Running<void> dumping = executor.start(dump_on_signal(signals));
    while (executor.turn()) {
    }
    send_to_process(SIGUSR1);

    while (notices.empty())
        executor.turn();

    BOOST_TEST(notices.size() == 1u);
    BOOST_TEST(notices.front().starts_with("leat: the tasks:\n#1 task "), notices.front());
    BOOST_TEST(notices.front().find("dump_on_signal") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(signals_that_come_faster_than_they_are_dealt_with_do_not_keep_io_waiting) {
    StreamPair pair;
    int dumps = 0;
    int dumps_before_the_read = 0;
    ExecutorOptions options;
    options.diagnostic = [&](std::string_view) {
        if (++dumps == 1) send_directly(pair.right, "x");
        if (dumps < 1000) ::raise(SIGUSR1);
    };
    Executor executor(options);
    Signals signals{SIGUSR1};
    Running<void> dumping = executor.start(dump_on_signal(signals));
    auto read = [&]() -> Task<> {
        std::array<std::byte, 8> buffer{};
        co_await read_some(pair.left, buffer);
        dumps_before_the_read = dumps;
    };
    auto begin = [&]() -> Task<> {
        co_await yield();
        ::raise(SIGUSR1);
    };
    Running<void> beginning = executor.start(begin());

    executor.run_until(read());

    // The one that wrote, and one that was under way when I/O was polled for.
    BOOST_TEST(dumps_before_the_read >= 1);
    BOOST_TEST(dumps_before_the_read <= 2);
}

BOOST_AUTO_TEST_CASE(handlers_that_are_kept_outlast_the_object_and_do_nothing) {
    int status = run_in_child([] {
        {
            Signals signals{SIGTERM};
            signals.keep_installed();
        }
        send_to_process(SIGTERM);
        return handler_of(SIGTERM) != SIG_DFL;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(kept_handlers_serve_the_next_object_too) {
    int status = run_in_child([] {
        {
            Signals signals{SIGTERM};
            signals.keep_installed();
        }
        Signals again{SIGTERM};
        send_to_process(SIGTERM);
        return leat::run(again.next()) == SIGTERM;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace signals_posix_test
