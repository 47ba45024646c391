// SPDX-License-Identifier: BSL-1.0
//
// What a server keeps of each connection: the smaller of the two blocks that one costs, so its size counts.
#pragma once

#include "backend/socket.hpp"

#include <leat/net/address.hpp>
#include <leat/reactor/clock.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/task_group.hpp>

#include <cstdint>
#include <exception>
#include <source_location>
#include <system_error>

namespace leat::detail {

class Server;

/// What a server keeps of a connection, beside its handler's frame.
class Connection : public GroupChild {
public:
    /// `now` is when it begins to be quiet, for a server that watches for that.
    Connection(TaskGroup& group, const Source& source, const Address& peer, TimePoint now) noexcept
        : GroupChild(group), watch_(source), since_(now), peer_(peer) {}

    std::uint64_t moved() const noexcept { return watch_.moved(); }
    /// `invalid_handle` once its handler has closed it.
    NativeHandle native_handle() const noexcept { return watch_.native_handle(); }

    /// Asked for at the beginning: a socket that was reset does not know it any more. Of port 0 if it was not
    /// known then.
    const Address& peer() const noexcept { return peer_; }
    /// The error that an operation on it failed with, if one did.
    std::error_code last_error() const noexcept { return watch_.last_error(); }

    /// Whether its handler has ended, and it only waits for its peer.
    virtual bool is_lingering() const noexcept { return false; }

    /// How long it has moved fewer than `bytes`, too short by at most the time between two calls. Zero after
    /// `shut`.
    Duration quiet_for(std::uint64_t bytes, TimePoint now) noexcept {
        if (since_ > now) return Duration::zero();
        if (moved() - counted_ >= bytes) be_busy(now);
        return now - since_;
    }

    void shut() noexcept {
        since_ = TimePoint::max();
        NativeHandle handle = watch_.native_handle();
        if (handle == invalid_handle) return;
        std::error_code ignored;  // Gone already, then.
        socket::shutdown(handle, Half::both, ignored);
        watch_.retry();
    }

    /// Ends the reads `until_drain`, and counts anew how long it is quiet.
    void drain(TimePoint now) noexcept {
        end_marked_reads();
        watch_.keep_handle();
        if (since_ <= now) be_busy(now);
    }
    /// For a drained connection: ends the reads `until_drain`, unless it is fresh. Then its first request may
    /// be under way.
    void end_marked_reads() noexcept {
        if (moved() != 0) watch_.begin_drain();
    }
    /// For a drained connection: ends all other reads too.
    void end_reads() noexcept { watch_.end_reads(); }
    /// For a drained connection that its handler has closed.
    NativeHandle take_handle() noexcept { return watch_.take_handle(); }

    std::source_location spawned() const noexcept override { return std::source_location::current(); }

protected:
    /// For a connection that is never quiet.
    explicit Connection(TaskGroup& group) noexcept : GroupChild(group), since_(TimePoint::max()) {}
    ~Connection() = default;

    // Kept once in the group, not in each of them.
    Server& server() const noexcept { return *static_cast<Server*>(group().context()); }

private:
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;

    void be_busy(TimePoint now) noexcept {
        counted_ = moved();
        since_ = now;
    }

    SourceWatch watch_;
    // What it had moved when `quiet_for` last found that to be enough, and when that was.
    std::uint64_t counted_ = 0;
    // `TimePoint::max()`: it is never quiet.
    TimePoint since_;
    Address peer_;
};

/// A connection whose handler runs.
class ServedConnection final : public Connection {
public:
    using Connection::Connection;

private:
    void dispose() noexcept override { delete this; }
};

static_assert(sizeof(ServedConnection) <= 112 + 2 * sizeof(NativeHandle), "there may be very many of these");

/// What is left of a connection that its handler has closed in a drain, until its peer has had all of it.
class Lingering final : public Connection {
public:
    explicit Lingering(TaskGroup& group) noexcept : Connection(group) {}

    bool is_lingering() const noexcept override { return true; }

private:
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;
    void dispose() noexcept override { delete this; }
};

}  // namespace leat::detail
