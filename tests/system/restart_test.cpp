// SPDX-License-Identifier: BSL-1.0
// Servers that are asked to end while clients come: whoever has been let in is served. In real time, since
// the balancer's checks are; so the quiet that a drain waits for is short.
#include "client.hpp"
#include "deadline.hpp"
#include "haproxy.hpp"
#include "server_process.hpp"
#include "support/skip.hpp"

#include <boost/test/unit_test.hpp>

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace leat::test::restart_test {
namespace {

/// Clients that send one request per connection, again and again, a thread each: about a thousand requests
/// per second together, so that the ports of loopback last.
class OneShotClients {
public:
    OneShotClients(const Endpoint& server, std::size_t count) : server_(server) {
        const std::chrono::milliseconds pause(count);
        for (std::size_t i = 0; i < count; ++i)
            threads_.emplace_back([this, pause] { ask_until_the_end(pause); });
    }
    ~OneShotClients() { stop(); }

    void stop() {
        may_end_ = true;
        for (std::thread& thread : threads_)
            if (thread.joinable()) thread.join();
    }
    std::size_t answered() const { return answered_; }
    /// What went wrong, a line each.
    std::vector<std::string> failures() const {
        std::lock_guard lock(mutex_);
        return failures_;
    }

private:
    void ask_until_the_end(std::chrono::milliseconds pause) {
        while (!may_end_) {
            std::string failure = ask_once();
            if (failure.empty()) {
                ++answered_;
            } else {
                std::lock_guard lock(mutex_);
                failures_.push_back(failure);
            }
            std::this_thread::sleep_for(pause);
        }
    }

    /// Empty if the answer came.
    std::string ask_once() const {
        auto failed = [](const char* what) { return std::string(what) + ": " + std::strerror(errno); };
        sockaddr_storage address{};
        socklen_t size = server_.fill(address);
        Descriptor socket(::socket(server_.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        timeval limit{20, 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
            return failed("connect");
        std::array<char, 100> request;
        request.fill('r');
        if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return failed("send");
        std::array<char, 100> answer;
        ssize_t received = ::recv(socket.get(), answer.data(), answer.size(), MSG_WAITALL);
        if (received < 0) return failed("receive");
        if (answer != request) return "the end after " + std::to_string(received) + " bytes";
        return {};
    }

    Endpoint server_;
    std::atomic<bool> may_end_ = false;
    std::atomic<std::size_t> answered_ = 0;
    mutable std::mutex mutex_;
    std::vector<std::string> failures_;
    std::vector<std::thread> threads_;
};

std::unique_ptr<EchoServer> start_server(const Endpoint& endpoint, const char* threads) {
    return std::make_unique<EchoServer>(
        ServerSetup{.listen = endpoint.text(), .arguments = {"--threads", threads, "--drain-quiet", "0.2"}});
}

void expect_no_failure_in_rolling_restarts(std::size_t client_count, const char* threads) {
    if (!is_installed("haproxy")) return skip("haproxy", "it is not installed");
    constexpr int restarts = 20;
    const std::vector<Endpoint> endpoints{unused_endpoint(), unused_endpoint()};
    std::array<std::unique_ptr<EchoServer>, 2> servers{start_server(endpoints[0], threads),
                                                       start_server(endpoints[1], threads)};
    Haproxy balancer(endpoints);
    OneShotClients clients(balancer.endpoint(), client_count);

    for (std::size_t i = 0; i < restarts; ++i) {
        std::unique_ptr<EchoServer>& server = servers[i % 2];
        BOOST_TEST(server->stop() == 0, server->process().errors());
        server = start_server(endpoints[i % 2], threads);
        balancer.wait_until_all_are_up();
    }
    clients.stop();

    BOOST_TEST_MESSAGE(clients.answered() << " requests answered");
    BOOST_TEST(clients.answered() > client_count);
    const std::vector<std::string> failures = clients.failures();
    const std::string first = failures.empty() ? "" : failures.front();
    BOOST_TEST(failures.empty(), failures.size() << " failed, the first: " << first);
}

/// Clients of which a part of the request has come, and others that nobody has accepted yet, are asked for
/// the rest once the server drains.
void expect_that_all_are_answered(const char* threads) {
    constexpr std::size_t live = 500;
    constexpr std::size_t waiting = 300;
    constexpr std::uint64_t request = 1000;
    EchoServer server({.arguments = {"--threads", threads}});
    std::deque<Client> clients;
    for (std::size_t i = 0; i < live; ++i) {
        clients.emplace_back(server.endpoint());
        clients.back().expect_echo(1);
    }

    server.signal(SIGSTOP);
    for (std::size_t i = 0; i < waiting; ++i) {
        clients.emplace_back(server.endpoint());
        clients.back().send(1);
    }
    server.signal(SIGTERM);
    server.signal(SIGCONT);
    for (Client& client : clients)
        client.send(request);

    std::size_t answered = 0;
    for (Client& client : clients) {
        if (client.received_at_the_end() == request + 1 && !client.was_reset()) ++answered;
    }
    BOOST_TEST(answered == live + waiting);
    BOOST_TEST(server.process().wait() == 0);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
}

}  // namespace

BOOST_AUTO_TEST_SUITE(restart)

BOOST_AUTO_TEST_CASE(rolling_restarts_behind_a_balancer_fail_no_request_of_50_clients) {
    expect_no_failure_in_rolling_restarts(50, "1");
}

BOOST_AUTO_TEST_CASE(rolling_restarts_behind_a_balancer_fail_no_request_of_300_clients) {
    expect_no_failure_in_rolling_restarts(300, "1");
}

BOOST_AUTO_TEST_CASE(rolling_restarts_of_two_threads_fail_no_request_of_50_clients) {
    expect_no_failure_in_rolling_restarts(50, "2");
}

BOOST_AUTO_TEST_CASE(rolling_restarts_of_two_threads_fail_no_request_of_300_clients) {
    expect_no_failure_in_rolling_restarts(300, "2");
}

BOOST_AUTO_TEST_CASE(every_request_that_had_begun_is_answered) { expect_that_all_are_answered("1"); }

BOOST_AUTO_TEST_CASE(every_request_that_had_begun_is_answered_on_two_threads) {
    expect_that_all_are_answered("2");
}

BOOST_AUTO_TEST_CASE(signals_that_go_on_to_the_end_do_not_kill) {
    for (int i = 0; i < 100; ++i) {
        EchoServer server({.arguments = {"--threads", "2"}});
        Client client(server.endpoint());
        client.expect_echo(10);
        server.signal(SIGTERM);
        while (server.is_running())
            server.signal(i % 2 == 0 ? SIGTERM : SIGINT);

        BOOST_TEST(server.process().wait() == 0);
    }
}

BOOST_AUTO_TEST_CASE(limit_of_connections_holds_for_all_threads_together) {
    EchoServer server({.arguments = {"--threads", "2", "--max-connections", "6"}});
    std::deque<Client> clients;
    for (int i = 0; i < 6; ++i)
        clients.emplace_back(server.endpoint()).expect_echo(10);
    Client surplus(server.endpoint());
    surplus.send(10);

    for (Client& client : clients)
        client.expect_echo(100);
    BOOST_TEST(!surplus.has_something_to_receive());
    clients.pop_front();

    surplus.expect_rest();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::restart_test
