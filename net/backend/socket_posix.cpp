// SPDX-License-Identifier: BSL-1.0
#include "backend/socket.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

namespace leat::detail::socket {
namespace {

std::error_code system_error(int number) noexcept { return {number, std::system_category()}; }

// Keeps what a call answered, which is negative if it failed.
template <class Answer>
Answer checked(Answer answer, std::error_code& error) noexcept {
    error = answer < 0 ? system_error(errno) : std::error_code();
    return answer;
}

// A signal is no answer: asks again.
template <class Call>
auto uninterrupted(Call call) noexcept {
    auto answer = call();
    while (answer < 0 && errno == EINTR)
        answer = call();
    return answer;
}

// Zero where a socket cannot be made so at once, and fcntl(2) has to do it.
#if defined(SOCK_CLOEXEC)
constexpr int close_on_exec = SOCK_CLOEXEC;
#else
constexpr int close_on_exec = 0;
#endif

bool would_block(int number) noexcept { return number == EAGAIN || number == EWOULDBLOCK; }

int family_of(NativeHandle socket, std::error_code& error) noexcept {
    // Not SO_DOMAIN, which not all systems have: a socket knows its family before it has a name.
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    checked(::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size), error);
    return name.ss_family;
}

struct OptionName {
    int level;
    int name;
};

OptionName name_of(NativeHandle socket, Option option, std::error_code& error) noexcept {
    error.clear();
    switch (option) {
    case Option::no_delay:
        return {IPPROTO_TCP, TCP_NODELAY};
    case Option::keep_alive:
        return {SOL_SOCKET, SO_KEEPALIVE};
    case Option::keep_alive_idle:
#if defined(TCP_KEEPIDLE)
        return {IPPROTO_TCP, TCP_KEEPIDLE};
#else
        return {IPPROTO_TCP, TCP_KEEPALIVE};  // macOS's name for it.
#endif
    case Option::keep_alive_interval:
        return {IPPROTO_TCP, TCP_KEEPINTVL};
    case Option::keep_alive_probes:
        return {IPPROTO_TCP, TCP_KEEPCNT};
    case Option::receive_buffer_size:
        return {SOL_SOCKET, SO_RCVBUF};
    case Option::send_buffer_size:
        return {SOL_SOCKET, SO_SNDBUF};
    case Option::user_timeout:
#if defined(TCP_USER_TIMEOUT)
        return {IPPROTO_TCP, TCP_USER_TIMEOUT};
#else
        error = system_error(ENOPROTOOPT);
        return {};
#endif
    case Option::reuse_address:
        return {SOL_SOCKET, SO_REUSEADDR};
    case Option::reuse_port:
        return {SOL_SOCKET, SO_REUSEPORT};
    case Option::ipv6_only:
        return {IPPROTO_IPV6, IPV6_V6ONLY};
    case Option::pending_error:
        return {SOL_SOCKET, SO_ERROR};
    case Option::hops:
        break;
    }
    if (family_of(socket, error) == AF_INET6) return {IPPROTO_IPV6, IPV6_UNICAST_HOPS};
    return {IPPROTO_IP, IP_TTL};
}

Address from_native(const sockaddr_storage& native, std::error_code& error) noexcept {
    if (native.ss_family == AF_INET) {
        sockaddr_in ipv4{};
        std::memcpy(&ipv4, &native, sizeof ipv4);
        std::array<std::uint8_t, 4> octets{};
        std::memcpy(octets.data(), &ipv4.sin_addr, octets.size());
        return Address::ipv4(octets, ntohs(ipv4.sin_port));
    }
    if (native.ss_family == AF_INET6) {
        sockaddr_in6 ipv6{};
        std::memcpy(&ipv6, &native, sizeof ipv6);
        std::array<std::uint8_t, 16> octets{};
        std::memcpy(octets.data(), &ipv6.sin6_addr, octets.size());
        return Address::ipv6(octets, ntohs(ipv6.sin6_port), ipv6.sin6_scope_id).unmapped();
    }
    error = system_error(EAFNOSUPPORT);
    return {};
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);

Address address_of(NativeHandle socket, NameOf name_of, std::error_code& error) noexcept {
    sockaddr_storage native{};
    socklen_t size = sizeof native;
    checked(name_of(socket, reinterpret_cast<sockaddr*>(&native), &size), error);
    if (error) return {};
    return from_native(native, error);
}

/// Non-blocking, close-on-exec, and without a signal for writing to who has gone.
void prepare(NativeHandle handle, std::error_code& error) noexcept {
    int flags = checked(::fcntl(handle, F_GETFL), error);
    if (error) return;
    if (checked(::fcntl(handle, F_SETFL, flags | O_NONBLOCK), error) < 0) return;
    if (checked(::fcntl(handle, F_SETFD, FD_CLOEXEC), error) < 0) return;
#if defined(SO_NOSIGPIPE)
    const int on = 1;
    checked(::setsockopt(handle, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on), error);
#endif
}

}  // namespace

std::size_t native_size(const Address& address) noexcept {
    return address.is_ipv4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

void to_native(const Address& address, NativeAddress native) noexcept {
    static_assert(sizeof(sockaddr_in) <= native_address_size && sizeof(sockaddr_in6) <= native_address_size);
    if (address.is_ipv4()) {
        sockaddr_in ipv4{};
        ipv4.sin_family = AF_INET;
        ipv4.sin_port = htons(address.port());
        std::memcpy(&ipv4.sin_addr, address.octets().data(), sizeof ipv4.sin_addr);
        std::memcpy(native.data(), &ipv4, sizeof ipv4);
    } else {
        sockaddr_in6 ipv6{};
        ipv6.sin6_family = AF_INET6;
        ipv6.sin6_port = htons(address.port());
        ipv6.sin6_scope_id = address.scope();
        std::memcpy(&ipv6.sin6_addr, address.octets().data(), sizeof ipv6.sin6_addr);
        std::memcpy(native.data(), &ipv6, sizeof ipv6);
    }
}

std::optional<std::uint32_t> scope_by_name(const char* name) noexcept {
    unsigned index = ::if_nametoindex(name);
    if (index == 0) return std::nullopt;
    return index;
}

NativeHandle open_tcp(Address::Family family, std::error_code& error) noexcept {
    int domain = family == Address::Family::ipv4 ? AF_INET : AF_INET6;
#if defined(SOCK_NONBLOCK) && defined(SOCK_CLOEXEC)
    return checked(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP), error);
#else
    NativeHandle socket = checked(::socket(domain, SOCK_STREAM, IPPROTO_TCP), error);
    if (socket < 0) return invalid_handle;
    prepare(socket, error);
    if (!error) return socket;
    ::close(socket);
    return invalid_handle;
#endif
}

void adopt(NativeHandle handle, bool listens, std::error_code& error) noexcept {
    int type = 0;
    int is_listening = 0;
    socklen_t size = sizeof type;
    if (checked(::getsockopt(handle, SOL_SOCKET, SO_TYPE, &type, &size), error) < 0) return;
    size = sizeof is_listening;
    if (checked(::getsockopt(handle, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size), error) < 0) return;
    if (type != SOCK_STREAM || (is_listening != 0) != listens) {
        error = system_error(EINVAL);
        return;
    }
    prepare(handle, error);
}

void close(NativeHandle handle) noexcept {
    // Never repeated: the descriptor is gone even if a signal came in between, and may be another's by then.
    ::close(handle);
}

void bind(NativeHandle socket, const Address& address, std::error_code& error) noexcept {
    alignas(sockaddr_storage) std::byte native[native_address_size];
    to_native(address, native);
    checked(::bind(socket, reinterpret_cast<const sockaddr*>(native),
                   static_cast<socklen_t>(native_size(address))),
            error);
}

void listen(NativeHandle socket, int backlog, std::error_code& error) noexcept {
    checked(::listen(socket, backlog), error);
}

void connect(NativeHandle socket, const Address& address, std::error_code& error) noexcept {
    alignas(sockaddr_storage) std::byte native[native_address_size];
    to_native(address, native);
    int answer = checked(::connect(socket, reinterpret_cast<const sockaddr*>(native),
                                   static_cast<socklen_t>(native_size(address))),
                         error);
    // Interrupted, it goes on by itself; a second call would only be told EALREADY.
    if (answer < 0 && (error.value() == EINPROGRESS || error.value() == EINTR)) error.clear();
}

void shutdown(NativeHandle socket, Half half, std::error_code& error) noexcept {
    int how = SHUT_RDWR;
    if (half == Half::read) how = SHUT_RD;
    if (half == Half::write) how = SHUT_WR;
    if (checked(::shutdown(socket, how), error) < 0 && error.value() == ENOTCONN) error.clear();
}

Address local_address(NativeHandle socket, std::error_code& error) noexcept {
    return address_of(
        socket, [](int fd, sockaddr* name, socklen_t* size) { return ::getsockname(fd, name, size); }, error);
}

Address peer_address(NativeHandle socket, std::error_code& error) noexcept {
    return address_of(
        socket, [](int fd, sockaddr* name, socklen_t* size) { return ::getpeername(fd, name, size); }, error);
}

int option(NativeHandle socket, Option option, std::error_code& error) noexcept {
    OptionName name = name_of(socket, option, error);
    if (error) return 0;
    int value = 0;
    socklen_t size = sizeof value;
    checked(::getsockopt(socket, name.level, name.name, &value, &size), error);
    return value;
}

void set_option(NativeHandle socket, Option option, int value, std::error_code& error) noexcept {
    OptionName name = name_of(socket, option, error);
    if (error) return;
    checked(::setsockopt(socket, name.level, name.name, &value, sizeof value), error);
}

std::optional<std::chrono::seconds> linger(NativeHandle socket, std::error_code& error) noexcept {
    ::linger setting{};
    socklen_t size = sizeof setting;
    checked(::getsockopt(socket, SOL_SOCKET, SO_LINGER, &setting, &size), error);
    if (error || setting.l_onoff == 0) return std::nullopt;
    return std::chrono::seconds(setting.l_linger);
}

void set_linger(NativeHandle socket, std::optional<std::chrono::seconds> linger,
                std::error_code& error) noexcept {
    ::linger setting{};
    setting.l_onoff = linger.has_value() ? 1 : 0;
    setting.l_linger = linger.has_value() ? static_cast<int>(linger->count()) : 0;
    checked(::setsockopt(socket, SOL_SOCKET, SO_LINGER, &setting, sizeof setting), error);
}

std::optional<std::size_t> try_receive(NativeHandle socket, std::span<std::byte> buffer, bool peek,
                                       std::error_code& error) noexcept {
    int flags = peek ? MSG_PEEK : 0;
    ssize_t received = uninterrupted([&] { return ::recv(socket, buffer.data(), buffer.size(), flags); });
    checked(received, error);
    if (received >= 0) return static_cast<std::size_t>(received);
    if (would_block(error.value())) error.clear();
    return std::nullopt;
}

std::optional<std::size_t> try_send(NativeHandle socket, std::span<const std::byte> buffer,
                                    std::error_code& error) noexcept {
    ssize_t sent = uninterrupted([&] { return ::send(socket, buffer.data(), buffer.size(), MSG_NOSIGNAL); });
    checked(sent, error);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (would_block(error.value())) error.clear();
    return std::nullopt;
}

NativeHandle try_accept(NativeHandle listener, std::error_code& error) noexcept {
    for (;;) {
        int accepted = checked(accept_connection(listener), error);
        if (accepted >= 0) return accepted;
        if (error.value() == EINTR || error.value() == ECONNABORTED) continue;
        if (would_block(error.value())) error.clear();
        return invalid_handle;
    }
}

void stop_new_connections([[maybe_unused]] NativeHandle listener) noexcept {
#if defined(__linux__)
    // The filter sees a segment whose header begins at 0. One with SYN set and ACK clear begins a connection,
    // and is dropped. The last segment of a handshake passes. So do the segments of accepted connections,
    // which inherit the filter.
    constexpr std::uint32_t flags = 13, syn = 0x02, ack = 0x10, none = 0, whole = 0xffffffff;
    std::array<sock_filter, 5> program{{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn | ack),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, none),
        BPF_STMT(BPF_RET | BPF_K, whole),
    }};
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    ::setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
#endif
}

void allow_new_connections([[maybe_unused]] NativeHandle listener) noexcept {
#if defined(__linux__)
    const int ignored = 0;
    ::setsockopt(listener, SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof ignored);
#endif
}

bool has_waiting_connection(NativeHandle listener) noexcept {
    pollfd asked{listener, POLLIN, 0};
    return ::poll(&asked, 1, 0) != 0;
}

bool has_handshakes([[maybe_unused]] NativeHandle listener) noexcept {
#if defined(__linux__)
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (::getsockname(listener, reinterpret_cast<sockaddr*>(&name), &size) != 0) return false;

    // All sockets of that port in the state of an unfinished handshake: see sock_diag(7).
    struct {
        nlmsghdr header;
        inet_diag_req_v2 request;
    } question{};
    question.header.nlmsg_len = sizeof question;
    question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    question.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    question.request.sdiag_family = static_cast<std::uint8_t>(name.ss_family);
    question.request.sdiag_protocol = IPPROTO_TCP;
    question.request.idiag_states = 1u << TCP_SYN_RECV;
    question.request.id.idiag_sport = name.ss_family == AF_INET6
                                          ? reinterpret_cast<const sockaddr_in6&>(name).sin6_port
                                          : reinterpret_cast<const sockaddr_in&>(name).sin_port;
    const int diagnosis = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (diagnosis < 0) return false;
    alignas(nlmsghdr) std::array<char, 8192> answer;
    ssize_t received = -1;
    if (::send(diagnosis, &question, sizeof question, 0) == sizeof question)
        received = uninterrupted([&] { return ::recv(diagnosis, answer.data(), answer.size(), 0); });
    ::close(diagnosis);
    // The first message is one of the sockets, the end of none, or an error.
    return received >= static_cast<ssize_t>(sizeof(nlmsghdr)) &&
           reinterpret_cast<const nlmsghdr*>(answer.data())->nlmsg_type == SOCK_DIAG_BY_FAMILY;
#else
    return false;
#endif
}

bool spreads_connections() noexcept {
    // Elsewhere such an option gives all to the last one, or has another name.
#if defined(__linux__)
    return true;
#else
    return false;
#endif
}

// Not /dev/null: a root folder of its own need not have one, and then nobody would be let in.
NativeHandle open_reserve(std::error_code& error) noexcept {
    NativeHandle reserve = checked(::socket(AF_UNIX, SOCK_STREAM | close_on_exec, 0), error);
    if (close_on_exec == 0 && reserve >= 0) ::fcntl(reserve, F_SETFD, FD_CLOEXEC);
    return reserve;
}

AcceptFailure classify_accept_failure(const std::error_code& error) noexcept {
    if (error.category() != std::system_category()) return AcceptFailure::fatal;
    switch (error.value()) {
    case EMFILE:
    case ENFILE:
        return AcceptFailure::no_descriptors;
    case ENOBUFS:
    case ENOMEM:
        return AcceptFailure::no_memory;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EFAULT:
        return AcceptFailure::fatal;
    // accept(2) hands on what the network had to say about the new connection, and a firewall's EPERM. What else
    // comes is taken for such, too: paced, it costs little, while a listener given up costs the service.
    default:
        return AcceptFailure::passing;
    }
}

}  // namespace leat::detail::socket
