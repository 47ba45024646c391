// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

/// A reactor's operation that a task awaits; sockets' operations derive from it. Record and awaiter are one object
/// in the task's frame, and the first thing in it is the coroutine to resume.
///
/// Cancellation: the operation is withdrawn first; a result that the kernel has given already is returned.
class IoOperation : public Wait, protected detail::OperationRecord {
public:
    using OperationRecord::kind;

    // In an expression that makes the operation, the compiler knows that it is new.
    bool await_ready() noexcept {
        require_unspent();
        return start();
    }
    void await_suspend(TaskHandle) const noexcept {}

    void cancel() noexcept override;
    std::string describe() const override;

    // ---- For the awaiters of requests. ----

    /// Of one that was made parked: it is `frame`'s.
    void attach_parked(TaskFrame& frame) noexcept {
        attach(frame);
        suspend();
        ++environment().queue()->in_flight;
    }
    /// Whether the task need not wait.
    using OperationRecord::is_ready;
    /// Starts it for `frame`: `is_ready` tells the rest.
    void start_for(TaskFrame& frame) noexcept;
    /// The same when its buffer has been tried already.
    void start_after_send(TaskFrame& frame, std::ptrdiff_t sent) noexcept;

    // ---- For the executor. ----
    static IoOperation& from(OperationRecord& operation) noexcept {
        return static_cast<IoOperation&>(operation);
    }
    TaskFrame& task() const noexcept { return *frame_; }
    using OperationRecord::has_failed;
    /// Of one that has failed: if a backend that hands operations to the kernel has ended it because it was asked to, the
    /// wait is withdrawn. False: its task is to hear of the failure.
    bool end_if_withdrawn() noexcept;

protected:
    explicit IoOperation(Operation&& operation) noexcept : OperationRecord(std::move(operation)) {}
    IoOperation(IoOperation&&) noexcept = default;
    ~IoOperation() = default;

    IoOperation(detail::Slot& idle, std::span<std::byte> buffer) noexcept : OperationRecord(idle, buffer) {}

    /// For `await_ready`: an operation is awaited once. Second awaits say so and abort.
    void require_unspent() const noexcept {
        if (is_spent()) [[unlikely]]
            detail::stop_for_spent_operation();
    }
    /// For one that has ended at once: true if its task may go on, else it is queued.
    bool go_on_with_io() noexcept;
    /// Submits; true if the task can go on at once.
    bool start() noexcept;
    /// "read fd 17", and `peer` behind it if there is one to be named: " from 10.0.0.7:51514".
    std::string describe_with(std::string_view peer) const;
    using OperationRecord::handle;

    /// "read: Connection reset by peer", as `std::system_error`.
    [[noreturn]] void throw_error(const char* what) const;
};

/// `co_await readable(source)`, on any source: waits until a read would find something.
///
/// Errors: `busy` if another read waits, `closed`, the source's.
class [[nodiscard]] ReadinessOperation : public IoOperation {
public:
    using value_type = void;

    explicit ReadinessOperation(Operation&& operation) noexcept : IoOperation(std::move(operation)) {}

    void await_resume() const {
        if (has_failed()) throw_error("wait for readiness");
    }
    Result<void> result() const {
        if (has_failed()) return Unexpected<std::error_code>(error());
        return Result<void>();
    }
};

inline ReadinessOperation readable(Source& source) noexcept {
    return ReadinessOperation(Operation::wait_readable(source));
}
inline ReadinessOperation writable(Source& source) noexcept {
    return ReadinessOperation(Operation::wait_writable(source));
}

}  // namespace leat

#pragma GCC diagnostic pop
