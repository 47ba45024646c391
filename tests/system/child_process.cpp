// SPDX-License-Identifier: BSL-1.0
#include "child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

namespace leat::test {
namespace {

constexpr int exit_not_started = 127;

void redirect(int from, int to) {
    if (from < 0 || ::dup2(from, to) < 0) ::_exit(exit_not_started);
}

void limit_descriptors(unsigned limit) {
    rlimit both{limit, limit};
    if (::setrlimit(RLIMIT_NOFILE, &both) != 0) ::_exit(exit_not_started);
}

void arrange_output(const Command& command, int output, int errors) {
    if (command.output_closed) {
        ::close(STDOUT_FILENO);
        ::close(STDERR_FILENO);
        return;
    }
    if (!command.output_file.empty()) {
        output = ::open(command.output_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    }
    redirect(command.output_descriptor >= 0 ? command.output_descriptor : output, STDOUT_FILENO);
    redirect(command.errors_descriptor >= 0 ? command.errors_descriptor : errors, STDERR_FILENO);
}

void arrange_input(const Command& command) {
    int input = command.input_descriptor;
    if (input < 0) input = ::open(command.input_file.c_str(), O_RDONLY | O_CLOEXEC);
    redirect(input, STDIN_FILENO);
}

[[noreturn]] void become(const Command& command, int output, int errors) {
    // A test that is killed leaves no server behind.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    arrange_input(command);
    arrange_output(command, output, errors);
    for (const auto& [name, value] : command.environment) {
        ::setenv(name.c_str(), value.c_str(), 1);
    }
    std::vector<char*> words;
    words.reserve(command.words.size() + 1);
    for (const std::string& word : command.words) {
        words.push_back(const_cast<char*>(word.c_str()));
    }
    words.push_back(nullptr);
    if (command.descriptor_limit) limit_descriptors(*command.descriptor_limit);
    ::execvp(words.front(), words.data());
    ::_exit(exit_not_started);
}

void append_available(const Descriptor& pipe, std::string& text) {
    std::array<char, 4096> buffer;
    while (pipe.is_open() && is_ready(pipe.get(), POLLIN)) {
        ssize_t length = ::read(pipe.get(), buffer.data(), buffer.size());
        if (length <= 0) return;
        text.append(buffer.data(), static_cast<std::size_t>(length));
    }
}

}  // namespace

Pipe make_pipe() {
    std::array<int, 2> ends;
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_failure("pipe2");
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

void fill_pipe(const Descriptor& sink) {
    int flags = ::fcntl(sink.get(), F_GETFL);
    ::fcntl(sink.get(), F_SETFL, flags | O_NONBLOCK);
    for (std::size_t length : {4096u, 1u}) {
        std::string filling(length, '.');
        while (::write(sink.get(), filling.data(), length) > 0) {
        }
    }
    // The processes at this end share the flag.
    ::fcntl(sink.get(), F_SETFL, flags);
}

ChildProcess::ChildProcess(const Command& command) {
    Pipe output = make_pipe();
    Pipe errors = make_pipe();
    id_ = ::fork();
    if (id_ < 0) throw system_failure("fork");
    if (id_ == 0) become(command, output.sink.get(), errors.sink.get());
    // Debian 12's <sys/pidfd.h> does not link from C++.
    handle_ = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, id_, 0)));
    if (!handle_.is_open()) throw system_failure("pidfd_open");
    output_pipe_ = std::move(output.source);
    output_sink_ = std::move(output.sink);
    errors_pipe_ = std::move(errors.source);
    errors_sink_ = std::move(errors.sink);
}

ChildProcess::~ChildProcess() {
    // A moved-from object has no handle.
    if (!handle_.is_open() || status_) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
}

bool ChildProcess::is_running() { return !status_ && !is_ready(handle_.get(), POLLIN); }

void ChildProcess::signal(int number) const {
    if (::kill(id_, number) != 0) throw system_failure("kill");
}

void ChildProcess::collect() {
    append_available(output_pipe_, output_);
    append_available(errors_pipe_, errors_);
}

void ChildProcess::wait_for_news(const Deadline& deadline, const std::string& awaited) {
    std::array<pollfd, 3> watched{pollfd{handle_.get(), POLLIN, 0}, pollfd{output_pipe_.get(), POLLIN, 0},
                                  pollfd{errors_pipe_.get(), POLLIN, 0}};
    ::poll(watched.data(), watched.size(), deadline.milliseconds_left());
    deadline.check(awaited);
    collect();
}

int ChildProcess::wait() {
    Deadline deadline;
    while (is_running()) {
        wait_for_news(deadline, "process " + std::to_string(id_) + " to end; its errors so far: " + errors_);
    }
    if (!status_) {
        int status = 0;
        ::waitpid(id_, &status, 0);
        status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        collect();
    }
    return *status_;
}

const std::string& ChildProcess::output() {
    collect();
    return output_;
}

const std::string& ChildProcess::errors() {
    collect();
    return errors_;
}

std::string ChildProcess::first_line() {
    Deadline deadline;
    while (output().find('\n') == std::string::npos) {
        if (!is_running())
            throw std::runtime_error("the process ended with " + std::to_string(wait()) +
                                     " and without a line of output: " + errors());
        wait_for_news(deadline, "the first line of output");
    }
    return output_.substr(0, output_.find('\n'));
}

Finished run(const Command& command) {
    ChildProcess process(command);
    int status = process.wait();
    return {status, process.output(), process.errors()};
}

bool is_installed(const std::string& program) {
    const char* path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (std::filesystem::exists(std::filesystem::path(folder) / program)) return true;
    }
    return false;
}

}  // namespace leat::test
