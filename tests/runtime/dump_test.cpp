// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/dump.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "support/gate.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace dump_test {

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

// Locks `first`, and after a pause `second`.
Task<> locking_task(Mutex& first, Mutex& second) {
    MutexGuard outer = co_await first.lock();
    co_await yield();
    MutexGuard inner = co_await second.lock();
}

Task<> lock_and_sleep(Mutex& mutex) {
    MutexGuard guard = co_await mutex.lock();
    co_await sleep_for(90s);
}

Task<> lock_and_go_on(Mutex& mutex) { MutexGuard guard = co_await mutex.lock(); }

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

struct Dumps : VirtualTime {
    void settle() {
        while (executor.turn()) {
        }
    }
    std::string dump() {
        settle();
        return executor.dump_tasks();
    }
    std::vector<TaskInfo> tasks() {
        settle();
        return executor.tasks();
    }
};

// Declared between what tasks use and those tasks: they are cancelled before it goes, and unwound when it has gone.
class End {
public:
    explicit End(Dumps& dumps) noexcept : dumps_(dumps) {}
    End(const End&) = delete;
    ~End() { dumps_.settle(); }

private:
    Dumps& dumps_;
};

// Reads what RFC 8259 calls JSON, strictly, and nothing else.
class JsonCheck {
public:
    static bool passes(const std::string& text) {
        JsonCheck check(text);
        return check.value() && (check.blanks(), check.at_ == text.size());
    }

private:
    explicit JsonCheck(const std::string& text) : text_(text) {}

    char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(const std::string& word) {
        if (text_.compare(at_, word.size(), word) != 0) return false;
        at_ += word.size();
        return true;
    }
    void blanks() {
        while (next() == ' ' || next() == '\n')
            ++at_;
    }
    bool value() {
        blanks();
        if (next() == '{') return list('}', true);
        if (next() == '[') return list(']', false);
        if (next() == '"') return string();
        return number();
    }
    bool list(char end, bool has_names) {
        ++at_;
        blanks();
        if (next() == end) return ++at_, true;
        for (;;) {
            blanks();
            if (has_names && !(string() && take(":"))) return false;
            if (!value()) return false;
            blanks();
            if (next() == end) return ++at_, true;
            if (!take(",")) return false;
        }
    }
    bool string() {
        if (!take("\"")) return false;
        for (; next() != '"'; ++at_) {
            if (static_cast<unsigned char>(next()) < 0x20) return false;
            if (next() != '\\') continue;
            ++at_;
            if (next() == 'u') {
                for (int i = 0; i < 4; ++i, ++at_)
                    if (std::isxdigit(static_cast<unsigned char>(text_[at_ + 1])) == 0) return false;
            } else if (std::string("\"\\/bfnrt").find(next()) == std::string::npos) {
                return false;
            }
        }
        return ++at_, true;
    }
    bool number() {
        std::size_t begin = at_;
        take("-");
        while (std::isdigit(static_cast<unsigned char>(next())) != 0 || next() == '.')
            ++at_;
        return at_ != begin && std::isdigit(static_cast<unsigned char>(text_[at_ - 1])) != 0;
    }

    const std::string& text_;
    std::size_t at_ = 0;
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

BOOST_FIXTURE_TEST_CASE(task_that_has_ended_and_whose_awaiter_gave_way_does_not_disturb_a_dump, Dumps) {
    auto instant = []() -> Task<> { co_return; };
    auto awaiting = [&]() -> Task<> {
        for (int i = 0; i < 1000; ++i)
            co_await instant();
    };
    Running<void> running = executor.start(awaiting());

    std::string text;
    while (executor.turn(1))
        text += executor.dump_tasks();

    BOOST_TEST(text.find("the end of a task") != std::string::npos);
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

BOOST_FIXTURE_TEST_CASE(tasks_are_numbered_in_the_order_of_the_dump_and_name_who_runs_them, Dumps) {
    Running<void> running = executor.start(awaiting_task());
    Running<void> other = executor.start(sleeping_task());

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 3u);
    for (std::size_t i = 0; i < list.size(); ++i)
        BOOST_TEST(list[i].number == i + 1);
    BOOST_TEST(list[0].parent == 0u);
    BOOST_TEST(list[1].parent == 1u);
    BOOST_TEST(list[1].depth == 1u);
    BOOST_TEST(list[2].parent == 0u);
    BOOST_TEST(contains(dump(), "  #2 task"));
}

BOOST_FIXTURE_TEST_CASE(task_has_the_name_and_the_line_it_was_started_with, Dumps) {
    constexpr int starting_line = __LINE__ + 1;
    Running<void> running = executor.start(sleeping_task(), "the sleeper");

    std::string text = dump();

    BOOST_TEST(contains(text, "#1 \"the sleeper\" task "), text);
    BOOST_TEST(contains(text, "started at " + at(starting_line)), text);
}

BOOST_FIXTURE_TEST_CASE(root_that_is_run_is_named_by_the_line_that_runs_it, Dumps) {
    std::string text;
    auto task = [&]() -> Task<> {
        text = executor.dump_tasks();
        co_return;
    };
    constexpr int running_line = __LINE__ + 1;
    executor.run_until(task());

    BOOST_TEST(contains(text, "started at " + at(running_line)), text);
}

BOOST_FIXTURE_TEST_CASE(roots_and_children_have_an_age_and_awaited_tasks_none, Dumps) {
    auto parent = []() -> Task<> {
        auto body = [](TaskGroup& group) -> Task<> {
            co_await sleep_for(20s);
            group.spawn(awaiting_task);
        };
        co_await task_group(body);
    };
    Running<void> running = executor.start(parent());
    settle();
    clock.advance(20s);
    settle();
    clock.advance(5s);

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 3u);
    BOOST_TEST((list[0].age == 25s));
    BOOST_TEST((list[1].age == 5s));
    BOOST_TEST(!list[2].age.has_value());
    BOOST_TEST(contains(dump(), " 25.0 s ago"));
}

BOOST_FIXTURE_TEST_CASE(wait_under_a_timeout_says_what_is_left_of_it, Dumps) {
    Channel<int> channel(4);
    auto leaf = [&]() -> Task<> { (void)co_await timeout(30s, channel.receive()); };
    auto receiving = [&]() -> Task<> { (void)co_await channel.receive(); };
    auto task = [&]() -> Task<> { co_await timeout(40s, receiving()); };
    End end(*this);
    Running<void> first = executor.start(leaf());
    Running<void> second = executor.start(task());
    settle();
    clock.advance(10s);

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 3u);
    BOOST_TEST((list[0].expires_in == 20s));
    BOOST_TEST((list[1].expires_in == 30s));
    BOOST_TEST((list[2].expires_in == 30s));
    BOOST_TEST(contains(dump(), "a channel's next value, deadline in 20.0 s"));
}

BOOST_FIXTURE_TEST_CASE(first_of_several_timeouts_is_the_one_that_is_told, Dumps) {
    auto inner = []() -> Task<> { co_await timeout(60s, sleep_for(1h)); };
    auto outer = [&]() -> Task<> { co_await timeout(40s, inner()); };
    Running<void> running = executor.start(outer());

    std::vector<TaskInfo> list = tasks();

    BOOST_TEST((list.at(1).expires_in == 40s));
}

BOOST_FIXTURE_TEST_CASE(wait_for_io_names_its_descriptor, Dumps) {
    StreamPair pair;
    Running<void> running = executor.start(reading_task(pair.left));

    BOOST_TEST(contains(dump(), "read fd " + std::to_string(pair.left.native_handle())));
}

BOOST_FIXTURE_TEST_CASE(wait_for_a_semaphore_tells_how_many_permits_are_there, Dumps) {
    Semaphore semaphore(1);
    auto task = [&]() -> Task<> { Permit permit = co_await semaphore.acquire(2); };
    End end(*this);
    Running<void> running = executor.start(task());

    BOOST_TEST(contains(dump(), "a semaphore, 1 of 2 permits there"));
}

BOOST_FIXTURE_TEST_CASE(wait_to_send_tells_the_room_of_the_channel, Dumps) {
    Channel<int> channel(0);
    auto task = [&]() -> Task<> { co_await channel.send(1); };
    End end(*this);
    Running<void> running = executor.start(task());

    BOOST_TEST(contains(dump(), "room in a channel of 0"));
}

BOOST_FIXTURE_TEST_CASE(wait_for_a_mutex_names_the_task_that_holds_it, Dumps) {
    Mutex mutex;
    End end(*this);
    Running<void> holder = executor.start(lock_and_sleep(mutex));
    Running<void> waiter = executor.start(lock_and_go_on(mutex));

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 2u);
    BOOST_TEST((list[1].held_by == std::vector<std::size_t>{1}));
    BOOST_TEST(contains(dump(), "waits for a mutex held by #1"));
    BOOST_TEST(find_circles(list).empty());
}

BOOST_FIXTURE_TEST_CASE(mutex_that_was_handed_over_is_held_by_who_has_it_now, Dumps) {
    Mutex mutex;
    End end(*this);
    Running<void> first = executor.start(lock_and_sleep(mutex));
    Running<void> second = executor.start(lock_and_sleep(mutex));
    Running<void> third = executor.start(lock_and_go_on(mutex));
    settle();
    first.cancel();

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 2u);
    BOOST_TEST((list[1].held_by == std::vector<std::size_t>{1}));
}

BOOST_FIXTURE_TEST_CASE(holder_of_a_guard_that_was_moved_is_unknown_rather_than_wrong, Dumps) {
    Mutex mutex;
    std::optional<MutexGuard> kept;
    auto holder = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        kept.emplace(std::move(guard));
        co_await sleep_for(90s);
    };
    End end(*this);
    Running<void> first = executor.start(holder());
    Running<void> second = executor.start(lock_and_go_on(mutex));

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 2u);
    BOOST_TEST(list[1].held_by.empty());
    kept.reset();
}

BOOST_FIXTURE_TEST_CASE(mutex_that_no_task_locked_has_no_holder, Dumps) {
    Mutex mutex;
    MutexGuard guard = mutex.try_lock();
    End end(*this);
    Running<void> running = executor.start(lock_and_go_on(mutex));

    std::vector<TaskInfo> list = tasks();

    BOOST_REQUIRE(list.size() == 1u);
    BOOST_TEST(list[0].held_by.empty());
}

BOOST_FIXTURE_TEST_CASE(task_whose_wait_is_over_is_said_to_be_next, Dumps) {
    Mutex mutex;
    MutexGuard guard = mutex.try_lock();
    End end(*this);
    Running<void> running = executor.start(lock_and_go_on(mutex));
    settle();
    guard.unlock();

    std::vector<TaskInfo> list = executor.tasks();

    BOOST_REQUIRE(list.size() == 1u);
    BOOST_TEST((list[0].state == TaskInfo::State::ready));
    BOOST_TEST(list[0].held_by.empty());
    BOOST_TEST(contains(executor.dump_tasks(), "is next"));
}

BOOST_FIXTURE_TEST_CASE(two_tasks_that_lock_in_opposite_orders_are_pointed_out, Dumps) {
    Mutex left, right;
    End end(*this);
    Running<void> first = executor.start(locking_task(left, right));
    Running<void> second = executor.start(locking_task(right, left));

    std::string text = dump();

    BOOST_TEST(contains(text, "these wait for each other: #1 -> #2 -> #1\n"), text);
}

BOOST_FIXTURE_TEST_CASE(task_that_locks_the_same_mutex_twice_is_pointed_out, Dumps) {
    Mutex mutex;
    End end(*this);
    Running<void> running = executor.start(locking_task(mutex, mutex));

    std::string text = dump();

    BOOST_TEST(contains(text, "#1 waits for itself\n"), text);
}

BOOST_FIXTURE_TEST_CASE(child_that_wants_what_its_parent_holds_is_pointed_out, Dumps) {
    Mutex mutex;
    auto parent = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        co_await lock_and_go_on(mutex);
    };
    End end(*this);
    Running<void> running = executor.start(parent());

    std::string text = dump();

    BOOST_TEST(contains(text, "these wait for each other: #1 -> #2 -> #1\n"), text);
}

BOOST_FIXTURE_TEST_CASE(circle_through_a_group_is_pointed_out_once, Dumps) {
    Mutex mutex;
    auto parent = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 3; ++i)
                group.spawn(lock_and_go_on, std::ref(mutex));
            co_return;
        };
        co_await task_group(body);
    };
    End end(*this);
    Running<void> running = executor.start(parent());

    std::string text = dump();

    BOOST_TEST(count(text, "held by #1") == 3u, text);
    BOOST_TEST(count(text, "these wait for each other") == 1u, text);
}

BOOST_FIXTURE_TEST_CASE(two_circles_are_both_pointed_out, Dumps) {
    Mutex a, b, c, d;
    End end(*this);
    Running<void> first = executor.start(locking_task(a, b));
    Running<void> second = executor.start(locking_task(b, a));
    Running<void> third = executor.start(locking_task(c, d));
    Running<void> fourth = executor.start(locking_task(d, c));

    std::vector<TaskInfo> list = tasks();

    using Circle = std::vector<std::size_t>;
    BOOST_TEST((find_circles(list) == std::vector<Circle>{{1, 2}, {3, 4}}));
}

BOOST_FIXTURE_TEST_CASE(circle_of_a_thousand_tasks_is_told_in_one_line, Dumps) {
    constexpr std::size_t size = 1000;
    std::vector<Mutex> mutexes(size);
    End end(*this);
    std::vector<Running<void>> running;
    for (std::size_t i = 0; i < size; ++i)
        running.push_back(executor.start(locking_task(mutexes[i], mutexes[(i + 1) % size])));

    std::vector<TaskInfo> list = tasks();

    auto circles = find_circles(list);
    BOOST_REQUIRE(circles.size() == 1u);
    BOOST_TEST(circles.front().size() == size);
    std::string text = to_text(list);
    BOOST_TEST(contains(text, "#1 -> #2 -> "));
    BOOST_TEST(contains(text, "-> … -> "));
    BOOST_TEST(contains(text, "#1000 -> #1\n"));
}

BOOST_FIXTURE_TEST_CASE(running_task_says_so_and_so_do_those_that_wait_for_it, Dumps) {
    std::vector<TaskInfo> first_words;
    std::vector<TaskInfo> later;
    auto child = [&]() -> Task<> {
        first_words = executor.tasks();
        co_await yield();
        later = executor.tasks();
    };
    auto parent = [&]() -> Task<> { co_await child(); };
    run(parent);

    BOOST_REQUIRE(first_words.size() == 2u);
    BOOST_REQUIRE(later.size() == 2u);
    BOOST_TEST((first_words[0].state == TaskInfo::State::waiting));
    BOOST_TEST((first_words[1].state == TaskInfo::State::running));
    BOOST_TEST((later[1].state == TaskInfo::State::running));
    BOOST_TEST(contains(to_text(later), " runs on from dump_test.cpp:"));
}

BOOST_FIXTURE_TEST_CASE(task_that_has_not_started_says_so, Dumps) {
    Running<void> running = executor.start(sleeping_task());

    std::vector<TaskInfo> list = executor.tasks();

    BOOST_REQUIRE(list.size() == 1u);
    BOOST_TEST((list[0].state == TaskInfo::State::not_started));
}

BOOST_FIXTURE_TEST_CASE(dump_of_a_hundred_thousand_nested_tasks_needs_no_deep_stack, Dumps) {
    Mutex mutex;
    Gate gate;
    constexpr int depth = 100'000;
    auto parent = [&]() -> Task<> {
        MutexGuard guard = co_await mutex.lock();
        co_await nested_task(depth, gate);
    };
    End end(*this);
    Running<void> running = executor.start(parent());

    std::vector<TaskInfo> list = tasks();

    BOOST_TEST(list.size() == depth + 1u);
    BOOST_TEST(find_circles(list).empty());
    BOOST_TEST(contains(to_json(list), "\"number\":100001"));
}

BOOST_FIXTURE_TEST_CASE(json_is_json_whatever_a_task_is_called, Dumps) {
    Mutex mutex;
    End end(*this);
    std::vector<Running<void>> running;
    for (std::string name : {"quote \" and backslash \\", "line\nbreak\ttab\x01", "not UTF-8 \xFF\xC0\xAF",
                             "stump \xE2\x82", "half \xED\xA0\x80", "beyond \xF4\x90\x80\x80", "Mühle €"})
        running.push_back(executor.start(sleeping_task(), std::move(name)));
    running.push_back(executor.start(locking_task(mutex, mutex)));
    settle();

    std::string text = executor.dump_tasks(DumpFormat::json);

    BOOST_TEST(JsonCheck::passes(text), text);
    BOOST_TEST(!JsonCheck::passes(text + "]"));
    BOOST_TEST(contains(text, R"("name":"quote \" and backslash \\")"), text);
    BOOST_TEST(contains(text, R"("name":"line\u000abreak\u0009tab\u0001")"), text);
    BOOST_TEST(contains(text, R"("name":"not UTF-8 \ufffd\ufffd\ufffd")"), text);
    BOOST_TEST(contains(text, "Mühle €"), text);
    BOOST_TEST(contains(text, R"("held_by":[8])"), text);
    BOOST_TEST(contains(text, R"("circles":[[8]])"), text);
}

BOOST_FIXTURE_TEST_CASE(json_of_an_idle_executor_has_an_empty_list, Dumps) {
    std::string text = executor.dump_tasks(DumpFormat::json);

    BOOST_TEST(JsonCheck::passes(text), text);
    BOOST_TEST(contains(text, "\"tasks\":[]"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace dump_test
