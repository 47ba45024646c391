// SPDX-License-Identifier: BSL-1.0
#include "haproxy.hpp"

#include "deadline.hpp"
#include "descriptor.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <thread>

namespace leat::test {
namespace {

Command command_of(const TemporaryFolder& folder, const Endpoint& endpoint,
                   const std::vector<Endpoint>& servers) {
    const std::string path = folder / "haproxy.cfg";
    std::ofstream file(path);
    file << "global\n  maxconn 4000\n  stats socket " << (folder / "stats") << " level admin\n"
         << "defaults\n  mode tcp\n  retries 3\n  option redispatch 1\n  timeout connect 3s\n"
         << "  timeout client 30s\n  timeout server 30s\n"
         << "frontend clients\n  bind " << endpoint.text() << "\n  default_backend servers\n"
         << "backend servers\n  balance roundrobin\n";
    for (std::size_t i = 0; i < servers.size(); ++i)
        file << "  server s" << i << " " << servers[i].text() << " check inter 100ms fall 1 rise 1\n";
    file.close();
    Command command;
    command.words = {"haproxy", "-db", "-f", path};
    return command;
}

/// What HAProxy answers to a command on its socket; empty before it listens there.
std::string ask(const std::string& path, const std::string& question) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    if (::write(socket.get(), question.data(), question.size()) < 0) return {};
    std::string answer;
    std::array<char, 4096> piece;
    for (ssize_t size; (size = ::read(socket.get(), piece.data(), piece.size())) > 0;)
        answer.append(piece.data(), static_cast<std::size_t>(size));
    return answer;
}

}  // namespace

Haproxy::Haproxy(const std::vector<Endpoint>& servers)
    : count_(servers.size()), process_(command_of(folder_, endpoint_, servers)) {
    wait_until_all_are_up();
}

/// Of the lines "servers,s0,…", those that say UP.
std::size_t Haproxy::servers_up() const {
    std::string table = ask((folder_ / "stats").string(), "show stat\n");
    std::size_t up = 0;
    for (std::size_t at = 0; (at = table.find("servers,s", at)) != std::string::npos; ++at) {
        std::string line = table.substr(at, table.find('\n', at) - at);
        if (line.find(",UP,") != std::string::npos) ++up;
    }
    return up;
}

void Haproxy::wait_until_all_are_up() {
    Deadline deadline;
    while (servers_up() != count_) {
        deadline.check("HAProxy to find its servers up: " + process_.errors());
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

}  // namespace leat::test
