// SPDX-License-Identifier: BSL-1.0
//
// The client of the benchmarks: connections that send a message, wait until it has come back, compare it, and send
// the next. It counts exactly, so that two runs of different length give a slope, and it can keep its connections
// open and be told on standard input how many messages to make next, so that the server's cost is read in between.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <limits>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

sockaddr_in parse_address(const std::string& text) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    std::size_t colon = text.rfind(':');
    if (colon == text.npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1) {
        throw std::invalid_argument("not an IPv4 address and port: " + text);
    }
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1))));
    return address;
}

/// The bytes of every message. Neighbouring messages differ, so that a stale or foreign echo is seen.
class Pattern {
public:
    explicit Pattern(std::size_t message_size) : size_(message_size), bytes_(message_size + 256) {
        std::minstd_rand random(1);
        for (std::byte& byte : bytes_) {
            byte = static_cast<std::byte>(random() >> 8);
        }
    }

    std::span<const std::byte> message(std::size_t number) const {
        return std::span(bytes_).subspan(number % 256, size_);
    }

private:
    std::size_t size_;
    std::vector<std::byte> bytes_;
};

struct Connection {
    int fd;
    std::size_t number;  // of the message under way, or next
    bool is_under_way = false;
    std::size_t sent = 0;
    std::size_t received = 0;
};

/// What a run has to do: so many messages, or until then.
struct Goal {
    std::uint64_t messages = std::numeric_limits<std::uint64_t>::max();
    Clock::time_point end = Clock::time_point::max();
};

class Load {
public:
    Load(const std::string& target, std::size_t connections, std::size_t size)
        : pattern_(size), size_(size), scratch_(std::max<std::size_t>(size, 65536)) {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) fail("epoll_create1");
        sockaddr_in address = parse_address(target);
        connections_.reserve(connections);
        for (std::size_t i = 0; i < connections; ++i) {
            open(address, i);
        }
    }

    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    ~Load() {
        for (const Connection& connection : connections_) {
            close(connection.fd);
        }
        close(epoll_);
    }

    /// Runs until the goal is reached and every echo is back, then prints one line.
    void run(const Goal& goal);

private:
    void open(const sockaddr_in& target, std::size_t index);
    void echo_once(Connection& connection);
    void go_on(Connection& connection);
    bool receive(Connection& connection);
    void send_rest(Connection& connection);
    void start_message(Connection& connection);

    Pattern pattern_;
    std::size_t size_;
    std::vector<std::byte> scratch_;
    int epoll_ = -1;
    std::vector<Connection> connections_;
    std::uint64_t to_start_ = 0;
    std::uint64_t under_way_ = 0;
    std::uint64_t done_ = 0;
};

/// Connects and makes one message, so that the server has accepted it when the next one is opened: no backlog is
/// ever full, and no connection attempt is repeated after a second.
void Load::open(const sockaddr_in& target, std::size_t index) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    connections_.push_back(Connection{.fd = fd, .number = index});
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((ntohl(target.sin_addr.s_addr) >> 24) == 127) {
        // One source address has some 28 000 ports, and those of closed connections rest for a minute.
        sockaddr_in source{};
        source.sin_family = AF_INET;
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + static_cast<std::uint32_t>(index / 2000));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) fail("bind");
    }
    if (connect(fd, reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0) fail("connect");
    echo_once(connections_.back());

    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.u64 = index;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

void Load::echo_once(Connection& connection) {
    std::span<const std::byte> message = pattern_.message(connection.number++);
    message =
        message.first(std::min<std::size_t>(message.size(), 4096));  // what a blocking socket surely takes
    if (send(connection.fd, message.data(), message.size(), MSG_NOSIGNAL) != std::ssize(message))
        fail("send");
    ssize_t received = recv(connection.fd, scratch_.data(), message.size(), MSG_WAITALL);
    if (received < 0) fail("recv");
    if (received != std::ssize(message)) throw std::runtime_error("the server closed a connection");
    if (std::memcmp(scratch_.data(), message.data(), message.size()) != 0)
        throw std::runtime_error("wrong echo");
}

void Load::run(const Goal& goal) {
    const Clock::time_point begin = Clock::now();
    to_start_ = goal.messages;
    done_ = 0;
    for (Connection& connection : connections_) {
        if (to_start_ == 0) break;
        start_message(connection);
    }
    std::array<epoll_event, 512> events;
    while (under_way_ != 0) {
        int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        if (goal.end != Clock::time_point::max() && Clock::now() >= goal.end) to_start_ = 0;
        for (int i = 0; i < ready; ++i) {
            go_on(connections_[events[static_cast<std::size_t>(i)].data.u64]);
        }
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    fmt::print("echo_load: {} messages, {} bytes, {:.3f} s, {:.0f} messages/s\n", done_, done_ * size_,
               seconds, seconds > 0 ? static_cast<double>(done_) / seconds : 0.0);
    std::fflush(stdout);
}

void Load::start_message(Connection& connection) {
    --to_start_;
    ++under_way_;
    connection.is_under_way = true;
    connection.sent = 0;
    connection.received = 0;
    send_rest(connection);
}

void Load::send_rest(Connection& connection) {
    std::span<const std::byte> message = pattern_.message(connection.number);
    while (connection.sent < size_) {
        ssize_t sent =
            send(connection.fd, message.data() + connection.sent, size_ - connection.sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) return;
            if (errno == EINTR) continue;
            fail("send");
        }
        connection.sent += static_cast<std::size_t>(sent);
    }
}

void Load::go_on(Connection& connection) {
    if (connection.is_under_way) send_rest(connection);
    while (receive(connection)) {
        --under_way_;
        ++done_;
        ++connection.number;
        connection.is_under_way = false;
        if (to_start_ == 0) return;
        start_message(connection);
        if (connection.sent == size_) return;  // its echo is an edge of its own
    }
}

/// Takes what has come of the echo; true when it is whole.
bool Load::receive(Connection& connection) {
    std::span<const std::byte> message = pattern_.message(connection.number);
    for (;;) {
        if (!connection.is_under_way) return false;
        const std::size_t missing = size_ - connection.received;
        ssize_t received = recv(connection.fd, scratch_.data(), missing, 0);
        if (received < 0) {
            if (errno == EAGAIN) return false;
            if (errno == EINTR) continue;
            fail("recv");
        }
        if (received == 0) throw std::runtime_error("the server closed a connection");
        const auto count = static_cast<std::size_t>(received);
        if (connection.received + count > connection.sent ||
            std::memcmp(scratch_.data(), message.data() + connection.received, count) != 0) {
            throw std::runtime_error(fmt::format("wrong echo in message {}", connection.number));
        }
        connection.received += count;
        if (connection.received == size_) return true;
    }
}

/// Makes so many messages for each number on standard input, until that ends.
void obey(Load& load, std::size_t connections) {
    fmt::print("echo_load: holding {} connections\n", connections);
    std::fflush(stdout);
    std::uint64_t messages = 0;
    while (std::cin >> messages) {
        Goal goal;
        goal.messages = messages;
        load.run(goal);
    }
}

void allow_many_descriptors() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Loads an echo server with checked ping-pong messages.");
    std::string target = "127.0.0.1:7777";
    std::size_t connections = 64;
    std::size_t size = 64;
    std::uint64_t messages = 100'000;
    double seconds = 0;
    bool hold = false;
    app.add_option("--connect", target, "ADDRESS:PORT of the server")->capture_default_str();
    app.add_option("--connections", connections, "how many at once")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--size", size, "bytes of a message")->capture_default_str()->check(CLI::PositiveNumber);
    auto* exactly = app.add_option("--messages", messages,
                                   "exactly so many in all, beside the one that opens "
                                   "each connection")
                        ->capture_default_str();
    app.add_option("--seconds", seconds, "as many messages as fit into this time")->excludes(exactly);
    app.add_flag("--hold", hold,
                 "hold the connections idle; each number on standard input makes so many messages, its end "
                 "ends all")
        ->excludes(exactly);
    CLI11_PARSE(app, argc, argv);

    try {
        allow_many_descriptors();
        Load load(target, connections, size);
        if (hold) {
            obey(load, connections);
            return 0;
        }
        Goal goal;
        if (seconds > 0) {
            goal.end = Clock::now() +
                       std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
        } else {
            goal.messages = messages;
        }
        load.run(goal);
    } catch (const std::exception& error) {
        fmt::print(stderr, "echo_load: {}\n", error.what());
        return 1;
    }
}
