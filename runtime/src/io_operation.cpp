// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/io_operation.hpp>

namespace leat {
namespace {

const char* name_of(Operation::Kind kind) noexcept {
    switch (kind) {
    case Operation::Kind::accept:
        return "accept";
    case Operation::Kind::connect:
        return "connect";
    case Operation::Kind::receive:
    case Operation::Kind::receive_all:
    case Operation::Kind::receive_vector:
    case Operation::Kind::receive_lent:
    case Operation::Kind::read:
        return "read";
    case Operation::Kind::peek:
        return "peek";
    case Operation::Kind::send:
    case Operation::Kind::send_all:
    case Operation::Kind::send_vector:
    case Operation::Kind::send_vector_all:
    case Operation::Kind::write:
        return "write";
    case Operation::Kind::wait_readable:
        return "readability";
    case Operation::Kind::wait_writable:
        return "writability";
    }
    return "an operation";
}

}  // namespace

bool IoOperation::start() noexcept {
    if (is_stopped()) return false;
    if (executor().poll().submit_owned(*this)) return go_on_with_io();
    suspend();
    return false;
}

void IoOperation::start_for(TaskFrame& frame) noexcept {
    attach(frame);
    set_ready(start());
}

void IoOperation::start_after_send(TaskFrame& frame, std::ptrdiff_t sent) noexcept {
    attach(frame);
    set_ready(go_on_after_send(sent) ? go_on_with_io() : start());
}

bool IoOperation::go_on_with_io() noexcept {
    if (has_failed()) [[unlikely]]
        note_failure();
    if (is_write(kind()) || is_of_ending_source()) return go_on();
    if (executor().may_read_on(kind() == Kind::accept ? 0 : transferred())) [[likely]]
        return true;
    suspend();
    executor().make_ready_after_io(*this);
    return false;
}

void IoOperation::cancel() noexcept {
    // What has ended is on its way to the task, and wins.
    if (is_ended()) return;
    if (executor().poll().cancel(*this)) withdrawn();
}

bool IoOperation::end_if_withdrawn() noexcept {
    if (error() != std::errc::operation_canceled) {
        note_failure();
        return false;
    }
    withdrawn();
    return true;
}

std::string IoOperation::describe() const { return describe_with({}); }

std::string IoOperation::describe_with(std::string_view peer) const {
    std::string text = name_of(kind());
    // Of one that has ended, the handle may be another's by now.
    if (handle() == invalid_handle) return text;
    bool is_readiness = kind() == Operation::Kind::wait_readable || kind() == Operation::Kind::wait_writable;
    text += (is_readiness ? " of fd " : " fd ") + std::to_string(handle());
    text += peer;
    return text;
}

void IoOperation::throw_error(const char* what) const { throw std::system_error(error(), what); }

}  // namespace leat
