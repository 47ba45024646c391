// SPDX-License-Identifier: BSL-1.0
// What a drain finishes, and when it ends what does not end by itself.
#include "server.hpp"
#include "support/allocations.hpp"
#include "support/loopback_pair.hpp"
#include "support/skip.hpp"
#include "support/system.hpp"

#include <leat/net/drain.hpp>
#include <leat/net/serve.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::drain_test {
namespace {

constexpr std::size_t request_size = 10;

/// Answers requests of ten bytes, one after the other.
Task<> answer_requests(TcpStream peer) {
    std::array<std::byte, request_size> request;
    for (;;) {
        std::size_t first = co_await peer.read(request, until_drain);
        if (first == 0) co_return;
        co_await peer.read_exactly(std::span(request).subspan(first));
        co_await peer.write_all(request);
    }
}

/// Answers one request, as a server of a protocol without keep-alive.
Task<> answer_one(TcpStream peer) {
    std::array<std::byte, request_size> request;
    co_await peer.read_exactly(request);
    co_await peer.write_all(request);
}

/// Fixture: a server that drains with a second of quiet, in a time that only the test moves.
struct DrainingServer : ServerInVirtualTime {
    DrainingServer() {
        options.drain_quiet = 1s;
        options.drain_timeout = 1h;
    }

    /// So that the server sees what has come and what is due. Without any operation in flight, the loop polls
    /// no more.
    Task<> let_it_run() {
        const std::uint64_t polls = executor.stats().polls;
        for (int yields = 0; yields < 2000 && executor.stats().polls < polls + 3; ++yields)
            co_await yield();
    }

    /// Moves the time in small steps, each of which the server sees.
    Task<> pass(Duration time) {
        constexpr int steps = 100;
        for (int step = 0; step < steps; ++step) {
            clock.advance(time / steps);
            co_await let_it_run();
        }
        co_await let_it_run();
    }

    Task<> pass_until_end() {
        while (control.connections() != 0)
            co_await pass(1s);
    }

    Task<TcpStream> connect_and_wait() {
        const std::uint64_t before = control.report().accepted;
        TcpStream stream = co_await connect();
        while (control.report().accepted == before)
            co_await yield();
        co_return stream;
    }

    /// How many clients that have sent a request before anybody accepts are answered, if the drain begins
    /// then.
    std::size_t answered_of_backlog(std::size_t count) {
        std::deque<TcpStream> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(TcpStream::start_connect(listener.local_address()));
            await_writable(clients.back().native_handle());
            write_text(clients.back().native_handle(), "0123456789");
        }
        std::size_t answered = 0;
        serve_during(answer_one, [&]() -> Task<> {
            control.drain();
            for (TcpStream& client : clients) {
                Result<std::string> answer = co_await as_result(read_to_end(client));
                if (answer && *answer == "0123456789") ++answered;
            }
        });
        return answered;
    }
};

bool is_refused(const Address& address) {
    TcpStream stream = TcpStream::start_connect(address);
    await_writable(stream.native_handle());
    return stream.take_error() == std::errc::connection_refused;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(drain, DrainingServer)

// ---- What has begun ----

BOOST_AUTO_TEST_CASE(request_that_has_half_arrived_is_finished) {
    ServeReport report = serve_during(answer_requests, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await client.write_all(bytes_of("01234"));
        co_await let_it_run();
        control.drain();
        co_await pass(900ms);
        co_await client.write_all(bytes_of("56789"));
        std::string answer = co_await read_to_end(client);
        BOOST_TEST(answer == "0123456789");
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(connection_that_has_just_been_accepted_is_served) {
    ServeReport report = serve_during(answer_one, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await pass(900ms);
        std::string answer = co_await ask(client, "0123456789");
        BOOST_TEST(answer == "0123456789");
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(answer_whose_making_takes_longer_than_the_quiet_is_sent) {
    auto think = [](TcpStream peer) -> Task<> {
        std::array<std::byte, request_size> request;
        co_await peer.read_exactly(request);
        co_await sleep_for(30s);
        co_await peer.write_all(request);
    };
    ServeReport report = serve_during(think, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await client.write_all(bytes_of("0123456789"));
        co_await let_it_run();
        control.drain();
        co_await pass(60s);
        std::string answer = co_await read_to_end(client);
        BOOST_TEST(answer == "0123456789");
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(backlog_of_three_hundred_is_accepted_and_answered) {
    constexpr std::size_t clients = 300;

    BOOST_TEST(answered_of_backlog(clients) == clients);
    BOOST_TEST(control.report().accepted == clients);
    BOOST_TEST(control.report().finished == clients);
}

BOOST_AUTO_TEST_CASE(backlog_waits_for_room_within_the_limit_of_connections) {
    options.max_connections = 2;

    BOOST_TEST(answered_of_backlog(20) == 20u);
}

BOOST_AUTO_TEST_CASE(backlog_that_waits_for_room_is_given_up_at_the_deadline) {
    options.max_connections = 1;
    options.drain_timeout = 5s;
    auto wait = [](TcpStream) -> Task<> { co_await sleep_for(1h); };
    ServeReport report = serve_during(wait, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        TcpStream waiting = co_await connect();
        control.drain();
        co_await pass(4s);
        BOOST_TEST(control.connections() == 1u);
        BOOST_TEST(listener.is_open());
        co_await pass(2s);
    });

    BOOST_TEST(report.accepted == 1u);
    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(server_that_is_full_gives_the_port_up_if_nobody_waits_there) {
    options.max_connections = 1;
    serve_during(answer_one, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await let_it_run();
        BOOST_TEST(control.connections() == 1u);
        BOOST_TEST(!listener.is_open());
        co_await ask(client, "0123456789");
    });
}

BOOST_AUTO_TEST_CASE(port_is_free_once_the_backlog_is_accepted) {
    const Address address = listener.local_address();
    serve_during(answer_one, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await let_it_run();
        BOOST_TEST(is_refused(address));
        TcpListener successor = TcpListener::bind(address);
        co_await ask(client, "0123456789");
    });
}

BOOST_AUTO_TEST_CASE(listener_that_is_kept_open_keeps_its_backlog) {
    options.keep_listener_open = true;
    std::optional<TcpStream> waiting;
    ServeReport report = serve_during(answer_one, [&]() -> Task<> {
        control.drain();
        TcpStream client = co_await connect();
        waiting = std::move(client);
    });

    BOOST_TEST(report.accepted == 0u);
    await_readable(listener.native_handle());
    BOOST_TEST(listener.try_accept().has_value());
}

// The system counts it as accepted once its first bytes come (TCP_DEFER_ACCEPT): until then its handshake is
// under way.
BOOST_AUTO_TEST_CASE(handshake_that_is_under_way_as_the_drain_begins_is_finished,
                     *boost::unit_test::label("posix")) {
    if (!defer_accept(listener.native_handle())) return skip("sockets", "no handshake can be held up");
    options.max_connections = 1;
    auto begin = [&]() {
        TcpStream client = TcpStream::start_connect(listener.local_address());
        await_writable(client.native_handle());
        return client;
    };
    TcpStream first = begin();
    TcpStream second = begin();
    TcpStream half_open = begin();
    write_text(first.native_handle(), "01234");
    write_text(second.native_handle(), "01234");
    ServeReport report = serve_during(answer_one, [&]() -> Task<> {
        co_await wait_for_connections(1);
        control.drain();
        co_await let_it_run();
        // A new one does not get through. Those that are on their way do.
        TcpStream late = TcpStream::start_connect(listener.local_address());
        write_text(half_open.native_handle(), "01234");
        for (TcpStream* client : {&first, &second, &half_open}) {
            co_await client->write_all(bytes_of("56789"));
            std::string answer = co_await read_to_end(*client);
            BOOST_TEST(answer == "0123456789");
        }
        BOOST_TEST(!is_writable(late.native_handle()));
    });

    BOOST_TEST(report.accepted == 3u);
}

BOOST_AUTO_TEST_CASE(handshake_that_ends_some_time_after_the_backlog_is_empty_is_served,
                     *boost::unit_test::label("posix")) {
    if (!defer_accept(listener.native_handle())) return skip("sockets", "no handshake can be held up");
    TcpStream client = TcpStream::start_connect(listener.local_address());
    await_writable(client.native_handle());
    ServeReport report = serve_during(answer_one, [&]() -> Task<> {
        control.drain();
        co_await pass(500ms);
        BOOST_TEST(listener.is_open());

        co_await client.write_all(bytes_of("0123456789"));
        co_await pass(100ms);
        std::string answer = co_await read_to_end(client);
        BOOST_TEST(answer == "0123456789");
    });

    BOOST_TEST(report.accepted == 1u);
}

BOOST_AUTO_TEST_CASE(handshake_that_does_not_end_holds_the_port_for_a_second,
                     *boost::unit_test::label("posix")) {
    if (!defer_accept(listener.native_handle())) return skip("sockets", "no handshake can be held up");
    TcpStream client = TcpStream::start_connect(listener.local_address());
    await_writable(client.native_handle());
    serve_during(answer_one, [&]() -> Task<> {
        control.drain();
        co_await pass(900ms);
        BOOST_TEST(listener.is_open());
        co_await pass(200ms);
        BOOST_TEST(!listener.is_open());
    });
}

// ---- Quiet ----

BOOST_AUTO_TEST_CASE(read_until_drain_ends_at_once) {
    ServeReport report = serve_during(answer_requests, [&]() -> Task<> {
        TcpStream client = co_await connect();
        co_await ask(client, "0123456789");
        const TimePoint start = clock.now();
        control.drain();
        std::string rest = co_await read_to_end(client);
        BOOST_TEST(rest == "");
        BOOST_TEST((clock.now() == start));
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(read_until_drain_of_a_fresh_connection_waits_for_its_first_request) {
    ServeReport report = serve_during(answer_requests, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await pass(500ms);
        std::string answer = co_await ask(client, "0123456789");
        BOOST_TEST(answer == "0123456789");
        const TimePoint answered = clock.now();
        std::optional<Duration> ended;
        auto wait = [&]() -> Task<> {
            std::string rest = co_await read_to_end(client);
            BOOST_TEST(rest == "");
            ended = clock.now() - answered;
        };
        auto move_time = [&]() -> Task<> { co_await pass(2s); };
        co_await together(wait, move_time);

        // Not after a second of quiet, since it has had its answer.
        BOOST_TEST_REQUIRE(ended.has_value());
        BOOST_TEST((*ended < 1s));
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(stop_cancels_reads_until_drain_rather_than_ending_them) {
    bool went_on = false;
    auto handler = [&](TcpStream peer) -> Task<> {
        std::array<std::byte, 1> byte;
        co_await peer.read_exactly(byte);
        std::size_t received = co_await peer.read(byte, until_drain);
        went_on = received == 0;
    };
    ServeReport report = serve_during(handler, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await client.write_all(bytes_of("a"));
        co_await let_it_run();
        control.stop();
        co_await let_it_run();
    });

    BOOST_TEST(!went_on);
    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(quiet_connection_reads_the_end_never_early_and_at_most_a_quarter_late) {
    serve_during(echo, [&]() -> Task<> {
        TcpStream client = co_await connect();
        co_await ask(client, "abc");
        const TimePoint start = clock.now();
        control.drain();
        std::optional<Duration> ended;
        auto wait = [&]() -> Task<> {
            std::string rest = co_await read_to_end(client);
            BOOST_TEST(rest == "");
            ended = clock.now() - start;
        };
        auto move_time = [&]() -> Task<> { co_await pass(2s); };
        co_await together(wait, move_time);

        BOOST_TEST_REQUIRE(ended.has_value());
        BOOST_TEST((*ended >= 1s));
        // Steps of the time add up.
        BOOST_TEST((*ended <= 1250ms + 5 * 20ms));
    });
}

BOOST_AUTO_TEST_CASE(connection_that_moves_a_byte_now_and_then_goes_on) {
    ServeReport report = serve_during(echo, [&]() -> Task<> {
        TcpStream client = co_await connect();
        co_await ask(client, "abc");
        control.drain();
        for (int i = 0; i < 20; ++i) {
            co_await pass(950ms);
            std::string answer = co_await ask(client, "a");
            BOOST_TEST(answer == "a");
        }
        co_await pass_until_end();
    });

    BOOST_TEST(report.finished == 1u);
    BOOST_TEST(report.cancelled == 0u);
}

BOOST_AUTO_TEST_CASE(quiet_of_zero_ends_reads_at_once) {
    options.drain_quiet = 0s;
    serve_during(echo, [&]() -> Task<> {
        TcpStream client = co_await connect();
        co_await ask(client, "abc");
        const TimePoint start = clock.now();
        control.drain();
        std::string rest = co_await read_to_end(client);
        BOOST_TEST(rest == "");
        BOOST_TEST((clock.now() == start));
    });
}

BOOST_AUTO_TEST_CASE(idle_timeout_goes_on_in_a_drain) {
    options.idle_timeout = 10s;
    auto write_for_ever = [](TcpStream peer) -> Task<> {
        std::vector<std::byte> bytes = pattern(20'000'000);
        co_await peer.write_all(bytes);
    };
    ServeReport report = serve_during(write_for_ever, [&]() -> Task<> {
        TcpStream deaf = co_await connect_and_wait();
        co_await let_it_run();
        control.drain();
        co_await pass(20s);
        BOOST_TEST(control.connections() == 0u);
    });

    BOOST_TEST(report.idle == 1u);
    BOOST_TEST(report.failed == 1u);
}

// ---- The lame duck ----

BOOST_AUTO_TEST_CASE(lame_duck_accepts_and_serves_as_before) {
    options.lame_duck = 10s;
    ServeReport report = serve_during(answer_requests, [&]() -> Task<> {
        TcpStream client = co_await connect();
        co_await ask(client, "0123456789");
        control.drain();
        BOOST_TEST(control.is_draining());
        co_await pass(9s);

        TcpStream late = co_await connect();
        std::string answer = co_await ask(late, "0123456789");
        BOOST_TEST(answer == "0123456789");
        std::string again = co_await ask(client, "9876543210");
        BOOST_TEST(again == "9876543210");
        BOOST_TEST(control.connections() == 2u);

        co_await pass(2s);
        BOOST_TEST(control.connections() == 0u);
        BOOST_TEST(!listener.is_open());
    });

    BOOST_TEST(report.finished == 2u);
}

BOOST_AUTO_TEST_CASE(drain_timeout_counts_from_the_end_of_the_lame_duck) {
    options.lame_duck = 10s;
    options.drain_timeout = 5s;
    auto wait = [](TcpStream) -> Task<> { co_await sleep_for(1h); };
    ServeReport report = serve_during(wait, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await pass(14s);
        BOOST_TEST(control.connections() == 1u);
        co_await pass(2s);
        BOOST_TEST(control.connections() == 0u);
    });

    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(stop_ends_a_lame_duck_at_once) {
    options.lame_duck = 10s;
    ServeReport report = serve_during(answer_one, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        const TimePoint start = clock.now();
        control.drain();
        co_await let_it_run();
        BOOST_TEST(control.connections() == 1u);
        control.stop();
        co_await wait_for_connections(0);
        BOOST_TEST((clock.now() == start));
    });

    BOOST_TEST(report.cancelled == 1u);
}

BOOST_AUTO_TEST_CASE(listener_that_is_closed_in_the_lame_duck_costs_nothing) {
    options.lame_duck = 10s;
    serve_during(answer_one, [&]() -> Task<> {
        control.drain();
        listener.close();
        co_await let_it_run();

        const std::uint64_t before = executor.stats().resumes;
        constexpr std::uint64_t yields = 100;
        for (std::uint64_t i = 0; i < yields; ++i)
            co_await yield();
        BOOST_TEST(executor.stats().resumes - before <= yields + 5);

        co_await pass(11s);
    });
}

BOOST_AUTO_TEST_CASE(at_most_four_of_those_that_remain_are_named) {
    options.drain_timeout = 5s;
    auto wait = [](TcpStream) -> Task<> { co_await sleep_for(1h); };
    for (std::size_t count : {4u, 5u}) {
        notices.clear();
        ServeControl end;
        TcpListener here = TcpListener::bind(Address::loopback(0));
        auto run_server = [&]() -> Task<> { co_await leat::serve(here, wait, options, end); };
        auto meanwhile = [&]() -> Task<> {
            std::deque<TcpStream> clients;
            for (std::size_t i = 0; i < count; ++i) {
                TcpStream client = co_await TcpStream::connect(here.local_address());
                clients.push_back(std::move(client));
            }
            while (end.connections() != count)
                co_await let_it_run();
            end.drain();
            co_await pass(6s);
        };
        auto all = [&]() -> Task<> { co_await together(run_server, meanwhile); };
        executor.run_until(all());

        BOOST_TEST_REQUIRE(notices.size() == 1u);
        BOOST_TEST(notices[0].find("cancels " + std::to_string(count)) != std::string::npos, notices[0]);
        BOOST_TEST((notices[0].find("…") != std::string::npos) == (count == 5), notices[0]);
    }
}

BOOST_AUTO_TEST_CASE(what_remains_at_the_deadline_is_named) {
    options.drain_timeout = 5s;
    std::string name;
    auto wait = [](TcpStream) -> Task<> { co_await sleep_for(1h); };
    serve_during(wait, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        name = to_string(client.local_address());
        control.drain();
        co_await pass(6s);
    });

    BOOST_TEST_REQUIRE(notices.size() == 1u);
    BOOST_TEST(notices[0].find("cancels 1 connection (" + name + ")") != std::string::npos, notices[0]);
}

BOOST_AUTO_TEST_CASE(stop_names_nobody) {
    auto wait = [](TcpStream) -> Task<> { co_await sleep_for(1h); };
    serve_during(wait, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.stop();
    });

    BOOST_TEST(notices.empty());
}

// ---- What handlers learn ----

BOOST_AUTO_TEST_CASE(handler_finds_that_its_server_drains_wherever_it_asks) {
    options.lame_duck = 10s;
    std::vector<bool> seen;
    auto ask_everywhere = [&]() -> Task<> {
        bool here = co_await is_draining();
        auto ask = []() -> Task<bool> {
            bool draining = co_await is_draining();
            co_return draining;
        };
        bool shielded = co_await shield(ask());
        auto in_group = [&](TaskGroup&) -> Task<bool> { return ask(); };
        bool grouped = co_await task_group(in_group);
        seen.insert(seen.end(), {here, shielded, grouped});
    };
    auto handler = [&](TcpStream peer) -> Task<> {
        co_await ask_everywhere();
        std::array<std::byte, 1> byte;
        co_await peer.read_exactly(byte);
        co_await ask_everywhere();
    };
    serve_during(handler, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await let_it_run();
        control.drain();
        bool outside = co_await is_draining();
        BOOST_TEST(!outside);
        co_await client.write_all(bytes_of("a"));
        co_await wait_for_connections(0);
        co_await pass(11s);
    });

    BOOST_TEST(seen == (std::vector<bool>{false, false, false, true, true, true}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(handler_may_begin_the_drain_as_it_is_called_and_is_served_to_its_end) {
    const Address address = listener.local_address();
    auto drain_and_answer = [&](TcpStream peer) {
        control.drain();
        return answer_one(std::move(peer));
    };
    ServeReport report = serve_during(drain_and_answer, [&]() -> Task<> {
        co_await pass(10s);
        TcpStream client = co_await connect_and_wait();
        co_await pass(900ms);
        co_await client.write_all(bytes_of("0123456789"));
        std::string answer = co_await read_to_end(client);
        BOOST_TEST(answer == "0123456789");
        BOOST_TEST(is_refused(address));
    });

    BOOST_TEST(report.finished == 1u);
}

BOOST_AUTO_TEST_CASE(tasks_that_wait_for_a_drain_go_on_in_turn_as_it_begins) {
    options.lame_duck = 10s;
    std::vector<int> order;
    auto handler = [&](TcpStream) -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            auto wait = [&](int number) -> Task<> {
                co_await drain_requested();
                order.push_back(number);
            };
            for (int number = 1; number <= 3; ++number)
                group.spawn(wait, number);
            co_return;
        };
        co_await task_group(body);
        // It returns at once from then on.
        co_await drain_requested();
        order.push_back(4);
    };
    serve_during(handler, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await let_it_run();
        BOOST_TEST(order.empty());
        const TimePoint start = clock.now();
        control.drain();
        co_await wait_for_connections(0);
        BOOST_TEST((clock.now() == start));
        co_await pass(11s);
    });

    BOOST_TEST(order == (std::vector<int>{1, 2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(waiting_for_a_drain_outside_a_server_ends_by_cancellation_only) {
    serve_during(answer_one, [&]() -> Task<> {
        control.drain();
        auto wait = [](CancelScope&) -> Task<> { co_await drain_requested(); };
        auto body = [&](CancelScope& scope) -> Task<> {
            auto wait_here = [&]() -> Task<> {
                bool came = co_await cancel_scope(wait);
                BOOST_TEST(!came);
            };
            auto end = [&]() -> Task<> {
                co_await let_it_run();
                scope.cancel();
            };
            co_await together(wait_here, end);
        };
        bool came = co_await cancel_scope(body);
        BOOST_TEST(!came);
    });
}

BOOST_AUTO_TEST_CASE(stream_is_draining_after_the_lame_duck) {
    options.lame_duck = 10s;
    std::vector<bool> seen;
    auto handler = [&](TcpStream peer) -> Task<> {
        std::array<std::byte, 1> byte;
        for (;;) {
            std::size_t received = co_await peer.read(byte, until_drain);
            seen.push_back(peer.is_draining());
            if (received == 0) co_return;
        }
    };
    serve_during(handler, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        control.drain();
        co_await client.write_all(bytes_of("a"));
        co_await let_it_run();
        co_await pass(11s);
    });

    BOOST_TEST(seen == (std::vector<bool>{false, true}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(waiting_for_a_drain_allocates_nothing) {
    std::size_t allocations = 1;
    auto handler = [&](TcpStream) -> Task<> {
        const std::size_t before = allocations_made();
        co_await drain_requested();
        bool draining = co_await is_draining();
        BOOST_TEST(draining);
        allocations = allocations_made() - before;
    };
    serve_during(handler, [&]() -> Task<> {
        TcpStream client = co_await connect_and_wait();
        co_await let_it_run();
        // Nobody else runs in between.
        control.drain();
        co_await wait_for_connections(0);
    });

    BOOST_TEST(allocations == 0u);
}

BOOST_AUTO_TEST_CASE(on_listening_is_called_before_anything_is_accepted) {
    int calls = 0;
    options.on_listening = [&] {
        ++calls;
        BOOST_TEST(control.report().accepted == 0u);
        BOOST_TEST(!is_refused(listener.local_address()));
    };
    serve_during(echo, [&]() -> Task<> { co_await connect_and_wait(); });

    BOOST_TEST(calls == 1);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::drain_test
