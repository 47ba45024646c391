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
class IoOperation : public Wait, protected detail::OperationRecord {
public:
    using OperationRecord::kind;

    [[gnu::always_inline]] bool await_ready() noexcept { return start(); }
    void await_suspend(std::coroutine_handle<>) const noexcept {}

    void cancel() noexcept override;
    std::string describe() const override;

    // ---- For the executor. ----
    static IoOperation& from(OperationRecord& operation) noexcept {
        return static_cast<IoOperation&>(operation);
    }
    TaskFrame& task() const noexcept { return *frame_; }
    /// Whether a backend that hands operations to the kernel has ended this one because it was asked to.
    bool was_withdrawn() const noexcept { return has_failed() && is_cancelled_by_kernel(); }
    void end_withdrawn() noexcept { withdrawn(); }

protected:
    explicit IoOperation(Operation&& operation) noexcept : OperationRecord(std::move(operation)) {}
    IoOperation(IoOperation&&) noexcept = default;
    ~IoOperation() = default;

    /// Submits; true if the task can go on at once.
    [[gnu::always_inline]] bool start() noexcept {
        detail::Completions* queue = environment().queue();
        OperationRecord* left = this;
        if (kind() == Kind::receive) {
            left = park_on_idle(queue);
            if (left == nullptr) [[likely]] {
                suspend();
                return false;
            }
        } else if (kind() == Kind::send || kind() == Kind::send_all) {
            left = send_on_idle(queue);
            if (left == nullptr) [[likely]]
                return true;
        }
        return from(*left).start_otherwise();
    }
    /// After an end at once: goes on, or suspends and gives way, as the executor's budget says.
    bool go_on() noexcept;

    /// "read: Connection reset by peer", as `std::system_error`.
    [[noreturn]] void throw_error(const char* what) const;

private:
    bool is_cancelled_by_kernel() const noexcept;
    [[gnu::cold]] bool start_otherwise() noexcept;
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
