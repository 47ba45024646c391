// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "client.hpp"
#include "descriptor.hpp"
#include "endpoint.hpp"

#include <cstddef>
#include <string>

namespace leat::test {

/// A person at a terminal: one connection that sends and receives text, made of plain system calls.
class LineClient {
public:
    explicit LineClient(const Endpoint& server, const ClientOptions& options = {});

    void send(const std::string& text);
    /// Sends what the kernel takes at this moment; returns how much that was.
    std::size_t send_what_fits(const std::string& text);
    void finish_sending();
    /// Closes so that the server sees a reset.
    void reset();

    /// The next line, without its end; throws if the connection ends before.
    std::string line();
    /// Everything up to the end of the connection, whichever way that comes.
    std::string rest();
    bool has_something_to_receive() const;

private:
    /// False at the end.
    bool receive();

    Descriptor socket_;
    std::string received_;
};

}  // namespace leat::test
