// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/log.hpp"
#include "support/stream_pair.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace result_test {

namespace {

Task<int> give(int value) {
    co_await sleep_for(1s);
    co_return value;
}

Task<int> fail_with(std::error_code code) {
    co_await sleep_for(1s);
    throw std::system_error(code, "it failed");
}

Task<int> fail_oddly() {
    co_await sleep_for(1s);
    throw std::runtime_error("oddly");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(result)

BOOST_FIXTURE_TEST_CASE(result_of_a_task_is_its_value, VirtualTime) {
    run([&]() -> Task<> {
        auto nothing = []() -> Task<> { co_return; };
        auto only_moves = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };

        Result<int> value = co_await as_result(give(7));
        Result<void> done = co_await as_result(nothing());
        Result<std::unique_ptr<int>> moved = co_await as_result(only_moves());

        BOOST_TEST(value.value() == 7);
        BOOST_TEST(done.has_value());
        BOOST_TEST(**moved == 3);
    });
}

BOOST_FIXTURE_TEST_CASE(system_error_of_a_task_becomes_the_code, VirtualTime) {
    run([&]() -> Task<> {
        Result<int> ours = co_await as_result(fail_with(errc::closed));
        Result<int> system = co_await as_result(fail_with(std::make_error_code(std::errc::broken_pipe)));

        BOOST_TEST(ours.error() == errc::closed);
        BOOST_TEST((system.error() == std::errc::broken_pipe));
    });
}

BOOST_FIXTURE_TEST_CASE(other_exceptions_pass_through_as_result, VirtualTime) {
    run([&]() -> Task<> {
        std::string caught;
        try {
            co_await as_result(fail_oddly());
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        BOOST_TEST(caught == "oddly");
    });
}

BOOST_FIXTURE_TEST_CASE(outcome_is_the_value_or_any_exception, VirtualTime) {
    run([&]() -> Task<> {
        auto nothing = []() -> Task<> { co_return; };

        Outcome<int> value = co_await as_outcome(give(7));
        Outcome<void> done = co_await as_outcome(nothing());
        Outcome<int> odd = co_await as_outcome(fail_oddly());
        Outcome<void> leaf = co_await as_outcome(sleep_for(1s));

        BOOST_TEST(value.value() == 7);
        BOOST_TEST(done.has_value());
        BOOST_TEST(leaf.has_value());
        BOOST_TEST_REQUIRE(!odd.has_value());
        BOOST_CHECK_THROW(std::rethrow_exception(odd.error()), std::runtime_error);
    });
}

BOOST_AUTO_TEST_CASE(failed_operation_throws_its_error_with_the_name_of_the_operation) {
    Source closed;
    run([&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        std::error_code code;
        std::string text;
        try {
            co_await read_some(closed, buffer);
        } catch (const std::system_error& error) {
            code = error.code();
            text = error.what();
        }

        BOOST_TEST(code == errc::closed);
        BOOST_TEST(text.find("read") != std::string::npos);
    }());
}

BOOST_AUTO_TEST_CASE(failed_operation_as_result_gives_the_code_and_as_outcome_the_exception) {
    Source closed;
    run([&]() -> Task<> {
        std::array<std::byte, 4> buffer;
        Result<std::size_t> received = co_await as_result(read_some(closed, buffer));
        Outcome<std::size_t> outcome = co_await as_outcome(read_some(closed, buffer));
        Result<void> readiness = co_await as_result(readable(closed));

        BOOST_TEST(received.error() == errc::closed);
        BOOST_TEST(readiness.error() == errc::closed);
        BOOST_TEST_REQUIRE(!outcome.has_value());
        BOOST_CHECK_THROW(std::rethrow_exception(outcome.error()), std::system_error);
    }());
}

BOOST_FIXTURE_TEST_CASE(cancelled_wait_gives_no_result_in_any_form, VirtualTime) {
    Log log;
    run([&]() -> Task<> {
        for (int form = 0; form < 4; ++form) {
            auto body = [&](CancelScope& scope) -> Task<> {
                Guard guard(log, "body");
                scope.cancel();
                if (form == 0) co_await as_result(sleep_for(1s));
                if (form == 1) co_await as_outcome(sleep_for(1s));
                if (form == 2) co_await as_result(give(1));
                if (form == 3) co_await as_outcome(give(1));
                log.note("resumed");
            };
            bool finished = co_await leat::cancel_scope(body);
            BOOST_TEST(!finished);
        }
    });

    BOOST_TEST(log.text() == "body! body! body! body!");
}

BOOST_AUTO_TEST_CASE(our_errors_have_names_and_texts) {
    BOOST_TEST(std::string(make_error_code(errc::busy).category().name()) == "leat");
    for (errc code : {errc::busy, errc::closed, errc::deadline_exceeded, errc::deadlock, errc::not_registered,
                      errc::already_registered, errc::forked, errc::unexpected_end, errc::cancelled})
        BOOST_TEST(make_error_code(code).message() != "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace result_test
