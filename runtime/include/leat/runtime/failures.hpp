// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <exception>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace leat {

/// Failures that came after `failure` where only one could be thrown: of a group, of `when_all`, of a clean-up, of tries before
/// the last one. In the order in which they came; some may have others attached themselves.
///
///     try {
///         co_await leat::task_group(body);
///     } catch (...) {
///         log(leat::describe_failure(std::current_exception()));
///     }
///
/// At most 16 384 of one; what exceeds that is given to the executor's diagnostic.
///
/// `failure` is the exception that is thrown: its type and its value are those of the first failure, unchanged.
///
/// Thread-safety: any thread, for all functions here.
/// Lifetime:      what is attached lives as long as the exception object.
/// Errors:        `std::bad_alloc`. What could not be attached, for want of memory or because the exception comes from a foreign
///                runtime, was given to the executor's diagnostic instead.
std::vector<std::exception_ptr> attached_failures(const std::exception_ptr& failure);

/// What the exception says of itself, and what those attached to it say: "first; and: second; and: third".
std::string describe_failure(const std::exception_ptr& failure);

/// A task that an exception has left.
struct TraceEntry {
    TraceEntry(std::source_location d, std::source_location l) noexcept : definition(d), line(l) {}

    /// Where the coroutine is defined.
    std::source_location definition;
    /// The line of the `co_await` that it stood at, or last stood at; line 0 if it had come to none.
    std::source_location line;
};

/// The chain of tasks that an exception has left so far, the innermost first: what a stack trace would show if tasks
/// stood on a stack.
///
/// At most 64 are noted. Empty for an exception that has left no task.
std::vector<TraceEntry> trace_of(const std::exception_ptr& failure);

/// The same to read, a line for each task, the last one ended too:
///
///     in leat::Task<> read_head(leat::TcpStream&) (http.cpp:17), at http.cpp:23
///     in leat::Task<> session(leat::TcpStream) (server.cpp:40), at server.cpp:44
std::string async_trace(const std::exception_ptr& failure);

namespace detail {

/// `text` for a log or a terminal: what is no UTF-8 (RFC 3629), control characters, and what else ends a line or
/// turns the direction of writing, is in the form \x0a. Peers' bytes may be in it.
std::string printable(std::string_view text);

}  // namespace detail

}  // namespace leat
