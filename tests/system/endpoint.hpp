// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

namespace leat::test {

/// Where a server listens.
struct Endpoint {
    std::string host;
    std::uint16_t port = 0;

    int family() const;
    /// As `--listen` takes it, with brackets round an IPv6 address.
    std::string text() const;
    /// Fills `storage`; returns the length that connect(2) wants.
    socklen_t fill(sockaddr_storage& storage) const;

    /// Reads what `text` writes; throws on anything else.
    static Endpoint parse(const std::string& text);
};

/// A port of the loopback interface on which nobody listens at this moment.
Endpoint unused_endpoint();

/// Whether a server may listen there that shares the address with connections which are still closing.
bool can_be_bound(const Endpoint& endpoint);

/// Whether the loopback interface has an IPv6 address.
bool has_ipv6();

}  // namespace leat::test
