// SPDX-License-Identifier: BSL-1.0
// Where diagnostic messages go when standard error is not what it was, or is not read: each in a forked
// child.
#include <leat/runtime/executor.hpp>

#include "support/posix.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

using namespace leat;
using namespace leat::test;

namespace diagnostic_posix_test {

namespace {

const std::string message = "leat: a message\n";

void log_message() {
    Executor executor;
    executor.notice_always("a message");
}

/// What can be read from `fd` without waiting.
std::string text_in(int fd) {
    checked(::fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl");
    std::string text;
    std::array<char, 4096> buffer;
    for (ssize_t got; (got = ::read(fd, buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(got));
    return text;
}

/// A file of its own, which vanishes with the object.
class File {
public:
    File() : path_((std::filesystem::temp_directory_path() / "leat-diagnostic-XXXXXX").string()) {
        ::close(checked(::mkstemp(path_.data()), "mkstemp"));
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { ::unlink(path_.c_str()); }

    const char* path() const { return path_.c_str(); }
    int open(int flags) const { return checked(::open(path_.c_str(), flags), "open"); }
    std::string text() const {
        std::ifstream file(path_);
        return std::string(std::istreambuf_iterator<char>(file), {});
    }

private:
    std::string path_;
};

/// Lets `open` be the next to be given the number of standard error, as `open(2)` and the like give it.
int open_as_standard_error(const std::function<int()>& open) {
    ::close(STDERR_FILENO);
    return open();
}

struct Terminal {
    Terminal() : master(checked(::posix_openpt(O_RDWR | O_NOCTTY), "posix_openpt")) {
        checked(::grantpt(master), "grantpt");
        checked(::unlockpt(master), "unlockpt");
    }
    int open(int flags) const { return checked(::open(::ptsname(master), flags), "open a terminal"); }

    int master;
};

/// Makes the terminal that of a new session, and standard error, as login(1) does.
Terminal become_session_at_terminal() {
    checked(::setsid(), "setsid");
    Terminal terminal;
    const int slave = terminal.open(O_RDWR | O_NOCTTY);
    checked(::ioctl(slave, TIOCSCTTY, 0), "TIOCSCTTY");
    checked(::dup2(slave, STDERR_FILENO), "dup2");
    return terminal;
}

/// From here on the process is given no more descriptors.
/// While it exists, if it is to.
class ForbidDescriptors {
public:
    explicit ForbidDescriptors(bool forbids) {
        checked(::getrlimit(RLIMIT_NOFILE, &before_), "getrlimit");
        rlimit none = before_;
        // Not zero: poll(2) would refuse to ask about one.
        if (forbids) none.rlim_cur = 1;
        checked(::setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
    }
    ForbidDescriptors(const ForbidDescriptors&) = delete;
    ~ForbidDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

/// Logs more than anything holds that nobody reads. A child that waits for a reader is killed.
void log_more_than_fits(bool forbids_descriptors) {
    ::alarm(60);
    Executor executor;
    // No longer than that: sanitizers need descriptors.
    const ForbidDescriptors forbid(forbids_descriptors);
    for (int i = 0; i < 5000; ++i)
        executor.notice_always("a message");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(diagnostic_posix)

BOOST_AUTO_TEST_CASE(connection_that_took_the_number_of_standard_error_gets_no_message) {
    const int status = run_in_child([] {
        std::array<int, 2> ends{};
        const int taken = open_as_standard_error([&] {
            checked(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), "socketpair");
            return ends[0];
        });
        log_message();
        return taken == STDERR_FILENO && text_in(ends[1]).empty();
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(file_that_took_the_number_of_standard_error_gets_no_message) {
    for (int flags : {O_RDWR, O_RDONLY, O_WRONLY | O_CLOEXEC}) {
        File file;
        const int status = run_in_child([&] {
            const int taken = open_as_standard_error([&] { return file.open(flags); });
            log_message();
            return taken == STDERR_FILENO;
        });

        BOOST_TEST(status == 0);
        BOOST_TEST(file.text() == "", "flags " << flags);
    }
}

BOOST_AUTO_TEST_CASE(pipe_and_terminal_that_took_the_number_of_standard_error_get_no_message) {
    const int of_pipe = run_in_child([] {
        std::array<int, 2> ends{};
        checked(::pipe(ends.data()), "pipe");
        open_as_standard_error([&] { return ::fcntl(ends[1], F_DUPFD_CLOEXEC, STDERR_FILENO); });
        log_message();
        return text_in(ends[0]).empty();
    });
    const int of_terminal = run_in_child([] {
        checked(::setsid(), "setsid");
        Terminal terminal;
        const int taken = open_as_standard_error([&] { return terminal.open(O_RDWR | O_NOCTTY); });
        log_message();
        return taken == STDERR_FILENO && text_in(terminal.master).empty();
    });

    BOOST_TEST(of_pipe == 0);
    BOOST_TEST(of_terminal == 0);
}

BOOST_AUTO_TEST_CASE(message_without_a_standard_error_is_dropped) {
    const int status = run_in_child([] {
        ::close(STDERR_FILENO);
        log_message();
        return true;
    });

    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(redirection_to_a_file_is_followed) {
    for (int flags : {O_WRONLY, O_WRONLY | O_APPEND, O_RDWR | O_APPEND}) {
        File file;
        const int status = run_in_child([&] {
            checked(::dup2(file.open(flags | O_CLOEXEC), STDERR_FILENO), "dup2");
            log_message();
            return true;
        });

        BOOST_TEST(status == 0);
        BOOST_TEST(file.text() == message, "flags " << flags);
    }
}

BOOST_AUTO_TEST_CASE(stream_that_is_opened_anew_is_followed) {
    for (const char* mode : {"w", "a"}) {
        File file;
        const int status = run_in_child([&] {
            const bool is_open = std::freopen(file.path(), mode, stderr) != nullptr;
            log_message();
            return is_open;
        });

        BOOST_TEST(status == 0);
        BOOST_TEST(file.text() == message, mode);
    }
}

BOOST_AUTO_TEST_CASE(log_that_is_rotated_is_followed_each_time) {
    File old_log;
    File new_log;
    const int status = run_in_child([&] {
        Executor executor;
        for (const File* log : {&old_log, &new_log}) {
            checked(::dup2(log->open(O_WRONLY | O_APPEND), STDERR_FILENO), "dup2");
            executor.notice_always("a message");
        }
        return true;
    });

    BOOST_TEST(status == 0);
    BOOST_TEST(old_log.text() == message);
    BOOST_TEST(new_log.text() == message);
}

BOOST_AUTO_TEST_CASE(terminal_of_the_session_is_followed) {
    const int status = run_in_child([] {
        Terminal terminal = become_session_at_terminal();
        log_message();
        return text_in(terminal.master) == "leat: a message\r\n";
    });

    BOOST_TEST(status == 0);
}

// With descriptors to be had it is opened anew; else it is asked before each piece.
BOOST_AUTO_TEST_CASE(terminal_that_nobody_reads_does_not_block_and_takes_what_fits) {
    for (bool forbids_descriptors : {false, true}) {
        const int status = run_in_child([&] {
            Terminal terminal = become_session_at_terminal();
            const int flags = ::fcntl(STDERR_FILENO, F_GETFL);
            log_more_than_fits(forbids_descriptors);
            return ::fcntl(STDERR_FILENO, F_GETFL) == flags &&
                   text_in(terminal.master).starts_with("leat: a message\r\nleat: a message\r\n");
        });

        BOOST_TEST(status == 0, "status " << status << ", forbids descriptors: " << forbids_descriptors);
    }
}

BOOST_AUTO_TEST_CASE(pipe_that_nobody_reads_does_not_block_and_takes_whole_lines) {
    for (bool forbids_descriptors : {false, true}) {
        const int status = run_in_child([&] {
            std::array<int, 2> ends{};
            checked(::pipe(ends.data()), "pipe");
            checked(::dup2(ends[1], STDERR_FILENO), "dup2");
            log_more_than_fits(forbids_descriptors);
            const bool blocks_others = (::fcntl(ends[1], F_GETFL) & O_NONBLOCK) == 0;
            const std::string text = text_in(ends[0]);
            return blocks_others && text.size() > PIPE_BUF && text.size() % message.size() == 0;
        });

        BOOST_TEST(status == 0, "status " << status << ", forbids descriptors: " << forbids_descriptors);
    }
}

BOOST_AUTO_TEST_CASE(pipe_whose_reader_has_gone_raises_no_signal) {
    for (bool forbids_descriptors : {false, true}) {
        const int status = run_in_child([&] {
            ::signal(SIGPIPE, SIG_DFL);
            std::array<int, 2> ends{};
            checked(::pipe(ends.data()), "pipe");
            checked(::dup2(ends[1], STDERR_FILENO), "dup2");
            ::close(ends[0]);
            log_more_than_fits(forbids_descriptors);
            return true;
        });

        BOOST_TEST(status == 0, "status " << status << ", forbids descriptors: " << forbids_descriptors);
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace diagnostic_posix_test
