// SPDX-License-Identifier: BSL-1.0
// What a server on io_uring makes of a kernel that refuses, interrupts or delays the calls of its ring.
#include "client.hpp"
#include "faulty_server.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <string>

namespace leat::test::uring_faults_test {
namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t mebibyte = 1024 * 1024;
constexpr const char* enter = "io_uring_enter";

// Those that pass: a signal, no memory for requests, no place for their ends.
constexpr const char* passing_errors[] = {"EINTR", "EAGAIN", "EBUSY"};

std::string errors_of(EchoServer& server) { return server.process().errors(); }

}  // namespace

BOOST_AUTO_TEST_SUITE(uring_faults)

BOOST_AUTO_TEST_CASE(threads_on_several_backends_are_announced_as_such) {
    if (!can_inject()) return;
    // Without -f the tracer follows the first thread only, and that is refused a ring.
    EchoServer server({.arguments = {"--threads", "3"},
                       .launcher = {"env", "-u", "LEAT_BACKEND", "strace", "-D", "-q", "-o", "/dev/null",
                                    "-e", "inject=io_uring_setup:error=EPERM:when=1+"}});

    BOOST_TEST(server.ready_line().ends_with("(1 thread on epoll, 2 on io_uring)"), server.ready_line());
    Client(server.endpoint()).expect_echo(100);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(every_second_or_third_enter_may_fail_and_nothing_is_stranded) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        for (const char* when : {"1+2", "1+3", "2+3"}) {
            BOOST_TEST_CONTEXT(error << " at " << when) {
                expect_byte_exact_traffic(Injection().fail(enter, error, when), enter);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(enters_may_fail_many_times_in_a_row) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        for (const char* when : {"1..40", "15..1500"}) {
            BOOST_TEST_CONTEXT(error << " at " << when) {
                expect_byte_exact_traffic(Injection().fail(enter, error, when), enter);
            }
        }
    }
}

// Longer than the thousand tries after which the server takes the kernel to be short of memory.
BOOST_AUTO_TEST_CASE(server_survives_a_kernel_that_is_short_of_memory_for_long) {
    if (!can_inject()) return;
    EchoServer server({.injection = Injection().fail(enter, "EAGAIN", "30..5000"),
                       .launcher = {"env", "LEAT_IO_URING_ENTRIES=1"}});

    Deadline deadline;
    while (server.trace().injected(enter) < 4000) {
        count_served(server, 1);
        deadline.check("4000 refused calls");
    }

    expect_recovery(server);
    BOOST_TEST(count_served(server, 10) == 10u);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(half_close_while_enters_fail_loses_nothing) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        EchoServer server(Injection().fail(enter, error, "1+2"));
        Client client(server.endpoint());

        BOOST_TEST(client.echoes_to_the_end(10 * mebibyte), error);

        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(narrow_reader_while_enters_fail_gets_everything) {
    if (!can_inject()) return;
    expect_a_narrow_reader_gets_everything(Injection().fail(enter, "EBUSY", "1+2"));
}

BOOST_AUTO_TEST_CASE(terminate_while_enters_fail_truncates_no_echo) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        EchoServer server(Injection().fail(enter, error, "1+2"));
        Swarm swarm(server.endpoint(), {.connections = 50, .block = 1000});

        swarm.exchange_until_all_end(Swarm::Afterwards::finish_block, [&] { server.signal(SIGTERM); });

        BOOST_TEST(swarm.served() == 50u, error);
        BOOST_TEST(swarm.cut_short() == 0u, error);
        BOOST_TEST(server.process().wait() == 0);
    }
}

BOOST_AUTO_TEST_CASE(resets_while_enters_fail_leave_no_descriptor) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        EchoServer server(Injection().fail(enter, error, "1+2"));
        std::size_t baseline = server.descriptors_at_rest();

        for (int i = 0; i < 200; ++i) {
            Client client(server.endpoint());
            if (i % 2 == 0) client.send(100);
            client.reset();
        }

        server.wait_for_descriptors(baseline);
        BOOST_TEST(server.complaints() == 0u, errors_of(server));
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(interrupted_enters_keep_the_rest_of_their_timeout) {
    if (!can_inject()) return;
    for (const char* error : passing_errors) {
        EchoServer server(
            {.arguments = {"--idle-timeout", "0.5"}, .injection = Injection().fail(enter, error, "1+2")});
        auto start = steady_clock::now();
        Client idle(server.endpoint());

        BOOST_TEST(idle.received_at_the_end() == 0u);

        BOOST_TEST((steady_clock::now() - start >= std::chrono::milliseconds(500)));
        // A failure is not paid for with a loop of short waits.
        BOOST_TEST(server.trace().calls(enter) < 60u, error);
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(enters_that_give_nothing_lose_nothing) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().tamper(enter, "retval=0", "1+3"), enter);
}

BOOST_AUTO_TEST_CASE(enters_that_begin_or_return_late_lose_nothing) {
    if (!can_inject()) return;
    for (const char* delay : {"delay_enter=1000", "delay_exit=1000"}) {
        BOOST_TEST_CONTEXT(delay) {
            expect_byte_exact_traffic(Injection().tamper(enter, delay, "2+3"), enter);
        }
    }
}

BOOST_AUTO_TEST_CASE(terminate_while_enters_are_late_truncates_no_echo) {
    if (!can_inject()) return;
    for (const char* delay : {"delay_enter=2000", "delay_exit=2000"}) {
        EchoServer server(Injection().tamper(enter, delay, "1+2"));
        Swarm swarm(server.endpoint(), {.connections = 50, .block = 1000});

        swarm.exchange_until_all_end(Swarm::Afterwards::finish_block, [&] { server.signal(SIGTERM); });

        BOOST_TEST(swarm.served() == 50u, delay);
        BOOST_TEST(swarm.cut_short() == 0u, delay);
        BOOST_TEST(server.process().wait() == 0);
    }
}

// A kernel says EINVAL to the flags that it does not know, and is asked for less.
BOOST_AUTO_TEST_CASE(ring_that_an_older_kernel_can_make_serves_as_well) {
    if (!can_inject()) return;
    for (const char* newer_than_the_kernel : {"1", "1..2", "1..3"}) {
        BOOST_TEST_CONTEXT("setups refused: " << newer_than_the_kernel) {
            EchoServer server(Injection().fail("io_uring_setup", "EINVAL", newer_than_the_kernel));
            Swarm swarm(server.endpoint(), {.connections = 20, .block = 1000});
            Client half_closed(server.endpoint());

            swarm.exchange(20);

            BOOST_TEST(half_closed.echoes_to_the_end(mebibyte));
            BOOST_TEST(swarm.alive() == 20u);
            BOOST_TEST(server.ready_line().ends_with("(io_uring)"), server.ready_line());
            expect_clean_end(server);
        }
    }
}

BOOST_AUTO_TEST_CASE(call_that_is_refused_at_the_start_is_one_line_and_exit_1) {
    if (!can_inject()) return;
    struct Refusal {
        const char* call;
        const char* error;
        const char* when;
    };
    for (auto [call, error, when] :
         {Refusal{"io_uring_setup", "EMFILE", "1"}, Refusal{"io_uring_setup", "EINVAL", "1+"},
          Refusal{"io_uring_register", "EPERM", "1"}, Refusal{"eventfd2", "EMFILE", "1"}}) {
        BOOST_TEST_CONTEXT(call << " " << error << " at " << when) {
            Finished finished = run_to_its_end({.injection = Injection().fail(call, error, when)});

            BOOST_TEST(finished.status == 1);
            BOOST_TEST(std::count(finished.errors.begin(), finished.errors.end(), '\n') == 1,
                       finished.errors);
        }
    }
}

BOOST_AUTO_TEST_CASE(process_limit_of_descriptors_closes_the_surplus_and_serves_the_others) {
    if (!can_inject()) return;
    constexpr std::size_t limit = 64;
    EchoServer server({.injection = Injection().watch(enter), .descriptor_limit = limit});
    std::deque<Client> served;
    std::size_t turned_away = 0;

    for (int i = 0; i < 200; ++i) {
        Client& client = served.emplace_back(server.endpoint());
        if (client.exchange(1000) == Outcome::echoed) continue;
        served.pop_back();
        ++turned_away;
    }

    BOOST_TEST(served.size() >= limit - 20);
    BOOST_TEST(turned_away == 200 - served.size());
    BOOST_TEST(server.trace().calls(enter) < 3000u);
    BOOST_TEST(server.complaints() >= 1u);
    BOOST_TEST(server.complaints() <= 10u, errors_of(server));
    for (Client& client : served) {
        client.expect_echo(1000);
    }
    served.clear();
    expect_recovery(server);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::uring_faults_test
