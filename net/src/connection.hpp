// SPDX-License-Identifier: BSL-1.0
//
// What a server keeps of each connection: the smaller of the two blocks that one costs, so its size counts.
#pragma once

#include "backend/socket.hpp"
#include "src/quiet_time.hpp"

#include <leat/reactor/clock.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/task_group.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <source_location>
#include <system_error>

namespace leat::detail {

class Server;

/// What a server keeps of a connection, beside its handler's frame.
class Connection : public GroupChild {
public:
    /// `now`, an age of the server, is when the connection begins to be quiet.
    Connection(TaskGroup& group, const Source& source, Duration now) noexcept
        : GroupChild(group), watch_(source), quiet_(0, now) {}

    std::uint64_t moved() const noexcept { return watch_.moved(); }
    /// `invalid_handle` once its handler has closed it.
    NativeHandle native_handle() const noexcept { return watch_.native_handle(); }

    /// Whether its handler has ended, and it only waits for its peer.
    virtual bool is_lingering() const noexcept { return false; }

    /// How long it has moved fewer than `bytes`, too short by at most the time between two calls and
    /// `QuietTime::rounding`. Zero after `shut`. More than 16 MiB counts as 16 MiB.
    Duration quiet_for(std::uint64_t bytes, Duration now) noexcept {
        if (!quiet_.is_measured()) return Duration::zero();
        const std::uint64_t enough = std::min<std::uint64_t>(bytes, QuietTime::most_bytes);
        if (quiet_.bytes(moved()) >= enough) quiet_.restart(moved(), now);
        return quiet_.length(now);
    }

    void shut() noexcept {
        quiet_ = QuietTime();
        NativeHandle handle = watch_.native_handle();
        if (handle == invalid_handle) return;
        std::error_code ignored;  // Gone already, then.
        socket::shutdown(handle, Half::both, ignored);
        watch_.retry();
    }

    /// Ends the reads `until_drain`, and counts anew how long it is quiet.
    void drain(Duration now) noexcept {
        end_marked_reads();
        watch_.keep_handle();
        if (quiet_.is_measured()) quiet_.restart(moved(), now);
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
    explicit Connection(TaskGroup& group) noexcept : GroupChild(group) {}
    ~Connection() = default;

    // Kept once in the group, not in each of them.
    Server& server() const noexcept { return *static_cast<Server*>(group().context()); }

private:
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;

    SourceWatch watch_;
    QuietTime quiet_;
};

/// A connection whose handler runs.
class ServedConnection final : public Connection {
public:
    using Connection::Connection;

private:
    void dispose() noexcept override { delete this; }
};

static_assert(sizeof(ServedConnection) <= 72 + 2 * sizeof(NativeHandle), "there may be very many of these");

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
