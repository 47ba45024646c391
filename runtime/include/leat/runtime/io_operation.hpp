// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>

#include <coroutine>
#include <string>
#include <system_error>
#include <utility>

namespace leat {

/// A reactor's operation that a task awaits; sockets' operations derive from it. Record and awaiter are one object
/// in the task's frame, and the first thing in it is the coroutine to resume.
///
/// Cancellation: the operation is withdrawn first; a result that the kernel has given already is returned.
class IoOperation : public Wait, protected Operation {
public:
    using Operation::kind;

    bool await_ready() noexcept { return start(); }
    void await_suspend(std::coroutine_handle<>) const noexcept {}

    void cancel() noexcept override;
    std::string describe() const override;

    /// Called by the executor with the operation's event.
    virtual void completed() noexcept;

    static IoOperation& from(Operation& operation) noexcept { return static_cast<IoOperation&>(operation); }

protected:
    explicit IoOperation(Operation&& operation) noexcept : Operation(std::move(operation)) {}
    IoOperation(IoOperation&&) noexcept = default;
    ~IoOperation() = default;

    /// The whole of an `await_ready` for one step: submits; true if the task can go on at once.
    bool start() noexcept;

    /// Submits the record, for the first time or after `rearm`; true if it has ended at once. For what takes several
    /// steps: after `is_stopped`, its `await_ready` repeats this and ends with `suspend` or `go_on`.
    bool submit() noexcept { return executor().poll().submit(*this); }
    /// After an end at once: goes on, or suspends and gives way, as the executor's budget says.
    bool go_on() noexcept;

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
