// SPDX-License-Identifier: BSL-1.0
//
// What a server keeps of each connection: the smaller of the two blocks that one costs, so its size counts.
#pragma once

#include "backend/socket.hpp"
#include "src/packed_peer.hpp"

#include <leat/reactor/clock.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/task_group.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <optional>
#include <source_location>
#include <system_error>

namespace leat::detail {

class Server;

/// What a server keeps of a connection, beside its handler's frame.
class Connection : public GroupChild {
public:
    /// `now` is when it begins to be quiet, for a server that watches for that.
    Connection(TaskGroup& group, const Source& source, PackedPeer peer, TimePoint now) noexcept
        : GroupChild(group), watch_(source), since_(now), peer_port_(peer.port), peer_word_(peer.word) {}

    std::uint64_t moved() const noexcept { return watch_.moved(); }
    /// `invalid_handle` once its handler has closed it.
    NativeHandle native_handle() const noexcept { return watch_.native_handle(); }

    /// Asked for at the beginning: a socket that was reset does not know it any more.
    PackedPeer peer() const noexcept { return {peer_word_, peer_port_}; }
    /// The error that an operation on it failed with, if one did.
    std::error_code last_error() const noexcept { return watch_.last_error(); }

    /// Whether its handler has ended, and it only waits for its peer.
    virtual bool is_lingering() const noexcept { return false; }

    /// How long it has moved fewer than `bytes`, too short by at most the time between two calls. Zero after
    /// `shut`.
    Duration quiet_for(std::uint64_t bytes, TimePoint now) noexcept {
        if (since_ > now) return Duration::zero();
        if (moved_since_counted() >= std::min(bytes, counted_mask)) be_busy(now);
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
    std::optional<TimePoint> task_started() const noexcept override {
        const std::int64_t now = ticks_of(executor().now());
        const std::uint32_t age = static_cast<std::uint32_t>(now) - started_;
        return TimePoint(Duration((now - age) << tick_bits));
    }

protected:
    /// For a connection that is never quiet.
    explicit Connection(TaskGroup& group) noexcept : GroupChild(group), since_(TimePoint::max()) {}
    ~Connection() = default;

    // Kept once in the group, not in each of them.
    Server& server() const noexcept { return *static_cast<Server*>(group().context()); }

private:
    static constexpr int tick_bits = 24;
    // No connection moves 281 TB between two calls of `quiet_for`.
    static constexpr std::uint64_t counted_mask = (std::uint64_t{1} << 48) - 1;

    void note_started(TimePoint time) noexcept override {
        started_ = static_cast<std::uint32_t>(ticks_of(time));
    }
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;

    static std::int64_t ticks_of(TimePoint time) noexcept {
        return time.time_since_epoch().count() >> tick_bits;
    }

    std::uint64_t moved_since_counted() const noexcept {
        const std::uint64_t counted = std::uint64_t{counted_high_} << 32 | counted_low_;
        return (moved() - counted) & counted_mask;
    }
    void be_busy(TimePoint now) noexcept {
        counted_low_ = static_cast<std::uint32_t>(moved());
        counted_high_ = static_cast<std::uint16_t>(moved() >> 32);
        since_ = now;
    }

    SourceWatch watch_;
    // When `quiet_for` last found that it had moved enough. `TimePoint::max()`: it is never quiet.
    TimePoint since_;
    // The low bits of a count of 17 ms: near enough for a dump, and right for two years.
    std::uint32_t started_ = 0;
    // The low bits of what it had moved at `since_`.
    std::uint32_t counted_low_ = 0;
    std::uint16_t counted_high_ = 0;
    std::uint16_t peer_port_ = 0;
    std::uint32_t peer_word_ = PackedPeer::unknown;
};

/// A connection whose handler runs.
class ServedConnection final : public Connection {
public:
    using Connection::Connection;

private:
    void dispose() noexcept override { delete this; }
};

static_assert(sizeof(ServedConnection) <= 80 + 2 * sizeof(NativeHandle), "there may be very many of these");

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
