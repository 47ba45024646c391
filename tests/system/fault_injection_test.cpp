// SPDX-License-Identifier: BSL-1.0
#include "client.hpp"
#include "faulty_server.hpp"
#include "server_process.hpp"
#include "strace.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <utility>

namespace leat::test::fault_injection_test {
namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t mebibyte = 1024 * 1024;
const std::string every_wait = "epoll_wait,epoll_pwait,epoll_pwait2";

// `fault` hits the acceptor; no client may notice. How many lines the server writes about it.
std::size_t complaints_of_an_acceptor_under(const Injection& fault) {
    EchoServer server(fault);
    Client early(server.endpoint());
    early.expect_echo(1000);

    BOOST_TEST(count_served(server, 20) == 20u);

    early.expect_echo(1000);
    BOOST_TEST(server.trace().injected("accept4") > 0u);
    expect_clean_end(server);
    return server.complaints();
}

// `fault` hits one call of one connection: that one may close, visibly; the others do not notice.
void expect_at_most_one_loss(const Injection& fault, const std::string& call) {
    EchoServer server(fault);
    Swarm swarm(server.endpoint(), {.connections = 20, .block = 1000});

    swarm.exchange(10);

    BOOST_TEST(swarm.alive() >= 19u);
    BOOST_TEST(swarm.blocks() >= 190u);
    BOOST_TEST(server.trace().injected(call) == 1u);
    BOOST_TEST(count_served(server, 5) == 5u);
    expect_clean_end(server);
}

// How many calls of that name the server makes until one connection is there and it waits for data.
std::size_t calls_until_first_connection(const std::string& call) {
    EchoServer server(Injection().watch(call));
    Client client(server.endpoint());
    server.wait_until_idle();
    return server.trace().calls(call);
}

// Which call of that name, counted from 1, is the last before, or is itself, the first line of a trace that holds `text`.
std::size_t number_of_call(const std::string& call, const std::string& text) {
    EchoServer server(Injection().watch(call).watch("madvise"));
    std::size_t before = server.trace().calls_before(call, text);
    return text.starts_with(call) ? before + 1 : before;
}

std::string at(std::size_t call) { return std::to_string(call); }

}  // namespace

BOOST_AUTO_TEST_SUITE(fault_injection)

BOOST_AUTO_TEST_CASE(process_limit_of_descriptors_closes_the_surplus_and_serves_the_others) {
    if (!can_inject()) return;
    constexpr std::size_t limit = 64;
    EchoServer server({.injection = Injection().watch("accept4"), .descriptor_limit = limit});
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
    BOOST_TEST(server.trace().calls("accept4") < 1500u);
    BOOST_TEST(server.complaints() >= 1u);
    BOOST_TEST(server.complaints() <= 10u, server.process().errors());
    for (Client& client : served) {
        client.expect_echo(1000);
    }
    served.clear();
    expect_recovery(server);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(accept_without_descriptors_recovers_and_keeps_the_connected) {
    if (!can_inject()) return;
    for (const char* error : {"EMFILE", "ENFILE"}) {
        EchoServer server(Injection().fail("accept4", error, "3..8"));
        Client early(server.endpoint());
        early.expect_echo(1000);

        std::size_t served = count_served(server, 20);

        BOOST_TEST(served >= 10u);
        BOOST_TEST(server.trace().injected("accept4") == 6u);
        early.expect_echo(1000);
        expect_recovery(server);
        BOOST_TEST(server.complaints() >= 1u);
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(accept_that_always_fails_does_not_spin) {
    if (!can_inject()) return;
    std::string later = at(calls_until_first_connection("accept4") + 1) + "+";
    for (const char* error : {"EMFILE", "ENFILE", "ENOBUFS", "ENETDOWN"}) {
        // A drain goes on trying to accept until its deadline.
        EchoServer server({.arguments = {"--drain-timeout", "0.5"},
                           .injection = Injection().fail("accept4", error, later)});
        Client early(server.endpoint());
        early.expect_echo(1000);
        Client waiting(server.endpoint());
        auto start = steady_clock::now();

        while (steady_clock::now() - start < std::chrono::seconds(1)) {
            early.expect_echo(1000);
        }

        auto seconds = std::chrono::ceil<std::chrono::seconds>(steady_clock::now() - start).count();
        auto allowed = static_cast<std::size_t>(100 * seconds);
        BOOST_TEST(server.trace().calls("accept4") <= allowed, error);
        BOOST_TEST(server.complaints() <= static_cast<std::size_t>(seconds) + 2, server.process().errors());
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(accept_of_an_aborted_connection_is_invisible) {
    if (!can_inject()) return;
    BOOST_TEST(complaints_of_an_acceptor_under(Injection().fail("accept4", "ECONNABORTED", "1+2")) == 0u);
}

BOOST_AUTO_TEST_CASE(thousands_of_aborted_connections_in_a_row_are_invisible) {
    if (!can_inject()) return;
    for (const char* error : {"ECONNABORTED", "EINTR"}) {
        Injection fault = Injection().fail("accept4", error, "2..2500");

        BOOST_TEST(complaints_of_an_acceptor_under(fault) == 0u, error);
    }
}

BOOST_AUTO_TEST_CASE(connections_reset_before_their_accept_hurt_nobody) {
    EchoServer server;
    std::size_t baseline = server.descriptors_at_rest();
    std::deque<Client> good;

    server.signal(SIGSTOP);
    for (int i = 0; i < 20; ++i) {
        Client(server.endpoint()).reset();
        good.emplace_back(server.endpoint()).send(1000);
    }
    server.signal(SIGCONT);

    for (Client& client : good) {
        client.expect_rest();
    }
    good.clear();
    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.complaints() == 0u, server.process().errors());
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(accept_short_of_memory_backs_off_and_recovers) {
    if (!can_inject()) return;
    for (const char* error : {"ENOBUFS", "ENOMEM"}) {
        BOOST_TEST(complaints_of_an_acceptor_under(Injection().fail("accept4", error, "2..5")) == 1u, error);
    }
}

BOOST_AUTO_TEST_CASE(transient_network_errors_leave_the_listener_open) {
    if (!can_inject()) return;
    for (const char* error : {"EPROTO", "ENETDOWN", "EHOSTUNREACH", "EOPNOTSUPP", "ETIMEDOUT", "EPERM"}) {
        BOOST_TEST_CONTEXT(error) {
            BOOST_TEST(complaints_of_an_acceptor_under(Injection().fail("accept4", error, "2..4")) <= 1u);
        }
    }
}

BOOST_AUTO_TEST_CASE(interrupted_accept_is_invisible) {
    if (!can_inject()) return;
    Injection fault = Injection().tamper("accept4", "error=EINTR:signal=SIGCHLD", "1+2");

    BOOST_TEST(complaints_of_an_acceptor_under(fault) == 0u);
}

BOOST_AUTO_TEST_CASE(fatal_accept_error_is_reported_at_once_and_connections_are_finished) {
    if (!can_inject()) return;
    std::size_t known = calls_until_first_connection("accept4");
    for (const char* error : {"EBADF", "EINVAL", "ENOTSOCK"}) {
        EchoServer server(Injection().fail("accept4", error, at(known + 1)));
        Client early(server.endpoint());
        server.wait_until_idle();
        connect_to(server.endpoint());

        BOOST_TEST(early.echoes_to_the_end(mebibyte));

        BOOST_TEST(server.process().wait() == 1);
        // At once, and as the reason of the exit.
        BOOST_TEST(server.complaints() == 2u, server.process().errors());
        BOOST_TEST(server.trace().calls("accept4") == known + 1);
    }
}

BOOST_AUTO_TEST_CASE(interrupted_waits_are_invisible) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().fail(every_wait, "EINTR", "1+2"), "epoll_");
}

BOOST_AUTO_TEST_CASE(interrupted_waits_keep_the_rest_of_their_timeout) {
    if (!can_inject()) return;
    EchoServer server(
        {.arguments = {"--idle-timeout", "0.5"}, .injection = Injection().fail(every_wait, "EINTR", "1+2")});
    auto start = steady_clock::now();
    Client idle(server.endpoint());

    BOOST_TEST(idle.received_at_the_end() == 0u);

    BOOST_TEST((steady_clock::now() - start >= std::chrono::milliseconds(500)));
    // An interruption is not paid for with a loop of short waits.
    BOOST_TEST(server.trace().calls("epoll_pwait2") < 50u);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(epoll_pwait2_that_is_missing_or_forbidden_is_replaced) {
    if (!can_inject()) return;
    for (const char* error : {"ENOSYS", "EPERM"}) {
        EchoServer server({.arguments = {"--idle-timeout", "0.5"},
                           .injection = Injection().fail("epoll_pwait2", error, "1+").watch("epoll_wait")});
        auto start = steady_clock::now();
        Client idle(server.endpoint());

        BOOST_TEST(idle.received_at_the_end() == 0u, error);

        BOOST_TEST((steady_clock::now() - start >= std::chrono::milliseconds(500)), error);
        BOOST_TEST(server.trace().calls("epoll_pwait2") <= 1u, error);
        BOOST_TEST(server.trace().calls("epoll_wait") < 50u, error);
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(waits_that_return_nothing_lose_nothing) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().tamper(every_wait, "retval=0", "1+3"), "epoll_");
}

BOOST_AUTO_TEST_CASE(wait_that_returns_early_with_nothing_ends_no_timeout_early) {
    if (!can_inject()) return;
    EchoServer server({.arguments = {"--idle-timeout", "0.5"},
                       .injection = Injection().tamper(every_wait, "retval=0", "1..5")});
    auto start = steady_clock::now();
    Client idle(server.endpoint());

    BOOST_TEST(idle.received_at_the_end() == 0u);

    BOOST_TEST((steady_clock::now() - start >= std::chrono::milliseconds(500)));
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(readiness_that_is_forged_is_only_a_hint) {
    if (!can_inject()) return;
    // The first event of every other batch claims IN, OUT and RDHUP; then also ERR and HUP.
    for (const char* forged : {"05200000", "1d200000"}) {
        std::string poke = "poke_exit=@arg2=" + std::string(forged);
        expect_byte_exact_traffic(Injection().tamper(every_wait, poke, "2+2"), "epoll_");
    }
}

BOOST_AUTO_TEST_CASE(event_for_a_source_that_is_gone_is_dropped) {
    if (!can_inject()) return;
    // IN and OUT for user data that was never registered, or no longer is: slot 1 of another generation.
    std::string stale = "retval=1:poke_exit=@arg2=050000004000000077777777";
    expect_byte_exact_traffic(Injection().tamper(every_wait, stale, "3+3"), "epoll_");
}

BOOST_AUTO_TEST_CASE(call_that_is_refused_at_the_start_is_one_line_and_exit_1) {
    if (!can_inject()) return;
    struct Refusal {
        const char* call;
        std::size_t number;
        const char* error;
        const char* message;
    };
    std::size_t handlers = number_of_call("rt_sigaction", "rt_sigaction(SIGTERM");
    for (const Refusal& refusal : {
             Refusal{"socket", 1, "EMFILE", "Too many open files"},
             Refusal{"setsockopt", 1, "ENOPROTOOPT", "Protocol not available"},
             Refusal{"setsockopt", 2, "ENOPROTOOPT", "Protocol not available"},
             Refusal{"setsockopt", 3, "ENOBUFS", "No buffer space available"},
             Refusal{"bind", 1, "EACCES", "Permission denied"},
             Refusal{"listen", 1, "EOPNOTSUPP", "Operation not supported"},
             Refusal{"getsockname", 1, "ENOBUFS", "No buffer space available"},
             Refusal{"mmap", number_of_call("mmap", "madvise("), "ENOMEM", "Cannot allocate memory"},
             Refusal{"epoll_create1", 1, "EMFILE", "Too many open files"},
             Refusal{"eventfd2", 1, "ENFILE", "Too many open files in system"},
             Refusal{"epoll_ctl", 1, "ENOSPC", "No space left on device"},
             Refusal{"eventfd2", 2, "EMFILE", "Too many open files"},
             Refusal{"fcntl", 1, "EMFILE", "Too many open files"},
             Refusal{"rt_sigaction", handlers, "EINVAL", "signal 15 "},
             Refusal{"rt_sigaction", handlers + 1, "EINVAL", "signal 15 "},
             Refusal{"rt_sigaction", handlers + 3, "EINVAL", "signal 2 "},
         }) {
        BOOST_TEST_CONTEXT(refusal.call << " " << refusal.number) {
            Finished finished = run_to_its_end(
                {.injection = Injection().fail(refusal.call, refusal.error, at(refusal.number))});

            BOOST_TEST(finished.status == 1);
            BOOST_TEST(finished.output.find("served") == std::string::npos, finished.output);
            BOOST_TEST(finished.errors.starts_with("echo_server: "), finished.errors);
            BOOST_TEST(finished.errors.find(refusal.message) != std::string::npos, finished.errors);
            BOOST_TEST(std::ranges::count(finished.errors, '\n') == 1, finished.errors);
        }
    }
}

BOOST_AUTO_TEST_CASE(call_that_is_refused_at_the_start_and_not_needed_is_no_complaint) {
    if (!can_inject()) return;
    using Refusal = std::pair<const char*, const char*>;
    // Before Linux 4.14 there is no MADV_WIPEONFORK; the first handler is that of SIGPIPE; the second socket the reserve.
    for (auto [call, when] :
         {Refusal("madvise", "1"), Refusal("rt_sigaction", "1"), Refusal("socket", "2")}) {
        BOOST_TEST_CONTEXT(call) {
            const char* error = call == std::string("socket") ? "EMFILE" : "EINVAL";
            EchoServer server(Injection().fail(call, error, when));

            BOOST_TEST(count_served(server, 5) == 5u);

            BOOST_TEST(server.trace().injected(call) == 1u);
            BOOST_TEST(server.complaints() == 0u, server.process().errors());
            expect_clean_end(server);
        }
    }
}

BOOST_AUTO_TEST_CASE(refused_registration_closes_that_connection_alone) {
    if (!can_inject()) return;
    std::size_t known = calls_until_first_connection("epoll_ctl");
    for (const char* error : {"ENOSPC", "ENOMEM", "EPERM"}) {
        EchoServer server(Injection().fail("epoll_ctl", error, at(known + 1)));
        Client early(server.endpoint());
        std::size_t baseline = server.descriptors_at_rest();
        Client second(server.endpoint());
        server.wait_until_idle();

        BOOST_TEST(server.trace().injected("epoll_ctl") == 1u);
        BOOST_TEST((second.exchange(1000) == Outcome::closed), error);
        early.expect_echo(1000);
        BOOST_TEST(count_served(server, 5) == 5u);
        server.wait_for_descriptors(baseline);
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(registration_that_contradicts_the_kernel_repairs_itself_or_ends_one_connection) {
    if (!can_inject()) return;
    std::size_t known = calls_until_first_connection("epoll_ctl");
    for (const char* error : {"EEXIST", "ENOENT"}) {
        for (std::size_t call = known + 1; call <= known + 4; ++call) {
            EchoServer server(Injection().fail("epoll_ctl", error, at(call)));
            Client early(server.endpoint());
            server.wait_until_idle();

            BOOST_TEST(count_served(server, 6) >= 5u);

            early.expect_echo(1000);
            BOOST_TEST(server.trace().injected("epoll_ctl") == 1u);
            expect_clean_end(server);
        }
    }
}

BOOST_AUTO_TEST_CASE(reset_while_reading_ends_that_connection_alone) {
    if (!can_inject()) return;
    expect_at_most_one_loss(Injection().fail("recvfrom", "ECONNRESET", "50"), "recvfrom");
}

BOOST_AUTO_TEST_CASE(other_errors_while_reading_end_that_connection_alone) {
    if (!can_inject()) return;
    for (const char* error : {"ETIMEDOUT", "EHOSTUNREACH", "ENOMEM", "EIO"}) {
        expect_at_most_one_loss(Injection().fail("recvfrom", error, "50"), "recvfrom");
    }
}

BOOST_AUTO_TEST_CASE(interrupted_reads_and_writes_are_invisible) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().fail("recvfrom,sendto", "EINTR", "1+2"), "recvfrom");
}

BOOST_AUTO_TEST_CASE(reads_and_writes_that_are_interrupted_thousands_of_times_are_only_late) {
    if (!can_inject()) return;
    for (const char* call : {"recvfrom", "sendto"}) {
        EchoServer server(Injection().fail(call, "EINTR", "5..3500"));
        Client late(server.endpoint());
        Client other(server.endpoint());
        late.send(1000);

        for (int i = 0; i < 10; ++i)
            other.expect_echo(1000);
        late.expect_rest();

        BOOST_TEST(server.trace().injected(call) == 3496u);
        expect_clean_end(server);
    }
}

BOOST_AUTO_TEST_CASE(reads_that_would_block_without_a_later_edge_do_not_hang) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().fail("recvfrom", "EAGAIN", "1+2"), "recvfrom");
}

BOOST_AUTO_TEST_CASE(writes_that_would_block_without_a_later_edge_do_not_hang) {
    if (!can_inject()) return;
    expect_byte_exact_traffic(Injection().fail("sendto", "EAGAIN", "1+2"), "sendto");
}

BOOST_AUTO_TEST_CASE(broken_pipe_ends_that_connection_alone) {
    if (!can_inject()) return;
    expect_at_most_one_loss(Injection().fail("sendto", "EPIPE", "50"), "sendto");
}

BOOST_AUTO_TEST_CASE(peers_that_close_while_the_server_writes_send_it_no_signal) {
    if (!can_inject()) return;
    EchoServer server(Injection().watch("sendto"));
    std::size_t baseline = server.descriptors_at_rest();
    Client steady(server.endpoint());
    steady.expect_echo(1000);

    // Each leaves its data and its end behind: the first echo is answered with a reset, the second finds that.
    server.signal(SIGSTOP);
    for (int i = 0; i < 50; ++i) {
        Client(server.endpoint()).send(30'000);
    }
    server.signal(SIGCONT);

    steady.expect_echo(1000);
    steady.close();
    server.wait_for_descriptors(baseline);
    BOOST_TEST(server.trace().lines_with("EPIPE") > 0u);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(write_short_of_memory_is_never_a_silent_loss) {
    if (!can_inject()) return;
    for (const char* error : {"ENOBUFS", "ENOMEM"}) {
        expect_at_most_one_loss(Injection().fail("sendto", error, "50"), "sendto");
    }
}

BOOST_AUTO_TEST_CASE(narrow_reader_under_an_interrupt_storm_gets_everything) {
    if (!can_inject()) return;
    expect_a_narrow_reader_gets_everything(Injection().fail("recvfrom,sendto," + every_wait, "EINTR", "1+2"));
}

BOOST_AUTO_TEST_CASE(single_bytes_under_an_interrupt_storm_stay_in_order) {
    if (!can_inject()) return;
    EchoServer server(Injection().fail("recvfrom,sendto," + every_wait, "EINTR", "1+2"));
    Swarm swarm(server.endpoint(), {.connections = 20, .block = 100, .segment = 1});

    swarm.exchange(3);

    BOOST_TEST(swarm.alive() == 20u);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(half_close_under_an_interrupt_storm_loses_nothing) {
    if (!can_inject()) return;
    EchoServer server(Injection().fail("recvfrom,sendto," + every_wait, "EINTR", "1+2"));
    Client client(server.endpoint());

    BOOST_TEST(client.echoes_to_the_end(10 * mebibyte));
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(terminate_under_an_interrupt_storm_truncates_no_echo) {
    if (!can_inject()) return;
    EchoServer server(Injection().fail("accept4,recvfrom,sendto," + every_wait, "EINTR", "1+2"));
    Swarm swarm(server.endpoint(), {.connections = 50, .block = 1000});

    swarm.exchange_until_all_end(Swarm::Afterwards::finish_block, [&] { server.signal(SIGTERM); });

    BOOST_TEST(swarm.served() == 50u);
    BOOST_TEST(swarm.cut_short() == 0u);
    BOOST_TEST(server.process().wait() == 0);
}

BOOST_AUTO_TEST_CASE(every_other_call_may_fail_once_while_it_serves) {
    if (!can_inject()) return;
    struct Failure {
        const char* call;
        const char* error;
        std::size_t times;
    };
    // It reads nothing but the note of a signal, and looks twice.
    for (auto [call, error, times] :
         {Failure{"poll", "EINTR", 3}, Failure{"poll", "ENOMEM", 3}, Failure{"read", "EINTR", 2},
          Failure{"close", "EINTR", 3}, Failure{"close", "EIO", 3}}) {
        std::size_t known = calls_until_first_connection(call);
        for (std::size_t number = known + 1; number <= known + times; ++number) {
            BOOST_TEST_CONTEXT(call << " " << error << " at " << number) {
                EchoServer server({.arguments = {"--drain-timeout", "0.5"},
                                   .injection = Injection().fail(call, error, at(number))});
                Swarm swarm(server.endpoint(), {.connections = 10, .block = 1000});
                swarm.exchange(5);

                BOOST_TEST(count_served(server, 5) == 5u);
                swarm.exchange(5);

                BOOST_TEST(swarm.alive() == 10u);
                expect_clean_end(server);
                BOOST_TEST(server.trace().injected(call) == 1u);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(drain_whose_questions_and_goodbyes_fail_loses_nothing) {
    if (!can_inject()) return;
    using Failure = std::pair<const char*, const char*>;
    for (auto [call, error] : {Failure("getsockopt", "ENOPROTOOPT"), Failure("ioctl", "EINVAL"),
                               Failure("shutdown", "ENOTCONN")}) {
        BOOST_TEST_CONTEXT(call) {
            EchoServer server(
                {.arguments = {"--drain-quiet", "0"}, .injection = Injection().fail(call, error, "1+")});
            Client slow(server.endpoint(), {.narrow = true});
            slow.send(10'000);
            slow.wait_until_arrived();
            server.wait_until_idle();

            server.signal(SIGTERM);
            server.wait_until_idle();

            BOOST_TEST(slow.received_at_the_end() == 10'000u);
            BOOST_TEST(!slow.was_reset());
            BOOST_TEST(server.process().wait() == 0);
            server.trace().wait_until_complete();
            BOOST_TEST(server.trace().injected(call) > 0u);
        }
    }
}

BOOST_AUTO_TEST_CASE(missing_null_device_turns_nobody_away) {
    if (!can_inject()) return;
    // As in a root folder of its own: what is held in reserve must not need a file.
    EchoServer server(Injection().fail("openat", "ENOENT", "1+").only_on("/dev/null"));

    BOOST_TEST(count_served(server, 5) == 5u);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(filter_that_refuses_the_reserve_turns_nobody_away_and_is_told_once) {
    if (!can_inject()) return;
    // As under a filter of system calls that allows sockets of the network only: the first is the listener.
    EchoServer server(Injection().fail("socket", "EAFNOSUPPORT", "2+"));

    BOOST_TEST(count_served(server, 20) == 20u);

    BOOST_TEST(server.trace().injected("socket") > 0u);
    BOOST_TEST(server.complaints() == 1u, server.process().errors());
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(filter_that_refuses_the_reserve_does_not_make_want_of_descriptors_worse) {
    if (!can_inject()) return;
    EchoServer server(Injection().fail("socket", "EAFNOSUPPORT", "2+").fail("accept4", "EMFILE", "3..8"));
    Client early(server.endpoint());
    early.expect_echo(1000);

    BOOST_TEST(count_served(server, 20) == 20u);

    BOOST_TEST(server.trace().injected("accept4") == 6u);
    BOOST_TEST(server.complaints() >= 2u, server.process().errors());
    early.expect_echo(1000);
    expect_clean_end(server);
}

BOOST_AUTO_TEST_CASE(signal_whose_wake_call_failed_at_first_is_noticed_all_the_same) {
    if (!can_inject()) return;
    EchoServer server(Injection().fail("write", "EAGAIN", "1").only_on("anon_inode:[eventfd]"));
    Client client(server.endpoint());
    client.expect_echo(1000);
    server.wait_until_idle();

    server.signal(SIGTERM);

    BOOST_TEST(client.received_at_the_end() == 1000u);
    BOOST_TEST(server.process().wait() == 0);
    BOOST_TEST(server.trace().injected("write") == 1u);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::fault_injection_test
