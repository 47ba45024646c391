// SPDX-License-Identifier: BSL-1.0
#include "checksum.hpp"
#include "client.hpp"
#include "server_process.hpp"
#include "support/sanitizer.hpp"
#include "support/skip.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <poll.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <string_view>
#include <thread>

namespace leat::test::echo_server_test {
namespace {

constexpr std::uint64_t kibibyte = 1024;
constexpr std::uint64_t mebibyte = 1024 * kibibyte;
constexpr std::uint64_t gibibyte = 1024 * mebibyte;

void write_pattern(const std::filesystem::path& path, std::uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    Pattern(7).fill(content, 0);
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(bytes));
}

std::string content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Sends a file through `tool`, which talks to the server, and compares what the tool gives back.
void expect_tool_echo(const std::vector<std::string>& tool) {
    TemporaryFolder folder;
    write_pattern(folder / "input", 5 * mebibyte + 3);
    Command command;
    command.words = tool;
    command.input_file = folder / "input";
    command.output_file = folder / "output";

    Finished finished = run(command);

    BOOST_TEST(finished.status == 0, finished.errors);
    BOOST_TEST((content_of(folder / "input") == content_of(folder / "output")));
}

// A connection may still lie in the backlog of a server that is about to stop listening.
bool refuses_connections(const Endpoint& endpoint) { return !connect_to(endpoint).is_open(); }

void wait_until_it_stopped_listening(const Endpoint& endpoint) {
    Deadline deadline;
    while (!refuses_connections(endpoint)) {
        deadline.check("the server to stop listening");
    }
}

// What a ring has in hand holds its socket until the kernel has ended it, which it does on its own time once the process is
// gone: a listener is there for some milliseconds more.
void wait_until_bindable(const Endpoint& endpoint) {
    Deadline deadline;
    while (!can_be_bound(endpoint)) {
        deadline.check("the dead server's port to be free");
        std::this_thread::yield();
    }
}

// A client whose echo the server cannot get rid of: it sends until nothing moves any more, and does not read.
void send_until_stuck(Client& stuck, Client& probe) {
    constexpr int rounds_without_progress = 200;
    for (int idle_rounds = 0; idle_rounds < rounds_without_progress; ++idle_rounds) {
        probe.expect_echo(64);
        if (stuck.send_what_fits(mebibyte) > 0) idle_rounds = 0;
    }
}

void send_to_all(std::deque<Client>& clients, std::uint64_t bytes) {
    for (Client& client : clients) {
        client.send(bytes);
    }
}

void expect_surplus_to_wait(const std::vector<std::string>& arguments) {
    EchoServer server({.arguments = arguments});
    Client first(server.endpoint());
    Client second(server.endpoint());
    first.expect_echo(10);
    second.expect_echo(10);
    Client surplus(server.endpoint());
    surplus.send(1000);

    for (int i = 0; i < 200; ++i) {
        first.expect_echo(100);
        second.expect_echo(100);
    }
    BOOST_TEST(!surplus.has_something_to_receive());
    first.close();

    surplus.expect_rest();
    second.expect_echo(100);
    BOOST_TEST(server.stop() == 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(echo_server)

BOOST_AUTO_TEST_CASE(netcat_gets_its_input_back) {
    if (!is_installed("nc")) return skip("nc", "it is not installed");
    EchoServer server;

    expect_tool_echo({"nc", "-N", server.endpoint().host, std::to_string(server.endpoint().port)});

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(socat_gets_its_input_back) {
    if (!is_installed("socat")) return skip("socat", "it is not installed");
    EchoServer server;

    expect_tool_echo({"socat", "-t", "60", "STDIO", "TCP:" + server.endpoint().text()});

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(nine_thousand_connections_at_once_each_get_their_own_bytes) {
    constexpr std::size_t connections = 9000;
    constexpr std::size_t others = 100;
    if (raise_descriptor_limit() < connections + others) {
        return skip("descriptors", "a process may not have 9100 descriptors");
    }
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();
    Swarm swarm(server.endpoint(), {.connections = connections, .block = 777});

    swarm.exchange(1);
    BOOST_TEST(server.open_descriptors() >= baseline + connections);
    swarm.exchange(3);

    BOOST_TEST(swarm.alive() == connections);
    BOOST_TEST(swarm.blocks() == 4 * connections);
    swarm.close();
    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.stop() == 0);
    BOOST_TEST(server.complaints() == 0u);
}

// More connections than there is memory for: the C library's own calls find none then, either.
BOOST_AUTO_TEST_CASE(threads_without_memory_close_connections_and_serve_again_when_there_is_some) {
    constexpr std::size_t connections = 5000;
    if (raise_descriptor_limit() < connections + 100) {
        return skip("descriptors", "a process may not have 5100 descriptors");
    }
    if (is_sanitized) return skip("memory", "a sanitizer has its own");
    const char* backend = std::getenv("LEAT_BACKEND");
    if (backend != nullptr && backend == std::string_view("kqueue")) {
        return skip("memory", "the shim of kqueue ends the process when there is none");
    }
    EchoServer server(
        {.arguments = {"--threads", "2"}, .launcher = {"sh", "-c", "ulimit -v 40000 && exec \"$0\" \"$@\""}});
    Client old(server.endpoint());
    old.expect_echo(100);
    std::deque<Client> clients;
    std::size_t closed = 0;

    for (std::size_t i = 0; i < connections; ++i) {
        clients.emplace_back(server.endpoint());
        if (clients.back().exchange(1) == Outcome::closed) ++closed;
    }

    BOOST_TEST(closed > 0u);
    old.expect_echo(100);
    clients.clear();
    Deadline deadline;
    while (Client(server.endpoint()).exchange(100) == Outcome::closed)
        deadline.check("the server to have memory again");
    old.expect_echo(100);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(one_gibibyte_through_one_connection_keeps_its_sha256) {
    if (!is_installed("sha256sum")) return skip("sha256sum", "it is not installed");
    EchoServer server;
    Checksum sent;
    Checksum received;
    Client client(server.endpoint());
    client.on_sent = [&](auto bytes) { sent.add(bytes); };
    client.on_received = [&](auto bytes) { received.add(bytes); };

    bool complete = client.echoes_to_the_end(gibibyte);

    BOOST_TEST(complete);
    BOOST_TEST(client.received() == gibibyte);
    BOOST_TEST(sent.result() == received.result());
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(single_bytes_come_back_in_order) {
    EchoServer server;
    Swarm swarm(server.endpoint(), {.connections = 50, .block = 500, .segment = 1});

    swarm.exchange(4);

    BOOST_TEST(swarm.alive() == 50u);
    BOOST_TEST(swarm.blocks() == 200u);
}

BOOST_AUTO_TEST_CASE(single_bytes_come_back_one_by_one) {
    EchoServer server;
    Client client(server.endpoint(), {.no_delay = true});

    for (int i = 0; i < 5000; ++i) {
        client.expect_echo(1);
    }

    BOOST_TEST(client.received() == 5000u);
}

BOOST_AUTO_TEST_CASE(half_close_after_ten_mebibytes_loses_nothing) {
    EchoServer server;
    Client client(server.endpoint());

    BOOST_TEST(client.echoes_to_the_end(10 * mebibyte));
    BOOST_TEST(client.received() == 10 * mebibyte);
}

BOOST_AUTO_TEST_CASE(half_close_without_a_byte_is_answered_with_the_end) {
    EchoServer server;
    Client client(server.endpoint());

    BOOST_TEST(client.echoes_to_the_end(0));
}

BOOST_AUTO_TEST_CASE(resets_in_mid_stream_leave_the_others_untouched) {
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();
    Swarm others(server.endpoint(), {.connections = 20, .block = 20'000});

    for (int i = 0; i < 30; ++i) {
        Client victim(server.endpoint());
        victim.send(100'000);
        others.exchange(1);
        victim.reset();
        others.exchange(1);
    }

    BOOST_TEST(others.alive() == 20u);
    BOOST_TEST(others.blocks() == 1200u);
    others.close();
    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(peers_that_never_read_cost_bounded_memory_and_hold_nobody_up) {
    constexpr std::size_t peers = 100;
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();
    Client probe(server.endpoint());
    probe.expect_echo(mebibyte);
    std::uint64_t before = server.resident_bytes();
    std::deque<Client> stalled;

    for (std::size_t i = 0; i < peers; ++i) {
        stalled.emplace_back(server.endpoint(), ClientOptions{.narrow = true});
    }
    std::uint64_t moved = 1;
    for (int idle_rounds = 0; idle_rounds < 20; idle_rounds = moved > 0 ? 0 : idle_rounds + 1) {
        moved = 0;
        for (Client& peer : stalled) {
            if (peer.sent() < mebibyte) moved += peer.send_what_fits(mebibyte - peer.sent());
            probe.expect_echo(100);
        }
    }

    // A connection costs the program less than 64 KiB, whatever its peer does; 100 MiB would be the whole input.
    BOOST_TEST(server.resident_bytes() < before + peers * 64 * kibibyte);
    probe.expect_echo(mebibyte);
    for (Client& peer : stalled) {
        peer.expect_rest();
    }
    stalled.clear();
    probe.close();
    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(short_writes_to_a_narrow_reader_stay_in_order) {
    EchoServer server;
    Client probe(server.endpoint());
    Client narrow(server.endpoint(), {.narrow = true});

    for (int i = 0; i < 3; ++i) {
        send_until_stuck(narrow, probe);
        narrow.expect_rest();
    }

    BOOST_TEST(narrow.echoes_to_the_end(mebibyte));
}

// Clients that go on for ever are never quiet: without a quiet to wait for, their reads end at once.
BOOST_AUTO_TEST_CASE(terminate_under_live_traffic_truncates_no_echo) {
    EchoServer server({.arguments = {"--drain-quiet", "0"}});
    Swarm swarm(server.endpoint(), {.connections = 500, .block = 12'000});

    swarm.exchange_until_all_end(Swarm::Afterwards::go_on, [&] { server.signal(SIGTERM); });

    BOOST_TEST(swarm.served() == 500u);
    BOOST_TEST(swarm.cut_short() == 0u);
    BOOST_TEST(server.process().wait() == 0);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
}

BOOST_AUTO_TEST_CASE(terminate_under_live_traffic_truncates_no_echo_of_any_thread) {
    EchoServer server({.arguments = {"--threads", "4", "--stats", "0.05", "--drain-quiet", "0"}});
    Swarm swarm(server.endpoint(), {.connections = 500, .block = 12'000});
    swarm.exchange(1);

    swarm.exchange_until_all_end(Swarm::Afterwards::go_on, [&] { server.signal(SIGTERM); });

    BOOST_TEST(swarm.served() == 500u);
    BOOST_TEST(swarm.cut_short() == 0u);
    BOOST_TEST(server.process().wait() == 0);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
}

BOOST_AUTO_TEST_CASE(second_signal_ends_all_threads) {
    EchoServer server({.arguments = {"--threads", "3", "--drain-timeout", "3600"}});
    Client probe(server.endpoint());
    Client slow(server.endpoint(), {.narrow = true});
    send_until_stuck(slow, probe);

    server.signal(SIGTERM);
    wait_until_it_stopped_listening(server.endpoint());
    server.signal(SIGTERM);

    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(terminate_finishes_what_had_arrived_before) {
    EchoServer server;
    std::deque<Client> clients;
    for (int i = 0; i < 100; ++i) {
        clients.emplace_back(server.endpoint()).expect_echo(10);
    }

    // While it stands still, the data and the signal all arrive: more than it can echo in one go.
    server.signal(SIGSTOP);
    send_to_all(clients, 30'000);
    server.signal(SIGTERM);
    send_to_all(clients, 30'000);
    server.signal(SIGCONT);

    for (Client& client : clients) {
        BOOST_TEST(client.received_at_the_end() == 60'010u);
    }
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(terminate_closes_idle_connections) {
    EchoServer server({.arguments = {"--drain-timeout", "3600"}});
    Client idle(server.endpoint());
    idle.expect_echo(10);

    BOOST_TEST(server.stop() == 0);

    BOOST_TEST(idle.received_at_the_end() == 10u);
    BOOST_TEST(!idle.was_reset());
}

BOOST_AUTO_TEST_CASE(terminate_waits_for_a_slow_reader) {
    EchoServer server({.arguments = {"--drain-timeout", "3600"}});
    Client slow(server.endpoint(), {.narrow = true});
    slow.send(60'000);
    slow.wait_until_arrived();
    // At the server, that is, and not only at its listener, whose end would reset it.
    server.wait_until_idle();

    server.signal(SIGTERM);
    wait_until_it_stopped_listening(server.endpoint());
    server.wait_until_idle();

    BOOST_TEST(server.is_running());
    BOOST_TEST(slow.received_at_the_end() == 60'000u);
    BOOST_TEST(!slow.was_reset());
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(terminate_ends_a_sender_that_never_stops_at_the_drain_timeout) {
    EchoServer server({.arguments = {"--drain-timeout", "0.5"}});
    Client client(server.endpoint());
    client.expect_echo(mebibyte);

    server.signal(SIGTERM);

    BOOST_TEST((client.exchange(1024 * gibibyte) == Outcome::closed));
    BOOST_TEST(server.process().wait() == 0);
}

// What was due meanwhile is due once, and the time is nobody's but the clock's.
BOOST_AUTO_TEST_CASE(server_that_was_stopped_for_a_while_goes_on_and_closes_who_was_idle_once) {
    EchoServer server({.arguments = {"--idle-timeout", "0.5", "--stats", "0.05"}});
    Client idle(server.endpoint());
    idle.expect_echo(100);
    server.signal(SIGSTOP);
    std::this_thread::sleep_for(std::chrono::seconds(2));
    server.signal(SIGCONT);

    Client fresh(server.endpoint());
    fresh.expect_echo(1000);

    BOOST_TEST(idle.received_at_the_end() == idle.sent());
    fresh.close();
    BOOST_TEST(server.stop() == 0);
    BOOST_TEST(server.complaints() == 0u);
}

BOOST_AUTO_TEST_CASE(second_signal_skips_the_wait) {
    EchoServer server({.arguments = {"--drain-timeout", "3600"}});
    Client probe(server.endpoint());
    Client slow(server.endpoint(), {.narrow = true});
    send_until_stuck(slow, probe);

    server.signal(SIGTERM);
    wait_until_it_stopped_listening(server.endpoint());
    server.signal(SIGTERM);

    BOOST_TEST(server.process().wait() == 0);
}

// Until the very end of `main`.
BOOST_AUTO_TEST_CASE(signals_that_keep_coming_do_not_kill_a_server_that_ends) {
    for (int number : {SIGTERM, SIGINT, SIGUSR1}) {
        EchoServer server({.arguments = {"--threads", "2"}});
        Client client(server.endpoint());
        client.expect_echo(10);

        server.signal(SIGTERM);
        while (server.is_running())
            server.signal(number);

        BOOST_TEST(server.process().wait() == 0, number);
    }
}

BOOST_AUTO_TEST_CASE(drain_timeout_ends_the_wait_for_a_reader_that_never_comes) {
    EchoServer server({.arguments = {"--drain-timeout", "0.2"}});
    Client probe(server.endpoint());
    Client slow(server.endpoint(), {.narrow = true});
    send_until_stuck(slow, probe);

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(surplus_connection_waits_until_one_leaves) {
    expect_surplus_to_wait({"--max-connections", "2"});
}

// Whichever threads the two are on.
BOOST_AUTO_TEST_CASE(limit_of_connections_is_that_of_all_threads_together) {
    for (const char* threads : {"2", "3"})
        expect_surplus_to_wait({"--max-connections", "2", "--threads", threads});
}

BOOST_AUTO_TEST_CASE(idle_connection_is_closed_and_never_early) {
    EchoServer server({.arguments = {"--idle-timeout", "1"}});
    Client active(server.endpoint());
    active.expect_echo(10);
    auto start = std::chrono::steady_clock::now();
    Client idle(server.endpoint());

    while (!idle.has_something_to_receive()) {
        active.expect_echo(10);
    }

    BOOST_TEST(idle.received_at_the_end() == 0u);
    BOOST_TEST((std::chrono::steady_clock::now() - start >= std::chrono::seconds(1)));
    active.expect_echo(mebibyte);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(idle_timeout_ends_a_peer_that_never_reads) {
    EchoServer server({.arguments = {"--idle-timeout", "0.5"}});
    std::size_t baseline = server.descriptors_at_rest();
    Client stalled(server.endpoint(), {.narrow = true});
    stalled.send(60'000);

    server.wait_for_descriptors(baseline);

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(fractions_of_a_second_are_allowed_for_the_idle_timeout) {
    EchoServer server({.arguments = {"--idle-timeout", "0.05"}});
    Client idle(server.endpoint());

    BOOST_TEST(idle.received_at_the_end() == 0u);
}

BOOST_AUTO_TEST_CASE(closed_output_stops_nothing_and_reaches_no_client) {
    Endpoint endpoint = unused_endpoint();
    Command command;
    command.words = {echo_server_path(), "--listen", endpoint.text(), "--stats", "0.01"};
    command.output_closed = true;
    ChildProcess server(command);
    Deadline deadline;
    while (refuses_connections(endpoint)) {
        deadline.check("the server to listen");
        BOOST_REQUIRE(server.is_running());
    }

    // What the server believes to be its output may be the descriptor of a connection: every byte is compared.
    Client client(endpoint);
    for (int i = 0; i < 2000; ++i) {
        client.expect_echo(100);
    }
    server.signal(SIGTERM);

    BOOST_TEST(client.received_at_the_end() == client.sent());
    BOOST_TEST(server.wait() == 0);
}

BOOST_AUTO_TEST_CASE(output_that_nobody_reads_does_not_block_the_loop) {
    EchoServer server({.arguments = {"--stats", "0.01"}});
    fill_pipe(server.process().output_sink());
    auto busy_until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    Client client(server.endpoint());

    while (std::chrono::steady_clock::now() < busy_until) {
        client.expect_echo(100);
    }

    client.close();
    server.signal(SIGTERM);
    wait_until_it_stopped_listening(server.endpoint());
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(statistics_appear_while_it_serves) {
    EchoServer server({.arguments = {"--stats", "0.02"}});
    Client client(server.endpoint());
    auto lines = [&] {
        return std::ranges::count(server.process().output() + server.process().errors(), '\n');
    };

    Deadline deadline;
    while (lines() < 3) {
        deadline.check("two lines of statistics");
        client.expect_echo(100);
    }

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(killed_server_is_followed_by_another_on_the_same_port_at_once) {
    Endpoint endpoint = unused_endpoint();
    for (int i = 0; i < 20; ++i) {
        EchoServer server({.listen = endpoint.text()});
        Client client(endpoint);
        client.expect_echo(1000);
        server.signal(SIGKILL);
        BOOST_TEST(server.process().wait() == 128 + SIGKILL);
        client.received_at_the_end();
        if (server.ready_line().ends_with("(io_uring)")) wait_until_bindable(endpoint);
    }
}

BOOST_AUTO_TEST_CASE(storm_of_resets_leaves_no_descriptor_and_no_complaint) {
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();

    for (int i = 0; i < 2000; ++i) {
        Client client(server.endpoint());
        if (i % 2 == 0) client.send(100);
        client.reset();
    }

    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(storm_of_connects_and_closes_leaves_no_descriptor) {
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();

    for (int i = 0; i < 2000; ++i) {
        Client client(server.endpoint());
        if (i % 2 == 0) client.send(100);
        client.close();
    }

    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::echo_server_test
