// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "descriptor.hpp"
#include "endpoint.hpp"
#include "pattern.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace leat::test {

struct SwarmOptions {
    std::size_t connections = 100;
    /// A member sends a block, and the next one when all of it has come back.
    std::size_t block = 1000;
    /// How much one call sends at most; each call is a segment of its own.
    std::size_t segment = std::numeric_limits<std::size_t>::max();
};

/// Many connections at once, driven by one epoll set of its own. Every byte that comes back is compared.
class Swarm {
public:
    /// Returns when all are connected, which does not mean accepted.
    Swarm(const Endpoint& server, const SwarmOptions& options);

    /// Lets each member exchange `blocks` more; returns when all have, or have ended.
    void exchange(std::uint64_t blocks);
    /// Keeps all busy until each has ended; `act` is called once, in the midst of it. Afterwards they go on sending,
    /// or only finish the block which is under way.
    enum class Afterwards { go_on, finish_block };
    void exchange_until_all_end(Afterwards afterwards, const std::function<void()>& act);
    void close();

    std::size_t alive() const;
    /// Members which ended while a block had come back in part.
    std::size_t cut_short() const;
    /// Members that had a block back, whole, since the swarm began.
    std::size_t served() const;
    std::uint64_t blocks() const { return blocks_; }

private:
    struct Member {
        Descriptor socket;
        Pattern pattern{0};
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        std::uint64_t target = 0;
        bool is_busy = false;
        bool ended = false;
    };

    void connect_wave(const Endpoint& server, std::size_t count);
    void wait_until_connected(std::size_t first);
    void give_target(Member& member, std::uint64_t blocks);
    void turn();
    void serve(Member& member);
    void send(Member& member);
    void receive(Member& member);
    void end(Member& member);

    SwarmOptions options_;
    Descriptor epoll_;
    std::vector<Member> members_;
    std::size_t busy_ = 0;
    std::uint64_t blocks_ = 0;
    bool endless_ = false;
};

/// Lets this process have as many descriptors as it may; returns how many those are.
std::size_t raise_descriptor_limit();

}  // namespace leat::test
