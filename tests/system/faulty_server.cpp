// SPDX-License-Identifier: BSL-1.0
#include "faulty_server.hpp"

#include "client.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>

namespace leat::test {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

}  // namespace

std::size_t count_served(EchoServer& server, int connections) {
    std::size_t served = 0;
    for (int i = 0; i < connections; ++i) {
        if (Client(server.endpoint()).exchange(1000) == Outcome::echoed) ++served;
    }
    return served;
}

void expect_recovery(EchoServer& server) {
    Deadline deadline;
    while (count_served(server, 1) == 0) {
        deadline.check("the server to accept again");
    }
}

void expect_clean_end(EchoServer& server) {
    BOOST_TEST(server.stop() == 0);
    server.trace().wait_until_complete();
    BOOST_TEST(server.trace().lines_with("--- SIGPIPE") == 0u);
}

void expect_byte_exact_traffic(const Injection& fault, const std::string& call) {
    EchoServer server(fault);
    Swarm lockstep(server.endpoint(), {.connections = 20, .block = 100});
    Client streaming(server.endpoint());

    lockstep.exchange(20);
    streaming.expect_echo(mebibyte);
    lockstep.exchange(20);

    BOOST_TEST(lockstep.alive() == 20u);
    BOOST_TEST(streaming.echoes_to_the_end(mebibyte));
    BOOST_TEST(server.trace().injected(call) > 10u);
    expect_clean_end(server);
}

void expect_a_narrow_reader_gets_everything(const Injection& fault) {
    EchoServer server(fault);
    Client probe(server.endpoint());
    Client narrow(server.endpoint(), {.narrow = true});

    std::uint64_t moved = 1;
    for (int idle_rounds = 0; idle_rounds < 20; idle_rounds = moved > 0 ? 0 : idle_rounds + 1) {
        moved = narrow.send_what_fits(mebibyte);
        probe.expect_echo(64);
    }

    BOOST_TEST(narrow.echoes_to_the_end(mebibyte));
    expect_clean_end(server);
}

}  // namespace leat::test
