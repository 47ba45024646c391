// SPDX-License-Identifier: BSL-1.0
//
// What the servers of several threads share when one of them accepts for all. The acceptor chooses who is to have a connection
// and posts it there; each server counts down when a connection of its own has ended. Only the acceptor counts up, so that it
// never has more than the limit; and who takes the count below the limit tells it, as it may wait for that.
//
// No connection is lost on the way. In a drain a server waits until it knows that it is given nothing more: a
// post after the last connection says so. A server that has ended, or never began, posts back what it is
// given, and the acceptor serves that itself: it waits until each of the others has confirmed that nothing
// more comes back.
#pragma once

#include <leat/net/tcp_stream.hpp>
#include <leat/runtime/remote.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace leat::detail {

/// A server as the handover sees it, on its own thread.
class HandoverTarget {
public:
    /// A connection that it is to serve. Whatever goes wrong closes that and no more.
    virtual void take(TcpStream&& stream) noexcept = 0;
    /// There is room again.
    virtual void wake() noexcept = 0;

protected:
    ~HandoverTarget() = default;
};

/// Thread-safety: says each function. "Own": the thread of the executor `index`; number 0 is the acceptor's.
class Handover : public std::enable_shared_from_this<Handover> {
public:
    Handover(std::vector<Remote> executors, std::size_t max_connections);
    Handover(const Handover&) = delete;
    Handover& operator=(const Handover&) = delete;

    // Acceptor.
    bool is_full() const noexcept { return total_.load() >= max_connections_; }
    /// To whoever has fewest connections. Throws `std::bad_alloc`: the connection is closed then.
    void give(TcpStream&& stream);
    /// To the acceptor itself.
    void keep(TcpStream&& stream);

    /// Nothing more is given. Twice is harmless.
    void end_giving() noexcept;
    /// Whether nothing that was given can come back any more.
    bool is_settled() const noexcept { return unconfirmed_ == 0; }
    /// Connections that were closed since all servers that could have served them had ended.
    std::size_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }
    /// The server of that number has ended, or does not begin: it is given nothing, and the acceptor takes
    /// what it was given.
    void give_up(std::size_t index) noexcept;

    // Own.
    /// Whether `end_giving` was called, and all that was given before has come.
    bool has_all(std::size_t index) const noexcept { return parts_[index]->has_all; }
    /// From now on the server takes what is given, and what came before.
    void begin(std::size_t index, HandoverTarget& server);
    void end(std::size_t index) noexcept;
    /// A connection that was given has ended.
    void count_down(std::size_t index) noexcept;

private:
    struct Part {
        explicit Part(Remote&& r) noexcept : executor(std::move(r)) {}

        Remote executor;
        std::atomic<std::size_t> connections = 0;
        // Own. Null before the beginning and after the end.
        HandoverTarget* server = nullptr;
        bool has_ended = false;
        bool has_all = false;
        bool has_confirmed = false;
        std::vector<TcpStream> early;
        // Acceptor.
        bool is_given_up = false;
    };

    void take(std::size_t index, TcpStream&& stream);
    void take_back(std::size_t index, TcpStream&& stream) noexcept;
    void last_was_given(std::size_t index) noexcept;
    void confirm(Part& part) noexcept;
    void confirmed() noexcept;

    const std::size_t max_connections_;
    std::vector<std::unique_ptr<Part>> parts_;
    std::atomic<std::size_t> total_ = 0;
    std::atomic<std::size_t> lost_ = 0;
    // Acceptor.
    bool has_ended_giving_ = false;
    std::size_t unconfirmed_;
};

}  // namespace leat::detail
