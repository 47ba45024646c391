// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <memory>
#include <string>

namespace leat::detail {

/// Looks at what a thread is doing, from another one. On POSIX it interrupts the thread with SIGURG, which is ignored unless
/// somebody handles it; if somebody does, or the system has no such means, there is nothing to see.
///
/// Thread-safety: made on the thread that is to be looked at; `take` from one other.
/// Lifetime:      ends before that thread does.
class ThreadStack {
public:
    /// `note(argument)` is called on the thread, whatever it is in the middle of: it may do what a signal handler may.
    ThreadStack(void (*note)(void*) noexcept, void* argument);
    ThreadStack(const ThreadStack&) = delete;
    ThreadStack& operator=(const ThreadStack&) = delete;
    ~ThreadStack();

    /// One line for each call, "  echo_server+0x1c2f0", the innermost first. Empty, and `note` was not called: the thread has
    /// not answered within a second, or cannot.
    std::string take();

private:
    struct Thread;
    std::unique_ptr<Thread> thread_;
};

/// For a thread that the application knows nothing of: signals to the process go to others than the calling one.
void refuse_signals() noexcept;

}  // namespace leat::detail
