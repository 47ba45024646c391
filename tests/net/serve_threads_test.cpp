// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"
#include "support/loopback_pair.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"

#include <leat/net/drain.hpp>
#include <leat/net/serve_threads.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::serve_threads_test {
namespace {

constexpr std::size_t thread_count = 3;

/// Fixture: a server on several executors, and clients on an executor and a thread of their own.
struct ThreadedServer {
    // A drain does not wait for connections to be quiet.
    ThreadedServer() { options.drain_quiet = Duration::zero(); }

    /// Serves until `clients()`, a task, has ended; then drains.
    template <class Clients>
    ServeReport serve_during(Sharing sharing, ConnectionHandler handler, Clients clients) {
        SharedListener listener = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);
        address = listener.local_address();
        std::thread other([&] {
            client_executor.run_until(clients());
            control.drain();
        });
        ServeReport report = runtime.executor().run_until(
            serve(runtime, std::move(listener), std::move(handler), options, control));
        other.join();
        return report;
    }

    Task<TcpStream> connect() {
        TcpStream stream = co_await TcpStream::connect(address);
        co_return stream;
    }
    Task<std::string> ask(TcpStream& stream, std::string_view text) {
        co_await stream.write_all(bytes_of(text));
        std::string answer(text.size(), ' ');
        co_await stream.read_exactly(std::as_writable_bytes(std::span(answer)));
        co_return answer;
    }
    /// Where a handler runs.
    void note_thread() {
        std::lock_guard lock(mutex);
        threads.insert(std::this_thread::get_id());
    }

    std::size_t threads_seen() {
        std::lock_guard lock(mutex);
        return threads.size();
    }

    Runtime runtime{thread_count};
    Executor client_executor;
    ServeOptions options;
    ThreadedServeControl control;
    Address address = Address::loopback(0);
    std::mutex mutex;
    std::set<std::thread::id> threads;
};

/// The ways of sharing that this system has.
std::vector<Sharing> sharings() {
    if (SharedListener::best_sharing() == Sharing::by_system) return {Sharing::by_system, Sharing::by_hand};
    return {Sharing::by_hand};
}

/// Calls `body(fixture, sharing)` with a fixture for each.
template <class Body>
void for_each_sharing(Body body) {
    for (Sharing sharing : sharings()) {
        BOOST_TEST_CONTEXT("shared " << (sharing == Sharing::by_system ? "by the system" : "by hand")) {
            ThreadedServer server;
            body(server, sharing);
        }
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(serve_threads)

BOOST_AUTO_TEST_CASE(connections_are_served_on_all_threads_and_counted_together) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        constexpr int connections = 60;
        auto note_and_echo = [&server](TcpStream peer) -> Task<> {
            server.note_thread();
            co_await echo(std::move(peer));
        };
        ServeReport report = server.serve_during(sharing, note_and_echo, [&]() -> Task<> {
            std::deque<TcpStream> streams;
            for (int i = 0; i < connections; ++i) {
                TcpStream stream = co_await server.connect();
                std::string answer = co_await server.ask(stream, "number " + std::to_string(i));
                BOOST_TEST(answer == "number " + std::to_string(i));
                streams.push_back(std::move(stream));
            }
            ServeSnapshot seen = co_await server.control.look();
            BOOST_TEST(seen.connections == static_cast<std::size_t>(connections));
            BOOST_TEST(seen.report.accepted == static_cast<std::size_t>(connections));
        });

        BOOST_TEST(report.accepted == 60u);
        BOOST_TEST(report.finished == 60u);
        BOOST_TEST(report.failed + report.cancelled + report.shed + report.accept_errors == 0u);
        std::size_t bytes = 0;
        for (int i = 0; i < connections; ++i)
            bytes += 2 * ("number " + std::to_string(i)).size();
        BOOST_TEST(report.bytes == bytes);
        BOOST_TEST(server.threads_seen() == thread_count);
    });
}

BOOST_AUTO_TEST_CASE(by_hand_each_thread_gets_as_many) {
    ThreadedServer server;
    auto note_and_echo = [&server](TcpStream peer) -> Task<> {
        server.note_thread();
        co_await echo(std::move(peer));
    };
    server.serve_during(Sharing::by_hand, note_and_echo, [&]() -> Task<> {
        std::deque<TcpStream> streams;
        for (std::size_t i = 0; i < 4 * thread_count; ++i) {
            TcpStream stream = co_await server.connect();
            co_await server.ask(stream, "abc");
            streams.push_back(std::move(stream));
        }
        BOOST_TEST(server.threads_seen() == thread_count);
    });
}

BOOST_AUTO_TEST_CASE(limit_of_connections_is_for_all_threads_together) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        constexpr std::size_t limit = 4;
        std::atomic<std::size_t> at_once = 0;
        std::atomic<std::size_t> most = 0;
        server.options.max_connections = limit;
        auto count = [&](TcpStream peer) -> Task<> {
            std::size_t now = ++at_once;
            for (std::size_t seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
            }
            co_await echo(std::move(peer));
            --at_once;
        };
        ServeReport report = server.serve_during(sharing, count, [&]() -> Task<> {
            auto body = [&](TaskGroup& group) -> Task<> {
                auto one = [&]() -> Task<> {
                    TcpStream stream = co_await server.connect();
                    std::string answer = co_await server.ask(stream, "abc");
                    BOOST_TEST(answer == "abc");
                };
                for (int i = 0; i < 40; ++i)
                    group.spawn(one);
                co_return;
            };
            co_await task_group(body);
        });

        BOOST_TEST(report.accepted == 40u);
        BOOST_TEST(report.finished == 40u);
        BOOST_TEST(most <= limit);
    });
}

BOOST_AUTO_TEST_CASE(fewer_connections_than_threads_are_served_too) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        server.options.max_connections = 1;
        ServeReport report = server.serve_during(sharing, echo, [&]() -> Task<> {
            for (int i = 0; i < 10; ++i) {
                TcpStream stream = co_await server.connect();
                std::string answer = co_await server.ask(stream, "abc");
                BOOST_TEST(answer == "abc");
            }
        });
        BOOST_TEST(report.finished == 10u);
    });
}

BOOST_AUTO_TEST_CASE(drain_lets_handlers_on_all_threads_finish_what_has_arrived) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        std::deque<TcpStream> streams;
        auto clients = [&]() -> Task<> {
            for (int i = 0; i < 30; ++i) {
                TcpStream stream = co_await server.connect();
                co_await server.ask(stream, "abc");
                streams.push_back(std::move(stream));
            }
            for (TcpStream& stream : streams)
                co_await stream.write_all(bytes_of("last words"));
            // They are at the server before the drain is.
            server.control.drain();
            for (TcpStream& stream : streams) {
                std::string rest = co_await read_to_end(stream);
                BOOST_TEST(rest == "last words");
            }
        };
        ServeReport report = server.serve_during(sharing, echo, clients);

        BOOST_TEST(report.accepted == 30u);
        BOOST_TEST(report.finished == 30u);
    });
}

BOOST_AUTO_TEST_CASE(stop_cancels_handlers_on_all_threads) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        std::atomic<int> ended = 0;
        auto sleep = [&ended](TcpStream peer) -> Task<> {
            struct Note {
                explicit Note(std::atomic<int>& count) noexcept : count_(count) {}
                Note(const Note&) = delete;
                ~Note() { ++count_; }
                std::atomic<int>& count_;
            };
            Note note(ended);
            std::array<std::byte, 1> buffer;
            co_await peer.read_exactly(buffer);
            co_await peer.write_all(buffer);
            co_await sleep_for(1h);
        };
        std::deque<TcpStream> streams;
        ServeReport report = server.serve_during(sharing, sleep, [&]() -> Task<> {
            for (int i = 0; i < 12; ++i) {
                TcpStream stream = co_await server.connect();
                co_await server.ask(stream, "a");
                streams.push_back(std::move(stream));
            }
            server.control.stop();
        });

        BOOST_TEST(report.cancelled == 12u);
        BOOST_TEST(ended == 12);
    });
}

BOOST_AUTO_TEST_CASE(drain_before_the_beginning_ends_it_at_once) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        server.control.drain();
        ServeReport report = server.serve_during(sharing, echo, []() -> Task<> { co_return; });
        BOOST_TEST(report.accepted == 0u);
    });
}

BOOST_AUTO_TEST_CASE(control_of_one_server_is_refused_by_the_next) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        server.serve_during(sharing, echo, []() -> Task<> { co_return; });
        SharedListener listener = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);

        auto serve_again = [&] {
            server.runtime.executor().run_until(
                serve(server.runtime, std::move(listener), echo, server.options, server.control));
        };

        BOOST_CHECK_EXCEPTION(serve_again(), std::system_error,
                              [](const std::system_error& error) { return error.code() == errc::busy; });
    });
}

BOOST_AUTO_TEST_CASE(failing_handlers_end_their_own_connections_only) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        std::atomic<int> failures = 0;
        server.options.on_failure = [&failures](std::exception_ptr) { ++failures; };
        auto fail_on_x = [](TcpStream peer) -> Task<> {
            std::array<std::byte, 1> buffer;
            co_await peer.read_exactly(buffer);
            if (text_of(buffer) == "x") throw std::runtime_error("x is not liked");
            co_await peer.write_all(buffer);
        };
        ServeReport report = server.serve_during(sharing, fail_on_x, [&]() -> Task<> {
            for (int i = 0; i < 10; ++i) {
                TcpStream good = co_await server.connect();
                TcpStream bad = co_await server.connect();
                co_await bad.write_all(bytes_of("x"));
                std::string answer = co_await server.ask(good, "a");
                BOOST_TEST(answer == "a");
                std::string rest = co_await read_to_end(bad);
                BOOST_TEST(rest == "");
            }
        });

        BOOST_TEST(report.failed == 10u);
        BOOST_TEST(report.finished == 10u);
        BOOST_TEST(failures == 10);
    });
}

BOOST_AUTO_TEST_CASE(cancelled_server_cancels_all_handlers) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        SharedListener listener = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);
        server.address = listener.local_address();
        std::deque<TcpStream> streams;
        std::atomic<bool> is_connected = false;
        auto clients = [&]() -> Task<> {
            for (int i = 0; i < 12; ++i) {
                TcpStream stream = co_await server.connect();
                co_await server.ask(stream, "abc");
                streams.push_back(std::move(stream));
            }
            is_connected = true;
            for (TcpStream& stream : streams) {
                std::string rest = co_await read_to_end(stream);
                BOOST_TEST(rest == "");
            }
        };
        std::thread other([&] { server.client_executor.run_until(clients()); });
        auto body = [&](TaskGroup& group) -> Task<> {
            auto serving = [&]() -> Task<> {
                co_await serve(server.runtime, std::move(listener), echo, server.options, server.control);
            };
            group.spawn(serving);
            while (!is_connected)
                co_await sleep_for(100us);
            group.cancel();
        };
        auto all = [&]() -> Task<> { co_await task_group(body); };
        server.runtime.executor().run_until(all());
        other.join();
    });
}

// A listener that was shut down fails for good, where accept says so.
const boost::unit_test::label shuts_listeners("posix");

BOOST_AUTO_TEST_CASE(thread_that_can_accept_no_more_drains_the_others_before_its_own_connections_end,
                     *shuts_listeners) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        const std::set<NativeHandle> before = open_handles();
        SharedListener listener = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);
        server.address = listener.local_address();
        // That of executor 0: the others' are made later.
        NativeHandle first_listener = invalid_handle;
        for (NativeHandle handle : open_handles())
            if (!before.contains(handle)) first_listener = handle;
        const std::thread::id first_thread = std::this_thread::get_id();
        server.options.drain_timeout = 1h;
        std::atomic<bool> others_have_ended = false;
        auto handler = [&](TcpStream peer) -> Task<> {
            const bool is_on_first = std::this_thread::get_id() == first_thread;
            co_await peer.write_all(bytes_of(is_on_first ? "first" : "other"));
            if (!is_on_first) {
                co_await echo(std::move(peer));
                co_return;
            }
            while (!others_have_ended)
                co_await sleep_for(100us);
        };
        auto clients = [&]() -> Task<> {
            std::deque<TcpStream> on_first;
            std::deque<TcpStream> on_others;
            while (on_first.empty() || on_others.empty()) {
                TcpStream stream = co_await server.connect();
                std::array<std::byte, 5> where;
                co_await stream.read_exactly(where);
                (text_of(where) == "first" ? on_first : on_others).push_back(std::move(stream));
            }
            shut(first_listener, Direction::both);
            for (TcpStream& stream : on_others) {
                std::string rest = co_await read_to_end(stream);
                BOOST_TEST(rest == "");
            }
            others_have_ended = true;
        };
        std::thread other([&] { server.client_executor.run_until(clients()); });

        auto run_server = [&] {
            server.runtime.executor().run_until(
                serve(server.runtime, std::move(listener), handler, server.options, server.control));
        };

        const std::error_code error = error_of(run_server);
        other.join();

        BOOST_TEST((error == std::errc::invalid_argument));
    });
}

BOOST_AUTO_TEST_CASE(port_that_another_server_has_is_refused) {
    for (Sharing sharing : sharings()) {
        SharedListener first = SharedListener::bind(Address::loopback(0), ListenOptions(), sharing);
        BOOST_CHECK_EXCEPTION(
            SharedListener::bind(first.local_address(), ListenOptions(), sharing), std::system_error,
            [](const std::system_error& error) { return error.code() == std::errc::address_in_use; });
    }
}

BOOST_AUTO_TEST_CASE(backlog_of_three_hundred_is_accepted_and_answered_in_a_drain) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        constexpr std::size_t count = 300;
        server.options.drain_quiet = 1h;
        auto answer = [](TcpStream peer) -> Task<> {
            std::array<std::byte, 3> request;
            co_await peer.read_exactly(request);
            co_await peer.write_all(request);
        };
        std::deque<TcpStream> clients;
        std::size_t answered = 0;
        // All of them wait before anybody accepts.
        server.options.on_listening = [&] {
            for (std::size_t i = 0; i < count; ++i) {
                clients.push_back(TcpStream::start_connect(server.address));
                await_writable(clients.back().native_handle());
                write_text(clients.back().native_handle(), "abc");
            }
            server.control.drain();
        };
        ServeReport report = server.serve_during(sharing, answer, [&]() -> Task<> {
            while (!server.control.is_draining())
                co_await sleep_for(1ms);
            for (TcpStream& client : clients) {
                Result<std::string> text = co_await as_result(read_to_end(client));
                if (text && *text == "abc") ++answered;
            }
        });

        BOOST_TEST(answered == count);
        BOOST_TEST(report.accepted == count);
        BOOST_TEST(report.finished == count);
    });
}

BOOST_AUTO_TEST_CASE(connections_that_linger_in_a_drain_count_against_the_limit) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        constexpr std::size_t count = 30;
        constexpr std::size_t answer_size = 60'000;
        server.options.max_connections = 2 * thread_count;
        server.options.drain_timeout = 1min;
        auto answer = [](TcpStream peer) -> Task<> {
            std::array<std::byte, 1> request;
            co_await peer.read_exactly(request);
            const std::vector<std::byte> bytes(answer_size);
            co_await peer.write_all(bytes);
        };
        std::deque<TcpStream> clients;
        std::size_t handles_before = 0;
        // They read nothing, so that what they are sent is not acknowledged.
        server.options.on_listening = [&] {
            for (std::size_t i = 0; i < count; ++i) {
                clients.push_back(TcpStream::start_connect(server.address));
                clients.back().set_receive_buffer_size(2048);
                await_writable(clients.back().native_handle());
                write_text(clients.back().native_handle(), "a");
            }
            handles_before = open_handles().size();
            server.control.drain();
        };
        std::size_t most_handles = 0;
        std::size_t answered = 0;
        ServeReport report = server.serve_during(sharing, answer, [&]() -> Task<> {
            while (!server.control.is_draining())
                co_await sleep_for(1ms);
            // Until all who can be accepted are, and have been answered.
            for (int sample = 0; sample < 30; ++sample) {
                co_await sleep_for(2ms);
                most_handles = std::max(most_handles, open_handles().size());
            }
            auto read = [&](TcpStream& client) -> Task<> {
                client.set_receive_buffer_size(1'000'000);
                Result<std::string> text = co_await as_result(read_to_end(client));
                if (text && text->size() == answer_size) ++answered;
            };
            auto read_all = [&](TaskGroup& group) -> Task<> {
                for (TcpStream& client : clients)
                    group.spawn(read, std::ref(client));
                co_return;
            };
            co_await task_group(read_all);
        });

        BOOST_TEST(answered == count);
        BOOST_TEST(report.finished == count);
        // With a reserve, and one that is just being accepted on each thread.
        BOOST_TEST(most_handles <= handles_before + server.options.max_connections + 2 * thread_count + 2);
    });
}

BOOST_AUTO_TEST_CASE(lame_duck_accepts_on_all_threads) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        // So long that only `stop` ends it.
        server.options.lame_duck = 1h;
        ServeReport report = server.serve_during(sharing, echo, [&]() -> Task<> {
            BOOST_TEST(!server.control.is_draining());
            server.control.drain();
            BOOST_TEST(server.control.is_draining());
            for (int i = 0; i < 30; ++i) {
                TcpStream stream = co_await server.connect();
                std::string answer = co_await server.ask(stream, "abc");
                BOOST_TEST(answer == "abc");
            }
            server.control.stop();
        });

        BOOST_TEST(report.accepted == 30u);
    });
}

BOOST_AUTO_TEST_CASE(handlers_on_all_threads_learn_of_a_drain) {
    for_each_sharing([](ThreadedServer& server, Sharing sharing) {
        auto say_goodbye = [](TcpStream peer) -> Task<> {
            std::array<std::byte, 1> byte;
            co_await peer.read_exactly(byte);
            co_await peer.write_all(byte);
            co_await drain_requested();
            co_await peer.write_all(bytes_of("bye"));
        };
        std::deque<TcpStream> clients;
        ServeReport report = server.serve_during(sharing, say_goodbye, [&]() -> Task<> {
            for (std::size_t i = 0; i < 8 * thread_count; ++i) {
                TcpStream stream = co_await server.connect();
                co_await server.ask(stream, "a");
                clients.push_back(std::move(stream));
            }
            server.control.drain();
            for (TcpStream& client : clients) {
                std::string rest = co_await read_to_end(client);
                BOOST_TEST(rest == "bye");
            }
        });

        BOOST_TEST(report.finished == 8 * thread_count);
    });
}

// The copies of the handler fail one after the other: its part of the server does not begin. The part that
// accepts then serves all.
BOOST_AUTO_TEST_CASE(by_hand_a_part_that_does_not_begin_costs_no_connection) {
    struct BadCopy {
        explicit BadCopy(int& copies) noexcept : copies_(&copies) {}
        BadCopy(const BadCopy& other) : copies_(other.copies_) {
            if (--*copies_ == 0) throw std::runtime_error("no copy");
        }
        BadCopy(BadCopy&&) noexcept = default;
        ~BadCopy() = default;
        BadCopy& operator=(const BadCopy&) = delete;
        Task<> operator()(TcpStream peer) const { return echo(std::move(peer)); }
        int* copies_;
    };
    constexpr std::size_t count = 20;
    std::set<std::size_t> outcomes;
    bool has_failed = true;
    for (int at = 1; has_failed; ++at) {
        ThreadedServer server;
        server.options.drain_quiet = 1h;
        int copies = 0;
        std::deque<TcpStream> clients;
        server.options.on_listening = [&] {
            for (std::size_t i = 0; i < count; ++i) {
                clients.push_back(TcpStream::start_connect(server.address));
                await_writable(clients.back().native_handle());
                write_text(clients.back().native_handle(), "abc");
                clients.back().shutdown(Half::write);
            }
            copies = at;
            // Without a failure nothing else would end it.
            server.control.drain();
        };
        ConnectionHandler handler{BadCopy(copies)};
        SharedListener listener =
            SharedListener::bind(Address::loopback(0), ListenOptions(), Sharing::by_hand);
        server.address = listener.local_address();
        has_failed = false;
        try {
            server.runtime.executor().run_until(serve(server.runtime, std::move(listener), std::move(handler),
                                                      server.options, server.control));
        } catch (const std::runtime_error&) {
            has_failed = true;
        }
        std::size_t answered = 0;
        auto read_answers = [&]() -> Task<> {
            for (TcpStream& client : clients) {
                Result<std::string> text = co_await as_result(read_to_end(client));
                if (text && *text == "abc") ++answered;
            }
        };
        server.client_executor.run_until(read_answers());
        BOOST_TEST_CONTEXT("copy " << at) {
            BOOST_TEST((answered == count || (has_failed && answered == 0)));
        }
        if (has_failed) outcomes.insert(answered);
    }

    // A failure of the part that accepts, and of another one.
    BOOST_TEST((outcomes == std::set<std::size_t>{0, count}));
}

// Connections come and go while the server drains, as chance has it: each that was served has had its whole answer.
BOOST_AUTO_TEST_CASE(drain_amid_connections_that_come_cuts_no_answer_short) {
    const std::size_t rounds = stress_iterations(is_sanitized ? 5 : 30);
    for (std::size_t round = 0; round < rounds; ++round) {
        for_each_sharing([round](ThreadedServer& server, Sharing sharing) {
            const std::size_t drain_at = 5 + round % 10;
            std::size_t answers = 0;
            ServeReport report = server.serve_during(sharing, echo, [&]() -> Task<> {
                for (std::size_t i = 0;; ++i) {
                    if (i == drain_at) server.control.drain();
                    // In a drain the system ignores a connect; the peer would try again only after a second.
                    const Duration patience = i < drain_at ? Duration(1min) : Duration(100ms);
                    Result<TcpStream> stream = co_await as_result(timeout(patience, server.connect()));
                    if (!stream) co_return;
                    Result<std::string> answer = co_await as_result(server.ask(*stream, "abc"));
                    if (!answer) co_return;
                    BOOST_TEST(*answer == "abc");
                    ++answers;
                }
            });
            BOOST_TEST(answers >= drain_at);
            BOOST_TEST(report.finished >= answers);
            BOOST_TEST(report.cancelled == 0u);
        });
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::serve_threads_test
