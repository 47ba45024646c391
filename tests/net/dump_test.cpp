// SPDX-License-Identifier: BSL-1.0
// What waits for the network say of themselves.
#include "support/loopback_pair.hpp"

#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/timeout.hpp>

#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace leat::test::net::dump_test {
namespace {

// More than the buffers of a connection hold.
constexpr std::size_t flood = 10'000'000;

struct Dumped : LoopbackPair {
    // What a dump says while `task` waits.
    std::string while_waiting(Task<> task) {
        Running<void> running = executor.start(std::move(task));
        while (executor.turn()) {
        }
        std::string text = executor.dump_tasks();
        running.cancel();
        while (!running.has_ended())
            executor.turn();
        return text;
    }

    static std::string fd_of(const auto& socket) { return "fd " + std::to_string(socket.native_handle()); }
};

void expect(const std::string& text, const std::string& part) {
    BOOST_TEST(text.find(part) != std::string::npos, "'" << part << "' is not in: " << text);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(dump, Dumped)

BOOST_AUTO_TEST_CASE(read_names_its_descriptor_and_the_peer) {
    std::array<std::byte, 16> buffer;
    auto task = [&]() -> Task<> { co_await server.read(buffer); };

    expect(while_waiting(task()),
           "read " + fd_of(server) + " from " + to_string(client.local_address()) + "\n");
}

BOOST_AUTO_TEST_CASE(read_on_an_idle_stream_names_them_too) {
    std::array<std::byte, 16> buffer;
    auto task = [&]() -> Task<> {
        for (;;)
            co_await server.read(buffer);
    };
    Running<void> running = executor.start(task());
    while (executor.turn()) {
    }
    std::array<std::byte, 1> byte{};
    client.try_write(byte);
    std::uint64_t before = executor.stats().events;
    while (executor.stats().events == before)
        executor.turn();

    expect(executor.dump_tasks(), "read " + fd_of(server) + " from " + to_string(client.local_address()));
    running.cancel();
    while (!running.has_ended())
        executor.turn();
}

BOOST_AUTO_TEST_CASE(read_under_a_timeout_tells_what_is_left) {
    std::array<std::byte, 16> buffer;
    auto task = [&]() -> Task<> { co_await timeout(1h, server.read(buffer)); };

    expect(while_waiting(task()), to_string(client.local_address()) + ", deadline in 3");
}

BOOST_AUTO_TEST_CASE(exact_read_and_lent_receive_name_them_too) {
    std::array<std::byte, 16> buffer;
    auto exact = [&]() -> Task<> { co_await server.read_exactly(buffer); };
    auto lent = [&]() -> Task<> { LentBuffer chunk = co_await server.receive(); };
    const std::string wanted = "read " + fd_of(server) + " from " + to_string(client.local_address());

    expect(while_waiting(exact()), wanted);
    expect(while_waiting(lent()), wanted);
}

BOOST_AUTO_TEST_CASE(write_names_whom_it_is_for) {
    std::vector<std::byte> bytes(flood);
    auto task = [&]() -> Task<> { co_await server.write_all(bytes); };

    expect(while_waiting(task()), "write " + fd_of(server) + " to " + to_string(client.local_address()));
}

BOOST_AUTO_TEST_CASE(accept_names_where_it_listens) {
    auto task = [&]() -> Task<> { TcpStream stream = co_await listener.accept(); };

    expect(while_waiting(task()), "accept " + fd_of(listener) + " at " + to_string(listener.local_address()));
}

BOOST_AUTO_TEST_CASE(wait_for_readability_names_its_descriptor) {
    auto task = [&]() -> Task<> { co_await server.readable(); };

    expect(while_waiting(task()), "readability of " + fd_of(server));
}

BOOST_AUTO_TEST_CASE(wait_whose_stream_was_closed_names_no_descriptor) {
    std::array<std::byte, 16> buffer;
    auto task = [&]() -> Task<> { (void)co_await as_result(server.read(buffer)); };
    Running<void> running = executor.start(task());
    while (executor.turn()) {
    }

    server.close();

    BOOST_TEST(executor.dump_tasks().find(" fd ") == std::string::npos);
    while (!running.has_ended())
        executor.turn();
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::net::dump_test
