// SPDX-License-Identifier: BSL-1.0
#include "backend/diagnostic.hpp"

#include <climits>
#include <string>

#include <poll.h>
#include <unistd.h>

namespace leat::detail {

void write_notice(std::string_view text) {
    std::string line(text);
    if (line.empty() || line.back() != '\n') line += '\n';
    // A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)).
    for (std::size_t written = 0; written < line.size();) {
        pollfd question{STDERR_FILENO, POLLOUT, 0};
        if (::poll(&question, 1, 0) != 1 || question.revents != POLLOUT) return;
        std::size_t size = std::min<std::size_t>(line.size() - written, PIPE_BUF);
        ssize_t taken = ::write(STDERR_FILENO, line.data() + written, size);
        if (taken <= 0) return;
        written += static_cast<std::size_t>(taken);
    }
}

}  // namespace leat::detail
