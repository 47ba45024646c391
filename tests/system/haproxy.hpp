// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "child_process.hpp"
#include "endpoint.hpp"
#include "server_process.hpp"

#include <string>
#include <vector>

namespace leat::test {

/// HAProxy in TCP mode before some servers, whose health it checks every 100 ms by connecting to them.
class Haproxy {
public:
    explicit Haproxy(const std::vector<Endpoint>& servers);

    /// Where its clients connect.
    const Endpoint& endpoint() const { return endpoint_; }

    /// Waits until it takes each server for one that is up.
    void wait_until_all_are_up();

private:
    std::size_t servers_up() const;

    TemporaryFolder folder_;
    Endpoint endpoint_ = unused_endpoint();
    std::size_t count_;
    ChildProcess process_;
};

}  // namespace leat::test
