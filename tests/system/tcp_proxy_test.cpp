// SPDX-License-Identifier: BSL-1.0
#include "client.hpp"
#include "line_client.hpp"
#include "server_process.hpp"
#include "support/sanitizer.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <sys/socket.h>

#include <chrono>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

namespace leat::test::tcp_proxy_test {
namespace {

constexpr std::uint64_t mebibyte = 1024 * 1024;

class Proxy : public Server {
public:
    explicit Proxy(const Endpoint& upstream, std::vector<std::string> arguments = {})
        : Server("tcp_proxy", {.arguments = with_upstream(upstream, std::move(arguments))}) {}

private:
    static std::vector<std::string> with_upstream(const Endpoint& upstream,
                                                  std::vector<std::string> arguments) {
        arguments.insert(arguments.end(), {"--upstream", upstream.text()});
        return arguments;
    }
};

/// Listens and does nothing else.
class SilentServer {
public:
    explicit SilentServer(int backlog = 10)
        : endpoint_(unused_endpoint()), socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_storage address;
        socklen_t length = endpoint_.fill(address);
        if (::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
            ::listen(socket_.get(), backlog) != 0)
            throw system_failure("listen");
    }

    const Endpoint& endpoint() const { return endpoint_; }

private:
    Endpoint endpoint_;
    Descriptor socket_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(tcp_proxy)

BOOST_AUTO_TEST_CASE(bytes_and_ends_pass_both_ways) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint());

    for (std::uint64_t size : {std::uint64_t{0}, std::uint64_t{1}, 10 * mebibyte}) {
        Client client(proxy.endpoint());
        // Sends all and its end at once: what still comes back comes after that half is closed.
        BOOST_TEST(client.echoes_to_the_end(size));
        BOOST_TEST(client.received() == size);
        BOOST_TEST(!client.was_reset());
    }
    BOOST_TEST(proxy.stop() == 0);
    BOOST_TEST(proxy.process().output().ends_with("tcp_proxy: served 3 connections\n"));
    BOOST_TEST(proxy.complaints() == 0u, proxy.process().errors());
}

BOOST_AUTO_TEST_CASE(hundred_connections_at_once_each_get_their_own_bytes) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint());
    Swarm swarm(proxy.endpoint(), {.connections = 100, .block = 10'000, .segment = 3000});

    swarm.exchange(5);

    BOOST_TEST(swarm.alive() == 100u);
    BOOST_TEST(swarm.blocks() == 500u);
}

BOOST_AUTO_TEST_CASE(peer_that_never_reads_costs_bounded_memory) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint());
    Client probe(proxy.endpoint());
    probe.expect_echo(mebibyte);
    std::uint64_t before = proxy.resident_bytes();
    Client stalled(proxy.endpoint(), {.narrow = true});

    for (int idle_rounds = 0; idle_rounds < 20; ++idle_rounds) {
        if (stalled.send_what_fits(mebibyte) > 0) idle_rounds = 0;
        probe.expect_echo(100);
    }

    // A sanitizer keeps what was freed, and more beside what was not.
    BOOST_TEST(proxy.resident_bytes() < before + (is_sanitized ? 8 : 1) * mebibyte);
    stalled.expect_rest();
}

BOOST_AUTO_TEST_CASE(upstream_that_refuses_ends_its_client_alone_and_is_told) {
    Proxy proxy(unused_endpoint());

    for (int i = 0; i < 3; ++i) {
        Client client(proxy.endpoint());
        BOOST_TEST(client.received_at_the_end() == 0u);
    }
    Deadline deadline;
    while (proxy.complaints() == 0)
        deadline.check("a complaint");
    BOOST_TEST(proxy.stop() == 0);
}

BOOST_AUTO_TEST_CASE(upstream_that_does_not_answer_ends_its_client_at_the_deadline) {
    SilentServer upstream(0);
    // Its backlog is full with these; further connects wait.
    std::vector<Descriptor> fillers;
    for (int i = 0; i < 4; ++i) {
        fillers.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        sockaddr_storage address;
        socklen_t length = upstream.endpoint().fill(address);
        (void)::connect(fillers.back().get(), reinterpret_cast<sockaddr*>(&address), length);
    }
    Proxy proxy(upstream.endpoint(), {"--connect-timeout", "0.2"});
    auto start = std::chrono::steady_clock::now();
    Client client(proxy.endpoint());

    BOOST_TEST(client.received_at_the_end() == 0u);

    BOOST_TEST((std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(200)));
    BOOST_TEST(proxy.stop() == 0);
    const std::string& errors = proxy.process().errors();
    BOOST_TEST(errors.find("deadline exceeded") != std::string::npos, errors);
}

BOOST_AUTO_TEST_CASE(connection_that_is_idle_both_ways_is_ended_and_never_early) {
    SilentServer silent;
    Proxy proxy(silent.endpoint(), {"--idle-timeout", "0.4"});
    std::size_t baseline = proxy.descriptors_at_rest();
    auto start = std::chrono::steady_clock::now();
    Client idle(proxy.endpoint());

    BOOST_TEST(idle.received_at_the_end() == 0u);

    BOOST_TEST((std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(400)));
    Deadline deadline;
    while (proxy.open_descriptors() > baseline)
        deadline.check("both sides to be closed");
    BOOST_TEST(proxy.stop() == 0);
    BOOST_TEST(proxy.complaints() == 0u, proxy.process().errors());
}

BOOST_AUTO_TEST_CASE(connection_that_moves_one_way_only_is_not_idle) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint(), {"--idle-timeout", "1"});
    Client active(proxy.endpoint());
    auto start = std::chrono::steady_clock::now();

    while (std::chrono::steady_clock::now() - start < std::chrono::seconds(2))
        active.expect_echo(100);

    BOOST_TEST(active.echoes_to_the_end(1000));
}

BOOST_AUTO_TEST_CASE(reset_of_one_side_ends_the_other) {
    EchoServer upstream;
    std::size_t baseline = upstream.descriptors_at_rest();
    Proxy proxy(upstream.endpoint());

    for (int i = 0; i < 200; ++i) {
        Client victim(proxy.endpoint());
        victim.send(10'000);
        victim.reset();
    }

    upstream.wait_for_descriptors(baseline);
    Client(proxy.endpoint()).expect_echo(1000);
    BOOST_TEST(proxy.stop() == 0);
    BOOST_TEST(proxy.complaints() == 0u, proxy.process().errors());
}

BOOST_AUTO_TEST_CASE(terminate_finishes_what_had_arrived_before) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint());
    Client client(proxy.endpoint());
    client.expect_echo(10);
    proxy.signal(SIGSTOP);
    client.send(30'000);
    proxy.signal(SIGTERM);
    proxy.signal(SIGCONT);

    BOOST_TEST(client.received_at_the_end() == 30'010u);

    BOOST_TEST(proxy.process().wait() == 0);
    BOOST_TEST(proxy.complaints() == 0u, proxy.process().errors());
}

// Clients that go on for ever are never quiet: without a quiet to wait for, their reads end at once.
BOOST_AUTO_TEST_CASE(terminate_under_live_traffic_truncates_no_echo) {
    EchoServer upstream;
    Proxy proxy(upstream.endpoint(), {"--drain-quiet", "0"});
    Swarm swarm(proxy.endpoint(), {.connections = 100, .block = 12'000});

    swarm.exchange_until_all_end(Swarm::Afterwards::go_on, [&] { proxy.signal(SIGTERM); });

    BOOST_TEST(swarm.served() == 100u);
    BOOST_TEST(swarm.cut_short() == 0u);
    BOOST_TEST(proxy.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(drain_timeout_ends_what_an_upstream_never_ends) {
    SilentServer upstream;
    Proxy proxy(upstream.endpoint(), {"--drain-timeout", "0.2"});
    Client client(proxy.endpoint());
    client.send(10);
    client.wait_until_arrived();
    proxy.wait_until_idle();

    BOOST_TEST(proxy.stop() == 0);

    client.received_at_the_end();
}

BOOST_AUTO_TEST_CASE(upstream_is_required_and_must_be_an_address) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{},
          {"--upstream", "nowhere"},
          {"--upstream"},
          {"--upstream", "127.0.0.1:1", "--idle-timeout", "-1"}}) {
        Command command;
        command.words = {program_path("tcp_proxy")};
        command.words.insert(command.words.end(), arguments.begin(), arguments.end());

        Finished finished = run(command);

        BOOST_TEST(finished.status == 2);
        BOOST_TEST(finished.errors.starts_with("tcp_proxy: "), finished.errors);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::tcp_proxy_test
