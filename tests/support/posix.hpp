// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

/// What only POSIX systems have, for the tests of that.
namespace leat::test {

/// The result of a system call, or an exception that names it.
int checked(int result, const char* call);

/// What a descriptor is, as the system names it: "anon_inode:[eventfd]".
std::string kind_of(int fd);

/// Runs `body` in a forked child and gives its exit status, or minus the signal that ended it.
///
/// `body` says whether all was well; the status is then 0.
int run_in_child(const std::function<bool()>& body);

/// Spins until the peer's system has acknowledged what this TCP socket has sent so far; what it has no room
/// for is not sent.
void await_acknowledgements(NativeHandle socket);

/// The calling thread's, in user and in kernel mode.
std::chrono::microseconds thread_cpu_time();
/// The threads of this process, those that the kernel has made for it too.
std::set<int> thread_ids();

/// Two connected Unix sockets, non-blocking and not inherited, which the caller owns.
enum class UnixSocket { stream, datagram };
std::pair<NativeHandle, NativeHandle> unix_pair(UnixSocket type);
/// Sends `text` with a descriptor beside it, at which a receive stops short.
void send_with_descriptor(NativeHandle socket, std::string_view text);
/// Lets each receive of this Unix socket stop where another writer's bytes begin (SO_PASSCRED).
void ask_for_credentials(NativeHandle socket);

/// Leaves a notification in the error queue of a connected TCP socket, which polls report until somebody
/// takes it. What that sends to the peer is read there.
void fill_error_queue(NativeHandle socket, NativeHandle peer);

}  // namespace leat::test
