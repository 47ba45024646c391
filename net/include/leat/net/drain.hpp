// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait_list.hpp>

#include <string>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {
class DrainSignal;
}

/// What `is_draining` returns.
class [[nodiscard]] IsDrainingOperation : public Wait {
public:
    using value_type = bool;

    IsDrainingOperation() noexcept = default;
    IsDrainingOperation(IsDrainingOperation&&) noexcept = default;

    bool await_ready() const noexcept { return true; }
    void await_suspend(TaskHandle) const noexcept {}
    bool await_resume() const noexcept;
    Result<bool> result() const noexcept { return await_resume(); }

    void cancel() noexcept override {}
    std::string describe() const override { return "nothing"; }
};

/// What `drain_requested` returns.
class [[nodiscard]] DrainRequestedOperation : public detail::QueuedWait {
public:
    using value_type = void;

    DrainRequestedOperation() noexcept = default;
    DrainRequestedOperation(DrainRequestedOperation&&) noexcept = default;

    bool await_ready() noexcept;
    void await_resume() const noexcept {}
    Result<void> result() const noexcept { return Result<void>(); }

    void cancel() noexcept override;
    std::string describe() const override { return "a drain of its server"; }

private:
    detail::DrainSignal* signal_ = nullptr;
    // Outside a server there is no queue to wait in.
    bool waits_alone_ = false;
};

/// Whether the server that runs this task drains: `drain` was called, or a signal came. True from the
/// beginning of the lame duck (`ServeOptions::lame_duck`), and so earlier than `TcpStream::is_draining`.
///
///     bool draining = co_await leat::is_draining();
///     response.keep_alive = !draining;
///
/// For a handler that `serve` runs, and for all tasks inside it on its executor: groups, scopes, shields. The
/// innermost server counts. False for any other task.
///
/// Thread-safety: the executor's thread.
/// Complexity:    no suspension, no allocation; not a point of cancellation.
inline IsDrainingOperation is_draining() noexcept { return IsDrainingOperation(); }

/// Waits until `is_draining`; returns at once from then on. Any number of tasks of a handler may wait; they
/// are resumed in the order in which they began.
///
///     auto say_goodbye = [&]() -> leat::Task<> {
///         co_await leat::drain_requested();
///         co_await session.send_goaway();
///     };
///     group.spawn(say_goodbye);
///     co_await serve_requests(session);   // until the peer closes
///     group.cancel();                     // or the connection stays until the server drains
///
/// Writing there and in the handler at once fails with `busy`: share a `Mutex`. In a task that no server runs
/// it waits until it is cancelled: a task beside the server watches `leat::Signals` itself, or does its work
/// after `serve` has returned.
///
/// Thread-safety: the executor's thread.
/// Cancellation:  at once.
/// Complexity:    O(1), no allocation.
inline DrainRequestedOperation drain_requested() noexcept { return DrainRequestedOperation(); }

}  // namespace leat

#pragma GCC diagnostic pop
