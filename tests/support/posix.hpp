// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>

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

}  // namespace leat::test
