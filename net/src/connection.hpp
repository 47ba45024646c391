// SPDX-License-Identifier: BSL-1.0
//
// What a server keeps of each connection: the smaller of the two blocks that one costs, so its size counts.
#pragma once

#include "backend/socket.hpp"

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
    Connection(TaskGroup& group, const Source& source) noexcept : GroupChild(group), watch_(source) {}

    std::uint64_t moved() const noexcept { return watch_.moved(); }

    /// Whether it has moved fewer than `bytes` within the last `timeout`. Says so once.
    virtual bool becomes_idle(std::uint64_t, Duration, TimePoint) noexcept { return false; }

    void shut() noexcept {
        NativeHandle handle = watch_.native_handle();
        if (handle == invalid_handle) return;
        std::error_code ignored;  // Gone already, then.
        socket::shutdown(handle, Half::both, ignored);
        watch_.retry();
    }

    void drain() noexcept {
        watch_.end_reads();
        watch_.keep_handle();
    }
    /// Of a drained connection that its handler has closed.
    NativeHandle take_handle() noexcept { return watch_.take_handle(); }

    std::source_location spawned() const noexcept override { return std::source_location::current(); }

protected:
    explicit Connection(TaskGroup& group) noexcept : GroupChild(group) {}
    ~Connection() = default;

    // Kept once in the group, not in each of them.
    Server& server() const noexcept { return *static_cast<Server*>(group().context()); }

private:
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;

    SourceWatch watch_;
};

class UntimedConnection final : public Connection {
public:
    using Connection::Connection;

private:
    void dispose() noexcept override { delete this; }
};

static_assert(sizeof(UntimedConnection) <= 64 + 2 * sizeof(NativeHandle), "there may be very many of these");

/// One that may not be idle for too long.
class TimedConnection final : public Connection {
public:
    TimedConnection(TaskGroup& group, const Source& source, TimePoint now) noexcept
        : Connection(group, source), since_(now) {}

    bool becomes_idle(std::uint64_t bytes, Duration timeout, TimePoint now) noexcept override {
        if (moved() - counted_ >= bytes) {
            counted_ = moved();
            since_ = now;
        }
        // In this order, as the latest instant has no successor.
        if (since_ > now || now - since_ < timeout) return false;
        since_ = TimePoint::max();
        return true;
    }

private:
    void dispose() noexcept override { delete this; }

    // What it had moved when that was last found to be enough, which was no earlier than it was.
    std::uint64_t counted_ = 0;
    TimePoint since_;
};

/// What is left of a connection that its handler has closed in a drain, until its peer has had all of it.
class Lingering final : public Connection {
public:
    explicit Lingering(TaskGroup& group) noexcept : Connection(group) {}

private:
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;
    void dispose() noexcept override { delete this; }
};

}  // namespace leat::detail
