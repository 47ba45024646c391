// SPDX-License-Identifier: BSL-1.0
#include "support/posix.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

namespace leat::test {
namespace {

Endpoint bind_to_loopback(int socket) {
    Endpoint endpoint;
    endpoint.address.sin_family = AF_INET;
    endpoint.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof endpoint.address;
    auto* const address = reinterpret_cast<sockaddr*>(&endpoint.address);
    checked(::bind(socket, address, size), "bind");
    checked(::getsockname(socket, address, &size), "getsockname");
    return endpoint;
}

std::pair<OwnedFd, OwnedFd> make_pipe() {
    std::array<int, 2> ends{};
    checked(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), "pipe2");
    return {OwnedFd(ends[0]), OwnedFd(ends[1])};
}

}  // namespace

void OwnedFd::reset() noexcept {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
}

int checked(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::system_category(), call);
    return result;
}

Link stream_link() {
    std::array<int, 2> ends{};
    checked(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
    return {Source(ends[0]), OwnedFd(ends[1])};
}

Link pipe_to_read() {
    auto [reader, writer] = make_pipe();
    return {Source(reader.release()), std::move(writer)};
}

Link pipe_to_write() {
    auto [reader, writer] = make_pipe();
    return {Source(writer.release()), std::move(reader)};
}

Link tcp_link() {
    const Listening listening = tcp_listener();
    OwnedFd client = start_connect(listening.endpoint);
    OwnedFd server = accept_from(listening.source);
    await_ready(client.get(), POLLOUT);
    return {Source(client.release()), std::move(server)};
}

Listening tcp_listener(int backlog) {
    OwnedFd socket = tcp_socket();
    const Endpoint endpoint = bind_to_loopback(socket.get());
    checked(::listen(socket.get(), backlog), "listen");
    return {Source(socket.release()), endpoint};
}

RefusingPort::RefusingPort() : socket(tcp_socket()), endpoint(bind_to_loopback(socket.get())) {}

OwnedFd tcp_socket() {
    return OwnedFd(checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
}

OwnedFd udp_socket() {
    OwnedFd socket(checked(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
    bind_to_loopback(socket.get());
    return socket;
}

OwnedFd start_connect(const Endpoint& endpoint) {
    OwnedFd socket = tcp_socket();
    const auto* const address = reinterpret_cast<const sockaddr*>(&endpoint.address);
    if (::connect(socket.get(), address, sizeof endpoint.address) < 0 && errno != EINPROGRESS)
        checked(-1, "connect");
    return socket;
}

OwnedFd accept_from(const Source& listener) {
    await_ready(listener.native_handle(), POLLIN);
    return OwnedFd(checked(
        ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4"));
}

void reset_connection(OwnedFd& socket) {
    const linger at_once{1, 0};
    checked(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
    socket.reset();
}

void shrink_send_buffer(int fd) {
    const int size = 4096;
    checked(::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), "setsockopt");
}

void write_text(int fd, std::string_view text) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    checked(static_cast<int>(written), "write");
    if (static_cast<std::size_t>(written) != text.size()) throw std::runtime_error("it did not fit");
}

std::string read_text(int fd, std::size_t most) {
    await_ready(fd, POLLIN);
    std::string text(most, '\0');
    const ssize_t received = ::read(fd, text.data(), text.size());
    checked(static_cast<int>(received), "read");
    text.resize(static_cast<std::size_t>(received));
    return text;
}

std::size_t drain(int fd) {
    std::array<char, 65536> buffer{};
    std::size_t total = 0;
    for (;;) {
        const ssize_t received = ::read(fd, buffer.data(), buffer.size());
        if (received <= 0) return total;
        total += static_cast<std::size_t>(received);
    }
}

std::size_t fill(int fd) {
    const std::array<char, 4096> block{};
    std::size_t total = 0;
    // Small blocks at the end, since some systems call a pipe writable only when a whole page fits.
    for (std::size_t size = block.size(); size > 0; size /= 16) {
        for (;;) {
            const ssize_t written = ::write(fd, block.data(), size);
            if (written < 0) break;
            total += static_cast<std::size_t>(written);
        }
    }
    return total;
}

void await_ready(int fd, short events) {
    pollfd waited{fd, events, 0};
    while (checked(::poll(&waited, 1, -1), "poll") == 0) {
    }
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::set<int> open_descriptors() {
    std::set<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
        found.insert(std::stoi(entry.path().filename().string()));
    // The folder's own descriptor is gone again.
    std::erase_if(found, [](int fd) { return ::fcntl(fd, F_GETFD) < 0; });
    return found;
}

std::string kind_of(int fd) {
    std::error_code error;
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error).string();
}

bool closes_on_exec(int fd) { return (checked(::fcntl(fd, F_GETFD), "fcntl") & FD_CLOEXEC) != 0; }

std::size_t raise_descriptor_limit(std::size_t wanted) {
    rlimit limit{};
    checked(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
        checked(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    }
    return limit.rlim_cur;
}

int run_in_child(const std::function<bool()>& body) {
    const pid_t child = checked(::fork(), "fork");
    if (child == 0) {
        bool well = false;
        try {
            well = body();
        } catch (...) {
            ::_exit(2);
        }
        ::_exit(well ? 0 : 1);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void await_sleeping(int id) {
    const std::string path = "/proc/self/task/" + std::to_string(id) + "/stat";
    for (;;) {
        std::ifstream file(path);
        std::string line;
        // The state follows the name, which stands in parentheses.
        if (!std::getline(file, line)) return;
        const std::size_t name_end = line.rfind(')');
        if (name_end != std::string::npos && line.compare(name_end, 3, ") S") == 0) return;
        std::this_thread::yield();
    }
}

int thread_id() { return static_cast<int>(::syscall(SYS_gettid)); }

}  // namespace leat::test
