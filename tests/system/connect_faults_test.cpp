// SPDX-License-Identifier: BSL-1.0
// What a connect is told by a network that does not let it through. The network is one of our own, of which only a program
// that is started in it knows.
#include "child_process.hpp"
#include "strace.hpp"

#include "support/skip.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace leat::test::connect_faults_test {
namespace {

std::string connector_path() {
    const char* path = std::getenv("LEAT_CONNECTOR");
    if (path == nullptr) throw std::runtime_error("LEAT_CONNECTOR does not name the program that connects");
    return path;
}

Command in_a_network_of_its_own(const std::string& script) {
    Command command;
    command.words = {"unshare", "--map-root-user", "--net", "sh", "-e", "-c", script};
    command.environment = {{"connector", connector_path()}};
    return command;
}

bool can_make_a_network() {
    if (!is_installed("ip")) {
        skip("iproute2", "it is not installed");
        return false;
    }
    if (run(in_a_network_of_its_own("ip link set lo up")).status == 0) return true;
    skip("network namespace", "a process may not make one here");
    return false;
}

void expect_outcome(const std::string& script, const std::string& outcome) {
    Finished finished = run(in_a_network_of_its_own("ip link set lo up; " + script));

    BOOST_TEST(finished.status == 0, finished.errors);
    BOOST_TEST(finished.output == outcome);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(connect_faults)

BOOST_AUTO_TEST_CASE(unreachable_host_is_told) {
    if (!can_make_a_network()) return;
    expect_outcome("ip route add unreachable 192.0.2.1; $connector 192.0.2.1:7777",
                   "192.0.2.1:7777: No route to host, 0\n");
}

BOOST_AUTO_TEST_CASE(prohibited_route_is_told) {
    if (!can_make_a_network()) return;
    expect_outcome("ip route add prohibit 192.0.2.1; $connector 192.0.2.1:7777",
                   "192.0.2.1:7777: Permission denied, 0\n");
}

BOOST_AUTO_TEST_CASE(black_hole_is_told) {
    if (!can_make_a_network()) return;
    expect_outcome("ip route add blackhole 192.0.2.1; $connector 192.0.2.1:7777",
                   "192.0.2.1:7777: Invalid argument, 0\n");
}

BOOST_AUTO_TEST_CASE(network_without_a_route_is_told) {
    if (!can_make_a_network()) return;
    expect_outcome("$connector 192.0.2.1:7777 [2001:db8::1]:7777",
                   "192.0.2.1:7777: Network is unreachable, 0\n"
                   "[2001:db8::1]:7777: Network is unreachable, 0\n");
}

BOOST_AUTO_TEST_CASE(host_that_never_answers_the_link_is_unreachable_in_the_end) {
    if (!can_make_a_network()) return;
    // Nobody at the other end of the wire answers for the address, and so the connect that has begun fails afterwards.
    expect_outcome("ip link add near type veth peer name far; ip addr add 192.0.2.2/24 dev near; "
                   "ip link set near up; ip link set far up; $connector 192.0.2.1:7777",
                   "192.0.2.1:7777: No route to host, 0\n");
}

BOOST_AUTO_TEST_CASE(refused_call_is_told_and_closes_its_socket, *boost::unit_test::label("readiness")) {
    if (!can_inject()) return;
    for (auto [error, message] :
         {std::pair("EADDRNOTAVAIL", "Cannot assign requested address"),
          std::pair("ENETUNREACH", "Network is unreachable"), std::pair("EACCES", "Permission denied"),
          std::pair("EAGAIN", "Resource temporarily unavailable")}) {
        Command command;
        std::string inject = "inject=connect:error=" + std::string(error);
        command.words = {
            "strace",         "-f",         "-q", "-o", "/dev/null", "-e", "trace=connect", "-e", inject,
            connector_path(), "127.0.0.1:9"};

        Finished finished = run(command);

        BOOST_TEST(finished.status == 0, finished.errors);
        BOOST_TEST(finished.output == "127.0.0.1:9: " + std::string(message) + ", 0\n");
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::connect_faults_test
