// SPDX-License-Identifier: BSL-1.0
#include "../console.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>

namespace console {
namespace {

// A pipe that is writable takes a line whole (PIPE_BUF), so that asking first is enough. O_NONBLOCK would be set for
// everybody who shares the terminal.
void write_line(int fd, const std::string& line) {
    pollfd output{};
    output.fd = fd;
    output.events = POLLOUT;
    if (::poll(&output, 1, 0) != 1 || (output.revents & POLLOUT) == 0) return;
    std::string text = line + '\n';
    // What cannot be written has nobody to be told to.
    [[maybe_unused]] ssize_t written = ::write(fd, text.data(), text.size());
}

}  // namespace

void prepare() {
    int fd = ::open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = ::open("/dev/null", O_RDWR);
    if (fd >= 0) ::close(fd);
    std::signal(SIGPIPE, SIG_IGN);
}

void print(const std::string& line) { write_line(STDOUT_FILENO, line); }

void complain(const std::string& line) { write_line(STDERR_FILENO, line); }

int dump_signal() { return SIGUSR1; }

}  // namespace console
