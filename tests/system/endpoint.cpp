// SPDX-License-Identifier: BSL-1.0
#include "endpoint.hpp"

#include "deadline.hpp"
#include "descriptor.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <stdexcept>

namespace leat::test {
namespace {

template <typename SocketAddress>
socklen_t copy_into(sockaddr_storage& storage, const SocketAddress& address) {
    static_assert(sizeof(SocketAddress) <= sizeof(sockaddr_storage));
    std::memcpy(&storage, &address, sizeof address);
    return sizeof address;
}

const sockaddr* as_generic(const sockaddr_storage& storage) {
    return reinterpret_cast<const sockaddr*>(&storage);
}

}  // namespace

int Endpoint::family() const { return host.find(':') == std::string::npos ? AF_INET : AF_INET6; }

std::string Endpoint::text() const {
    std::string shown = family() == AF_INET ? host : "[" + host + "]";
    return shown + ":" + std::to_string(port);
}

socklen_t Endpoint::fill(sockaddr_storage& storage) const {
    if (family() == AF_INET) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
        return copy_into(storage, address);
    }
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    ::inet_pton(AF_INET6, host.c_str(), &address.sin6_addr);
    return copy_into(storage, address);
}

Endpoint Endpoint::parse(const std::string& text) {
    std::size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0)
        throw std::runtime_error("no address:port in '" + text + "'");
    std::string host = text.substr(0, colon);
    if (host.front() == '[') host = host.substr(1, host.size() - 2);
    return {host, static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)))};
}

Endpoint unused_endpoint() {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage storage{};
    socklen_t length = Endpoint{"127.0.0.1", 0}.fill(storage);
    if (::bind(socket.get(), as_generic(storage), length) != 0) throw system_failure("bind");
    sockaddr_in bound{};
    length = sizeof bound;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &length);
    return {"127.0.0.1", ntohs(bound.sin_port)};
}

bool can_be_bound(const Endpoint& endpoint) {
    Descriptor socket(::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_storage storage{};
    socklen_t length = endpoint.fill(storage);
    return ::bind(socket.get(), as_generic(storage), length) == 0;
}

bool has_ipv6() {
    Descriptor socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage storage{};
    socklen_t length = Endpoint{"::1", 0}.fill(storage);
    return socket.is_open() && ::bind(socket.get(), as_generic(storage), length) == 0;
}

}  // namespace leat::test
