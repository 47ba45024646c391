// SPDX-License-Identifier: BSL-1.0
// Every wait, cancelled at every suspension point: see support/sweep.hpp.
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/foreign.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/stream_pair.hpp"
#include "support/sweep.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace cancellation_sweep_test {

namespace {

Task<> sleep_twice(Counted) {
    Counted local;
    co_await sleep_for(1s);
    co_await sleep_for(1s);
}

Task<Counted> give_later(Duration duration) {
    Counted result(7);
    co_await sleep_for(duration);
    co_return result;
}

Task<> nested(int depth) {
    Counted local;
    co_await yield();
    if (depth > 0) co_await nested(depth - 1);
    co_await yield();
}

Task<> play(Source& source, bool serves, int rounds) {
    Counted local;
    std::array<std::byte, 16> buffer;
    for (int i = 0; i < rounds; ++i) {
        if (serves) co_await write_some(source, "ball");
        co_await read_some(source, buffer);
        if (!serves) co_await write_some(source, "ball");
    }
}

// A thread that is joined at the end of the frame, however that ends.
class JoinedThread {
public:
    JoinedThread() = default;
    JoinedThread(const JoinedThread&) = delete;
    ~JoinedThread() {
        if (thread_.joinable()) thread_.join();
    }
    template <class Function>
    void start(Function function) {
        thread_ = std::thread(std::move(function));
    }

private:
    std::thread thread_;
};

class ResumedByThread {
public:
    explicit ResumedByThread(JoinedThread& thread) noexcept : thread_(thread) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const {
        thread_.start([handle] { handle.resume(); });
    }
    Counted await_resume() const noexcept { return Counted(1); }

private:
    JoinedThread& thread_;
};

class LetsGo {
public:
    explicit LetsGo(std::coroutine_handle<>& place) noexcept : place_(place) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const noexcept { place_ = handle; }
    void await_resume() const noexcept {}
    CancelAnswer await_cancel(std::coroutine_handle<>) const noexcept {
        place_ = nullptr;
        return CancelAnswer::cancelled_now;
    }

private:
    std::coroutine_handle<>& place_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(cancellation_sweep)

BOOST_AUTO_TEST_CASE(sweep_counts_each_suspension_and_ends_before_each) {
    SweepReport report = sweep([]() -> Task<> {
        co_await yield();
        co_await sleep_for(1s);
        co_await yield();
    });

    // Suspended at each of the three waits. After a yield, the next wait sees the cancellation; after the last one there
    // is none left. The run that is cancelled first ends at the first wait.
    BOOST_TEST(report.points == 3u);
    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(report.unwound == 3u);
}

BOOST_AUTO_TEST_CASE(sleep_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        co_await sleep_twice(Counted());
        co_await sleep_for(0s);
        co_await sleep_until(TimePoint());
    });
}

BOOST_AUTO_TEST_CASE(yield_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Counted local;
        for (int i = 0; i < 5; ++i)
            co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(nested_tasks_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> { co_await nested(6); });
}

BOOST_AUTO_TEST_CASE(results_in_flight_are_destroyed_once) {
    sweep_all_endings([]() -> Task<> {
        Counted first = co_await give_later(1s);
        Result<Counted> second = co_await as_result(give_later(1s));
        Outcome<Counted> third = co_await as_outcome(give_later(1s));
    });
}

BOOST_AUTO_TEST_CASE(join_of_a_group_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto child = [counted = Counted()](Duration duration, Counted) -> Task<> {
            Counted local;
            co_await sleep_for(duration);
            co_await yield();
        };
        auto body = [&](TaskGroup& group) -> Task<Counted> {
            for (int i = 0; i < 3; ++i)
                group.spawn(child, std::chrono::seconds(i % 2 + 1), Counted(i));
            co_await sleep_for(1s);
            co_return Counted(9);
        };
        Counted result = co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(nested_groups_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto leaf = []() -> Task<> { co_await sleep_twice(Counted()); };
        auto inner_body = [&](TaskGroup& group) -> Task<> {
            group.spawn(leaf);
            group.spawn(leaf);
            co_await yield();
        };
        auto inner = [&]() -> Task<> { co_await task_group(inner_body); };
        auto outer_body = [&](TaskGroup& group) -> Task<> {
            group.spawn(inner);
            group.spawn(inner);
            co_return;
        };
        co_await task_group(outer_body);
    });
}

BOOST_AUTO_TEST_CASE(group_with_a_failing_child_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto fails = []() -> Task<> {
            co_await sleep_for(1s);
            throw std::runtime_error("it failed");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(fails);
            group.spawn(fails);
            group.spawn(sleep_twice, Counted());
            co_await sleep_for(1h);
        };
        Outcome<void> outcome = co_await as_outcome(task_group(body));
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(group_that_cancels_itself_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(sleep_twice, Counted());
            co_await yield();
            group.cancel();
            group.spawn(sleep_twice, Counted());
        };
        co_await task_group(body);
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(read_and_write_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(play, std::ref(pair.left), true, 3);
            group.spawn(play, std::ref(pair.right), false, 3);
            co_return;
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(readiness_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        auto sender = [&]() -> Task<> {
            co_await yield();
            send_directly(pair.right, "x");
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(sender);
            co_await readable(pair.left);
            co_await writable(pair.left);
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(full_writer_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        auto writer = [&]() -> Task<> {
            std::string block(100'000, 'x');
            for (int i = 0; i < 10; ++i)
                co_await write_some(pair.left, block);
            pair.left.close();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(writer);
            std::array<std::byte, 50'000> buffer;
            for (std::size_t received = 1; received != 0;)
                received = co_await read_some(pair.right, buffer);
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(cancelled_reader_loses_no_byte) {
    std::optional<StreamPair> pair;
    std::string sent;
    std::string seen;
    SweepOptions options;
    options.before = [&] { pair.emplace(); };
    options.after = [&] {
        BOOST_TEST(seen + receive_directly(pair->left) == sent);
        // A source that was used keeps the queue that it was used with.
        pair.reset();
        sent = std::string();
        seen = std::string();
    };
    sweep_all_endings(
        [&]() -> Task<> {
            // The clock moves only once the reader waits; and some pieces take it more than one read.
            auto sender = [&]() -> Task<> {
                for (const char* piece : {"one", "and two", "three"}) {
                    co_await sleep_for(1s);
                    send_directly(pair->right, piece);
                    sent += piece;
                }
            };
            auto reader = [&]() -> Task<> {
                std::array<char, 4> buffer;
                while (seen.size() < 15) {
                    std::size_t received =
                        co_await read_some(pair->left, std::as_writable_bytes(std::span(buffer)));
                    seen.append(buffer.data(), received);
                }
            };
            auto body = [&](TaskGroup& group) -> Task<> {
                group.spawn(std::ref(sender));
                co_await reader();
            };
            co_await task_group(body);
        },
        options);
}

BOOST_AUTO_TEST_CASE(callback_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        std::optional<Callback<Counted>> kept;
        auto caller = [&]() -> Task<> {
            co_await yield();
            co_await yield();
            (*kept)(Counted(1));
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(caller);
            auto start = [&](Callback<Counted> done) { kept = done; };
            Counted answer = co_await callback<Counted>(start);
            co_await yield();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(callback_from_another_thread_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            JoinedThread thread;
            auto start = [&](Callback<Counted> done) { thread.start([done] { done(Counted(1)); }); };
            Counted answer = co_await callback<Counted>(start);
        }
    });
}

BOOST_AUTO_TEST_CASE(signals_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Signals signals{SIGINT, SIGTERM};
        auto sender = []() -> Task<> {
            co_await yield();
            std::raise(SIGINT);
            co_await yield();
            co_await yield();
            std::raise(SIGTERM);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(sender);
            co_await signals.next();
            co_await signals.next();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(timeout_of_a_leaf_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        co_await timeout(2s, sleep_for(1s));
        co_await as_result(timeout(1s, sleep_for(2s)));
        co_await try_timeout(1s, sleep_for(1s));
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(timeout_of_a_task_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        Counted in_time = co_await timeout(2s, give_later(1s));
        std::optional<Counted> late = co_await try_timeout(1s, give_later(2s));
        std::optional<Counted> at_once = co_await try_timeout(1s, give_later(1s));
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(timeout_of_a_read_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        std::array<std::byte, 16> buffer;
        for (int i = 0; i < 2; ++i) {
            co_await as_result(timeout(1s, read_some(pair.left, buffer)));
            send_directly(pair.right, "x");
            co_await try_timeout(1s, read_some(pair.left, buffer));
            co_await yield();
        }
    });
}

BOOST_AUTO_TEST_CASE(scopes_can_be_cancelled_anywhere_from_outside) {
    sweep_all_endings([]() -> Task<> {
        auto innermost = [](CancelScope& scope) -> Task<Counted> {
            co_await yield();
            scope.cancel();
            co_await sleep_for(1h);
            co_return Counted(1);
        };
        auto inner = [&](CancelScope&) -> Task<> {
            std::optional<Counted> nothing = co_await cancel_scope(innermost);
            co_await sleep_twice(Counted());
        };
        co_await cancel_scope(inner);
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(foreign_wait_without_cancellation_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            JoinedThread thread;
            Counted answer = co_await ResumedByThread(thread);
        }
        co_await yield();
    });
}

BOOST_AUTO_TEST_CASE(foreign_wait_that_lets_go_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        std::coroutine_handle<> place;
        auto resumer = [&]() -> Task<> {
            co_await yield();
            co_await yield();
            if (place) place.resume();
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            Counted local;
            group.spawn(resumer);
            co_await LetsGo(place);
            co_await yield();
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_CASE(all_together_can_be_cancelled_anywhere) {
    sweep_all_endings([]() -> Task<> {
        StreamPair pair;
        auto session = [](Source& source, bool serves) -> Task<> {
            co_await timeout(1min, play(source, serves, 2));
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(session, std::ref(pair.left), true);
            group.spawn(session, std::ref(pair.right), false);
            auto scoped = [&](CancelScope&) -> Task<> { co_await sleep_twice(Counted()); };
            co_await cancel_scope(scoped);
            Outcome<Counted> outcome = co_await as_outcome(timeout(1s, give_later(1h)));
        };
        co_await task_group(body);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace cancellation_sweep_test
