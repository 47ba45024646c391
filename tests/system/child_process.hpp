// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "deadline.hpp"
#include "descriptor.hpp"

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace leat::test {

struct Pipe {
    Descriptor source;
    Descriptor sink;
};

/// Both ends vanish from processes that are started.
Pipe make_pipe();

/// Writes into a pipe until it takes nothing more.
void fill_pipe(const Descriptor& sink);

/// What to start, and with which surroundings.
struct Command {
    std::vector<std::string> words;
    std::vector<std::pair<std::string, std::string>> environment;  ///< beside what is inherited
    std::string input_file = "/dev/null";
    std::string output_file;     ///< empty: captured
    int input_descriptor = -1;   ///< instead of `input_file`
    int output_descriptor = -1;  ///< instead of a pipe that captures
    int errors_descriptor = -1;  ///< the same for standard error
    bool output_closed = false;  ///< as `>&- 2>&-` does
    std::optional<unsigned> descriptor_limit;
};

/// A process that this one started. It dies with its owner, and with the test program.
class ChildProcess {
public:
    explicit ChildProcess(const Command& command);
    ChildProcess(ChildProcess&&) = default;
    ~ChildProcess();

    pid_t id() const { return id_; }
    bool is_running();
    void signal(int number) const;

    /// The exit code, or 128 and the signal that killed it, once it has ended.
    int wait();

    /// What it has written so far.
    const std::string& output();
    const std::string& errors();

    /// The end of its standard output, which the test may fill or read.
    Descriptor& output_pipe() { return output_pipe_; }
    /// A writing end of the same pipe.
    Descriptor& output_sink() { return output_sink_; }

    /// Waits for the first line of its output; throws if it ends without one.
    std::string first_line();

private:
    void collect();
    void wait_for_news(const Deadline& deadline, const std::string& awaited);

    pid_t id_;
    Descriptor handle_;
    Descriptor output_pipe_;
    Descriptor output_sink_;
    Descriptor errors_pipe_;
    // Held open so that the pipes give no end of file: the process's end is what the handle tells.
    Descriptor errors_sink_;
    std::string output_;
    std::string errors_;
    std::optional<int> status_;
};

/// Runs `command` to its end.
struct Finished {
    int status;
    std::string output;
    std::string errors;
};
Finished run(const Command& command);

/// Whether a program of that name is on the path.
bool is_installed(const std::string& program);

}  // namespace leat::test
