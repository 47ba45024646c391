// SPDX-License-Identifier: BSL-1.0
// What each backend must show with a whole server, also in the quick run.
#include "server_process.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

using namespace leat::test;

namespace every_backend_test {

BOOST_AUTO_TEST_SUITE(every_backend)

BOOST_AUTO_TEST_CASE(server_of_a_hundred_connections_starts_echoes_and_drains_twenty_times) {
    constexpr std::size_t connections = 100;
    for (int run = 0; run < 20; ++run) {
        EchoServer server({.arguments = {"--drain-quiet", "0.02"}});
        Swarm swarm(server.endpoint(), {.connections = connections, .block = 3000, .segment = 1000});

        swarm.exchange(5);

        BOOST_TEST(swarm.alive() == connections);
        BOOST_TEST(swarm.blocks() == 5 * connections);
        BOOST_TEST(server.stop() == 0);
    }
}

BOOST_AUTO_TEST_CASE(server_that_pools_its_buffers_echoes_and_drains_as_well) {
    constexpr std::size_t connections = 100;
    EchoServer server({.arguments = {"--pooled-buffers"}});
    Swarm swarm(server.endpoint(), {.connections = connections, .block = 30'000, .segment = 7000});

    swarm.exchange(20);

    BOOST_TEST(swarm.alive() == connections);
    BOOST_TEST(swarm.blocks() == 20 * connections);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace every_backend_test
