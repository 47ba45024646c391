// SPDX-License-Identifier: BSL-1.0
// Awaiters of other libraries inside our tasks.
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/foreign.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <coroutine>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace foreign_awaiter_test {

namespace {

// What is left of a suspended foreign wait: the handle to resume, and what to answer to a cancellation.
struct Foreign {
    void resume() { std::exchange(handle, nullptr).resume(); }

    std::coroutine_handle<> handle;
    int value = 0;
    int started = 0;
    int asked_to_cancel = 0;
    CancelAnswer answer = CancelAnswer::cancelled_now;
};

class ForeignAwait {
public:
    explicit ForeignAwait(Foreign& foreign) noexcept : foreign_(foreign) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const noexcept {
        ++foreign_.started;
        foreign_.handle = handle;
    }
    int await_resume() const noexcept { return foreign_.value; }

protected:
    Foreign& foreign_;
};

class CancellableAwait : public ForeignAwait {
public:
    using ForeignAwait::ForeignAwait;

    CancelAnswer await_cancel(std::coroutine_handle<> handle) const noexcept {
        BOOST_TEST((handle == foreign_.handle));
        ++foreign_.asked_to_cancel;
        if (foreign_.answer == CancelAnswer::cancelled_now) foreign_.handle = nullptr;
        return foreign_.answer;
    }
};

// Resumes on a thread of its own.
class OnThread {
public:
    explicit OnThread(std::thread& thread) noexcept : thread_(thread) {}

    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const {
        thread_ = std::thread([handle] { handle.resume(); });
    }
    void await_resume() const noexcept {}

private:
    std::thread& thread_;
};

enum class Where { ready, suspend, resume };

class Throwing {
public:
    explicit Throwing(Where where) noexcept : where_(where) {}

    bool await_ready() const { return fail_at(Where::ready) || where_ == Where::resume; }
    void await_suspend(std::coroutine_handle<>) const { fail_at(Where::suspend); }
    void await_resume() const { fail_at(Where::resume); }

private:
    bool fail_at(Where here) const {
        if (where_ == here) throw std::runtime_error("foreign failure");
        return false;
    }
    Where where_;
};

// Goes on at once, in each of the ways in which await_suspend can say so.
class NoSuspend {
public:
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
    int await_resume() const noexcept { return 1; }
};
class SameHandle {
public:
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> handle) const noexcept { return handle; }
    int await_resume() const noexcept { return 2; }
};
class ResumesInside {
public:
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const { handle.resume(); }
    int await_resume() const noexcept { return 3; }
};

// Cancels the scope of the task that awaits it, and then may fail.
class CancelsItsScope {
public:
    CancelsItsScope(CancelScope& scope, Where where, bool fails) noexcept
        : scope_(scope), where_(where), fails_(fails) {}

    bool await_ready() const {
        if (where_ == Where::ready) scope_.cancel();
        return false;
    }
    void await_suspend(std::coroutine_handle<>) const {
        scope_.cancel();
        if (fails_) throw std::runtime_error("too late");
    }
    void await_resume() const noexcept {}
    CancelAnswer await_cancel(std::coroutine_handle<>) const noexcept { return CancelAnswer::cancelled_now; }

private:
    CancelScope& scope_;
    Where where_;
    bool fails_;
};

class WithMember {
public:
    NoSuspend operator co_await() const noexcept { return NoSuspend(); }
};
class WithFree {};
SameHandle operator co_await(const WithFree&) noexcept { return SameHandle(); }

class GivesReference {
public:
    explicit GivesReference(int& object) noexcept : object_(object) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int& await_resume() const noexcept { return object_; }

private:
    int& object_;
};

struct Foreigners : VirtualTime {
    Foreigners() { executor.turn(); }
    void settle() {
        for (int i = 0; i < 10; ++i)
            executor.turn();
    }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(foreign_awaiter)

BOOST_FIXTURE_TEST_CASE(foreign_awaiter_suspends_and_gives_its_value, Foreigners) {
    Foreign foreign;
    int value = 0;
    auto waits = [&]() -> Task<> { value = co_await ForeignAwait(foreign); };
    Running<void> running = executor.start(waits());
    settle();
    BOOST_TEST(!running.has_ended());

    foreign.value = 7;
    foreign.resume();
    BOOST_TEST(value == 0);  // Not within the foreign call: from the executor's loop.
    settle();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(value == 7);
}

BOOST_FIXTURE_TEST_CASE(standard_awaiters_work, VirtualTime) {
    run([&]() -> Task<> {
        co_await std::suspend_never();
        std::suspend_never named;
        co_await named;
    });
}

BOOST_FIXTURE_TEST_CASE(every_form_of_await_suspend_and_operator_co_await_works, VirtualTime) {
    run([&]() -> Task<> {
        int one = co_await NoSuspend();
        int two = co_await SameHandle();
        int three = co_await ResumesInside();
        int member = co_await WithMember();
        int free_function = co_await WithFree();
        int object = 0;
        int& reference = co_await GivesReference(object);

        BOOST_TEST(one == 1);
        BOOST_TEST(two == 2);
        BOOST_TEST(three == 3);
        BOOST_TEST(member == 1);
        BOOST_TEST(free_function == 2);
        BOOST_TEST(&reference == &object);
    });
}

// What it waited for is gone by then, and nobody may ask it.
BOOST_FIXTURE_TEST_CASE(task_that_went_on_at_once_waits_for_nothing, VirtualTime) {
    std::string dumped;
    bool was_cancelled = true;
    auto body = [&](CancelScope& scope) -> Task<> {
        int one = co_await NoSuspend();
        int same = co_await SameHandle();
        bool has_thrown = false;
        try {
            co_await Throwing(Where::suspend);
        } catch (const std::runtime_error&) {
            has_thrown = true;
        }
        BOOST_TEST(one == 1);
        BOOST_TEST(same == 2);
        BOOST_TEST(has_thrown);
        dumped = executor.dump_tasks();
        scope.cancel();
        co_await yield();
        was_cancelled = false;
    };

    run([&]() -> Task<> { co_await cancel_scope(body); });

    BOOST_TEST(dumped.find("another library") == std::string::npos);
    BOOST_TEST(was_cancelled);
}

BOOST_FIXTURE_TEST_CASE(exception_from_any_part_comes_out_of_the_await, VirtualTime) {
    run([&]() -> Task<> {
        for (Where where : {Where::ready, Where::suspend, Where::resume}) {
            std::string caught;
            try {
                co_await Throwing(where);
            } catch (const std::runtime_error& error) {
                caught = error.what();
            }
            BOOST_TEST(caught == "foreign failure");
        }
        co_await yield();
    });
}

BOOST_FIXTURE_TEST_CASE(awaiter_may_cancel_its_own_scope_wherever_it_is_called, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        for (Where where : {Where::ready, Where::suspend}) {
            for (bool fails : {false, true}) {
                auto body = [&](CancelScope& scope) -> Task<> {
                    Guard guard(log, "body");
                    CancelsItsScope awaiter(scope, where, fails);
                    co_await awaiter;
                };
                bool has_finished = co_await cancel_scope(body);
                BOOST_TEST(!has_finished);
            }
        }
    });

    BOOST_TEST(log.text() == "body! body! body! body!");
    // One begins to wait and fails.
    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("too late") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(resumption_on_another_thread_continues_on_the_executor_s) {
    constexpr int rounds = is_sanitized ? 100 : 500;
    leat::run([]() -> Task<> {
        std::thread::id ours = std::this_thread::get_id();
        for (int i = 0; i < rounds; ++i) {
            std::thread other;
            co_await OnThread(other);
            BOOST_TEST_REQUIRE((std::this_thread::get_id() == ours));
            other.join();
        }
    }());
}

BOOST_FIXTURE_TEST_CASE(many_resumptions_inside_await_suspend_do_not_grow_the_stack, VirtualTime) {
    run([&]() -> Task<> {
        int sum = 0;
        for (int i = 0; i < 100'000; ++i) {
            int three = co_await ResumesInside();
            sum += three;
        }
        BOOST_TEST(sum == 300'000);
    });
}

BOOST_FIXTURE_TEST_CASE(awaiter_that_cannot_be_cancelled_is_waited_for, Foreigners) {
    Foreign foreign;
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        int value = co_await ForeignAwait(foreign);
        log.note("resumed" + std::to_string(value));
        co_await yield();
        log.note("went-on");
    };
    Running<void> running = executor.start(waits());
    settle();

    running.cancel();
    settle();
    BOOST_TEST(!running.has_ended());
    BOOST_TEST(log.text() == "");
    foreign.value = 7;
    foreign.resume();
    settle();

    // The result wins; the next wait sees the cancellation.
    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "resumed7 task!");
}

BOOST_FIXTURE_TEST_CASE(awaiter_that_lets_go_is_unwound_at_once, Foreigners) {
    Foreign foreign;
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await CancellableAwait(foreign);
        log.note("resumed");
    };
    Running<void> running = executor.start(waits());
    settle();

    running.cancel();
    settle();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(foreign.asked_to_cancel == 1);
    BOOST_TEST(log.text() == "task!");
}

BOOST_FIXTURE_TEST_CASE(awaiter_that_will_resume_is_waited_for, Foreigners) {
    Foreign foreign;
    foreign.answer = CancelAnswer::will_resume;
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await CancellableAwait(foreign);
        log.note("resumed");
        co_await yield();
        log.note("went-on");
    };
    Running<void> running = executor.start(waits());
    settle();

    running.cancel();
    settle();
    BOOST_TEST(!running.has_ended());
    BOOST_TEST(foreign.asked_to_cancel == 1);
    foreign.resume();
    settle();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "resumed task!");
}

BOOST_FIXTURE_TEST_CASE(awaiter_that_has_resumed_already_is_not_asked_to_cancel, Foreigners) {
    Foreign foreign;
    Log log;
    auto waits = [&]() -> Task<> {
        Guard guard(log, "task");
        co_await CancellableAwait(foreign);
        log.note("resumed");
        co_await yield();
        log.note("went-on");
    };
    Running<void> running = executor.start(waits());
    settle();

    foreign.resume();
    running.cancel();
    settle();

    BOOST_TEST(foreign.asked_to_cancel == 0);
    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "resumed task!");
}

BOOST_FIXTURE_TEST_CASE(foreign_wait_in_a_cancelled_scope_starts_nothing, VirtualTime) {
    Foreign foreign;
    run([&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            scope.cancel();
            co_await ForeignAwait(foreign);
        };
        bool finished = co_await leat::cancel_scope(body);
        BOOST_TEST(!finished);
    });

    BOOST_TEST(foreign.started == 0);
}

BOOST_FIXTURE_TEST_CASE(outer_scope_waits_for_an_inner_awaiter_that_cannot_be_cancelled, Foreigners) {
    Foreign foreign;
    Log log;
    auto waits = [&]() -> Task<> {
        auto body = [&](CancelScope&) -> Task<> {
            Guard guard(log, "inner");
            co_await ForeignAwait(foreign);
            co_await yield();
        };
        co_await leat::cancel_scope(body);
        log.note("went-on");
    };
    Running<void> running = executor.start(waits());
    settle();
    running.cancel();
    settle();

    foreign.resume();
    settle();

    BOOST_TEST(running.has_ended());
    BOOST_TEST(log.text() == "inner!");
}

BOOST_AUTO_TEST_CASE(virtual_clock_neither_jumps_nor_reports_a_deadlock_while_a_foreign_wait_is_under_way) {
    VirtualTime time;
    std::thread other;
    auto sleeper = []() -> Task<> { co_await sleep_for(1h); };
    Running<void> sleeping = time.executor.start(sleeper());

    time.run([&]() -> Task<> {
        co_await OnThread(other);
        BOOST_TEST((time.elapsed() == Duration::zero()));
    });

    other.join();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace foreign_awaiter_test
