// SPDX-License-Identifier: BSL-1.0
#include "support/child.hpp"

#include <array>
#include <cerrno>
#include <system_error>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace leat::test {

ChildEnd end_of_child(const std::function<void()>& action) {
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::system_error(errno, std::system_category(), "pipe");
    pid_t child = ::fork();
    if (child < 0) throw std::system_error(errno, std::system_category(), "fork");
    if (child == 0) {
        ::dup2(ends[1], STDERR_FILENO);
        // The test framework's handler would report into our own output.
        ::signal(SIGABRT, SIG_DFL);
        action();
        ::_exit(0);
    }
    ::close(ends[1]);
    ChildEnd end;
    std::array<char, 4096> buffer;
    for (ssize_t got; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;)
        end.text.append(buffer.data(), static_cast<std::size_t>(got));
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    return end;
}

}  // namespace leat::test
