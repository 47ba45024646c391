// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <system_error>

namespace leat {

/// Errors of leat's own; everything else is the system's: in `std::system_category()`, or on Windows, of whose numbers the
/// standard library compares few with `std::errc`, in a category that has the same values and compares all.
enum class errc {
    /// Another thread owns the Poll, or another operation of that direction already waits on the source.
    busy = 1,
    /// The Poll, the executor or the source was closed.
    closed,
    /// A `timeout` passed. Never the socket's own ETIMEDOUT.
    deadline_exceeded,
    /// Nothing can ever run again: every task waits and nobody is left to wake one.
    deadlock,
    /// The source is not registered with this queue.
    not_registered,
    /// The source is registered already, with this queue or with another.
    already_registered,
    /// The process forked: this object belongs to the parent.
    forked,
    /// The peer closed before all requested bytes came.
    unexpected_end,
    /// The task was cancelled before it had a result.
    cancelled,
};

const std::error_category& error_category() noexcept;
std::error_code make_error_code(errc code) noexcept;

namespace detail {

/// Of what `errno`, or GetLastError and WSAGetLastError, tells.
std::error_code native_error(unsigned long number) noexcept;

/// The system's errors in an operation's record: a positive number for each.
std::error_code error_of_number(int number) noexcept;
int error_number(const std::error_code& error) noexcept;

}  // namespace detail

}  // namespace leat

template <>
struct std::is_error_code_enum<leat::errc> : std::true_type {};
