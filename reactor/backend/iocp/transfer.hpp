// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/iocp/afd.hpp"
#include "backend/iocp/entry.hpp"
#include "src/slot.hpp"

#include <mswsock.h>

namespace leat::detail::iocp {

/// What came of a call for an operation.
enum class Step {
    ended,
    /// The kernel has it: a packet will come.
    held,
};

/// Carries operations out: what can be done at once is; the rest the kernel holds, or polls for (docs/adr/0010).
///
/// Thread-safety: the owner's thread.
class Transfer {
public:
    /// Errors: the system's, as `std::system_error`.
    explicit Transfer(const Afd& afd);

    /// Begins the operation of `request`, or goes on with it.
    Step advance(Request& request) const noexcept;
    /// Its packet has come: what that means for the operation, whose request is no longer held.
    Step take_packet(Request& request, Request::Held was_held) const noexcept;
    /// Asks for the packet of a request that is held.
    void cancel(Request& request) const noexcept;

private:
    Step receive(Request& request) const noexcept;
    Step receive_all(Request& request) const noexcept;
    Step receive_vector(Request& request) const noexcept;
    Step receive_into(Request& request, WSABUF* buffers, DWORD count) const noexcept;
    Step receive_lent(Request& request) const noexcept;
    Step peek(Request& request) const noexcept;
    Step read_file(Request& request) const noexcept;
    Step write_file(Request& request) const noexcept;
    Step send(Request& request) const noexcept;
    Step send_vector(Request& request) const noexcept;
    Step accept(Request& request) const noexcept;
    Step try_accept(Request& request) const noexcept;
    Step connect(Request& request) const noexcept;
    Step wait_for(Request& request, bool is_write) const noexcept;
    Step poll(Request& request, bool is_write) const noexcept;

    Step take_result(Request& request) const noexcept;
    Step take_failure(Request& request) const noexcept;

    const Afd& afd_;
    LPFN_ACCEPTEX accept_ex_ = nullptr;
    LPFN_CONNECTEX connect_ex_ = nullptr;
};

}  // namespace leat::detail::iocp
