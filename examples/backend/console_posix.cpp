// SPDX-License-Identifier: BSL-1.0
#include "../console.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstddef>
#include <string_view>

namespace console {
namespace {

/// Opens the terminal or the pipe that `fd` is once more, without blocking: O_NONBLOCK on `fd` itself would
/// be set for everybody who shares it. -1: it is something else, or the system does not let us.
int open_anew(int fd, const struct stat& status) {
    const bool is_terminal = ::isatty(fd) == 1;
    if (!is_terminal && !S_ISFIFO(status.st_mode)) return -1;
    constexpr int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int opened = ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), flags);
    std::array<char, 256> name;
    if (opened < 0 && is_terminal && ::ttyname_r(fd, name.data(), name.size()) == 0)
        opened = ::open(name.data(), flags);
    struct stat found{};
    if (opened < 0 ||
        (::fstat(opened, &found) == 0 && found.st_dev == status.st_dev && found.st_ino == status.st_ino))
        return opened;
    ::close(opened);
    return -1;
}

/// How much of `text` fits if poll(2) says that there is room: of a pipe PIPE_BUF bytes. A terminal has room
/// for some hundred, and looks again before and after each control character.
std::size_t size_of_piece(bool is_terminal, std::string_view text) {
    if (!is_terminal) return std::min<std::size_t>(text.size(), PIPE_BUF);
    constexpr std::size_t fits_in_terminal = 64;
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
    const auto plain = std::find_if(text.begin(), text.end(), is_control) - text.begin();
    return std::clamp<std::size_t>(static_cast<std::size_t>(plain), 1, fits_in_terminal);
}

/// Asks before each piece.
void write_what_fits(int fd, bool is_terminal, std::string_view text) {
    while (!text.empty()) {
        pollfd output{};
        output.fd = fd;
        output.events = POLLOUT;
        if (::poll(&output, 1, 0) != 1 || (output.revents & POLLOUT) == 0) return;
        const ssize_t written = ::write(fd, text.data(), size_of_piece(is_terminal, text));
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

void write_line(int fd, const std::string& line) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return;
    const std::string text = line + '\n';
    // What cannot be written has nobody to be told to.
    [[maybe_unused]] ssize_t written = 0;
    if (S_ISSOCK(status.st_mode)) {
        written = ::send(fd, text.data(), text.size(), MSG_DONTWAIT);
    } else if (const int own = open_anew(fd, status); own >= 0) {
        written = ::write(own, text.data(), text.size());
        ::close(own);
    } else {
        write_what_fits(fd, ::isatty(fd) == 1, text);
    }
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
