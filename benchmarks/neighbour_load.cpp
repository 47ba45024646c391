// SPDX-License-Identifier: BSL-1.0
//
// What one busy connection costs the others: some quiet connections send a small message now and then and
// time its echo, while a neighbour sends a burst every other millisecond. Prints the quiet ones' median and
// 99th percentile.
#include "address.hpp"

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <exception>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

[[noreturn]] void fail(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

struct Manner {
    std::string server = "127.0.0.1:7777";
    std::size_t quiet = 50;
    std::size_t messages = 10'000;
    std::size_t size = 64;
    std::size_t burst = 128 * 1024;
    unsigned period = 2'000;
    unsigned pause = 2'000;
};

int connect_to(const std::string& server) {
    sockaddr_in address = parse_address(server);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
    return fd;
}

/// Gives what has arrived, and drops it.
std::size_t receive(int fd) {
    static std::array<std::byte, 65'536> scratch;
    std::size_t total = 0;
    for (;;) {
        ssize_t received = recv(fd, scratch.data(), scratch.size(), 0);
        if (received == 0) throw std::runtime_error("the server has closed a connection");
        if (received < 0) {
            if (errno == EAGAIN) return total;
            if (errno != EINTR) fail("recv");
            continue;
        }
        total += static_cast<std::size_t>(received);
    }
}

class Load {
public:
    explicit Load(const Manner& manner) : manner_(manner), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll_ < 0) fail("epoll_create1");
        for (std::size_t i = 0; i < manner.quiet; ++i)
            quiet_.push_back(Quiet{connect_to(manner.server), Clock::now(), {}, 0});
        for (std::size_t i = 0; i < manner.quiet; ++i)
            watch(quiet_[i].fd, i, EPOLLIN);
        neighbour_ = connect_to(manner.server);
        watch(neighbour_, manner.quiet, EPOLLIN | EPOLLOUT | EPOLLET);
        burst_.assign(manner.burst, std::byte{'x'});
        next_burst_ = Clock::now();
    }

    void run() {
        std::array<epoll_event, 64> events;
        while (latencies_.size() < manner_.messages) {
            const Clock::time_point now = Clock::now();
            send_what_is_due(now);
            auto left = std::max<Clock::duration>(next_due() - Clock::now(), Clock::duration::zero());
            timespec limit{};
            limit.tv_nsec = std::min<long>(left.count(), 999'999'999);
            int ready = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &limit, nullptr);
            if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
            for (int i = 0; i < ready; ++i)
                take(events[static_cast<std::size_t>(i)].data.u64);
        }
    }

    void print() {
        std::sort(latencies_.begin(), latencies_.end());
        auto at = [&](double part) {
            return latencies_[static_cast<std::size_t>(part * double(latencies_.size()))];
        };
        fmt::print("{} messages, p50 {:.1f} us, p99 {:.1f} us, bursts {}\n", latencies_.size(), at(0.5),
                   at(0.99), bursts_);
    }

private:
    struct Quiet {
        int fd;
        Clock::time_point due;  // max: an echo is under way
        Clock::time_point sent;
        std::size_t received;
    };

    void watch(int fd, std::uint64_t number, std::uint32_t mask) {
        epoll_event event{};
        event.events = mask;
        event.data.u64 = number;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
    }

    Clock::time_point next_due() const {
        Clock::time_point first = next_burst_;
        for (const Quiet& each : quiet_)
            first = std::min(first, each.due);
        return first;
    }

    void send_what_is_due(Clock::time_point now) {
        if (now >= next_burst_) {
            // One that the server has not echoed yet is not followed by another.
            if (unsent_ == 0 && unreceived_ == 0 && !burst_.empty()) {
                unsent_ = unreceived_ = burst_.size();
                ++bursts_;
                send_burst();
            }
            next_burst_ = now + microseconds(manner_.period);
        }
        for (Quiet& each : quiet_) {
            if (now < each.due) continue;
            each.due = Clock::time_point::max();
            each.received = 0;
            each.sent = Clock::now();
            if (send(each.fd, message_.data(), manner_.size, MSG_NOSIGNAL) !=
                static_cast<ssize_t>(manner_.size))
                fail("send");
        }
    }

    void send_burst() {
        while (unsent_ != 0) {
            ssize_t sent = send(neighbour_, burst_.data(), unsent_, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EAGAIN) return;
                fail("send");
            }
            unsent_ -= static_cast<std::size_t>(sent);
        }
    }

    void take(std::uint64_t number) {
        if (number == quiet_.size()) {
            send_burst();
            unreceived_ -= std::min(unreceived_, receive(neighbour_));
            return;
        }
        Quiet& each = quiet_[number];
        each.received += receive(each.fd);
        if (each.received < manner_.size) return;
        const Clock::time_point now = Clock::now();
        latencies_.push_back(std::chrono::duration<double, std::micro>(now - each.sent).count());
        each.due = now + microseconds(random_() % (2 * manner_.pause));
    }

    Manner manner_;
    int epoll_;
    std::vector<Quiet> quiet_;
    int neighbour_ = -1;
    std::vector<std::byte> burst_;
    std::size_t unsent_ = 0;
    std::size_t unreceived_ = 0;
    std::size_t bursts_ = 0;
    Clock::time_point next_burst_;
    std::vector<double> latencies_;
    std::array<std::byte, 4096> message_{};
    std::mt19937 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
    Manner manner;
    CLI::App app("Times small messages beside a neighbour that sends much.", "neighbour_load");
    app.add_option("--connect", manner.server, "ADDRESS:PORT of the server")->capture_default_str();
    app.add_option("--quiet", manner.quiet, "connections that are timed")->check(CLI::Range(1, 1'000));
    app.add_option("--messages", manner.messages, "echoes to time")->check(CLI::Range(100, 10'000'000));
    app.add_option("--burst", manner.burst, "bytes that the neighbour sends at once; 0: none");
    app.add_option("--period", manner.period, "microseconds between bursts")->check(CLI::Range(1, 1'000'000));
    CLI11_PARSE(app, argc, argv);
    try {
        Load load(manner);
        load.run();
        load.print();
    } catch (const std::exception& error) {
        fmt::print(stderr, "neighbour_load: {}\n", error.what());
        return 1;
    }
}
