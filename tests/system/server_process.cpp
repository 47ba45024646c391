// SPDX-License-Identifier: BSL-1.0
#include "server_process.hpp"

#include "client.hpp"

#include <sys/syscall.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace leat::test {
namespace {

// "echo_server: listening on 127.0.0.1:43210 (epoll)"
Endpoint announced_endpoint(const std::string& line) {
    const std::string opening = ": listening on ";
    std::size_t begin = line.find(opening);
    std::size_t end = line.find(" (");
    if (begin == std::string::npos || end == std::string::npos) {
        throw std::runtime_error("not a ready line: '" + line + "'");
    }
    begin += opening.size();
    return Endpoint::parse(line.substr(begin, end - begin));
}

// Of /proc/PID/stat the letter after the name in brackets: S sleeps, R runs, t stands still for its tracer.
char state_of(const std::string& process) {
    std::ifstream file(process + "/stat");
    std::string line;
    std::getline(file, line);
    std::size_t name_end = line.rfind(')');
    return name_end == std::string::npos ? '?' : line.at(name_end + 2);
}

bool has_ended(const std::string& process) {
    char state = state_of(process);
    return state == 'Z' || state == '?';
}

bool is_in_its_wait(const std::string& process) {
    std::ifstream file(process + "/syscall");
    long call = -1;
    file >> call;
    return call == SYS_epoll_wait || call == SYS_epoll_pwait || call == SYS_epoll_pwait2 ||
           call == SYS_io_uring_enter;
}

Command command_of(const std::string& program, const ServerSetup& setup, const TemporaryFolder& folder) {
    Command command;
    if (setup.injection) {
        // -D: the server is our child and the tracer a grandchild, so signals and exit codes are the server's.
        command.words = {"strace", "-D", "-f", "-q", "-o", (folder / "trace").string()};
        auto arguments = setup.injection->arguments();
        command.words.insert(command.words.end(), arguments.begin(), arguments.end());
    }
    command.words.insert(command.words.end(), setup.launcher.begin(), setup.launcher.end());
    command.words.insert(command.words.end(), {setup.program.empty() ? program_path(program) : setup.program,
                                               "--listen", setup.listen});
    command.words.insert(command.words.end(), setup.arguments.begin(), setup.arguments.end());
    command.descriptor_limit = setup.descriptor_limit;
    command.errors_descriptor = setup.errors_descriptor;
    return command;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "leat-system-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_failure("mkdtemp");
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string program_path(const std::string& name) {
    std::string variable = "LEAT_" + name;
    std::ranges::transform(variable, variable.begin(), [](char c) {
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    });
    const char* path = std::getenv(variable.c_str());
    if (path == nullptr) throw std::runtime_error(variable + " does not name a program");
    return path;
}

std::string echo_server_path() { return program_path("echo_server"); }

Finished run_to_its_end(const ServerSetup& setup) {
    TemporaryFolder folder;
    return run(command_of("echo_server", setup, folder));
}

Server::Server(const std::string& program, const ServerSetup& setup)
    : process_(command_of(program, setup, folder_)),
      ready_line_(process_.first_line()),
      endpoint_(announced_endpoint(ready_line_)) {}

Server::~Server() = default;

std::size_t Server::complaints() {
    const std::string& text = process_.errors();
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

int Server::stop() {
    signal(SIGTERM);
    return process_.wait();
}

// The kernel makes it runnable in the moment in which something reaches it, so that there is no gap to slip through.
void Server::wait_until_idle() const {
    Deadline deadline;
    std::string process = "/proc/" + std::to_string(process_.id());
    while (!has_ended(process) && (state_of(process) != 'S' || !is_in_its_wait(process))) {
        deadline.check("the server to come to rest");
        std::this_thread::yield();
    }
}

std::size_t Server::open_descriptors() const {
    std::filesystem::directory_iterator entries("/proc/" + std::to_string(process_.id()) + "/fd");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

std::size_t Server::descriptors_at_rest() const {
    wait_until_idle();
    return open_descriptors();
}

std::uint64_t Server::resident_bytes() const {
    std::ifstream status("/proc/" + std::to_string(process_.id()) + "/status");
    for (std::string word; status >> word;) {
        std::uint64_t kibibytes = 0;
        if (word == "VmRSS:" && status >> kibibytes) return kibibytes * 1024;
    }
    throw std::runtime_error("the server's memory cannot be read");
}

EchoServer::EchoServer(const ServerSetup& setup) : Server("echo_server", setup) {}

EchoServer::EchoServer(const Injection& injection) : EchoServer(ServerSetup{.injection = injection}) {}

void EchoServer::wait_for_descriptors(std::size_t baseline) {
    Deadline deadline;
    Client probe(endpoint());
    probe.expect_echo(64);
    // The probe's own connection counts too.
    while (open_descriptors() > baseline + 1) {
        deadline.check("the server to close descriptors: " + std::to_string(open_descriptors()) + " open, " +
                       std::to_string(baseline) + " at first");
        probe.expect_echo(64);
    }
}

}  // namespace leat::test
