// SPDX-License-Identifier: BSL-1.0
// What a server tells a person who looks at it from outside.
#include "client.hpp"
#include "server_process.hpp"
#include "support/sanitizer.hpp"
#include "support/skip.hpp"
#include "swarm.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace leat::test::seen_from_outside_test {
namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t from = text.find(part); from != std::string::npos; from = text.find(part, from + 1))
        ++found;
    return found;
}

// What the server has said on its standard error, once `part` stands in it `times`.
std::string errors_with(EchoServer& server, const std::string& part, std::size_t times = 1) {
    Deadline deadline;
    while (count(server.process().errors(), part) < times) {
        deadline.check("'" + part + "' " + std::to_string(times) + " times in: " + server.process().errors());
        std::this_thread::yield();
    }
    return server.process().errors();
}

// "… at echo_server.cpp:36 waits for read fd …": a file, a line that is a number, and the wait.
bool names_line_of_read(const std::string& text) {
    const std::string before = " at echo_server.cpp:";
    for (std::size_t at = text.find(before); at != std::string::npos; at = text.find(before, at + 1)) {
        std::size_t end = at + before.size();
        while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0)
            ++end;
        if (end != at + before.size() && text.compare(end, 17, " waits for read f") == 0) return true;
    }
    return false;
}

void expect_dump_of(EchoServer& server) {
    Client client(server.endpoint());
    client.expect_echo(100);
    server.wait_until_idle();

    server.signal(SIGUSR1);
    const std::string text = errors_with(server, "waits for read fd ");

    BOOST_TEST(text.starts_with("leat: the tasks:\n#1 task "), text);
    BOOST_TEST(names_line_of_read(text), text);
    BOOST_TEST(contains(text, " from 127.0.0.1:"), text);
    BOOST_TEST(contains(text, "waits for accept fd "), text);
    BOOST_TEST(contains(text, " at " + server.endpoint().text()), text);
    client.expect_echo(100);
    BOOST_TEST(server.stop() == 0);
}

// Whether a program was built with what a debugger needs.
bool has_debug_information(const std::string& program) {
    std::ifstream file(program, std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    return contains(content, ".debug_info");
}

// What gdb prints for `leat-tasks` on a process, or on a core file of the echo server.
Finished tasks_by_gdb(const std::vector<std::string>& target) {
    const char* script = std::getenv("LEAT_GDB_SCRIPT");
    if (script == nullptr) throw std::runtime_error("LEAT_GDB_SCRIPT does not name the script");
    Command command;
    command.words = {"gdb", "-nx", "-batch", "-x", script};
    command.words.insert(command.words.end(), target.begin(), target.end());
    command.words.insert(command.words.end(), {"-ex", "leat-tasks"});
    return run(command);
}

bool can_debug() {
    if (!is_installed("gdb")) return skip("gdb", "it is not installed"), false;
    if (!has_debug_information(echo_server_path()))
        return skip("debug information", "this preset builds without"), false;
    return true;
}

void expect_tasks(const Finished& finished) {
    BOOST_TEST(finished.status == 0, finished.errors);
    const std::string& text = finished.output;
    BOOST_TEST(contains(text, "#1 task "), text << finished.errors);
    BOOST_TEST(contains(text, "run_server"), text);
    BOOST_TEST(contains(text, "started at server.cpp:"), text);
    BOOST_TEST(contains(text, "waits for leat::ReadOperation fd "), text);
    BOOST_TEST(contains(text, "Acceptance fd "), text);
}

/// A terminal whose other end the test has, and may leave unread.
struct Terminal {
    Terminal() : master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        if (!master.is_open() || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0)
            throw system_failure("posix_openpt");
        slave = open(O_RDWR | O_NOCTTY | O_CLOEXEC);
    }
    Descriptor open(int flags) const { return Descriptor(::open(::ptsname(master.get()), flags)); }
    // Not through the server's end, whose flags are the server's.
    void fill() const { fill_pipe(open(O_WRONLY | O_NOCTTY | O_CLOEXEC)); }

    std::string line() const {
        Deadline deadline;
        std::string text;
        char character = 0;
        while (character != '\n') {
            wait_ready(master.get(), POLLIN, deadline, "a line at the terminal after: " + text);
            if (::read(master.get(), &character, 1) != 1) throw system_failure("read from the terminal");
            if (character != '\r' && character != '\n') text += character;
        }
        return text;
    }

    Descriptor master;
    Descriptor slave;
};

/// It has no room for what the server would say, and the server serves and ends.
void expect_service_and_end(EchoServer& server) {
    Client client(server.endpoint());
    for (int i = 0; i < 10; ++i) {
        server.signal(SIGUSR1);
        client.expect_echo(100);
    }
    BOOST_TEST(server.stop() == 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(seen_from_outside)

BOOST_AUTO_TEST_CASE(terminal_that_nobody_reads_as_standard_error_holds_nobody_up) {
    Terminal terminal;
    terminal.fill();
    EchoServer server({.errors_descriptor = terminal.slave.get()});

    expect_service_and_end(server);
}

BOOST_AUTO_TEST_CASE(socket_that_nobody_reads_as_standard_error_holds_nobody_up) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw system_failure("socketpair");
    Descriptor reader(ends[0]);
    Descriptor errors(ends[1]);
    fill_pipe(errors);
    EchoServer server({.errors_descriptor = errors.get()});

    expect_service_and_end(server);
}

BOOST_AUTO_TEST_CASE(socket_as_standard_error_is_given_messages) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw system_failure("socketpair");
    Descriptor reader(ends[0]);
    Descriptor errors(ends[1]);
    EchoServer server({.errors_descriptor = errors.get()});

    server.signal(SIGUSR1);
    wait_ready(reader.get(), POLLIN, Deadline(), "a dump of the tasks");

    std::string text(17, ' ');
    BOOST_TEST(::read(reader.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    BOOST_TEST(text == "leat: the tasks:\n");
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(terminal_that_nobody_reads_as_standard_output_holds_nobody_up) {
    Terminal terminal;
    Command command;
    command.words = {echo_server_path(), "--listen", "127.0.0.1:0", "--stats", "0.001"};
    command.output_descriptor = terminal.slave.get();
    ChildProcess server(command);
    const std::string ready_line = terminal.line();
    const std::size_t from = ready_line.find("127.0.0.1:");
    BOOST_TEST_REQUIRE(from != std::string::npos, ready_line);
    Client client(Endpoint::parse(ready_line.substr(from, ready_line.find(' ', from) - from)));

    terminal.fill();
    // What it says while it serves, and at its end.
    for (int i = 0; i < 1000; ++i)
        client.expect_echo(100);
    server.signal(SIGTERM);

    BOOST_TEST(server.wait() == 0);
}

BOOST_AUTO_TEST_CASE(sigusr1_dumps_the_tasks_and_the_server_goes_on) {
    EchoServer server;

    expect_dump_of(server);
}

BOOST_AUTO_TEST_CASE(dump_names_files_and_lines_in_a_stripped_program) {
    if (!is_installed("strip")) return skip("strip", "it is not installed");
    TemporaryFolder folder;
    const std::string program = folder / "echo_server";
    Command command;
    command.words = {"strip", "--strip-all", "-o", program, echo_server_path()};
    const Finished finished = run(command);
    BOOST_REQUIRE_MESSAGE(finished.status == 0, finished.errors);
    EchoServer server({.program = program});

    expect_dump_of(server);
}

BOOST_AUTO_TEST_CASE(dump_that_no_pipe_holds_comes_whole_and_holds_nobody_up) {
    constexpr std::size_t connections = 700;
    if (raise_descriptor_limit() < connections + 100)
        return skip("descriptors", "a process may not have 800 descriptors");
    EchoServer server;
    std::deque<Client> clients;
    for (std::size_t i = 0; i < connections; ++i)
        clients.emplace_back(server.endpoint()).expect_echo(10);

    // More than a pipe holds, and nobody reads it yet.
    server.signal(SIGUSR1);
    for (Client& client : clients)
        client.expect_echo(10);
    // Each is in it, whether it reads or has something to send back at that moment.
    const std::string text = errors_with(server, "spawned at connection.hpp:", connections);

    BOOST_TEST(text.size() > 65536u);
    BOOST_TEST(server.stop() == 0);
    BOOST_TEST(server.process().errors().ends_with("\n"));
}

BOOST_AUTO_TEST_CASE(each_signal_gives_a_dump) {
    EchoServer server;
    for (std::size_t i = 1; i <= 3; ++i) {
        server.signal(SIGUSR1);
        errors_with(server, "leat: the tasks:", i);
    }

    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(gdb_shows_the_tasks_of_a_process) {
    if (!can_debug()) return;
    EchoServer server;
    Client client(server.endpoint());
    client.expect_echo(100);
    server.wait_until_idle();

    const Finished finished = tasks_by_gdb({"-p", std::to_string(server.process().id())});

    if (contains(finished.errors, "ptrace: ")) return skip("ptrace", "gdb may not attach");
    expect_tasks(finished);
    client.expect_echo(100);
    BOOST_TEST(server.stop() == 0);
}

BOOST_AUTO_TEST_CASE(gdb_shows_the_tasks_of_a_core_file) {
    if (!can_debug()) return;
    if (!is_installed("gcore")) return skip("gcore", "it is not installed");
    if (is_sanitized) return skip("core file", "it would hold the sanitizer's own terabytes");
    EchoServer server;
    Client client(server.endpoint());
    client.expect_echo(100);
    server.wait_until_idle();
    TemporaryFolder folder;
    const std::string id = std::to_string(server.process().id());
    Command command;
    command.words = {"gcore", "-o", folder / "core", id};
    const Finished dumped = run(command);
    if (dumped.status != 0) return skip("ptrace", "gcore may not attach");

    const Finished finished = tasks_by_gdb({echo_server_path(), folder / ("core." + id)});

    expect_tasks(finished);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::seen_from_outside_test
