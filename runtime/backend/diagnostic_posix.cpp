// SPDX-License-Identifier: BSL-1.0
#include "backend/diagnostic.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <string>

#include <poll.h>
#include <unistd.h>

namespace leat::detail {

std::optional<std::size_t> write_what_fits(std::string_view text) noexcept {
    // A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)).
    std::size_t written = 0;
    while (written < text.size()) {
        pollfd question{STDERR_FILENO, POLLOUT, 0};
        int answers = ::poll(&question, 1, 0);
        if (answers < 0 && errno != EINTR) return std::nullopt;
        if (answers <= 0) break;
        if (question.revents != POLLOUT) return std::nullopt;
        std::size_t size = std::min<std::size_t>(text.size() - written, PIPE_BUF);
        ssize_t taken = ::write(STDERR_FILENO, text.data() + written, size);
        if (taken < 0 && errno != EINTR && errno != EAGAIN) return std::nullopt;
        if (taken <= 0) break;
        written += static_cast<std::size_t>(taken);
    }
    return written;
}

void write_notice(std::string_view text) noexcept {
    if (text.ends_with('\n')) {
        write_what_fits(text);
        return;
    }
    try {
        // In one call, so that another process's line does not come in between.
        std::string line(text);
        line += '\n';
        write_what_fits(line);
    } catch (const std::bad_alloc&) {
        write_what_fits(text);
        write_what_fits("\n");
    }
}

}  // namespace leat::detail
