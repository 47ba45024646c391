// SPDX-License-Identifier: BSL-1.0
//
// The floor that the coroutine echo server is measured against: the loop that a careful engineer writes by hand for
// this one job. Each connection is registered once, edge-triggered, for both directions; a short read saves the
// call that would only say EAGAIN; a partial write is kept and goes on when there is room; nothing is read
// meanwhile, so that a peer which never reads costs one buffer. The buffer belongs to the connection, as it does in
// the coroutine's frame.
#include "address.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace {

constexpr std::size_t buffer_size = 4096;
constexpr int batch_size = 256;

volatile std::sig_atomic_t asked_to_end = 0;

[[noreturn]] void fail(const char* call) { throw std::system_error(errno, std::generic_category(), call); }

struct Connection {
    int fd;
    std::uint32_t unsent = 0;  // of the buffer, from `next_unsent`
    std::uint32_t next_unsent = 0;
    std::uint32_t kept_events = 0;              // announced while output waited: input is not read meanwhile
    std::array<std::byte, buffer_size> buffer;  // left as it is: the loop never reads what recv did not write

    explicit Connection(int accepted) : fd(accepted) {}
};

void close_connection(Connection* connection) {
    close(connection->fd);
    delete connection;  // the epoll set drops a closed descriptor, and holds one event at most for each
}

enum class Progress { all, waits, over };

/// Sends what is left in the buffer.
Progress send_rest(Connection* connection) {
    while (connection->unsent != 0) {
        ssize_t sent = send(connection->fd, connection->buffer.data() + connection->next_unsent,
                            connection->unsent, MSG_NOSIGNAL);
        if (sent >= 0) {
            connection->next_unsent += static_cast<std::uint32_t>(sent);
            connection->unsent -= static_cast<std::uint32_t>(sent);
        } else if (errno == EAGAIN) {
            return Progress::waits;
        } else if (errno != EINTR) {
            return Progress::over;
        }
    }
    return Progress::all;
}

/// Echoes until the input or the room for output is used up.
void go_on(Connection* connection, std::uint32_t events) {
    // After these the end of the stream stands behind the data, and no further edge will tell of it.
    constexpr std::uint32_t at_end = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    constexpr std::uint32_t any_input = EPOLLIN | at_end;

    if (connection->unsent != 0) [[unlikely]] {
        events |= connection->kept_events;
        const Progress progress = send_rest(connection);
        if (progress == Progress::over) return close_connection(connection);
        connection->kept_events = events;
        if (progress == Progress::waits) return;
    }
    if ((events & any_input) == 0) return;
    for (;;) {
        ssize_t received = recv(connection->fd, connection->buffer.data(), buffer_size, 0);
        if (received <= 0) [[unlikely]] {
            if (received < 0 && errno == EINTR) continue;
            if (received < 0 && errno == EAGAIN) return;
            return close_connection(connection);
        }
        const bool reads_on = received == buffer_size || (events & at_end) != 0;
        ssize_t sent =
            send(connection->fd, connection->buffer.data(), static_cast<std::size_t>(received), MSG_NOSIGNAL);
        if (sent != received) [[unlikely]] {
            connection->next_unsent = sent > 0 ? static_cast<std::uint32_t>(sent) : 0;
            connection->unsent = static_cast<std::uint32_t>(received) - connection->next_unsent;
            const Progress progress = send_rest(connection);
            if (progress == Progress::over) return close_connection(connection);
            connection->kept_events = reads_on ? events : 0;
            if (progress == Progress::waits) return;
        }
        if (!reads_on) return;
    }
}

void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno != EAGAIN)
                fmt::print(stderr, "epoll_echo: accept: {}\n", std::generic_category().message(errno));
            return;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        auto connection = std::make_unique<Connection>(fd);
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.ptr = connection.get();
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
        connection.release();
    }
}

int listen_on(sockaddr_in& address) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    socklen_t length = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0) fail("bind");
    if (listen(listener, SOMAXCONN) != 0) fail("listen");
    if (getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) fail("getsockname");
    return listener;
}

/// SIGTERM and SIGINT are let through only while the loop waits, so that none is missed between test and wait.
sigset_t catch_signals() {
    sigset_t ending;
    sigset_t while_waiting;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, &while_waiting);
    struct sigaction action{};
    action.sa_handler = [](int) { asked_to_end = 1; };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    sigdelset(&while_waiting, SIGTERM);
    sigdelset(&while_waiting, SIGINT);
    return while_waiting;
}

void run(std::string_view where) {
    sockaddr_in address = parse_address(where);
    int listener = listen_on(address);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    epoll_event listening{};
    listening.events = EPOLLIN | EPOLLET;
    listening.data.ptr = nullptr;  // stands for the listener
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening) != 0) fail("epoll_ctl");
    sigset_t while_waiting = catch_signals();

    std::array<char, INET_ADDRSTRLEN> name{};
    inet_ntop(AF_INET, &address.sin_addr, name.data(), name.size());
    fmt::print("epoll_echo: listening on {}:{} (epoll)\n", name.data(), ntohs(address.sin_port));
    std::fflush(stdout);

    std::array<epoll_event, batch_size> events;
    while (!asked_to_end) {
        int ready = epoll_pwait(epoll, events.data(), batch_size, -1, &while_waiting);
        if (ready < 0 && errno != EINTR) fail("epoll_pwait");
        for (int i = 0; i < ready; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            if (event.data.ptr != nullptr) {
                go_on(static_cast<Connection*>(event.data.ptr), event.events);
            } else {
                accept_all(epoll, listener);
            }
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    std::string_view where = "127.0.0.1:7777";
    if (argc == 3 && std::string_view(argv[1]) == "--listen") {
        where = argv[2];
    } else if (argc != 1) {
        fmt::print(stderr, "usage: epoll_echo [--listen ADDRESS:PORT]\n");
        return 2;
    }
    try {
        run(where);
    } catch (const std::exception& error) {
        fmt::print(stderr, "epoll_echo: {}\n", error.what());
        return 1;
    }
}
