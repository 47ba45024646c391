// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/retry.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/sanitizer.hpp"
#include "support/stream_pair.hpp"
#include "support/sweep.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace failures_test {

namespace {

Task<> fail(std::string text) {
    co_await yield();
    throw std::runtime_error(text);
}

Task<> rethrow(std::exception_ptr failure) {
    std::rethrow_exception(std::move(failure));
    co_return;
}

std::exception_ptr make(const std::string& text) { return std::make_exception_ptr(std::runtime_error(text)); }

// What `when_all` of tasks makes of their failures: the first, with the others attached.
std::exception_ptr together(Executor& executor, std::vector<std::exception_ptr> failures) {
    auto all = [&]() -> Task<> {
        std::vector<Task<>> tasks;
        for (std::exception_ptr& failure : failures)
            tasks.push_back(rethrow(failure));
        co_await leat::when_all(std::move(tasks));
    };
    std::exception_ptr caught;
    executor.run_until([](auto& body, std::exception_ptr& failure) -> Task<> {
        Outcome<void> outcome = co_await as_outcome(body());
        if (!outcome) failure = outcome.error();
    }(all, caught));
    return caught;
}

// An exception that tells when it goes.
class Told : public std::runtime_error {
public:
    explicit Told(const char* text) : std::runtime_error(text) {}

private:
    Counted counted_;
};

// An executor of a thread. They come and go one at a time: the memory of their queues is mapped past the thread sanitizer, which
// would take the next one at an address for a race with the former one.
class OwnExecutor {
public:
    OwnExecutor() {
        ExecutorOptions options;
        options.clock = &clock_;
        options.diagnostic = [](std::string_view) {};
        std::lock_guard lock(mutex());
        executor_.emplace(std::move(options));
    }
    OwnExecutor(const OwnExecutor&) = delete;
    ~OwnExecutor() {
        std::lock_guard lock(mutex());
        executor_.reset();
    }
    Executor& operator*() noexcept { return *executor_; }

private:
    static std::mutex& mutex() {
        static std::mutex mutex;
        return mutex;
    }

    VirtualClock clock_;
    std::optional<Executor> executor_;
};

unsigned line_here(std::source_location here = std::source_location::current()) { return here.line(); }

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (std::size_t place = text.find(part); place != std::string::npos; place = text.find(part, place + 1))
        ++count;
    return count;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(failures)

// ---- What is attached ----

BOOST_FIXTURE_TEST_CASE(failure_alone_has_none_attached, VirtualTime) {
    std::exception_ptr failure = make("alone");
    BOOST_TEST(attached_failures(failure).empty());
    BOOST_TEST(describe_failure(failure) == "alone");
    BOOST_TEST(attached_failures(nullptr).empty());
    BOOST_TEST(trace_of(nullptr).empty());
    BOOST_TEST(async_trace(nullptr) == "");
    BOOST_TEST(!describe_failure(nullptr).empty());
}

BOOST_FIXTURE_TEST_CASE(first_one_is_thrown_unchanged_and_the_others_come_in_their_order, VirtualTime) {
    std::exception_ptr first = make("first");
    std::exception_ptr second = make("second");
    std::exception_ptr third = make("third");

    std::exception_ptr caught = together(executor, {first, second, third});

    BOOST_TEST((caught == first));
    std::vector<std::exception_ptr> expected{second, third};
    BOOST_TEST((attached_failures(caught) == expected));
    BOOST_TEST(describe_failure(caught) == "first; and: second; and: third");
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(exceptions_of_any_type_have_others_attached_and_are_attached, VirtualTime) {
    std::exception_ptr number = std::make_exception_ptr(5);
    std::exception_ptr text = std::make_exception_ptr(std::string("text"));
    std::exception_ptr pointer = std::make_exception_ptr(static_cast<const char*>("words"));
    std::exception_ptr known = make("known");

    std::exception_ptr caught = together(executor, {number, known, text, pointer});

    BOOST_TEST((caught == number));
    BOOST_TEST(attached_failures(caught).size() == 3u);
    const std::string none = "an exception that is no std::exception";
    BOOST_TEST(describe_failure(caught) == none + "; and: known; and: " + none + "; and: " + none);
    try {
        std::rethrow_exception(caught);
    } catch (int value) {
        BOOST_TEST(value == 5);
    }
}

BOOST_FIXTURE_TEST_CASE(those_attached_may_have_others_attached_themselves, VirtualTime) {
    std::exception_ptr inner = together(executor, {make("b"), make("c"), make("d")});
    std::exception_ptr outer = together(executor, {make("a"), inner, make("e")});

    BOOST_TEST(attached_failures(outer).size() == 2u);
    BOOST_TEST(describe_failure(outer) == "a; and: b; and: c; and: d; and: e");
}

BOOST_FIXTURE_TEST_CASE(group_in_a_group_loses_no_failure, VirtualTime) {
    auto inner_body = [&](TaskGroup& group) -> Task<> {
        group.spawn(rethrow, make("one"));
        group.spawn(rethrow, make("two"));
        co_await rethrow(make("three"));
    };
    auto inner = [&]() -> Task<> { co_await task_group(inner_body); };
    auto outer_body = [&](TaskGroup& group) -> Task<> {
        group.spawn(inner);
        group.spawn(rethrow, make("four"));
        co_return;
    };
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(task_group(outer_body));
        BOOST_TEST_REQUIRE(!outcome.has_value());
        std::string text = describe_failure(outcome.error());
        for (const char* word : {"one", "two", "three", "four"})
            BOOST_TEST(count_of(text, word) == 1u);
    });
}

BOOST_FIXTURE_TEST_CASE(one_and_the_same_failure_is_told_once, VirtualTime) {
    std::exception_ptr same = make("same");
    BOOST_TEST(describe_failure(together(executor, {same, same, same})) == "same");

    std::exception_ptr first = make("first");
    std::exception_ptr caught = together(executor, {first, same, same, first, same});
    BOOST_TEST(describe_failure(caught) == "first; and: same");
    // And again, when it comes by two ways.
    std::exception_ptr left = together(executor, {make("left"), same});
    std::exception_ptr right = together(executor, {make("right"), same});
    std::exception_ptr both = together(executor, {left, right});
    BOOST_TEST(describe_failure(both) == "left; and: same; and: right");
    BOOST_TEST(notices.empty());
}

BOOST_FIXTURE_TEST_CASE(failures_that_come_by_ever_more_ways_are_found_in_good_time, VirtualTime) {
    // Each level is reached by two ways from the one above: 2^40 ways in all.
    std::exception_ptr below = make("bottom");
    for (int i = 0; i < 40; ++i) {
        std::exception_ptr left = together(executor, {make("l"), below});
        std::exception_ptr right = together(executor, {make("r"), below});
        below = together(executor, {left, right});
    }
    std::string text = describe_failure(below);
    BOOST_TEST(count_of(text, "bottom") == 1u);
    BOOST_TEST(count_of(text, "l") == 40u);
    BOOST_TEST(count_of(text, "r") == 40u);
}

BOOST_FIXTURE_TEST_CASE(crosswise_they_neither_leak_nor_go_in_circles, VirtualTime) {
    detail::FramePool::trim();
    int live = Counted::live();
    {
        std::exception_ptr one = std::make_exception_ptr(Told("one"));
        std::exception_ptr other = std::make_exception_ptr(Told("other"));
        std::exception_ptr third = std::make_exception_ptr(Told("third"));
        BOOST_TEST((together(executor, {one, other}) == one));
        BOOST_TEST((together(executor, {other, one}) == other));
        BOOST_TEST((together(executor, {other, third}) == other));
        BOOST_TEST((together(executor, {third, one}) == third));
        BOOST_TEST(describe_failure(one) == "one; and: other; and: third");
        BOOST_TEST(describe_failure(third) == "third");
        // What could not be attached was told.
        BOOST_TEST(notices.size() == 2u);
    }
    BOOST_TEST(Counted::live() == live);
}

BOOST_FIXTURE_TEST_CASE(what_is_attached_goes_with_the_failure, VirtualTime) {
    // What an executor makes when it first runs stays.
    (void)together(executor, {make("one")});
    int live = Counted::live();
    detail::FramePool::trim();
    std::size_t before = outstanding_allocations();
    {
        std::exception_ptr failure = together(
            executor, {std::make_exception_ptr(Counted(1)), std::make_exception_ptr(Told("second"))});
        BOOST_TEST(Counted::live() == live + 2);
        std::exception_ptr attached = attached_failures(failure).at(0);
        failure = nullptr;
        BOOST_TEST(Counted::live() == live + 1);
        BOOST_TEST(describe_failure(attached) == "second");
    }
    detail::FramePool::trim();
    std::size_t after = outstanding_allocations();
    BOOST_TEST(Counted::live() == live);
    BOOST_TEST(after == before);
}

BOOST_FIXTURE_TEST_CASE(address_that_is_used_again_has_nothing_of_the_former_one, VirtualTime) {
    for (int i = 0; i < 1000; ++i) {
        std::exception_ptr failure = together(executor, {make("first"), make("second")});
        BOOST_TEST_REQUIRE(attached_failures(failure).size() == 1u);
        failure = nullptr;
        std::exception_ptr fresh = make("fresh");
        BOOST_TEST_REQUIRE(attached_failures(fresh).empty());
        BOOST_TEST_REQUIRE(trace_of(fresh).empty());
    }
}

BOOST_FIXTURE_TEST_CASE(very_long_chain_goes_without_the_stack, VirtualTime) {
    constexpr int count = is_sanitized ? 10'000 : 100'000;
    int live = Counted::live();
    std::exception_ptr chain = std::make_exception_ptr(Told("bottom"));
    run([&]() -> Task<> {
        for (int i = 0; i < count; ++i) {
            auto cleanup = [&]() -> Task<> {
                std::rethrow_exception(chain);
                co_return;
            };
            Outcome<void> outcome = co_await as_outcome(leat::finally(rethrow(make("link")), cleanup));
            chain = outcome.error();
        }
    });
    chain = nullptr;
    BOOST_TEST(Counted::live() == live);
}

BOOST_FIXTURE_TEST_CASE(very_many_are_attached_in_good_time, VirtualTime) {
    std::vector<std::exception_ptr> failures;
    for (int i = 0; i < 10'000; ++i)
        failures.push_back(make("x"));
    std::exception_ptr caught = together(executor, failures);
    BOOST_TEST(attached_failures(caught).size() == 9'999u);
    BOOST_TEST(describe_failure(caught).size() == 10'000u + 9'999u * 7u);
}

BOOST_FIXTURE_TEST_CASE(code_that_can_tell_but_one_leaves_the_others_to_a_person, VirtualTime) {
    auto system = [](std::errc code) {
        return std::make_exception_ptr(std::system_error(std::make_error_code(code)));
    };
    auto both = [&]() -> Task<> {
        std::vector<Task<>> tasks;
        tasks.push_back(rethrow(system(std::errc::broken_pipe)));
        tasks.push_back(rethrow(system(std::errc::no_space_on_device)));
        co_await leat::when_all(std::move(tasks));
    };
    auto cleanup = []() -> Task<> { co_return; };
    run([&]() -> Task<> {
        Result<void> result = co_await as_result(both());
        BOOST_TEST((result.error() == std::errc::broken_pipe));
        BOOST_TEST(notices.size() == 1u);
        result = co_await as_result(leat::timeout(1s, both()));
        BOOST_TEST((result.error() == std::errc::broken_pipe));
        BOOST_TEST(notices.size() == 2u);
        result = co_await as_result(leat::shield(both()));
        BOOST_TEST(notices.size() == 3u);
        result = co_await as_result(leat::finally(both(), cleanup));
        BOOST_TEST(notices.size() == 4u);
        Outcome<void> outcome = co_await as_outcome(both());
        BOOST_TEST(attached_failures(outcome.error()).size() == 1u);
    });
    BOOST_TEST(notices.size() == 4u);
}

// ---- The trace ----

BOOST_FIXTURE_TEST_CASE(trace_names_the_tasks_that_it_has_left_the_innermost_first, VirtualTime) {
    unsigned innermost_line = 0;
    unsigned middle_line = 0;
    unsigned outer_line = 0;
    auto innermost = [&]() -> Task<> {
        innermost_line = line_here() + 1;
        co_await sleep_for(1s);
        throw std::runtime_error("it failed");
    };
    auto middle = [&]() -> Task<> {
        middle_line = line_here() + 1;
        co_await innermost();
    };
    auto outer = [&]() -> Task<> {
        outer_line = line_here() + 1;
        co_await middle();
    };
    std::exception_ptr failure;
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(outer());
        failure = outcome.error();
    });

    std::vector<TraceEntry> trace = trace_of(failure);
    BOOST_TEST_REQUIRE(trace.size() == 3u);
    BOOST_TEST(trace[0].line.line() == innermost_line);
    BOOST_TEST(trace[1].line.line() == middle_line);
    BOOST_TEST(trace[2].line.line() == outer_line);
    // One compiler says where the body begins, another where it ends.
    BOOST_TEST(trace[0].definition.line() >= innermost_line - 2);
    BOOST_TEST(trace[0].definition.line() <= innermost_line + 3);
    std::string text = async_trace(failure);
    BOOST_TEST(count_of(text, "\n") == 3u);
    BOOST_TEST(count_of(text, "in ") >= 3u);
    BOOST_TEST(text.find("failures_test.cpp:" + std::to_string(innermost_line)) <
               text.find("failures_test.cpp:" + std::to_string(middle_line)));
    BOOST_TEST(text.find("failures_test.cpp:" + std::to_string(outer_line)) != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(trace_goes_through_combinators, VirtualTime) {
    unsigned line = 0;
    auto nothing = []() -> Task<> { co_return; };
    auto fails = [&]() -> Task<> {
        co_await yield();
        throw std::runtime_error("it failed");
    };
    auto in_all = [&]() -> Task<> { co_await leat::when_all(fails(), nothing()); };
    auto in_any = [&]() -> Task<> { co_await leat::when_any(in_all()); };
    auto in_shield = [&]() -> Task<> { co_await leat::shield(in_any()); };
    auto in_finally = [&]() -> Task<> { co_await leat::finally(in_shield(), nothing); };
    auto in_timeout = [&]() -> Task<> { co_await leat::timeout(1s, in_finally()); };
    auto in_catch = [&]() -> Task<> {
        line = line_here() + 1;
        co_await catch_cancelled(in_timeout());
    };
    std::exception_ptr failure;
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(in_catch());
        failure = outcome.error();
    });
    std::vector<TraceEntry> trace = trace_of(failure);
    BOOST_TEST_REQUIRE(trace.size() == 7u);
    for (const TraceEntry& entry : trace)
        BOOST_TEST(entry.line.line() != 0u);
    BOOST_TEST(trace[6].line.line() == line);
}

BOOST_FIXTURE_TEST_CASE(task_that_came_to_no_await_has_line_zero, VirtualTime) {
    std::exception_ptr failure;
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(rethrow(make("at once")));
        failure = outcome.error();
    });
    std::vector<TraceEntry> trace = trace_of(failure);
    BOOST_TEST_REQUIRE(trace.size() == 1u);
    BOOST_TEST(trace[0].line.line() == 0u);
    BOOST_TEST(async_trace(failure).find(", at ") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(no_more_than_sixty_four_tasks_are_noted_the_innermost_ones, VirtualTime) {
    std::function<Task<>(int)> nest = [&](int depth) -> Task<> {
        if (depth > 0) co_await nest(depth - 1);
        co_await yield();
        throw std::runtime_error("deep");
    };
    std::exception_ptr failure;
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(nest(1000));
        failure = outcome.error();
    });
    BOOST_TEST(trace_of(failure).size() == 64u);
    std::string text = async_trace(failure);
    BOOST_TEST(count_of(text, "\n") == 64u);
}

BOOST_FIXTURE_TEST_CASE(each_exception_has_a_trace_of_its_own, VirtualTime) {
    auto translates = [&]() -> Task<> {
        try {
            co_await fail("inner");
        } catch (const std::runtime_error&) {
            throw std::logic_error("outer");
        }
    };
    run([&]() -> Task<> {
        Outcome<void> outcome = co_await as_outcome(translates());
        BOOST_TEST(trace_of(outcome.error()).size() == 1u);
        Outcome<void> plain = co_await as_outcome(fail("plain"));
        BOOST_TEST(trace_of(plain.error()).size() == 1u);
    });
}

BOOST_FIXTURE_TEST_CASE(foreign_exception_pointer_is_watched_like_one_that_was_thrown, VirtualTime) {
    int live = Counted::live();
    {
        std::exception_ptr failure = std::make_exception_ptr(Told("made"));
        std::exception_ptr caught = together(executor, {failure, make("other")});
        BOOST_TEST((caught == failure));
        BOOST_TEST(!trace_of(failure).empty());
        BOOST_TEST(describe_failure(failure) == "made; and: other");
    }
    BOOST_TEST(Counted::live() == live);
}

// ---- Memory and threads ----

BOOST_FIXTURE_TEST_CASE(failing_tasks_give_all_their_memory_back, VirtualTime) {
    auto once = [&] {
        std::exception_ptr failure = together(executor, {std::make_exception_ptr(Counted(1)), make("a"),
                                                         std::make_exception_ptr(Told("b")), make("c")});
        (void)describe_failure(failure);
        (void)async_trace(failure);
    };
    once();
    detail::FramePool::trim();
    std::size_t before = outstanding_allocations();
    int live = Counted::live();
    for (int i = 0; i < 100; ++i)
        once();
    detail::FramePool::trim();
    std::size_t after = outstanding_allocations();
    BOOST_TEST(after == before);
    BOOST_TEST(Counted::live() == live);
}

BOOST_AUTO_TEST_CASE(text_for_a_log_has_neither_control_characters_nor_what_is_no_utf_8) {
    const std::pair<std::string_view, std::string_view> cases[] = {
        {"plain text", "plain text"},
        {"M\xc3\xbchlbach \xe2\x82\xac \xf0\x9f\x8c\x8a", "M\xc3\xbchlbach \xe2\x82\xac \xf0\x9f\x8c\x8a"},
        {"a\nb\x1b[2J\x7f", "a\\x0ab\\x1b[2J\\x7f"},
        {"\xc2\x9b", "\\xc2\\x9b"},           // CSI
        {"\xc2\x85", "\\xc2\\x85"},           // the next line
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},  // the line separator
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"},  // from right to left
        {"\x9b", "\\x9b"},
        {"\xc3(", "\\xc3("},
        {"\xe2\x82", "\\xe2\\x82"},           // cut off
        {"\xc0\x8a", "\\xc0\\x8a"},           // longer than it need be
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},  // half of a pair of UTF-16
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    };
    for (const auto& [text, expected] : cases)
        BOOST_TEST(detail::printable(text) == expected);
    BOOST_TEST(detail::printable(std::string_view("\0", 1)) == "\\x00");
}

BOOST_AUTO_TEST_CASE(notice_of_a_failure_cannot_forge_a_line_of_the_log) {
    std::string notices;
    ExecutorOptions options;
    options.diagnostic = [&](std::string_view text) { notices += text; };
    {
        Executor executor(std::move(options));
        const std::string peers = "no\nleat: all is well\x1b[31m";
        executor.remote().post([peers] { throw std::runtime_error(peers); });
        auto fail = [&]() -> Task<> {
            co_await yield();
            throw std::runtime_error(peers);
        };
        Running<void> failing = executor.start(fail());
        executor.run();
    }

    BOOST_TEST(notices.find("no\\x0aleat: all is well\\x1b[31m") != std::string::npos, notices);
    BOOST_TEST(notices.find("no\n") == std::string::npos, notices);
}

BOOST_AUTO_TEST_CASE(exception_that_threads_share_may_be_thrown_told_and_ended_on_all_of_them) {
    const int rounds = is_sanitized ? 30 : 200;
    int live = Counted::live();
    for (int round = 0; round < rounds; ++round) {
        std::exception_ptr shared = std::make_exception_ptr(Told("shared"));
        std::atomic<bool> go = false;
        std::vector<std::jthread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&go, mine = shared]() mutable {
                while (!go)
                    std::this_thread::yield();
                OwnExecutor executor;
                std::exception_ptr own = make("own");
                std::exception_ptr caught = together(*executor, {mine, own});
                (void)describe_failure(mine);
                (void)async_trace(mine);
                (void)together(*executor, {own, mine});
                mine = nullptr;
                caught = nullptr;
            });
        }
        shared = nullptr;
        go = true;
    }
    BOOST_TEST(Counted::live() == live);
}

BOOST_AUTO_TEST_CASE(threads_that_fail_each_for_itself_do_not_mix) {
    std::atomic<int> wrong = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&wrong, i] {
            OwnExecutor executor;
            const std::string name = "thread" + std::to_string(i);
            for (int round = 0; round < (is_sanitized ? 100 : 1000); ++round) {
                std::exception_ptr caught = together(*executor, {make(name), make(name)});
                if (describe_failure(caught) != name + "; and: " + name) ++wrong;
            }
        });
    }
    threads.clear();
    BOOST_TEST(wrong == 0);
}

// ---- All of them together ----

BOOST_AUTO_TEST_CASE(all_combinators_together_can_be_cancelled_anywhere) {
    std::optional<StreamPair> pair;
    int opened = 0;
    int closed = 0;
    SweepOptions options;
    options.before = [&] {
        pair.emplace();
        opened = closed = 0;
    };
    options.after = [&] {
        BOOST_TEST(opened == closed);
        pair.reset();
    };
    auto scenario = [&]() -> Task<> {
        std::stop_source source;
        auto read = [&]() -> Task<std::size_t> {
            Counted local;
            std::array<std::byte, 8> buffer;
            auto [received, ticked] =
                co_await leat::when_any(as_result(read_some(pair->left, buffer)), sleep_for(1s));
            if (!received) throw std::system_error(make_error_code(errc::deadline_exceeded), "nothing came");
            co_return received->value();
        };
        int tries = 0;
        auto attempt = [&]() -> Task<std::size_t> {
            if (++tries == 2) send_directly(pair->right, "at last");
            std::size_t count = co_await leat::timeout(5s, read());
            co_return count;
        };
        auto session = [&](std::stop_token) -> Task<std::size_t> {
            ++opened;
            auto close = [&]() -> Task<> {
                Counted local;
                ++closed;
                (void)co_await write_some(pair->left, "QUIT");
                co_await sleep_for(1s);
            };
            RetryOptions retries;
            retries.jitter = 0;
            std::size_t count = co_await leat::finally(leat::retry(attempt, retries), close);
            co_return count;
        };
        auto limited = [&]() -> Task<std::size_t> {
            std::size_t count = co_await with_stop_token(session);
            co_return count;
        };
        auto other = [&]() -> Task<Counted> {
            co_await leat::shield(sleep_for(1s));
            std::optional<bool> stopped = co_await catch_cancelled([](std::stop_token token) -> Task<bool> {
                auto sleeps = []() -> Task<> { co_await sleep_for(1s); };
                bool ended = co_await cancel_on(token, sleeps());
                co_return ended;
            }(source.get_token()));
            co_return Counted(stopped ? 1 : 0);
        };
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn([]() -> Task<> { co_await sleep_for(1s); });
            auto [count, counted] = co_await leat::when_all(leat::timeout(1min, limited()), other());
            BOOST_TEST(count == 7u);
            source.request_stop();
        };
        co_await task_group(body);
    };

    SweepReport report = sweep_all_endings(scenario, options);

    BOOST_TEST(report.unwound > 10u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace failures_test
