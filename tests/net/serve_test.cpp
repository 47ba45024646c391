// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"
#include "support/allocations.hpp"
#include "support/loopback_pair.hpp"
#include "support/sweep.hpp"
#include "support/system.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/failures.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/when_all.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::serve_test {
namespace {

// Never looks at its connection.
Task<> sleep_for_ever(TcpStream) { co_await sleep_for(Duration::max()); }

Task<> throw_at_once(TcpStream) {
    co_await yield();
    throw std::logic_error("a mistake");
}

// Windows has no limit that could be set.
const boost::unit_test::label limited("posix");

}  // namespace

BOOST_FIXTURE_TEST_SUITE(serve, Server)

// ---- Connections ----

BOOST_AUTO_TEST_CASE(every_connection_has_a_handler_of_its_own) {
    ServeReport report = serve_during(echo, [&]() -> Task<> {
        std::deque<TcpStream> streams;
        for (int i = 0; i < 50; ++i) {
            TcpStream stream = co_await connect();
            streams.push_back(std::move(stream));
        }
        for (TcpStream& stream : streams) {
            std::string text = std::to_string(stream.native_handle());
            std::string answer = co_await ask(stream, text);
            BOOST_TEST(answer == text);
        }
        BOOST_TEST(control.connections() == 50u);
    });

    BOOST_TEST(report.accepted == 50u);
    BOOST_TEST(report.finished == 50u);
    BOOST_TEST(report.failed + report.cancelled + report.idle + report.shed + report.accept_errors == 0u);
    BOOST_TEST(notices.empty());
}

BOOST_AUTO_TEST_CASE(bytes_of_both_directions_are_counted_while_and_after_a_connection_runs) {
    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await ask(first, "0123456789");
        BOOST_TEST(control.report().bytes == 20u);
        first.close();
        co_await wait_for_connections(0);
        BOOST_TEST(control.report().bytes == 20u);
        TcpStream second = co_await connect();
        co_await ask(second, "abc");
        BOOST_TEST(control.report().bytes == 26u);
    });

    BOOST_TEST(report.bytes == 26u);
    BOOST_TEST(control.report().bytes == 26u);
}

// An idle timeout goes by this count: a long transfer that moves is not idle.
BOOST_AUTO_TEST_CASE(bytes_are_counted_as_they_move_and_not_when_a_transfer_ends) {
    constexpr std::size_t part = 100;
    constexpr std::size_t more_than_fits = 64 * 1024 * 1024;
    const std::vector<std::byte> answer(more_than_fits);
    auto read_and_write = [&](TcpStream peer) -> Task<> {
        std::array<std::byte, 10 * part> request;
        co_await peer.read_exactly(request);
        co_await peer.write_all(answer);
    };
    auto count_beyond = [&](std::uint64_t bytes) -> Task<std::uint64_t> {
        for (int i = 0; i < 100'000 && control.report().bytes <= bytes; ++i)
            co_await yield();
        co_return control.report().bytes;
    };

    serve_during(read_and_write, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        const std::vector<std::byte> sent(9 * part);
        co_await stream.write_all(std::span(sent).first(part));
        std::uint64_t of_a_part = co_await count_beyond(0);
        BOOST_TEST(of_a_part == part);
        co_await stream.write_all(sent);
        std::uint64_t of_an_answer = co_await count_beyond(10 * part);
        BOOST_TEST(of_an_answer > 10 * part);
        BOOST_TEST(of_an_answer < 10 * part + more_than_fits);
    });
}

BOOST_AUTO_TEST_CASE(bytes_of_a_stream_that_its_handler_closed_early_are_counted_too) {
    auto answer_and_close = [](TcpStream peer) -> Task<> {
        {
            TcpStream stream = std::move(peer);
            std::array<std::byte, 16> buffer;
            std::size_t received = co_await stream.read(buffer);
            co_await stream.write_all(std::span(buffer).first(received));
        }
        // Meanwhile others use its place in the queue.
        for (int i = 0; i < 20; ++i)
            co_await yield();
    };

    ServeReport report = serve_during(answer_and_close, [&]() -> Task<> {
        for (int i = 0; i < 5; ++i) {
            TcpStream stream = co_await connect();
            co_await ask(stream, "0123456789");
        }
        co_await wait_for_connections(0);
    });

    BOOST_TEST(report.bytes == 100u);
}

BOOST_AUTO_TEST_CASE(handler_may_be_a_lambda_with_state) {
    int calls = 0;
    auto count = [&calls](TcpStream peer) -> Task<> {
        co_await echo(std::move(peer));
        ++calls;
    };

    serve_during(count, [&]() -> Task<> {
        for (int i = 0; i < 3; ++i) {
            TcpStream stream = co_await connect();
            co_await ask(stream, "abc");
        }
    });

    BOOST_TEST(calls == 3);
}

BOOST_AUTO_TEST_CASE(failing_handler_ends_its_own_connection_only) {
    std::vector<std::string> failures;
    options.on_failure = [&](std::exception_ptr failure) {
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            failures.emplace_back(error.what());
        }
    };
    auto fail_on_x = [](TcpStream peer) -> Task<> {
        std::array<std::byte, 1> buffer;
        co_await peer.read_exactly(buffer);
        if (text_of(buffer) == "x") throw std::runtime_error("x is not liked");
        co_await peer.write_all(buffer);
        co_await echo(std::move(peer));
    };

    ServeReport report = serve_during(fail_on_x, [&]() -> Task<> {
        TcpStream good = co_await connect();
        TcpStream bad = co_await connect();
        co_await ask(good, "a");
        co_await bad.write_all(bytes_of("x"));
        std::string rest = co_await read_to_end(bad);
        BOOST_TEST(rest == "");
        std::string answer = co_await ask(good, "still there");
        BOOST_TEST(answer == "still there");
    });

    BOOST_TEST(report.failed == 1u);
    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(failures == std::vector<std::string>{"x is not liked"});
}

BOOST_AUTO_TEST_CASE(reset_connections_are_failures_that_nobody_is_told_of) {
    ServeReport report = serve_during(echo, [&]() -> Task<> {
        for (int i = 0; i < 10; ++i) {
            TcpStream stream = co_await connect();
            co_await ask(stream, "abc");
            reset(stream);
        }
        co_await wait_for_connections(0);
    });

    BOOST_TEST(report.accepted == 10u);
    BOOST_TEST(report.failed == 10u);
    BOOST_TEST(notices.empty());
}

// ---- Failures of handlers ----

BOOST_AUTO_TEST_CASE(mistake_in_a_handler_is_reported_with_the_peer_and_the_trace) {
    std::string peer;
    serve_during(throw_at_once, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        peer = to_string(stream.local_address());
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    const std::string expected = "serve: the handler of " + peer + " failed: a mistake\nin ";
    BOOST_TEST(notices[0].find(expected) != std::string::npos, notices[0]);
    BOOST_TEST(notices[0].find("throw_at_once") != std::string::npos, notices[0]);
    BOOST_TEST(notices[0].find("serve_test.cpp:") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(text_of_a_failure_cannot_forge_a_line_of_the_log) {
    auto throw_what_the_peer_says = [](TcpStream) -> Task<> {
        throw std::runtime_error("no\nleat: all is well\x1b[31m\x7f");
    };

    serve_during(throw_what_the_peer_says, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find(R"(no\x0aleat: all is well\x1b[31m\x7f)") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(reset_that_a_reader_and_a_writer_find_at_once_is_the_connections_own) {
    auto read_and_write = [](TcpStream peer) -> Task<> {
        std::array<std::byte, 10> first{};
        co_await peer.read_exactly(first);
        std::vector<std::byte> answer(20'000'000);
        auto body = [&](TaskGroup& group) -> Task<> {
            group.spawn(
                [](TcpStream& stream) -> Task<> {
                    std::array<std::byte, 1000> rest{};
                    co_await stream.read_exactly(rest);
                },
                std::ref(peer));
            co_await peer.write_all(answer);
        };
        co_await task_group(body);
    };

    serve_during(read_and_write, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await stream.write_all(std::string_view("0123456789"));
        std::array<std::byte, 1> one{};
        co_await stream.read_exactly(one);
        stream.set_linger(0s);
        stream.close();
        co_await wait_for_failures(1);
    });

    BOOST_TEST(notices.empty(), (notices.empty() ? std::string() : notices[0]));
}

BOOST_AUTO_TEST_CASE(handler_that_throws_before_it_gives_a_task_is_reported_with_the_peer) {
    std::string peer;
    auto throw_without_a_task = [](TcpStream) -> Task<> { throw std::logic_error("no task"); };

    serve_during(throw_without_a_task, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        peer = to_string(stream.local_address());
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("the handler of " + peer + " failed: no task") != std::string::npos,
               notices[0]);
}

BOOST_FIXTURE_TEST_CASE(peer_whose_handlers_all_fail_does_not_fill_the_log, ServerInVirtualTime) {
    auto fail_often = [&](std::size_t from, std::size_t until) -> Task<> {
        for (std::size_t failures = from; failures < until; ++failures) {
            TcpStream stream = co_await connect();
            co_await wait_for_failures(failures + 1);
        }
    };

    serve_during(throw_at_once, [&]() -> Task<> {
        co_await fail_often(0, 50);
        BOOST_TEST(notices.size() == 1u);
        clock.advance(1s);
        co_await fail_often(50, 100);
    });

    BOOST_TEST_REQUIRE(notices.size() == 3u);
    BOOST_TEST(notices[2] == "leat: serve: failures of handlers that were not reported: 49");
    BOOST_TEST(notices[1].find("a mistake (49 others since the last report)") != std::string::npos,
               notices[1]);
}

BOOST_AUTO_TEST_CASE(what_a_handler_throws_is_reported_within_bounds) {
    auto throw_much = [](TcpStream) -> Task<> {
        co_await yield();
        throw std::runtime_error(std::string(1'000'000, 'x'));
    };

    serve_during(throw_much, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].size() < 10'000u);
}

BOOST_AUTO_TEST_CASE(end_of_the_stream_in_the_middle_is_a_failure_that_nobody_is_told_of) {
    auto read_ten = [](TcpStream peer) -> Task<> {
        std::array<std::byte, 10> buffer;
        co_await peer.read_exactly(buffer);
    };

    ServeReport report = serve_during(read_ten, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await stream.write_all(bytes_of("12345"));
        stream.close();
        co_await wait_for_failures(1);
    });

    BOOST_TEST(report.failed == 1u);
    BOOST_TEST(notices.empty());
}

// However the handler comes by the code: the exception is its own here, and the frame of the stream has gone.
BOOST_AUTO_TEST_CASE(reset_that_a_handler_throws_itself_is_a_failure_that_nobody_is_told_of) {
    auto read_and_throw = [](TcpStream peer) -> Task<> {
        std::error_code code;
        {
            TcpStream stream = std::move(peer);
            std::array<std::byte, 3> buffer;
            co_await stream.read_exactly(buffer);
            co_await stream.write_all(buffer);
            Result<std::size_t> received = co_await as_result(stream.read(buffer));
            if (!received) code = received.error();
        }
        if (code) throw std::system_error(code, "the handler's own");
    };

    ServeReport report = serve_during(read_and_throw, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        reset(stream);
        co_await wait_for_failures(1);
    });

    BOOST_TEST(report.failed == 1u);
    BOOST_TEST(notices.empty());
}

BOOST_AUTO_TEST_CASE(write_to_a_peer_that_has_gone_is_a_failure_that_nobody_is_told_of) {
    auto write_on = [](TcpStream peer) -> Task<> {
        const std::vector<std::byte> much(100'000);
        for (;;)
            co_await peer.write_all(much);
    };

    serve_during(write_on, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_connections(1);
        reset(stream);
        co_await wait_for_failures(1);
    });

    BOOST_TEST(notices.empty());
}

BOOST_AUTO_TEST_CASE(write_after_the_handlers_own_shutdown_is_a_mistake_and_reported) {
    auto write_after_the_end = [](TcpStream peer) -> Task<> {
        peer.shutdown(Half::write);
        co_await peer.write_all(std::string_view("too late"));
    };

    serve_during(write_after_the_end, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_failures(1);
    });

    BOOST_TEST(notices.size() == 1u);
}

BOOST_AUTO_TEST_CASE(error_of_another_socket_is_reported) {
    TcpListener closed = TcpListener::bind(Address::loopback(0));
    const Address nobody = closed.local_address();
    closed.close();
    auto forward = [nobody](TcpStream peer) -> Task<> {
        TcpStream upstream = co_await TcpStream::connect(nobody);
        co_await echo(std::move(peer));
    };

    serve_during(forward, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("connect to " + to_string(nobody)) != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(second_read_of_a_connection_is_a_mistake_and_reported) {
    auto read_twice = [](TcpStream peer) -> Task<> {
        auto read = [&peer]() -> Task<> {
            std::array<std::byte, 16> buffer;
            co_await peer.read(buffer);
        };
        co_await when_all(read(), read());
    };

    serve_during(read_twice, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("in use by another") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(mistake_that_comes_with_a_reset_is_reported) {
    auto read_and_clean_up = [](TcpStream peer) -> Task<> {
        auto read = [&peer]() -> Task<> {
            std::array<std::byte, 16> buffer;
            co_await peer.read_exactly(buffer);
        };
        auto clean_up = []() -> Task<> {
            co_await yield();
            throw std::logic_error("a mistake in the clean-up");
        };
        co_await leat::finally(read(), clean_up);
    };

    serve_during(read_and_clean_up, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_connections(1);
        reset(stream);
        co_await wait_for_failures(1);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("; and: a mistake in the clean-up") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(on_failure_is_given_the_peer_the_exception_and_its_trace) {
    std::vector<std::string> failures;
    std::vector<bool> are_of_connection;
    options.on_failure = [&](const ServeFailure& failure) {
        const std::string peer = failure.peer ? to_string(*failure.peer) : "nobody";
        failures.push_back(peer + ": " + describe_failure(failure) + " " + async_trace(failure));
        are_of_connection.push_back(failure.is_of_connection);
    };
    auto fail_if_sent_something = [](TcpStream peer) -> Task<> {
        std::array<std::byte, 1> buffer;
        co_await peer.read_exactly(buffer);
        co_await throw_at_once(std::move(peer));
    };
    std::string peer;

    serve_during(fail_if_sent_something, [&]() -> Task<> {
        TcpStream first = co_await connect();
        peer = to_string(first.local_address());
        co_await first.write_all(bytes_of("x"));
        co_await wait_for_failures(1);
        TcpStream second = co_await connect();
        second.close();
        co_await wait_for_failures(2);
    });

    BOOST_TEST_REQUIRE(failures.size() == 2u);
    BOOST_TEST(failures[0].starts_with(peer + ": a mistake in "), failures[0]);
    BOOST_TEST(failures[0].find("throw_at_once") != std::string::npos, failures[0]);
    BOOST_TEST(!are_of_connection[0]);
    BOOST_TEST(are_of_connection[1]);
    BOOST_TEST(notices.empty());
}

BOOST_AUTO_TEST_CASE(on_failure_may_throw_and_ends_nothing) {
    options.on_failure = [](std::exception_ptr) { throw std::runtime_error("nobody listens"); };

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        reset(stream);
        co_await wait_for_connections(0);
        TcpStream another = co_await connect();
        co_await ask(another, "abc");
    });

    BOOST_TEST(report.failed == 1u);
    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("serve: the handler of 127.0.0.1:") != std::string::npos, notices[0]);
    BOOST_TEST(notices[0].find("\non_failure threw: nobody listens") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(on_failure_may_end_the_server_and_look_at_its_tasks) {
    std::string dump;
    options.on_failure = [&](std::exception_ptr) {
        dump = executor.dump_tasks();
        control.stop();
    };

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream waiting = co_await connect();
        co_await ask(waiting, "abc");
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        reset(stream);
        co_await wait_for_connections(0);
    });

    BOOST_TEST(report.failed == 1u);
    BOOST_TEST(report.finished + report.cancelled == 1u);
    BOOST_TEST(dump.find("group of 2 tasks") != std::string::npos, dump);
}

BOOST_AUTO_TEST_CASE(handler_that_cannot_be_started_costs_its_connection_only) {
    int calls = 0;
    auto fail_first = [&calls](TcpStream peer) -> Task<> {
        if (++calls == 1) throw std::bad_alloc();
        return echo(std::move(peer));
    };

    ServeReport report = serve_during(fail_first, [&]() -> Task<> {
        TcpStream first = co_await connect();
        std::string nothing = co_await read_to_end(first);
        BOOST_TEST(nothing == "");
        TcpStream second = co_await connect();
        std::string answer = co_await ask(second, "abc");
        BOOST_TEST(answer == "abc");
    });

    BOOST_TEST(report.accepted == 2u);
    BOOST_TEST(report.failed == 1u);
    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(notices.size() == 1u);
}

BOOST_AUTO_TEST_CASE(want_of_memory_at_any_allocation_of_a_connection_ends_no_other) {
    options.keep_listener_open = true;
    std::size_t struck = 0;
    for (bool has_struck = true; has_struck;) {
        serve_during(echo, [&]() -> Task<> {
            TcpStream early = co_await connect();
            co_await ask(early, "abc");
            TcpStream victim = TcpStream::start_connect(listener.local_address());
            await_arrival(listener.native_handle());
            detail::FramePool::trim();
            {
                FailingAllocation failing(struck + 1);
                while (control.report().accepted < 2)
                    co_await yield();
                for (int i = 0; i < 20; ++i)
                    co_await yield();
                has_struck = FailingAllocation::has_struck();
            }
            if (has_struck) ++struck;
            TcpStream late = co_await connect();
            std::string answer = co_await ask(late, "abc");
            std::string again = co_await ask(early, "abc");
            BOOST_TEST(answer == "abc");
            BOOST_TEST(again == "abc");
        });
        control.~ServeControl();
        new (&control) ServeControl();
    }

    // At the least, the handler's frame.
    BOOST_TEST(struck >= 1u);
}

BOOST_AUTO_TEST_CASE(accepted_connection_takes_at_most_three_allocations) {
    std::size_t allocations = 0;
    constexpr std::size_t connections = 100;

    serve_during(echo, [&]() -> Task<> {
        std::deque<TcpStream> clients;
        for (std::size_t i = 0; i < connections; ++i) {
            clients.push_back(TcpStream::start_connect(listener.local_address()));
        }
        std::size_t before = allocations_made();
        co_await wait_for_connections(connections);
        for (int i = 0; i < 20; ++i)
            co_await yield();
        allocations = allocations_made() - before;
        clients.clear();
    });

    BOOST_TEST(allocations <= 3 * connections);
}

// ---- Limits ----

BOOST_AUTO_TEST_CASE(surplus_connections_wait_until_one_ends) {
    options.max_connections = 2;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        TcpStream second = co_await connect();
        TcpStream surplus = co_await connect();
        co_await surplus.write_all(bytes_of("abc"));
        co_await ask(first, "abc");
        co_await ask(second, "abc");
        for (int i = 0; i < 100; ++i)
            co_await yield();
        BOOST_TEST(control.connections() == 2u);
        std::array<std::byte, 3> buffer;
        BOOST_TEST(!surplus.try_read(buffer).has_value());

        first.close();

        co_await surplus.read_exactly(buffer);
        BOOST_TEST(text_of(buffer) == "abc");
        BOOST_TEST(control.connections() == 2u);
    });

    BOOST_TEST(report.accepted == 3u);
}

BOOST_AUTO_TEST_CASE(server_that_is_full_does_not_spin) {
    options.max_connections = 1;

    serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        TcpStream surplus = co_await connect();
        co_await ask(first, "abc");
        std::uint64_t before = executor.stats().resumes;
        co_await sleep_for(5ms);
        BOOST_TEST(executor.stats().resumes - before <= 2u);
        first.close();
        co_await ask(surplus, "abc");
    });
}

BOOST_AUTO_TEST_CASE(server_that_is_full_can_be_drained) {
    options.max_connections = 1;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        TcpStream surplus = co_await connect();
        co_await ask(first, "abc");
    });

    // The surplus one comes from the backlog.
    BOOST_TEST(report.accepted == 2u);
}

BOOST_AUTO_TEST_CASE(crowd_of_new_connections_does_not_keep_an_old_one_waiting) {
    constexpr int crowd = 400;
    serve_during(echo, [&]() -> Task<> {
        TcpStream early = co_await connect();
        co_await ask(early, "abc");
        std::deque<TcpStream> others;
        for (int i = 0; i < crowd; ++i)
            others.push_back(TcpStream::start_connect(listener.local_address()));

        co_await ask(early, "abc");

        BOOST_TEST(control.report().accepted < crowd);
    });
}

BOOST_FIXTURE_TEST_CASE(idle_connection_reads_the_end_never_early_and_at_most_a_quarter_late,
                        ServerInVirtualTime) {
    options.idle_timeout = 20s;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        // So that nothing falls on a whole millisecond.
        clock.advance(300us);
        TcpStream busy = co_await connect();
        TcpStream idle = co_await connect();
        co_await wait_for_connections(2);
        TimePoint start = clock.now();
        std::optional<Duration> ended;
        auto wait = [&]() -> Task<> {
            std::string nothing = co_await read_to_end(idle);
            BOOST_TEST(nothing == "");
            ended = clock.now() - start;
        };
        auto keep_busy = [&]() -> Task<> {
            for (int second = 0; second < 60; ++second) {
                co_await ask(busy, "abc");
                clock.advance(1s);
                // The loop sees what is due, and what its end brings.
                for (int i = 0; i < 3; ++i)
                    co_await yield();
            }
            co_await ask(busy, "abc");
        };
        co_await together(wait, keep_busy);

        BOOST_TEST_REQUIRE(ended.has_value());
        BOOST_TEST((*ended >= 20s));
        BOOST_TEST((*ended <= 25s));
    });

    BOOST_TEST(report.idle == 1u);
    BOOST_TEST(report.finished == 2u);
}

BOOST_AUTO_TEST_CASE(connection_that_the_peer_does_not_read_from_becomes_idle) {
    options.idle_timeout = 20ms;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream deaf = co_await connect();
        std::vector<std::byte> bytes = pattern(20'000'000);
        Result<void> written = co_await as_result(deaf.write_all(bytes));
        BOOST_TEST(!written.has_value());
        co_await wait_for_connections(0);
    });

    BOOST_TEST(report.idle == 1u);
    BOOST_TEST(report.failed == 1u);
}

BOOST_AUTO_TEST_CASE(trickle_does_not_count_when_more_is_asked_for) {
    options.idle_timeout = 50ms;
    options.idle_bytes = 1'000'000;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        for (;;) {
            Result<void> written = co_await as_result(stream.write_all(bytes_of("a")));
            if (!written) break;
            std::array<std::byte, 16> buffer;
            Result<std::size_t> answer = co_await as_result(stream.read(buffer));
            if (!answer || *answer == 0) break;
            co_await sleep_for(1ms);
        }
    });

    BOOST_TEST(report.idle == 1u);
}

BOOST_AUTO_TEST_CASE(idle_timeout_costs_a_message_no_timer) {
    options.idle_timeout = 1h;

    serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        std::uint64_t before = executor.stats().timers_fired;
        for (int i = 0; i < 1000; ++i)
            co_await ask(stream, "abc");
        BOOST_TEST(executor.stats().timers_fired == before);
    });
}

// ---- Draining ----

BOOST_AUTO_TEST_CASE(drain_ends_idle_connections_in_order) {
    std::optional<TcpStream> idle;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        idle = std::move(stream);
    });
    auto read_rest = [&]() -> Task<> {
        std::string rest = co_await read_to_end(*idle);
        BOOST_TEST(rest == "");
    };

    executor.run_until(read_rest());
    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(report.cancelled == 0u);
}

BOOST_AUTO_TEST_CASE(drain_finishes_what_has_arrived) {
    std::optional<TcpStream> client;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        co_await stream.write_all(bytes_of("last words"));
        client = std::move(stream);
    });
    auto read_rest = [&]() -> Task<> {
        std::string rest = co_await read_to_end(*client);
        BOOST_TEST(rest == "last words");
    };

    executor.run_until(read_rest());
    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(drain_before_the_beginning_ends_at_once) {
    control.drain();

    ServeReport report = executor.run_until(leat::serve(listener, echo, options, control));

    BOOST_TEST(report.accepted == 0u);
}

BOOST_AUTO_TEST_CASE(drain_can_be_asked_for_by_a_handler) {
    auto drain = [this](TcpStream peer) -> Task<> {
        control.drain();
        co_await echo(std::move(peer));
    };
    TcpStream client = TcpStream::start_connect(listener.local_address());

    ServeReport report = executor.run_until(leat::serve(listener, drain, options, control));

    BOOST_TEST(report.accepted == 1u);
    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(drain_cancels_at_its_deadline_what_does_not_end) {
    options.drain_timeout = 1ms;

    ServeReport report = serve_during(sleep_for_ever, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_connections(1);
    });

    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(stop_cancels_at_once) {
    options.drain_timeout = 1h;

    ServeReport report = serve_during(sleep_for_ever, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_connections(1);
        control.stop();
    });

    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(stop_hastens_a_drain) {
    options.drain_timeout = 1h;

    ServeReport report = serve_during(sleep_for_ever, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await wait_for_connections(1);
        control.drain();
        for (int i = 0; i < 10; ++i)
            co_await yield();
        BOOST_TEST(control.connections() == 1u);
        control.stop();
    });

    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(drain_closes_the_listener) {
    serve_during(echo, []() -> Task<> { co_return; });

    BOOST_TEST(!listener.is_open());
}

BOOST_AUTO_TEST_CASE(listener_stays_open_after_a_drain_if_that_is_asked_for) {
    options.keep_listener_open = true;
    serve_during(echo, []() -> Task<> { co_return; });

    BOOST_TEST(listener.is_open());
    ServeControl again;
    auto drain = [&again](TcpStream) -> Task<> {
        again.drain();
        co_return;
    };
    TcpStream client = TcpStream::start_connect(listener.local_address());
    ServeReport report = executor.run_until(leat::serve(listener, drain, options, again));
    BOOST_TEST(report.accepted == 1u);
}

BOOST_AUTO_TEST_CASE(listener_may_be_closed_by_who_drains) {
    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream stream = co_await connect();
        co_await ask(stream, "abc");
        control.drain();
        listener.close();
    });

    BOOST_TEST(report.finished == 1u);
}

// ---- Accept errors ----

BOOST_AUTO_TEST_CASE(closed_listener_ends_the_server_after_its_connections) {
    bool connection_has_ended = false;
    auto serve_and_close = [&] {
        serve_during(
            [&](TcpStream peer) -> Task<> {
                co_await echo(std::move(peer));
                connection_has_ended = true;
            },
            [&]() -> Task<> {
                TcpStream stream = co_await connect();
                co_await ask(stream, "abc");
                listener.close();
                co_await yield();
                std::string answer = co_await ask(stream, "still there");
                BOOST_TEST(answer == "still there");
            });
    };

    BOOST_TEST((error_of(serve_and_close) == errc::closed));

    BOOST_TEST(connection_has_ended);
}

// ---- Cancellation ----

BOOST_AUTO_TEST_CASE(cancelled_server_cancels_its_handlers) {
    bool handler_was_unwound = false;
    auto handler = [&](TcpStream peer) -> Task<> {
        struct Guard {
            bool& unwound;
            ~Guard() { unwound = unwinding(); }
        } guard{handler_was_unwound};
        co_await echo(std::move(peer));
    };
    TcpStream client = TcpStream::start_connect(listener.local_address());
    auto main = [&]() -> Task<> {
        auto body = [&](CancelScope& scope) -> Task<> {
            auto run_server = [&]() -> Task<> { co_await leat::serve(listener, handler, options, control); };
            auto stop = [&]() -> Task<> {
                co_await ask(client, "abc");
                scope.cancel();
            };
            co_await together(run_server, stop);
        };
        bool finished = co_await cancel_scope(body);
        BOOST_TEST(!finished);
    };

    executor.run_until(main());

    BOOST_TEST(handler_was_unwound);
    BOOST_TEST(control.connections() == 0u);
    BOOST_TEST(control.report().cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(server_can_be_cancelled_at_every_point_and_leaks_nothing) {
    std::set<NativeHandle> before = open_handles();

    sweep_all_endings([]() -> Task<> {
        TcpListener here = TcpListener::bind(Address::loopback(0));
        ServeControl end;
        ServeOptions defaults;
        auto run_server = [&]() -> Task<> { co_await leat::serve(here, echo, defaults, end); };
        auto ask_twice = [&]() -> Task<> {
            for (int i = 0; i < 2; ++i) {
                TcpStream stream = co_await TcpStream::connect(here.local_address());
                std::array<std::byte, 3> buffer{};
                co_await stream.write_all(buffer);
                co_await stream.read_exactly(buffer);
            }
            end.drain();
        };
        co_await together(run_server, ask_twice);
    });

    BOOST_TEST(open_handles() == before);
}

// ---- Without descriptors ----

BOOST_AUTO_TEST_CASE(without_descriptors_surplus_connections_are_closed_and_the_others_served, *limited) {
    constexpr std::size_t clients = 20;
    constexpr int spare = 10;
    std::deque<TcpStream> streams;
    for (std::size_t i = 0; i < clients; ++i) {
        streams.push_back(TcpStream::start_connect(listener.local_address()));
    }
    HandleShortage limit(spare);

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        std::size_t served = 0;
        std::size_t closed = 0;
        std::deque<TcpStream> alive;
        for (TcpStream& stream : streams) {
            co_await stream.write_all(bytes_of("abc"));
            std::array<std::byte, 3> buffer;
            Result<void> answer = co_await as_result(stream.read_exactly(buffer));
            if (answer) {
                ++served;
                alive.push_back(std::move(stream));
            } else {
                ++closed;
            }
        }
        // One of the spare descriptors is the reserve.
        BOOST_TEST(served == static_cast<std::size_t>(spare) - 1);
        BOOST_TEST(closed == clients - served);
        BOOST_TEST(control.report().shed == closed);

        // The closed clients' own descriptors are free now, and so there is room again.
        streams.clear();
        co_await wait_for_connections(served);
        TcpStream late = co_await connect();
        std::string answer = co_await ask(late, "abc");
        BOOST_TEST(answer == "abc");
        for (TcpStream& stream : alive) {
            std::string still = co_await ask(stream, "abc");
            BOOST_TEST(still == "abc");
        }
    });

    BOOST_TEST(report.accept_errors >= 1u);
    BOOST_TEST(report.accept_errors <= 20u);
    BOOST_TEST(notices.size() >= 1u);
    BOOST_TEST(notices.size() <= 3u);
}

BOOST_AUTO_TEST_CASE(accepting_goes_on_as_soon_as_a_connection_ends, *limited) {
    // So long that nothing but the end of a connection can end it.
    options.shortest_pause = 1h;
    options.longest_pause = 1h;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await ask(first, "abc");
        TcpStream second = TcpStream::start_connect(listener.local_address());
        {
            // Not even the number of the reserve may be used.
            HandleShortage none(HandleShortage::nothing);
            while (control.report().accept_errors < 2)
                co_await yield();
        }
        first.close();
        std::string answer = co_await ask(second, "abc");
        BOOST_TEST(answer == "abc");
    });

    BOOST_TEST(report.accepted == 2u);
    BOOST_TEST(report.accept_errors == 2u);
    BOOST_TEST(report.shed == 0u);
}

BOOST_AUTO_TEST_CASE(pauses_grow_while_accepting_fails, *limited) {
    options.shortest_pause = 1ms;
    options.longest_pause = 1h;

    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await ask(first, "abc");
        TcpStream second = TcpStream::start_connect(listener.local_address());
        TimePoint start = executor.now();
        {
            HandleShortage none(HandleShortage::nothing);
            while (control.report().accept_errors < 5)
                co_await yield();
        }
        // Two at once, and then after 1, 2 and 4 ms.
        BOOST_TEST((executor.now() - start >= 7ms));
        std::string answer = co_await ask(second, "abc");
        BOOST_TEST(answer == "abc");
    });

    BOOST_TEST(report.accept_errors <= 6u);
    BOOST_TEST(notices.size() == 1u);
}

BOOST_AUTO_TEST_CASE(notice_of_one_kind_holds_none_of_another_back, *limited) {
    options.on_failure = [](std::exception_ptr) { throw std::runtime_error("not even this works"); };
    auto fail = [](TcpStream) -> Task<> {
        co_await yield();
        throw std::runtime_error("as it may");
    };

    serve_during(fail, [&]() -> Task<> {
        TcpStream first = co_await connect();
        co_await wait_for_failures(1);
        TcpStream second = TcpStream::start_connect(listener.local_address());
        HandleShortage none(HandleShortage::nothing);
        while (control.report().accept_errors < 2)
            co_await yield();
    });

    BOOST_TEST_REQUIRE(notices.size() == 3u);
    BOOST_TEST(notices[2].ends_with("not reported: 1"), notices[2]);
    BOOST_TEST(notices[0].find("on_failure") != std::string::npos, notices[0]);
    BOOST_TEST(notices[1].find("accept") != std::string::npos, notices[1]);
}

BOOST_AUTO_TEST_CASE(exception_of_on_listening_is_what_serve_throws) {
    options.on_listening = [] { throw std::runtime_error("not yet"); };

    BOOST_CHECK_THROW(executor.run_until(leat::serve(listener, echo, options, control)), std::runtime_error);
    BOOST_TEST(listener.is_open());
    BOOST_TEST(control.report().accepted == 0u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::serve_test
