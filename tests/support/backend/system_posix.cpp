// SPDX-License-Identifier: BSL-1.0
#include "support/posix.hpp"
#include "support/system.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

namespace leat::test {
namespace {

static_assert(sizeof(sockaddr_in) == sizeof(Endpoint::address));

Endpoint bind_to_loopback(int socket) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    checked(::bind(socket, address, size), "bind");
    checked(::getsockname(socket, address, &size), "getsockname");
    Endpoint endpoint;
    std::memcpy(endpoint.address.data(), &name, sizeof name);
    return endpoint;
}

std::pair<OwnedHandle, OwnedHandle> make_pipe() {
    std::array<int, 2> ends{};
    checked(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), "pipe2");
    return {OwnedHandle(ends[0]), OwnedHandle(ends[1])};
}

}  // namespace

void OwnedHandle::reset() noexcept {
    if (value_ >= 0) ::close(std::exchange(value_, -1));
}

int checked(int result, const char* call) {
    if (result < 0) throw std::system_error(errno, std::system_category(), call);
    return result;
}

Link stream_link() {
    std::array<int, 2> ends{};
    checked(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
    return {Source(ends[0]), OwnedHandle(ends[1])};
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
    OwnedHandle client = start_connect(listening.endpoint);
    OwnedHandle server = accept_from(listening.source);
    await_writable(client.get());
    return {Source(client.release()), std::move(server)};
}

Listening tcp_listener(int backlog) {
    OwnedHandle socket = tcp_socket();
    const Endpoint endpoint = bind_to_loopback(socket.get());
    checked(::listen(socket.get(), backlog), "listen");
    return {Source(socket.release()), endpoint};
}

RefusingPort::RefusingPort() : socket(tcp_socket()), endpoint(bind_to_loopback(socket.get())) {}

OwnedHandle tcp_socket() {
    return OwnedHandle(checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
}

OwnedHandle udp_socket() {
    OwnedHandle socket(checked(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket"));
    bind_to_loopback(socket.get());
    return socket;
}

OwnedHandle start_connect(const Endpoint& endpoint) {
    OwnedHandle socket = tcp_socket();
    const auto* const address = static_cast<const sockaddr*>(endpoint.data());
    if (::connect(socket.get(), address, static_cast<socklen_t>(endpoint.size())) < 0 && errno != EINPROGRESS)
        checked(-1, "connect");
    return socket;
}

OwnedHandle accept_from(const Source& listener) {
    await_readable(listener.native_handle());
    return OwnedHandle(checked(
        ::accept4(listener.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4"));
}

void reset_connection(OwnedHandle& socket) {
    const linger at_once{1, 0};
    checked(::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
    socket.reset();
}

void shut(NativeHandle socket, Direction direction) {
    int how = SHUT_RDWR;
    if (direction == Direction::reading) how = SHUT_RD;
    if (direction == Direction::writing) how = SHUT_WR;
    if (::shutdown(socket, how) != 0 && errno != ENOTCONN) checked(-1, "shutdown");
}

bool has_peer(NativeHandle socket) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    return ::getpeername(socket, reinterpret_cast<sockaddr*>(&name), &size) == 0;
}

void send_empty_datagram(NativeHandle to) {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    checked(::getsockname(to, name, &size), "getsockname");
    checked(static_cast<int>(::sendto(udp_socket().get(), nullptr, 0, 0, name, size)), "sendto");
}

std::error_code take_error(NativeHandle socket) {
    int error = 0;
    socklen_t size = sizeof error;
    checked(::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt");
    return {error, std::system_category()};
}

void send_urgent(NativeHandle socket, char byte) {
    checked(static_cast<int>(::send(socket, &byte, 1, MSG_OOB)), "send");
}

bool is_non_blocking(NativeHandle handle) {
    return (checked(::fcntl(handle, F_GETFL), "fcntl") & O_NONBLOCK) != 0;
}

bool is_inherited(NativeHandle handle) {
    return (checked(::fcntl(handle, F_GETFD), "fcntl") & FD_CLOEXEC) == 0;
}

void make_blocking_and_inherited(NativeHandle socket) {
    checked(::fcntl(socket, F_SETFL, 0), "fcntl");
    checked(::fcntl(socket, F_SETFD, 0), "fcntl");
}

bool defer_accept([[maybe_unused]] NativeHandle listener) {
#if defined(TCP_DEFER_ACCEPT)
    const int seconds = 60;
    checked(::setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds), "setsockopt");
    return true;
#else
    return false;
#endif
}

void set_backlog(NativeHandle listener, int backlog) { checked(::listen(listener, backlog), "listen"); }

KeepAliveTimes keep_alive_times(NativeHandle socket) {
    const auto option = [&](int name) {
        int value = 0;
        socklen_t size = sizeof value;
        checked(::getsockopt(socket, IPPROTO_TCP, name, &value, &size), "getsockopt");
        return value;
    };
    return {option(TCP_KEEPIDLE), option(TCP_KEEPINTVL), option(TCP_KEEPCNT)};
}

std::string interface_name(unsigned number) {
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(number, name.data()) == nullptr) checked(-1, "if_indextoname");
    return name.data();
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
    await_readable(fd);
    std::string text(most, '\0');
    const ssize_t received = ::read(fd, text.data(), text.size());
    checked(static_cast<int>(received), "read");
    text.resize(static_cast<std::size_t>(received));
    return text;
}

std::size_t try_read(NativeHandle handle, std::span<char> buffer, std::error_code& error) {
    const ssize_t received = ::read(handle, buffer.data(), buffer.size());
    error = received < 0 ? std::error_code(errno, std::system_category()) : std::error_code();
    return received < 0 ? 0 : static_cast<std::size_t>(received);
}

std::size_t try_peek(NativeHandle socket, std::span<char> buffer, std::error_code& error) {
    const ssize_t seen = ::recv(socket, buffer.data(), buffer.size(), MSG_PEEK);
    error = seen < 0 ? std::error_code(errno, std::system_category()) : std::error_code();
    return seen < 0 ? 0 : static_cast<std::size_t>(seen);
}

std::size_t try_write(NativeHandle handle, std::string_view text, std::error_code& error) {
    ssize_t written = ::send(handle, text.data(), text.size(), MSG_NOSIGNAL);
    if (written < 0 && errno == ENOTSOCK) written = ::write(handle, text.data(), text.size());
    error = written < 0 ? std::error_code(errno, std::system_category()) : std::error_code();
    return written < 0 ? 0 : static_cast<std::size_t>(written);
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

namespace {

bool is_ready(int fd, short events, int milliseconds) {
    pollfd asked{fd, events, 0};
    return checked(::poll(&asked, 1, milliseconds), "poll") != 0;
}

void await_ready(int fd, short events) {
    while (!is_ready(fd, events, -1)) {
    }
}

}  // namespace

bool is_readable(NativeHandle handle) { return is_ready(handle, POLLIN, 0); }
bool is_writable(NativeHandle handle) { return is_ready(handle, POLLOUT, 0); }
void await_readable(NativeHandle handle) { await_ready(handle, POLLIN); }
bool becomes_readable(NativeHandle handle, int milliseconds) {
    return is_ready(handle, POLLIN, milliseconds);
}
void await_writable(NativeHandle handle) { await_ready(handle, POLLOUT); }
void await_arrival(NativeHandle socket) { await_readable(socket); }
void await_urgent(NativeHandle socket) { await_ready(socket, POLLPRI); }
void await_end(NativeHandle socket) { await_ready(socket, POLLRDHUP); }

void set_environment(const char* name, const char* value) {
    checked(value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name), "setenv");
}

std::set<NativeHandle> open_handles() {
    std::set<NativeHandle> found;
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

namespace {

/// Gives the former limit.
std::size_t set_soft_limit(std::size_t wanted) {
    rlimit limit{};
    checked(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
    const std::size_t before = limit.rlim_cur;
    limit.rlim_cur = static_cast<rlim_t>(wanted);
    checked(::setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
    return before;
}

/// The limit is one of numbers, and some of the lower ones may be free.
std::size_t limit_for(int spare) {
    int numbers = 0;
    for (int free = 0; spare != HandleShortage::nothing; ++numbers)
        if (::fcntl(numbers, F_GETFD) < 0 && ++free > spare) break;
    return static_cast<std::size_t>(numbers);
}

}  // namespace

HandleShortage::HandleShortage(int spare) : before_(set_soft_limit(limit_for(spare))) {}

HandleShortage::~HandleShortage() { set_soft_limit(before_); }

bool calls_are_slow() { return false; }

std::size_t raise_handle_limit(std::size_t wanted) {
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

void await_acknowledgements(NativeHandle socket) {
    for (;;) {
        tcp_info info{};
        socklen_t size = sizeof info;
        // Only TCP sockets have this; a Unix socket's bytes are at its other end at once.
        if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_unacked == 0) return;
        std::this_thread::yield();
    }
}

std::chrono::microseconds thread_cpu_time() {
    timespec time{};
    checked(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time), "clock_gettime");
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::seconds(time.tv_sec) +
                                                                 std::chrono::nanoseconds(time.tv_nsec));
}

std::set<int> thread_ids() {
    std::set<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
        found.insert(std::stoi(entry.path().filename().string()));
    return found;
}

std::pair<NativeHandle, NativeHandle> unix_pair(UnixSocket type) {
    std::array<int, 2> ends{};
    const int kind = type == UnixSocket::stream ? SOCK_STREAM : SOCK_DGRAM;
    checked(::socketpair(AF_UNIX, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), "socketpair");
    return {ends[0], ends[1]};
}

void send_with_descriptor(NativeHandle socket, std::string_view text) {
    iovec bytes{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &socket, sizeof socket);
    checked(static_cast<int>(::sendmsg(socket, &message, MSG_NOSIGNAL)), "sendmsg");
}

void ask_for_credentials(NativeHandle socket) {
    const int on = 1;
    checked(::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on), "setsockopt");
}

void fill_error_queue(NativeHandle socket, NativeHandle peer) {
    const int on = 1;
    checked(::setsockopt(socket, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on), "setsockopt");
    // Small pieces are copied, and cause no notification.
    const std::array<char, 20'000> bytes{};
    std::size_t left = static_cast<std::size_t>(
        checked(static_cast<int>(::send(socket, bytes.data(), bytes.size(), MSG_ZEROCOPY)), "send"));
    while (left != 0) {
        await_readable(peer);
        left -= std::min(left, drain(peer));
    }
    // Errors are reported whatever is asked for.
    pollfd asked{socket, 0, 0};
    checked(::poll(&asked, 1, -1), "poll");
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
