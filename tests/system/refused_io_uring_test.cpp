// SPDX-License-Identifier: BSL-1.0
// What a server does where the system takes io_uring away from it, as many containers do. Its own choice goes to the next
// backend and says so; another's is not changed behind his back.
#include "client.hpp"
#include "server_process.hpp"
#include "support/skip.hpp"

#include <leat/reactor/backend.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace leat::test::refused_io_uring_test {
namespace {

struct Refusal {
    const char* name;
    int number;

    std::string message() const { return std::system_category().message(number); }
};
constexpr std::array refusals = {Refusal{"EPERM", EPERM}, Refusal{"ENOSYS", ENOSYS},
                                 Refusal{"ENOMEM", ENOMEM}};

using Words = std::vector<std::string>;

// What is to be written before a command so that io_uring refuses it, and nobody has chosen for it.
Words refusing(const Refusal& refusal, const char* assignment = nullptr) {
    const char* path = std::getenv("LEAT_REFUSE_IO_URING");
    if (path == nullptr)
        throw std::runtime_error("LEAT_REFUSE_IO_URING does not name the program that refuses");
    Words words{"env", "-u", "LEAT_BACKEND"};
    if (assignment != nullptr) words.emplace_back(assignment);
    words.emplace_back(path);
    words.emplace_back(refusal.name);
    return words;
}

bool can_filter() {
    Command trial;
    trial.words = refusing(refusals.front());
    trial.words.emplace_back("true");
    const Finished finished = run(trial);
    if (finished.status == 0) return true;
    skip("seccomp", finished.errors);
    return false;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// How many lines are there to say that io_uring was passed over: one if it stands first, so that who has no wish gets it.
std::size_t lines_of_a_fallback() { return Backend::all().front().name() == "io_uring" ? 1 : 0; }

void expect_refusal(const Finished& finished, const Refusal& refusal) {
    BOOST_TEST(finished.status == 1);
    BOOST_TEST(finished.output == "");
    BOOST_TEST(std::ranges::count(finished.errors, '\n') == 1, finished.errors);
    BOOST_TEST(contains(finished.errors, "io_uring_setup"), finished.errors);
    BOOST_TEST(contains(finished.errors, refusal.message()), finished.errors);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(refused_io_uring)

BOOST_AUTO_TEST_CASE(server_without_a_wish_serves_on_epoll_and_tells_once) {
    if (!can_filter()) return;
    for (const Refusal& refusal : refusals) {
        BOOST_TEST_CONTEXT(refusal.name) {
            EchoServer server({.launcher = refusing(refusal)});
            Client client(server.endpoint());
            client.expect_echo(100'000);

            BOOST_TEST(server.stop() == 0);

            BOOST_TEST(server.ready_line().ends_with(" (epoll)"), server.ready_line());
            const std::string& errors = server.process().errors();
            BOOST_TEST(server.complaints() == lines_of_a_fallback(), errors);
            if (lines_of_a_fallback() == 0) continue;
            BOOST_TEST(errors.starts_with("leat: io_uring is refused: "), errors);
            BOOST_TEST(contains(errors, refusal.message()), errors);
            BOOST_TEST(errors.ends_with("; epoll is used instead\n"), errors);
        }
    }
}

BOOST_AUTO_TEST_CASE(backend_named_on_the_command_line_ends_the_server_at_once) {
    if (!can_filter()) return;
    for (const Refusal& refusal : refusals) {
        BOOST_TEST_CONTEXT(refusal.name) {
            expect_refusal(
                run_to_its_end({.arguments = {"--backend", "io_uring"}, .launcher = refusing(refusal)}),
                refusal);
        }
    }
}

BOOST_AUTO_TEST_CASE(backend_named_in_the_environment_ends_the_server_at_once) {
    if (!can_filter()) return;
    for (const Refusal& refusal : refusals) {
        BOOST_TEST_CONTEXT(refusal.name) {
            expect_refusal(run_to_its_end({.launcher = refusing(refusal, "LEAT_BACKEND=io_uring")}), refusal);
        }
    }
}

BOOST_AUTO_TEST_CASE(backend_that_needs_no_io_uring_is_not_concerned) {
    if (!can_filter()) return;
    EchoServer server({.arguments = {"--backend", "epoll"}, .launcher = refusing(refusals.front())});
    Client(server.endpoint()).expect_echo(1000);

    BOOST_TEST(server.stop() == 0);

    BOOST_TEST(server.complaints() == 0u, server.process().errors());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::refused_io_uring_test
