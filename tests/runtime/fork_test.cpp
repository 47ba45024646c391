// SPDX-License-Identifier: BSL-1.0
// What a child process may do with its parent's executor: nothing, and it is told so.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/posix.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <optional>
#include <system_error>

using namespace std::chrono_literals;

namespace leat::test {
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

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test
