// SPDX-License-Identifier: BSL-1.0
//
// The client of the benchmarks: connections that send a message, wait until it has come back, compare it, and send
// the next, if asked on a connection of its own, or some ahead of the echo. It counts exactly, so that two runs of different length give a slope, and it can keep its connections
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

/// Messages of one size follow each other without a gap, so that bytes are all that is counted in both directions.
struct Connection {
    int fd;
    std::size_t first;          // the number of the message that stands at the stream's begin
    std::uint64_t started = 0;  // messages
    std::uint64_t sent = 0;     // bytes
    std::uint64_t received = 0;
};

/// How the connections talk.
struct Manner {
    std::size_t connections = 64;
    std::size_t size = 64;     // bytes of a message
    std::size_t pipeline = 1;  // messages under way on one connection
    bool churn = false;        // each message on a connection of its own
};

/// What a run has to do: so many messages, or until then.
struct Goal {
    std::uint64_t messages = std::numeric_limits<std::uint64_t>::max();
    Clock::time_point end = Clock::time_point::max();
};

class Load {
public:
    Load(const std::string& target, const Manner& manner)
        : target_(parse_address(target)),
          manner_(manner),
          pattern_(manner.size),
          scratch_(std::max<std::size_t>(manner.size, 65536)) {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) fail("epoll_create1");
        connections_.reserve(manner.connections);
        for (std::size_t i = 0; i < manner.connections; ++i) {
            connections_.push_back(Connection{.fd = -1, .first = i});
            if (!manner.churn) open_and_echo(connections_.back());
        }
    }

    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    ~Load() {
        for (const Connection& connection : connections_) {
            if (connection.fd >= 0) close(connection.fd);
        }
        close(epoll_);
    }

    /// Runs until the goal is reached and every echo is back, then prints one line.
    void run(const Goal& goal);

private:
    void open(Connection& connection, int flags);
    void watch(const Connection& connection);
    void open_and_echo(Connection& connection);
    void echo_once(Connection& connection);
    void go_on(Connection& connection);
    std::size_t receive(Connection& connection);
    void check(const Connection& connection, std::size_t count) const;
    void send_rest(Connection& connection);
    void start_messages(Connection& connection);
    std::uint64_t done(const Connection& connection) const { return connection.received / manner_.size; }

    sockaddr_in target_;
    Manner manner_;
    Pattern pattern_;
    std::vector<std::byte> scratch_;
    int epoll_ = -1;
    std::vector<Connection> connections_;
    std::uint64_t opened_ = 0;
    std::uint64_t to_start_ = 0;
    std::uint64_t under_way_ = 0;
    std::uint64_t done_ = 0;
};

void Load::open(Connection& connection, int flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) fail("socket");
    connection.fd = fd;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((ntohl(target_.sin_addr.s_addr) >> 24) == 127) {
        // One source address has some 28 000 ports, and those of closed connections rest for a minute.
        sockaddr_in source{};
        source.sin_family = AF_INET;
        source.sin_addr.s_addr =
            htonl(INADDR_LOOPBACK + 1 + static_cast<std::uint32_t>(opened_ / 2000 % 1000));
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, reinterpret_cast<const sockaddr*>(&source), sizeof source) != 0) fail("bind");
    }
    ++opened_;
    if (connect(fd, reinterpret_cast<const sockaddr*>(&target_), sizeof target_) != 0 && errno != EINPROGRESS)
        fail("connect");
}

void Load::watch(const Connection& connection) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.u64 = static_cast<std::uint64_t>(&connection - connections_.data());
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event) != 0) fail("epoll_ctl");
}

/// Connects and makes one message, so that the server has accepted it when the next one is opened: no backlog is
/// ever full, and no connection attempt is repeated after a second.
void Load::open_and_echo(Connection& connection) {
    open(connection, 0);
    echo_once(connection);
    if (fcntl(connection.fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
    watch(connection);
}

void Load::echo_once(Connection& connection) {
    std::span<const std::byte> message = pattern_.message(connection.first++);
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
        start_messages(connection);
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
    fmt::print("echo_load: {} messages, {} bytes, {:.3f} s, {:.0f} messages/s\n", done_, done_ * manner_.size,
               seconds, seconds > 0 ? static_cast<double>(done_) / seconds : 0.0);
    std::fflush(stdout);
}

/// Starts as many as may be under way.
void Load::start_messages(Connection& connection) {
    if (connection.fd < 0) {
        open(connection, SOCK_NONBLOCK);
        watch(connection);
    }
    while (to_start_ != 0 && connection.started - done(connection) < manner_.pipeline) {
        --to_start_;
        ++under_way_;
        ++connection.started;
    }
    send_rest(connection);
}

/// Sends what was started, all of it in one call if it fits.
void Load::send_rest(Connection& connection) {
    while (connection.sent < connection.started * manner_.size) {
        std::size_t gathered = 0;
        for (std::uint64_t at = connection.sent;
             at < connection.started * manner_.size && gathered < scratch_.size();) {
            std::span<const std::byte> piece =
                pattern_.message(connection.first + at / manner_.size).subspan(at % manner_.size);
            piece = piece.first(std::min(piece.size(), scratch_.size() - gathered));
            std::memcpy(scratch_.data() + gathered, piece.data(), piece.size());
            gathered += piece.size();
            at += piece.size();
        }
        ssize_t sent = send(connection.fd, scratch_.data(), gathered, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) return;
            if (errno == EINTR) continue;
            fail("send");
        }
        connection.sent += static_cast<std::uint64_t>(sent);
    }
}

void Load::go_on(Connection& connection) {
    send_rest(connection);
    while (connection.received < connection.started * manner_.size) {
        const std::uint64_t done_before = done(connection);
        if (receive(connection) == 0) return;
        const std::uint64_t done_now = done(connection) - done_before;
        under_way_ -= done_now;
        done_ += done_now;
        const bool is_all_back = connection.received == connection.started * manner_.size;
        if (is_all_back && manner_.churn) {
            close(connection.fd);
            connection = Connection{.fd = -1, .first = connection.first + 1};
        }
        if (done_now != 0 && to_start_ != 0) start_messages(connection);
        if (is_all_back && connection.sent == connection.started * manner_.size)
            return;  // their echo is an edge of its own
    }
}

/// Takes what has come of the echo and compares it; zero when nothing has.
std::size_t Load::receive(Connection& connection) {
    for (;;) {
        const std::uint64_t missing = connection.started * manner_.size - connection.received;
        ssize_t received =
            recv(connection.fd, scratch_.data(), std::min<std::uint64_t>(missing, scratch_.size()), 0);
        if (received < 0) {
            if (errno == EAGAIN) return 0;
            if (errno == EINTR) continue;
            fail("recv");
        }
        if (received == 0) throw std::runtime_error("the server closed a connection");
        const auto count = static_cast<std::size_t>(received);
        check(connection, count);
        connection.received += count;
        return count;
    }
}

void Load::check(const Connection& connection, std::size_t count) const {
    bool is_right = connection.received + count <= connection.sent;
    for (std::size_t checked = 0; is_right && checked < count;) {
        const std::uint64_t at = connection.received + checked;
        std::span<const std::byte> piece =
            pattern_.message(connection.first + at / manner_.size).subspan(at % manner_.size);
        piece = piece.first(std::min(piece.size(), count - checked));
        is_right = std::memcmp(scratch_.data() + checked, piece.data(), piece.size()) == 0;
        checked += piece.size();
    }
    if (!is_right)
        throw std::runtime_error(
            fmt::format("wrong echo in message {}", connection.first + connection.received / manner_.size));
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
    Manner manner;
    std::uint64_t messages = 100'000;
    double seconds = 0;
    bool hold = false;
    app.add_option("--connect", target, "ADDRESS:PORT of the server")->capture_default_str();
    app.add_option("--connections", manner.connections, "how many at once")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    app.add_option("--size", manner.size, "bytes of a message")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    auto* pipeline = app.add_option("--pipeline", manner.pipeline,
                                    "messages under way on a connection, sent ahead of the echo")
                         ->capture_default_str()
                         ->check(CLI::PositiveNumber);
    app.add_flag("--churn", manner.churn,
                 "each message on a connection of its own: connect, send, receive, close")
        ->excludes(pipeline);
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
        Load load(target, manner);
        if (hold) {
            obey(load, manner.connections);
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
