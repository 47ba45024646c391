// SPDX-License-Identifier: BSL-1.0
// A `Task<T&>` through all that runs tasks: what comes out is the object itself.
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/deadline.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/offload.hpp>
#include <leat/runtime/remote_call.hpp>
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

#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <functional>
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

namespace reference_results_test {

namespace {

Task<std::string&> refer_to(std::string& text) {
    co_await yield();
    co_return text;
}

Task<std::string&> refer_after(Duration duration, std::string& text) {
    co_await sleep_for(duration);
    co_return text;
}

Task<std::string&> fail_with_code(std::string& text) {
    co_await yield();
    if (!text.empty()) throw std::system_error(std::make_error_code(std::errc::io_error));
    co_return text;
}

struct References : VirtualTime {
    std::string text = "one";
    std::string other = "two";
};

}  // namespace

BOOST_AUTO_TEST_SUITE(reference_results)

BOOST_FIXTURE_TEST_CASE(deadlines_give_the_object, References) {
    run([&]() -> Task<> {
        std::string& timed = co_await leat::timeout(1s, refer_to(text));
        std::string& timed_at = co_await leat::timeout_at(TimePoint::max(), refer_to(text));
        std::string& limited = co_await leat::with_deadline(1s, refer_to(text));
        std::string* tried = co_await leat::try_timeout(1s, refer_to(text));
        std::string* too_late = co_await leat::try_timeout(1s, refer_after(2s, text));

        BOOST_TEST(&timed == &text);
        BOOST_TEST(&timed_at == &text);
        BOOST_TEST(&limited == &text);
        BOOST_TEST(tried == &text);
        BOOST_TEST(too_late == nullptr);
    });
}

BOOST_FIXTURE_TEST_CASE(results_and_outcomes_hold_the_object, References) {
    run([&]() -> Task<> {
        Result<std::reference_wrapper<std::string>> result = co_await as_result(refer_to(text));
        Result<std::reference_wrapper<std::string>> failed = co_await as_result(fail_with_code(text));
        Outcome<std::reference_wrapper<std::string>> outcome = co_await as_outcome(refer_to(text));
        Result<std::reference_wrapper<std::string>> timed =
            co_await as_result(leat::timeout(1s, refer_after(2s, text)));
        Result<std::string*> tried = co_await as_result(leat::try_timeout(1s, refer_to(text)));

        BOOST_TEST(&result.value().get() == &text);
        BOOST_TEST((failed.error() == std::errc::io_error));
        BOOST_TEST(&outcome.value().get() == &text);
        BOOST_TEST((timed.error() == errc::deadline_exceeded));
        BOOST_TEST(tried.value() == &text);
    });
}

BOOST_FIXTURE_TEST_CASE(when_all_gives_references_and_a_vector_of_wrappers, References) {
    run([&]() -> Task<> {
        auto [first, second] = co_await leat::when_all(refer_to(text), refer_to(other));
        std::vector<Task<std::string&>> tasks;
        tasks.push_back(refer_to(text));
        tasks.push_back(refer_to(other));
        std::vector<std::reference_wrapper<std::string>> all = co_await leat::when_all(std::move(tasks));

        BOOST_TEST(&first == &text);
        BOOST_TEST(&second == &other);
        BOOST_TEST(&all[0].get() == &text);
        BOOST_TEST(&all[1].get() == &other);
    });
}

BOOST_FIXTURE_TEST_CASE(when_any_gives_pointers_null_for_losers, References) {
    run([&]() -> Task<> {
        auto [first, second] = co_await leat::when_any(refer_after(1h, text), refer_to(other));
        std::vector<Task<std::string&>> tasks;
        tasks.push_back(refer_to(text));
        tasks.push_back(refer_after(1h, other));
        std::vector<std::string*> any = co_await leat::when_any(std::move(tasks));

        BOOST_TEST(first == nullptr);
        BOOST_TEST(second == &other);
        BOOST_TEST(any[0] == &text);
        BOOST_TEST(any[1] == nullptr);
    });
}

BOOST_FIXTURE_TEST_CASE(scopes_give_the_object, References) {
    run([&]() -> Task<> {
        std::string& shielded = co_await leat::shield(refer_to(text));
        std::string* caught = co_await leat::catch_cancelled(refer_to(text));
        std::stop_source source;
        std::string* until_stop = co_await leat::cancel_on(source.get_token(), refer_to(text));
        auto scoped = [&](CancelScope&) { return refer_to(text); };
        std::string* in_scope = co_await leat::cancel_scope(scoped);
        auto cancelled = [&](CancelScope& scope) {
            scope.cancel();
            return refer_after(1h, text);
        };
        std::string* none = co_await leat::cancel_scope(cancelled);
        auto with_token = [&](const std::stop_token&) { return refer_to(text); };
        std::string& beside_token = co_await leat::with_stop_token(with_token);
        auto body = [&](TaskGroup&) { return refer_to(text); };
        std::string& from_group = co_await leat::task_group(body);
        Result<std::reference_wrapper<std::string>> group_result = co_await as_result(leat::task_group(body));
        auto nothing = []() -> Task<> { co_return; };
        std::string& at_last = co_await leat::finally(refer_to(text), nothing);
        auto attempt = [&] { return refer_to(text); };
        std::string& tried = co_await leat::retry(attempt);

        BOOST_TEST(&shielded == &text);
        BOOST_TEST(caught == &text);
        BOOST_TEST(until_stop == &text);
        BOOST_TEST(in_scope == &text);
        BOOST_TEST(none == nullptr);
        BOOST_TEST(&beside_token == &text);
        BOOST_TEST(&from_group == &text);
        BOOST_TEST(&group_result.value().get() == &text);
        BOOST_TEST(&at_last == &text);
        BOOST_TEST(&tried == &text);
    });
}

BOOST_FIXTURE_TEST_CASE(calls_elsewhere_and_children_give_the_object, References) {
    Running<std::string&> running = executor.start(refer_to(text));
    run([&]() -> Task<> {
        auto refers = [this]() -> std::string& { return text; };
        std::string& offloaded = co_await leat::offload(refers);
        auto task_there = [this] { return refer_to(text); };
        std::string& called = co_await executor.remote().call(task_there);
        Result<std::reference_wrapper<std::string>> result =
            co_await as_result(executor.remote().call(refers));
        std::string& timed = co_await leat::timeout(1h, executor.remote().call(refers));
        std::string* tried = co_await leat::try_timeout(1h, leat::offload(refers));
        std::string* from_child = nullptr;
        auto body = [&](TaskGroup& group) -> Task<> {
            auto child = [this](Ready<std::string&>& ready) -> Task<> {
                ready(text);
                co_return;
            };
            std::string& said = co_await group.start<std::string&>(child);
            from_child = &said;
        };
        co_await leat::task_group(body);

        BOOST_TEST(&offloaded == &text);
        BOOST_TEST(&called == &text);
        BOOST_TEST(&result.value().get() == &text);
        BOOST_TEST(&timed == &text);
        BOOST_TEST(tried == &text);
        BOOST_TEST(from_child == &text);
    });
    BOOST_TEST(&running.get() == &text);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace reference_results_test
