// SPDX-License-Identifier: BSL-1.0
//
// All allocations of a server's threads fail for a while, from the first on, from the second on, and so on,
// until the server needs no more of them. Old connections go on, new ones are served or closed, and
// afterwards all is as before.
#include "starved_server.hpp"
#include "support/sanitizer.hpp"

#include <leat/net/serve_threads.hpp>

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <functional>

namespace leat::test::net::out_of_memory_test {
namespace {

constexpr std::size_t newcomers = 3;

struct Spell {
    std::size_t successes;
    std::size_t failures;
};

/// Each is served, or sees its connection's end: none waits for ever.
void let_newcomers_come(StarvedServer& server) {
    for (std::size_t i = 0; i < newcomers; ++i)
        server.serves();
}

std::size_t failures_while_clients_come_and_go(StarvedServer& server, const Spell& spell) {
    TcpStream old = server.connect();
    TcpStream leaving = server.connect();
    BOOST_TEST(server.is_answered(old));
    BOOST_TEST(server.is_answered(leaving));
    server.prepare_for_shortage();

    server.shortage.begin(spell.successes, spell.failures);
    let_newcomers_come(server);
    BOOST_TEST(server.is_answered(old));
    leaving.close();
    let_newcomers_come(server);
    BOOST_TEST(server.is_answered(old));
    server.shortage.end();

    BOOST_TEST(server.serves());
    BOOST_TEST(server.is_answered(old));
    server.control.drain();
    server.await_end(old);
    ServeReport report = server.join();
    BOOST_TEST(report.accepted == report.finished + report.failed);
    return server.shortage.failures();
}

std::size_t failures_in_a_drain(StarvedServer& server, const Spell& spell) {
    TcpStream first = server.connect();
    TcpStream second = server.connect();
    BOOST_TEST(server.is_answered(first));
    BOOST_TEST(server.is_answered(second));
    server.prepare_for_shortage();

    server.shortage.begin(spell.successes, spell.failures);
    let_newcomers_come(server);
    server.control.drain();
    server.await_end(first);
    server.await_end(second);
    server.shortage.end();

    ServeReport report = server.join();
    BOOST_TEST(report.finished >= 2u);
    BOOST_TEST(report.accepted == report.finished + report.failed);
    return server.shortage.failures();
}

using Scenario = std::function<std::size_t(StarvedServer&, const Spell&)>;

/// On 1 and 2 threads, shared in each way, until nothing is left to fail. How many have failed in all.
std::size_t sweep(const Scenario& scenario, std::size_t failures) {
    std::size_t all = 0;
    for (std::size_t threads : {1u, 2u}) {
        for (Sharing sharing : sharings_of(threads)) {
            bool is_done = false;
            for (std::size_t successes = 0; !is_done && successes < 1000; ++successes) {
                BOOST_TEST_CONTEXT(threads << " threads, after " << successes << " allocations") {
                    StarvedServer server(threads, sharing);
                    const std::size_t failed = scenario(server, {successes, failures});
                    all += failed;
                    is_done = failed == 0;
                }
            }
            BOOST_TEST(is_done, "allocations went on failing");
        }
    }
    return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(out_of_memory)

BOOST_AUTO_TEST_CASE(old_connections_go_on_and_service_returns_when_all_allocations_failed) {
    BOOST_TEST(sweep(failures_while_clients_come_and_go, MemoryShortage::unlimited) > 0u);
}

BOOST_AUTO_TEST_CASE(old_connections_go_on_and_service_returns_when_a_few_allocations_failed) {
    BOOST_TEST(sweep(failures_while_clients_come_and_go, 3) > 0u);
}

BOOST_AUTO_TEST_CASE(drain_ends_its_connections_while_all_allocations_fail) {
    BOOST_TEST(sweep(failures_in_a_drain, MemoryShortage::unlimited) > 0u);
}

BOOST_AUTO_TEST_CASE(drain_ends_its_connections_while_a_few_allocations_fail) {
    BOOST_TEST(sweep(failures_in_a_drain, 3) > 0u);
}

BOOST_AUTO_TEST_CASE(closed_connection_is_reported_without_memory) {
    StarvedServer server(1, SharedListener::best_sharing());
    TcpStream old = server.connect();
    BOOST_TEST(server.is_answered(old));
    server.prepare_for_shortage();

    server.shortage.begin(0);
    BOOST_TEST(!server.serves());
    server.shortage.end();

    BOOST_TEST(
        server.messages.have("leat: serve: a connection was closed: its handler could not be started"));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::out_of_memory_test
