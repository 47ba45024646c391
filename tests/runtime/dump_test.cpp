// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/gate.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <string>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace {

constexpr int sleeping_line = __LINE__ + 1;
Task<> sleeping_task() { co_await sleep_for(90s); }

constexpr int awaiting_line = __LINE__ + 1;
Task<> awaiting_task() { co_await sleeping_task(); }

constexpr int wrapping_line = __LINE__ + 1;
Task<> wrapping_task() { (void)co_await as_outcome(sleeping_task()); }

Task<> reading_task(Source& source) {
    std::array<std::byte, 16> buffer;
    co_await read_some(source, buffer);
}

Task<> nested_task(int depth, Gate& gate) {
    if (depth > 1)
        co_await nested_task(depth - 1, gate);
    else
        co_await gate.pass();
}

std::string at(int line) { return "dump_test.cpp:" + std::to_string(line); }

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t from = text.find(part); from != std::string::npos; from = text.find(part, from + 1))
        ++found;
    return found;
}

struct Dumps : VirtualTime {
    std::string dump() {
        while (executor.turn()) {
        }
        return executor.dump_tasks();
    }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(dump)

BOOST_FIXTURE_TEST_CASE(dump_of_an_idle_executor_names_no_task, Dumps) {
    BOOST_TEST(dump().find("task") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_names_task_definition_line_and_wait_of_parent_and_child, Dumps) {
    Running<void> running = executor.start(awaiting_task());

    std::string text = dump();

    BOOST_TEST_INFO(text);
    for (const std::string& part :
         {std::string("awaiting_task"), std::string("sleeping_task"), at(awaiting_line), at(sleeping_line),
          std::string("sleep"), std::string("90")}) {
        BOOST_TEST_INFO(text);
        BOOST_TEST(text.find(part) != std::string::npos, part << " is missing");
    }
    BOOST_TEST(text.find("awaiting_task") < text.find("sleeping_task"));
}

BOOST_FIXTURE_TEST_CASE(line_of_an_await_is_the_task_s_own_also_around_a_wrapped_task, Dumps) {
    Running<void> running = executor.start(wrapping_task());

    std::string text = dump();

    BOOST_TEST_INFO(text);
    BOOST_TEST(text.find(at(wrapping_line)) != std::string::npos);
    BOOST_TEST(text.find("task.hpp") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_what_is_left_of_a_sleep, Dumps) {
    Running<void> running = executor.start(sleeping_task());
    dump();
    clock.advance(60s);

    std::string text = executor.dump_tasks();

    BOOST_TEST(text.find("30") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_every_child_of_a_group, Dumps) {
    constexpr int spawning_line = __LINE__ + 4;
    auto parent = []() -> Task<> {
        auto body = [](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 3; ++i)
                group.spawn(sleeping_task);
            co_await sleep_for(1h);
        };
        co_await task_group(body);
    };
    Running<void> running = executor.start(parent());

    std::string text = dump();

    BOOST_TEST_INFO(text);
    BOOST_TEST(count(text, " at " + at(sleeping_line) + " waits") == 3u);
    BOOST_TEST(count(text, "spawned at " + at(spawning_line)) == 3u);
    BOOST_TEST(text.find("3 tasks") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_looks_into_scopes_and_deadlines, Dumps) {
    auto scoped = []() -> Task<> {
        auto body = [](CancelScope&) -> Task<> { co_await awaiting_task(); };
        co_await cancel_scope(body);
    };
    auto limited = []() -> Task<> { co_await timeout(1h, awaiting_task()); };
    Running<void> first = executor.start(scoped());
    Running<void> second = executor.start(limited());

    std::string text = dump();

    BOOST_TEST_INFO(text);
    BOOST_TEST(count(text, "at " + at(sleeping_line)) == 2u);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_tasks_that_wait_for_io, Dumps) {
    StreamPair pair;
    Running<void> running = executor.start(reading_task(pair.left));

    std::string text = dump();

    BOOST_TEST_INFO(text);
    BOOST_TEST(text.find("reading_task") != std::string::npos);
    BOOST_TEST(text.find("read") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_shows_tasks_that_have_not_started, Dumps) {
    Running<void> running = executor.start(sleeping_task());

    std::string text = executor.dump_tasks();

    BOOST_TEST(text.find("sleeping_task") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(task_may_dump_while_it_runs, Dumps) {
    Running<void> other = executor.start(sleeping_task());
    std::string text;
    run([&]() -> Task<> {
        auto child = [&]() -> Task<> {
            text = executor.dump_tasks();
            co_return;
        };
        co_await yield();
        co_await child();
    });

    BOOST_TEST(text.find("sleeping_task") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(ended_tasks_are_gone_from_the_dump, Dumps) {
    Running<void> running = executor.start(awaiting_task());
    dump();
    running.cancel();

    std::string text = dump();

    BOOST_TEST(text.find("sleeping_task") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(dump_of_a_deep_chain_does_not_need_a_deep_stack, Dumps) {
    Gate gate;
    constexpr int depth = 20'000;
    Running<void> running = executor.start(nested_task(depth, gate));
    while (executor.turn()) {
    }

    // Indentation is bounded, or else this would be hundreds of megabytes.
    std::string text = executor.dump_tasks();

    BOOST_TEST(count(text, "nested_task") >= 2u);
    BOOST_TEST(text.size() < 200u * depth);
}

BOOST_FIXTURE_TEST_CASE(destructor_may_dump_while_its_task_is_unwound, Dumps) {
    struct Dumper {
        Dumper(Executor& e, std::string& t) noexcept : executor(e), text(t) {}
        Dumper(const Dumper&) = delete;
        ~Dumper() { text = executor.dump_tasks(); }
        Executor& executor;
        std::string& text;
    };
    std::string text;
    auto inner = [&]() -> Task<> {
        Dumper dumper(executor, text);
        co_await sleep_for(1h);
    };
    auto outer = [&]() -> Task<> { co_await inner(); };
    Running<void> running = executor.start(outer());
    Running<void> other = executor.start(sleeping_task());
    dump();

    running.cancel();
    while (executor.turn()) {
    }

    BOOST_TEST(text.find("sleeping_task") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
