// SPDX-License-Identifier: BSL-1.0
//
// The floor for fairness: a level-triggered loop written by hand, which gives each ready connection one
// receive and one send before it asks the kernel again. So a connection that sends much gets one buffer's
// worth per loop iteration. `epoll_echo` is the floor for speed.
#include "address.hpp"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <string_view>
#include <system_error>

namespace {

constexpr std::size_t buffer_size = 4096;
constexpr int batch_size = 256;

volatile std::sig_atomic_t asked_to_end = 0;

[[noreturn]] void fail(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

struct Connection {
    int fd;
    std::size_t next = 0;
    std::size_t end = 0;  // of what is to be sent
    std::array<std::byte, buffer_size> buffer;

    explicit Connection(int accepted) : fd(accepted) {}
};

void watch(int epoll, int action, Connection* connection, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = connection;
    if (epoll_ctl(epoll, action, connection->fd, &event) != 0) fail("epoll_ctl");
}

/// False: the connection is over.
bool send_rest(int epoll, Connection* connection, bool was_waiting) {
    ssize_t sent = send(connection->fd, connection->buffer.data() + connection->next,
                        connection->end - connection->next, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (sent > 0) connection->next += static_cast<std::size_t>(sent);
    const bool waits = connection->next != connection->end;
    if (waits != was_waiting) watch(epoll, EPOLL_CTL_MOD, connection, waits ? EPOLLOUT : EPOLLIN);
    return true;
}

bool go_on(int epoll, Connection* connection) {
    if (connection->next != connection->end) return send_rest(epoll, connection, true);
    ssize_t received = recv(connection->fd, connection->buffer.data(), buffer_size, 0);
    if (received < 0) return errno == EAGAIN || errno == EINTR;
    if (received == 0) return false;
    connection->next = 0;
    connection->end = static_cast<std::size_t>(received);
    return send_rest(epoll, connection, false);
}

void accept_one(int epoll, int listener) {
    int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(epoll, EPOLL_CTL_ADD, new Connection(fd), EPOLLIN);
}

int listen_on(sockaddr_in& address) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    socklen_t length = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0) fail("bind");
    if (listen(listener, SOMAXCONN) != 0) fail("listen");
    if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) fail("getsockname");
    return listener;
}

void run(std::string_view where) {
    sockaddr_in address = parse_address(where);
    int listener = listen_on(address);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    epoll_event listening{};
    listening.events = EPOLLIN;
    listening.data.ptr = nullptr;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0) fail("epoll_ctl");
    struct sigaction action{};
    action.sa_handler = [](int) { asked_to_end = 1; };
    sigaction(SIGTERM, &action, nullptr);

    fmt::print("level_echo: listening on 127.0.0.1:{}\n", ntohs(address.sin_port));
    std::fflush(stdout);
    std::array<epoll_event, batch_size> events;
    while (!asked_to_end) {
        int ready = epoll_wait(epoll, events.data(), batch_size, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < ready; ++i) {
            auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
            if (connection == nullptr) {
                accept_one(epoll, listener);
            } else if (!go_on(epoll, connection)) {
                close(connection->fd);
                delete connection;
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 || std::string_view(argv[1]) != "--listen") {
        fmt::print(stderr, "usage: level_echo --listen ADDRESS:PORT\n");
        return 2;
    }
    try {
        run(argv[2]);
    } catch (const std::exception& error) {
        fmt::print(stderr, "level_echo: {}\n", error.what());
        return 1;
    }
}
