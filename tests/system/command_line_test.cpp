// SPDX-License-Identifier: BSL-1.0
#include "client.hpp"
#include "server_process.hpp"
#include "support/skip.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>

namespace leat::test::command_line_test {
namespace {

using Words = std::vector<std::string>;

Finished run_server(const Words& arguments) {
    Command command;
    command.words = {echo_server_path()};
    command.words.insert(command.words.end(), arguments.begin(), arguments.end());
    return run(command);
}

bool is_one_line(const std::string& text) {
    return text.size() > 1 && text.back() == '\n' && std::count(text.begin(), text.end(), '\n') == 1;
}

// One clear line which names the offending text, and the exit code.
void expect_refusal(const Finished& finished, int status, const std::string& named) {
    BOOST_TEST(finished.status == status);
    BOOST_TEST(finished.output == "");
    BOOST_TEST(is_one_line(finished.errors), "errors: " << finished.errors);
    BOOST_TEST(finished.errors.find(named) != std::string::npos,
               named << " is not named in: " << finished.errors);
}

void expect_wrong_argument(const Words& arguments, const std::string& named) {
    BOOST_TEST_CONTEXT("arguments " << arguments.front() << " " << arguments.back()) {
        expect_refusal(run_server(arguments), 2, named);
    }
}

bool names_backend(const std::string& ready_line) {
    const char* wanted = std::getenv("LEAT_BACKEND");
    return wanted == nullptr || ready_line.ends_with("(" + std::string(wanted) + ")");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(command_line)

BOOST_AUTO_TEST_CASE(help_names_every_option_and_succeeds) {
    Finished finished = run_server({"--help"});

    BOOST_TEST(finished.status == 0);
    for (const char* option :
         {"--listen", "--backend", "--max-connections", "--idle-timeout", "--drain-timeout", "--drain-quiet",
          "--lame-duck", "--stats", "--threads", "--pooled-buffers", "--help", "--version"}) {
        BOOST_TEST(finished.output.find(option) != std::string::npos, option);
    }
}

BOOST_AUTO_TEST_CASE(version_is_one_line_and_succeeds) {
    Finished finished = run_server({"--version"});

    BOOST_TEST(finished.status == 0);
    BOOST_TEST(is_one_line(finished.output), finished.output);
}

BOOST_AUTO_TEST_CASE(port_beyond_65535_is_refused) {
    expect_wrong_argument({"--listen", "127.0.0.1:70000"}, "70000");
}

BOOST_AUTO_TEST_CASE(negative_port_is_refused) {
    expect_wrong_argument({"--listen", "127.0.0.1:-1"}, "127.0.0.1:-1");
}

BOOST_AUTO_TEST_CASE(address_that_is_none_is_refused) {
    expect_wrong_argument({"--listen", "no-address"}, "no-address");
    expect_wrong_argument({"--listen", "127.0.0:7777"}, "127.0.0:7777");
    expect_wrong_argument({"--listen", "[::1:7777"}, "[::1:7777");
    expect_wrong_argument({"--listen", "127.0.0.1"}, "127.0.0.1");
    expect_wrong_argument({"--listen", ""}, "--listen");
}

BOOST_AUTO_TEST_CASE(unknown_flag_is_refused) { expect_wrong_argument({"--frobnicate"}, "--frobnicate"); }

BOOST_AUTO_TEST_CASE(stray_word_is_refused) { expect_wrong_argument({"surplus"}, "surplus"); }

BOOST_AUTO_TEST_CASE(flag_without_its_value_is_refused) { expect_wrong_argument({"--listen"}, "--listen"); }

BOOST_AUTO_TEST_CASE(unknown_backend_is_refused) { expect_wrong_argument({"--backend", "abacus"}, "abacus"); }

BOOST_AUTO_TEST_CASE(number_of_connections_must_be_a_natural_number) {
    for (const char* number : {"-5", "many", "1.5", "99999999999999999999999"}) {
        expect_wrong_argument({"--max-connections", number}, number);
    }
}

BOOST_AUTO_TEST_CASE(number_of_threads_must_be_a_whole_number_within_reason) {
    for (const char* number : {"-1", "many", "1.5", "100000"}) {
        expect_wrong_argument({"--threads", number}, number);
    }
}

BOOST_AUTO_TEST_CASE(durations_must_be_finite_and_not_negative) {
    for (const char* option :
         {"--idle-timeout", "--drain-timeout", "--drain-quiet", "--lame-duck", "--stats"}) {
        for (const char* duration : {"-3", "soon", "nan", "inf", "1e300"}) {
            expect_wrong_argument({option, duration}, duration);
        }
    }
}

BOOST_AUTO_TEST_CASE(unknown_backend_in_the_environment_is_refused) {
    Command command;
    command.words = {echo_server_path(), "--listen", "127.0.0.1:0"};
    command.environment = {{"LEAT_BACKEND", "abacus"}};

    expect_refusal(run(command), 2, "abacus");
}

BOOST_AUTO_TEST_CASE(address_in_use_is_one_line_and_exit_1) {
    EchoServer first;

    Finished second = run_server({"--listen", first.endpoint().text()});

    expect_refusal(second, 1, first.endpoint().text());
}

// Even by one that would share it.
BOOST_AUTO_TEST_CASE(address_in_use_is_refused_by_several_threads_too) {
    for (const char* threads : {"1", "3"}) {
        EchoServer first({.arguments = {"--threads", threads}});

        Finished second = run_server({"--threads", "3", "--listen", first.endpoint().text()});

        expect_refusal(second, 1, first.endpoint().text());
    }
}

BOOST_AUTO_TEST_CASE(address_of_another_machine_is_one_line_and_exit_1) {
    // 192.0.2.0/24 is for documentation: no interface has it.
    expect_refusal(run_server({"--listen", "192.0.2.1:0"}), 1, "192.0.2.1:0");
}

BOOST_AUTO_TEST_CASE(ready_line_gives_the_real_port_and_the_backend) {
    EchoServer server;

    BOOST_TEST(server.endpoint().port != 0);
    BOOST_TEST(names_backend(server.ready_line()), server.ready_line());
    Client(server.endpoint()).expect_echo(100);
}

BOOST_AUTO_TEST_CASE(ipv6_address_in_brackets_is_listened_on_and_printed_so) {
    if (!has_ipv6()) return skip("ipv6", "the loopback interface has no IPv6 address");
    EchoServer server({.listen = "[::1]:0"});

    BOOST_TEST(server.ready_line().find("[::1]:") != std::string::npos, server.ready_line());
    Client(server.endpoint()).expect_echo(100'000);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(last_line_counts_connections_and_bytes) {
    EchoServer server;
    Client first(server.endpoint());
    first.expect_echo(1000);
    Client(server.endpoint()).expect_echo(234);

    int status = server.stop();

    BOOST_TEST(status == 0);
    BOOST_TEST(server.process().output() ==
               server.ready_line() + "\necho_server: served 2 connections, 1234 bytes\n");
    BOOST_TEST(server.process().errors() == "");
}

BOOST_AUTO_TEST_CASE(last_line_counts_what_all_threads_served) {
    EchoServer server({.arguments = {"--threads", "3"}});
    for (int i = 0; i < 20; ++i)
        Client(server.endpoint()).expect_echo(100);

    int status = server.stop();

    BOOST_TEST(status == 0);
    BOOST_TEST(server.ready_line().ends_with(", 3 threads)"), server.ready_line());
    BOOST_TEST(server.process().output() ==
               server.ready_line() + "\necho_server: served 20 connections, 2000 bytes\n");
    BOOST_TEST(server.process().errors() == "");
}

BOOST_AUTO_TEST_CASE(interrupt_ends_it_like_terminate) {
    EchoServer server;
    server.signal(SIGINT);

    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::command_line_test
