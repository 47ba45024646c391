// SPDX-License-Identifier: BSL-1.0
// The spellings that are safe with every supported compiler, each of the shapes that GCC 12 gets wrong having one; and
// our own types beside an await, which are to be safe without a thought.
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/counted.hpp"
#include "support/gate.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace compiler_shapes_test {

namespace {

Task<bool> give(bool value) {
    co_await yield();
    co_return value;
}

Task<int> value_of(Counted counted) {
    co_await yield();
    co_return counted.value();
}

Task<Counted> make(int value) {
    co_await yield();
    co_return Counted(value);
}

Task<int> sum(std::vector<int> values) {
    co_await yield();
    int total = 0;
    for (int value : values)
        total += value;
    co_return total;
}

// No local variable but the named condition.
Task<> note_if(bool condition, std::string& text) {
    bool holds = co_await give(condition);
    if (holds) text += "then";
    if (!holds) text += "else";
}

Task<> count_while(int& count) {
    for (;;) {
        bool goes_on = co_await give(count < 3);
        if (!goes_on) break;
        ++count;
    }
}

Task<Counted> choose(bool first) {
    if (first) {
        Counted made = co_await make(1);
        co_return made;
    }
    co_return Counted(2);
}

// A callable that is no lambda, as a temporary beside an await.
class Answering {
public:
    explicit Answering(int value) noexcept : counted_(value) {}
    void operator()(Callback<int> done) const { done(counted_.value()); }

private:
    Counted counted_;
};

class ScopedBody {
public:
    explicit ScopedBody(int value) noexcept : counted_(value) {}
    Task<int> operator()(CancelScope&) const {
        co_await yield();
        co_return counted_.value();
    }

private:
    Counted counted_;
};

class GroupBody {
public:
    explicit GroupBody(int value) noexcept : counted_(value) {}
    Task<int> operator()(TaskGroup& group) const {
        group.spawn([](Counted) -> Task<> { co_await yield(); }, counted_);
        co_await yield();
        co_return counted_.value();
    }

private:
    Counted counted_;
};

struct Shapes : VirtualTime {
    Shapes() : misused(Counted::misused()) {}
    ~Shapes() {
        BOOST_TEST(Counted::live() == 0);
        BOOST_TEST(Counted::misused() == misused);
    }
    int misused;
};

template <class... T>
constexpr bool none_is_an_aggregate = !(std::is_aggregate_v<T> || ...);

}  // namespace

BOOST_AUTO_TEST_SUITE(compiler_shapes)

BOOST_AUTO_TEST_CASE(types_of_ours_that_stand_beside_an_await_are_no_aggregates) {
    auto start = [](Callback<int>) {};
    auto scoped = [](CancelScope&) -> Task<> { co_return; };
    auto grouped = [](TaskGroup&) -> Task<> { co_return; };
    static_assert(
        none_is_an_aggregate<ExecutorOptions, Task<int>, SleepOperation, YieldOperation, ReadinessOperation,
                             IoOperation, MutableBuffer, ConstBuffer, Environment>);
    static_assert(
        none_is_an_aggregate<decltype(leat::callback<int>(start)), decltype(leat::cancel_scope(scoped)),
                             decltype(leat::task_group(grouped)), Callback<int>>);
    static_assert(
        none_is_an_aggregate<decltype(as_result(sleep_for(1s))), decltype(as_outcome(sleep_for(1s))),
                             decltype(as_result(give(true))), decltype(as_outcome(give(true))),
                             decltype(leat::timeout(1s, sleep_for(1s))),
                             decltype(try_timeout(1s, give(true)))>);
}

BOOST_FIXTURE_TEST_CASE(named_condition_decides, Shapes) {
    std::string text;
    int count = 0;
    executor.run_until(note_if(true, text));
    executor.run_until(note_if(false, text));
    executor.run_until(count_while(count));

    BOOST_TEST(text == "thenelse");
    BOOST_TEST(count == 3);
}

BOOST_FIXTURE_TEST_CASE(if_and_else_destroy_each_result_once, Shapes) {
    run([&]() -> Task<> {
        Counted first = co_await choose(true);
        Counted second = co_await choose(false);
        BOOST_TEST(first.value() == 1);
        BOOST_TEST(second.value() == 2);
    });
}

BOOST_FIXTURE_TEST_CASE(named_list_is_passed, Shapes) {
    run([&]() -> Task<> {
        std::vector<int> values = {1, 2, 3};
        int total = co_await sum(values);
        int moved = co_await sum(std::move(values));
        BOOST_TEST(total == 6);
        BOOST_TEST(moved == 6);
    });
}

BOOST_FIXTURE_TEST_CASE(named_capturing_lambda_is_destroyed_once, Shapes) {
    run([&]() -> Task<> {
        auto start = [counted = Counted(1)](Callback<int> done) { done(counted.value()); };
        int answer = co_await leat::callback<int>(start);
        auto scoped = [counted = Counted(2)](CancelScope&) -> Task<int> {
            co_await yield();
            co_return counted.value();
        };
        std::optional<int> from_scope = co_await leat::cancel_scope(scoped);
        auto body = [counted = Counted(3)](TaskGroup& group) -> Task<int> {
            group.spawn([counted]() -> Task<> { co_await yield(); });
            co_await yield();
            co_return counted.value();
        };
        int from_group = co_await leat::task_group(body);

        BOOST_TEST(answer == 1);
        BOOST_TEST((from_scope == 2));
        BOOST_TEST(from_group == 3);
    });
}

BOOST_FIXTURE_TEST_CASE(temporary_callable_with_a_constructor_is_destroyed_once, Shapes) {
    run([&]() -> Task<> {
        int answer = co_await leat::callback<int>(Answering(1));
        std::optional<int> from_scope = co_await leat::cancel_scope(ScopedBody(2));
        int from_group = co_await leat::task_group(GroupBody(3));

        BOOST_TEST(answer == 1);
        BOOST_TEST((from_scope == 2));
        BOOST_TEST(from_group == 3);
    });
}

BOOST_FIXTURE_TEST_CASE(temporary_argument_with_a_constructor_is_destroyed_once, Shapes) {
    run([&]() -> Task<> {
        int plain = co_await value_of(Counted(1));
        int limited = co_await leat::timeout(1s, value_of(Counted(2)));
        std::optional<int> tried = co_await try_timeout(1s, value_of(Counted(3)));
        Result<int> result = co_await as_result(value_of(Counted(4)));
        Outcome<int> outcome = co_await as_outcome(leat::timeout(1s, value_of(Counted(5))));

        BOOST_TEST(plain == 1);
        BOOST_TEST(limited == 2);
        BOOST_TEST((tried == 3));
        BOOST_TEST(result.value() == 4);
        BOOST_TEST(outcome.value() == 5);
    });
}

BOOST_FIXTURE_TEST_CASE(string_temporaries_beside_an_await_are_whole, Shapes) {
    auto length = [](std::string text) -> Task<std::size_t> {
        co_await yield();
        co_return text.size();
    };
    run([&]() -> Task<> {
        std::size_t size = co_await length(std::string("a text that is too long to be kept in place"));
        std::string half = "another text that is too long";
        std::size_t sum_size = co_await length(half + " to be kept in place");

        BOOST_TEST(size == 43u);
        BOOST_TEST(sum_size == 49u);
    });
}

BOOST_FIXTURE_TEST_CASE(operation_may_be_named_and_awaited_later, Shapes) {
    Gate gate;
    StreamPair pair;
    run([&]() -> Task<> {
        SleepOperation named_sleep = sleep_for(1s);
        co_await std::move(named_sleep);
        SleepOperation lvalue = sleep_for(1s);
        co_await lvalue;
        Gate::Passage passage = gate.pass();
        gate.open();
        co_await passage;
        ReadinessOperation writable_now = writable(pair.left);
        co_await writable_now;
        Task<int> task = value_of(Counted(7));
        int value = co_await std::move(task);
        BOOST_TEST(value == 7);
        BOOST_TEST((elapsed() == Duration(2s)));
    });
}

BOOST_FIXTURE_TEST_CASE(await_in_a_try_block_and_a_range_for_works, Shapes) {
    run([&]() -> Task<> {
        int total = 0;
        std::vector<int> values = {1, 2, 3};
        for (int value : values) {
            try {
                int seen = co_await value_of(Counted(value));
                total += seen;
            } catch (...) {
                total = -1;
            }
        }
        BOOST_TEST(total == 6);
    });
}

BOOST_FIXTURE_TEST_CASE(results_of_every_awaiter_are_destroyed_once, Shapes) {
    run([&]() -> Task<> {
        Counted plain = co_await make(1);
        Counted limited = co_await leat::timeout(1s, make(2));
        std::optional<Counted> tried = co_await try_timeout(1s, make(3));
        Result<Counted> result = co_await as_result(make(4));
        Outcome<Counted> outcome = co_await as_outcome(make(5));
        auto start = [](Callback<Counted> done) { done(Counted(6)); };
        Counted called = co_await leat::callback<Counted>(start);
        auto scoped = [](CancelScope&) -> Task<Counted> { co_return Counted(7); };
        std::optional<Counted> from_scope = co_await leat::cancel_scope(scoped);
        auto body = [](TaskGroup&) -> Task<Counted> { co_return Counted(8); };
        Counted from_group = co_await leat::task_group(body);

        int total = plain.value() + limited.value() + tried->value() + result->value() + outcome->value() +
                    called.value() + from_scope->value() + from_group.value();
        BOOST_TEST(total == 36);
        BOOST_TEST(Counted::live() == 8);
    });
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace compiler_shapes_test
