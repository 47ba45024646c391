// SPDX-License-Identifier: BSL-1.0 However deep tasks are nested, and in whatever: nothing that goes down
// or up the tree takes stack for a level.
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/dump.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/sanitizer.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace deep_nesting_test {

namespace {

// Of each kind; a failure costs more.
constexpr int depth = is_sanitized ? 30'000 : 300'000;
constexpr int depth_of_failures = depth / 6;

enum class Kind {
    task,
    group_body,
    group_child,
    group_start,
    all,
    any,
    scope,
    deadline,
    stop_token,
    cleanup,
    started,
    shield,
    mixed,
    mixed_with_shields,
};
constexpr int kinds_that_fail = static_cast<int>(Kind::started);
constexpr int kinds_of_one = static_cast<int>(Kind::mixed);

enum class Leaf { waits, fails, ends };

/// Tasks of one kind, or of all, one within the other, and what the innermost does.
class Nest {
public:
    Nest(Executor& executor, Kind kind, Leaf leaf) noexcept : executor_(executor), kind_(kind), leaf_(leaf) {}

    Task<> below(int levels) {
        switch (levels == 0 ? Kind::mixed : kind_of(levels)) {
        case Kind::task:
            return task(levels - 1);
        case Kind::group_body:
            return group_body(levels - 1);
        case Kind::group_child:
            return group_child(levels - 1);
        case Kind::group_start:
            return group_start(levels - 1);
        case Kind::all:
            return all(levels - 1);
        case Kind::any:
            return any(levels - 1);
        case Kind::scope:
            return scope(levels - 1);
        case Kind::deadline:
            return deadline(levels - 1);
        case Kind::stop_token:
            return stop_token(levels - 1);
        case Kind::cleanup:
            return cleanup(levels - 1);
        case Kind::started:
            return started(levels - 1);
        case Kind::shield:
            return shield(levels - 1);
        default:
            return innermost();
        }
    }

private:
    Kind kind_of(int level) const noexcept {
        if (kind_ == Kind::mixed) return static_cast<Kind>(level % kinds_that_fail);
        if (kind_ == Kind::mixed_with_shields) return static_cast<Kind>(level % kinds_of_one);
        return kind_;
    }

    Task<> innermost() {
        Counted counted;
        if (leaf_ == Leaf::waits) co_await sleep_for(1h);
        // The first await must have come to its wait everywhere.
        co_await sleep_for(1s);
        if (leaf_ == Leaf::fails) throw std::runtime_error("innermost");
    }
    static Task<> idle() { co_await sleep_for(2h); }

    Task<> task(int levels) {
        Counted counted;
        co_await below(levels);
    }
    Task<> group_body(int levels) {
        Counted counted;
        auto body = [this, levels](TaskGroup&) -> Task<> { co_await below(levels); };
        co_await task_group(body);
    }
    Task<> group_child(int levels) {
        Counted counted;
        auto body = [this, levels](TaskGroup& group) -> Task<> {
            group.spawn([this](int rest) { return below(rest); }, levels);
            co_return;
        };
        co_await task_group(body);
    }
    Task<> group_start(int levels) {
        Counted counted;
        auto child = [this, levels](Ready<void>& ready) -> Task<> {
            co_await below(levels);
            ready();
        };
        auto body = [&child](TaskGroup& group) -> Task<> { co_await group.start(child); };
        co_await task_group(body);
    }
    Task<> all(int levels) {
        Counted counted;
        co_await when_all(below(levels), yield());
    }
    Task<> any(int levels) {
        Counted counted;
        co_await when_any(idle(), below(levels));
    }
    Task<> scope(int levels) {
        Counted counted;
        auto body = [this, levels](CancelScope&) { return below(levels); };
        co_await cancel_scope(body);
    }
    Task<> deadline(int levels) {
        Counted counted;
        co_await timeout(3h, below(levels));
    }
    Task<> stop_token(int levels) {
        Counted counted;
        auto body = [this, levels](const std::stop_token&) { return below(levels); };
        co_await with_stop_token(body);
    }
    Task<> cleanup(int levels) {
        Counted counted;
        auto clean = []() -> Task<> { co_return; };
        co_await leat::finally(below(levels), clean);
    }
    Task<> started(int levels) {
        Counted counted;
        Running<void> task = executor_.start(below(levels));
        co_await sleep_for(1h);
    }
    Task<> shield(int levels) {
        Counted counted;
        co_await leat::shield(below(levels));
    }

    Executor& executor_;
    const Kind kind_;
    const Leaf leaf_;
};

struct DeepNesting : VirtualTime {
    /// Runs `act(task)` once all of the nest has begun and waits; then until everything has ended.
    template <class Act>
    void nest(Kind kind, Leaf leaf, Act act, int levels = depth) {
        BOOST_TEST_CONTEXT("kind " << static_cast<int>(kind)) {
            Nest nest(executor, kind, leaf);
            std::optional<Running<void>> task(executor.start(nest.below(levels)));
            while (executor.turn()) {
            }
            BOOST_TEST(Counted::live() == levels + 1);
            act(*task);
            executor.run();
            task.reset();
            BOOST_TEST(Counted::live() == 0);
            BOOST_TEST(notices.empty());
        }
    }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(deep_nesting, DeepNesting)

BOOST_AUTO_TEST_CASE(cancelling_takes_neither_stack_nor_memory_for_a_level) {
    for (int kind = 0; kind <= static_cast<int>(Kind::mixed_with_shields); ++kind) {
        nest(static_cast<Kind>(kind), Leaf::waits, [&](Running<void>& task) {
            const std::size_t before = allocations_made();
            task.cancel();
            BOOST_TEST(allocations_made() == before);
        });
    }
}

BOOST_AUTO_TEST_CASE(end_that_comes_from_the_innermost_task_takes_no_stack_for_a_level) {
    for (int kind = 0; kind < kinds_that_fail; ++kind)
        nest(static_cast<Kind>(kind), Leaf::ends, [](Running<void>&) {});
    nest(Kind::shield, Leaf::ends, [](Running<void>&) {});
    nest(Kind::mixed, Leaf::ends, [](Running<void>&) {});
}

BOOST_AUTO_TEST_CASE(failure_of_the_innermost_task_takes_no_stack_for_a_level) {
    auto fails = [this](Running<void>& task) {
        executor.run();
        BOOST_CHECK_EXCEPTION(task.get(), std::runtime_error, [](const std::runtime_error& error) {
            return error.what() == std::string("innermost");
        });
    };
    for (int kind = 0; kind < kinds_that_fail; ++kind)
        nest(static_cast<Kind>(kind), Leaf::fails, fails, depth_of_failures);
    nest(Kind::shield, Leaf::fails, fails, depth_of_failures);
    nest(Kind::mixed, Leaf::fails, fails, depth_of_failures);
}

BOOST_AUTO_TEST_CASE(dump_takes_no_stack_for_a_level) {
    auto dump = [this](Running<void>&) {
        const std::vector<TaskInfo> tasks = executor.tasks();
        BOOST_TEST(tasks.size() > static_cast<std::size_t>(depth));
        BOOST_TEST(to_text(tasks).size() > static_cast<std::size_t>(depth));
    };
    nest(Kind::mixed_with_shields, Leaf::ends, dump);
}

BOOST_AUTO_TEST_CASE(end_of_the_executor_takes_no_stack_for_a_level) {
    for (Kind kind : {Kind::group_child, Kind::all, Kind::mixed}) {
        ExecutorOptions own = options();
        std::optional<Executor> other(std::in_place, own);
        Nest nest(*other, kind, Leaf::waits);
        std::optional<Running<void>> task(other->start(nest.below(depth)));
        while (other->turn()) {
        }
        task.reset();
        other.reset();
        BOOST_TEST(Counted::live() == 0);
    }
}

BOOST_AUTO_TEST_CASE(tasks_of_a_scope_are_cancelled_depth_first) {
    Log log;
    auto leaf = [&log](std::string name) -> Task<> {
        Guard guard(log, name);
        co_await sleep_for(1h);
    };
    auto pair = [&leaf](std::string name) -> Task<> {
        co_await when_all(leaf(name + "1"), leaf(name + "2"));
    };
    auto inner = [&](TaskGroup& group) -> Task<> {
        group.spawn(pair, std::string("b"));
        group.spawn(leaf, std::string("c"));
        co_await pair("d");
    };
    auto nested = [&inner]() -> Task<> { co_await timeout(2h, task_group(inner)); };
    auto outer = [&](TaskGroup& group) -> Task<> {
        group.spawn(pair, std::string("a"));
        group.spawn(nested);
        group.spawn(leaf, std::string("e"));
        co_await leaf("f");
    };
    auto all = [&outer]() -> Task<> { co_await task_group(outer); };
    Running<void> task = executor.start(all());
    while (executor.turn()) {
    }
    task.cancel();
    executor.run();
    // Of a group the body and then the youngest child, of the others the first.
    BOOST_TEST(log.text() == "f! e! d1! d2! c! b1! b2! a1! a2!");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace deep_nesting_test
