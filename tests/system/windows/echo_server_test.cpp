// SPDX-License-Identifier: BSL-1.0
// The bundled echo server as a program of Windows.
#include "support/skip.hpp"
#include "windows/server_process.hpp"

#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/task_group.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <string>

namespace leat::test {
namespace {

Task<> exchange(const Address& server, int number, int& served) {
    TcpStream stream = co_await TcpStream::connect(server);
    for (int round = 0; round < 3; ++round) {
        const std::string said = "connection " + std::to_string(number) + ", round " + std::to_string(round);
        co_await stream.write_all(std::as_bytes(std::span(said)));
        std::string heard(said.size(), '\0');
        co_await stream.read_exactly(std::as_writable_bytes(std::span(heard)));
        BOOST_TEST(heard == said);
    }
    ++served;
}

/// A hundred connections at the same time; how many were served.
int serve_a_hundred(const Address& server) {
    int served = 0;
    auto body = [&](TaskGroup& group) -> Task<> {
        for (int i = 0; i < 100; ++i)
            group.spawn(exchange, std::cref(server), i, std::ref(served));
        co_return;
    };
    auto all = [&]() -> Task<> { co_await task_group(body); };
    Executor executor;
    executor.run_until(all());
    return served;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(windows_echo_server)

BOOST_AUTO_TEST_CASE(hundred_connections_are_served_by_each_of_twenty_servers) {
    for (int run = 0; run < 20; ++run) {
        const ServerProcess server;

        BOOST_TEST(serve_a_hundred(server.address()) == 100);
    }
}

BOOST_AUTO_TEST_CASE(break_lets_it_end_in_order) {
    ServerProcess server;
    BOOST_TEST(serve_a_hundred(server.address()) == 100);

    if (!server.press_break()) return skip("console", "control events go by way of one, and there is none");

    BOOST_TEST(server.wait() == 0);
    BOOST_TEST(server.rest_of_output().find("served 100 connections") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(wrong_arguments_are_refused) {
    BOOST_CHECK_THROW(ServerProcess({"--max-connections", "none"}), std::runtime_error);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test
