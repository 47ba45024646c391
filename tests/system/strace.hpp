// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadline.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace leat::test {

/// Faults that strace plants into the system calls of one process, and what it saw of them.
///
///     Injection storm = Injection().fail("recvfrom", "EINTR", "1+2").watch("sendto");
///
/// `when` counts calls by name and thread: `5` the fifth, `3..8` a range, `1+2` every other, `3+` all from the third.
class Injection {
public:
    Injection& fail(const std::string& calls, const std::string& error, const std::string& when);
    /// The clause as strace's `inject=` takes it after the names, without `:when=`.
    Injection& tamper(const std::string& calls, const std::string& clause, const std::string& when);
    /// Only records the calls.
    Injection& watch(const std::string& calls);
    /// Restricts everything to descriptors of this path, as /proc/PID/fd shows it.
    Injection& only_on(const std::string& path);

    std::vector<std::string> arguments() const;

private:
    std::vector<std::string> traced_;
    std::vector<std::string> injected_;
    std::string path_;
};

/// The record that strace writes while its process runs.
class Trace {
public:
    explicit Trace(std::filesystem::path file) : file_(std::move(file)) {}

    /// How often `call` was entered so far, and how many of those strace tampered with.
    std::size_t calls(const std::string& call) const;
    /// How often before the first line that holds `text`.
    std::size_t calls_before(const std::string& call, const std::string& text) const;
    std::size_t injected(const std::string& call) const;
    /// How many lines hold `text`.
    std::size_t lines_with(const std::string& text) const;
    /// strace ends a little after its process; what it counts is whole only then.
    void wait_until_complete() const;
    std::string text() const;

private:
    std::filesystem::path file_;
};

/// Whether strace may follow a process here; if not, the running case is skipped by name.
bool can_inject();

}  // namespace leat::test
