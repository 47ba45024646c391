// SPDX-License-Identifier: BSL-1.0
//
// Standard error is a number, and whoever has it gets what is written to it: after a close(2) that may be the
// next connection. So what the number means when the program starts is remembered, and something else gets a
// message only if it looks as if somebody had put it there on purpose (see `ExecutorOptions::diagnostic`). A
// duplicate of the descriptor would follow no redirection, and would keep the reader of a pipe waiting for
// its end.
//
// O_NONBLOCK is a flag of the open file description, which other processes share, and so it is not ours to
// set. Where the system lets us open the terminal or the pipe anew, we write to an open file description of
// our own, which never blocks. Elsewhere we ask first, and write so little that it fits, unless another
// process has filled it in between.
#include "backend/diagnostic.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <ctime>
#include <new>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

namespace leat::detail {

namespace {

bool is_same(const struct stat& one, const struct stat& other) noexcept {
    return one.st_dev == other.st_dev && one.st_ino == other.st_ino && one.st_rdev == other.st_rdev;
}

/// What standard error was when the program started.
struct Beginning {
    Beginning() noexcept : is_open(::fstat(STDERR_FILENO, &status) == 0) {}

    struct stat status{};
    bool is_open;
};

const Beginning& beginning() noexcept {
    static const Beginning found;
    return found;
}

// Before `main` closes anything.
[[maybe_unused]] const Beginning& found_before_main = beginning();

/// Whether standard error is something else by now, but as dup2(2), daemon(3) and freopen(3) leave it: open
/// for programs that this one starts, and for writing only, or the terminal of the session. A descriptor that
/// took the number by chance is close-on-exec, a socket, or open for reading too; a message would go to a
/// client, or into somebody's data.
bool was_redirected(const struct stat& status) noexcept {
    const int flags = ::fcntl(STDERR_FILENO, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0 || S_ISSOCK(status.st_mode)) return false;
    const int mode = ::fcntl(STDERR_FILENO, F_GETFL);
    if (mode < 0) return false;
    if ((mode & O_ACCMODE) == O_WRONLY || (mode & O_APPEND) != 0) return true;
    return ::isatty(STDERR_FILENO) == 1 && ::tcgetsid(STDERR_FILENO) == ::getsid(0);
}

/// Opens the terminal or the pipe that standard error is once more. -1: the system does not let us, or it is
/// something else.
int open_anew(const struct stat& status) noexcept {
    const bool is_terminal = S_ISCHR(status.st_mode) && ::isatty(STDERR_FILENO) == 1;
    if (!is_terminal && !S_ISFIFO(status.st_mode)) return -1;
    constexpr int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int opened = ::open("/proc/self/fd/2", flags);
    if (opened < 0 && is_terminal) {
        std::array<char, 256> name;
        if (::ttyname_r(STDERR_FILENO, name.data(), name.size()) == 0) opened = ::open(name.data(), flags);
    }
    if (opened < 0) return -1;
    struct stat found{};
    if (::fstat(opened, &found) == 0 && is_same(found, status)) return opened;
    ::close(opened);
    return -1;
}

/// A message may be written between a call of the program's and its look at `errno`.
class KeptErrno {
public:
    KeptErrno() noexcept : before_(errno) {}
    KeptErrno(const KeptErrno&) = delete;
    ~KeptErrno() { errno = before_; }

private:
    int before_;
};

/// Holds SIGPIPE back on this thread while it writes, and takes the one away that a write raises.
class WithoutSigpipe {
public:
    WithoutSigpipe() noexcept {
        sigemptyset(&sigpipe_);
        sigaddset(&sigpipe_, SIGPIPE);
        was_pending_ = is_pending();
        if (!was_pending_) pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    }
    WithoutSigpipe(const WithoutSigpipe&) = delete;
    WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
    ~WithoutSigpipe() {
        if (was_pending_) return;
#if defined(__APPLE__) || defined(__OpenBSD__)
        // No sigtimedwait(2).
        int taken = 0;
        if (is_pending()) sigwait(&sigpipe_, &taken);
#else
        timespec none{};
        while (sigtimedwait(&sigpipe_, nullptr, &none) < 0 && errno == EINTR) {
        }
#endif
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    static bool is_pending() noexcept {
        sigset_t pending;
        sigpending(&pending);
        return sigismember(&pending, SIGPIPE) == 1;
    }

    sigset_t sigpipe_;
    sigset_t before_;
    bool was_pending_;
};

/// Standard error for the length of one message.
class Output {
public:
    Output() noexcept {
        if (::fstat(STDERR_FILENO, &status_) != 0) return;
        const Beginning& begun = beginning();
        is_open_ = (begun.is_open && is_same(status_, begun.status)) || was_redirected(status_);
        if (is_open_) own_ = open_anew(status_);
    }
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;
    ~Output() {
        if (own_ >= 0) ::close(own_);
    }

    /// Whether it is where messages go.
    bool is_open() const noexcept { return is_open_; }

    /// Writes the beginning of `text`: how many bytes, zero if it takes none now, or nothing if it never
    /// will.
    std::optional<std::size_t> write(std::string_view text) const noexcept {
        const bool asks_first = own_ < 0 && !S_ISSOCK(status_.st_mode) && !S_ISREG(status_.st_mode);
        if (asks_first) {
            pollfd question{STDERR_FILENO, POLLOUT, 0};
            const int answers = ::poll(&question, 1, 0);
            if (answers < 0 && errno != EINTR) return std::nullopt;
            if (answers <= 0) return 0;
            if (question.revents != POLLOUT) return std::nullopt;
        }
        const ssize_t taken = try_write(text.substr(0, size_of_piece(text, asks_first)));
        if (taken >= 0) return static_cast<std::size_t>(taken);
        if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) return 0;
        return std::nullopt;
    }

private:
    /// How much of `text` to write with one call.
    ///
    /// A pipe takes PIPE_BUF bytes whole or not at all, and if it polls as writable it takes them without
    /// blocking (pipe(7)). A terminal that does has room for 256 bytes (a pseudo-terminal's buffers come in
    /// this size), but looks for room again before and after each control character, of which a line feed may
    /// become two.
    std::size_t size_of_piece(std::string_view text, bool has_asked) const noexcept {
        constexpr std::size_t fits_in_terminal = 64;
        if (!has_asked || !S_ISCHR(status_.st_mode)) return std::min<std::size_t>(text.size(), PIPE_BUF);
        const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
        const auto plain = std::find_if(text.begin(), text.end(), is_control) - text.begin();
        return std::clamp<std::size_t>(static_cast<std::size_t>(plain), 1, fits_in_terminal);
    }

    ssize_t try_write(std::string_view piece) const noexcept {
        if (S_ISSOCK(status_.st_mode)) return ::send(STDERR_FILENO, piece.data(), piece.size(), MSG_DONTWAIT);
        return ::write(own_ >= 0 ? own_ : STDERR_FILENO, piece.data(), piece.size());
    }

    struct stat status_{};
    bool is_open_ = false;
    int own_ = -1;
};

}  // namespace

std::optional<std::size_t> write_what_fits(std::string_view text) noexcept {
    const KeptErrno kept;
    const WithoutSigpipe guard;
    const Output output;
    if (!output.is_open()) return std::nullopt;
    std::size_t written = 0;
    while (written < text.size()) {
        const std::optional<std::size_t> taken = output.write(text.substr(written));
        if (!taken) return std::nullopt;
        if (*taken == 0) break;
        written += *taken;
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
