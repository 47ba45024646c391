// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadline.hpp"
#include "descriptor.hpp"
#include "endpoint.hpp"
#include "pattern.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace leat::test {

struct ClientOptions {
    /// A small window and small segments: the server's send buffer then stays small too.
    bool narrow = false;
    bool no_delay = false;
};

/// A connected, non-blocking socket; not open if the server refuses.
Descriptor connect_to(const Endpoint& server, const ClientOptions& options = {});

/// How an exchange with a faulty server ended: what it took was echoed, or the connection visibly closed.
enum class Outcome { echoed, closed };

/// One connection to the echo server, made of plain system calls: a witness that shares nothing with the server.
///
/// What it sends is a pattern; every byte that comes back is compared with it, and a wrong one throws.
class Client {
public:
    explicit Client(const Endpoint& server, const ClientOptions& options = {});

    /// Sends `bytes` more of the pattern while it receives, until all of them have come back.
    Outcome exchange(std::uint64_t bytes);
    /// The same; a closed connection throws.
    void expect_echo(std::uint64_t bytes);

    /// Sends without receiving; throws if the connection closes.
    void send(std::uint64_t bytes);
    /// Sends what the kernel takes at this moment, at most `bytes`; returns how much that was.
    std::uint64_t send_what_fits(std::uint64_t bytes);
    /// Receives all that was sent and did not come back yet.
    void expect_rest();

    /// Sends `bytes`, then the end at once, and receives to the end: whether all came back and no reset.
    bool echoes_to_the_end(std::uint64_t bytes);
    /// Receives to the end, whichever way it comes; returns the number of bytes that had come back by then.
    std::uint64_t received_at_the_end();

    /// Waits until the server's system has received all that was sent.
    void wait_until_arrived() const;

    void finish_sending();
    /// Closes so that the server sees a reset.
    void reset();
    void close() { socket_.reset(); }

    bool has_something_to_receive() const;
    bool was_reset() const { return was_reset_; }
    std::uint64_t sent() const { return sent_; }
    std::uint64_t received() const { return received_; }

    /// Called with every piece that is sent, and with every piece that was received.
    std::function<void(std::span<const std::byte>)> on_sent;
    std::function<void(std::span<const std::byte>)> on_received;

private:
    void move(std::uint64_t send_until);
    std::uint64_t send_some(std::uint64_t bytes);
    void receive_some();

    Descriptor socket_;
    Pattern pattern_;
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    bool ended_ = false;
    bool was_reset_ = false;
};

}  // namespace leat::test
