// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/serve.hpp>
#include <leat/reactor/backend.hpp>
#include <leat/reactor/clock.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

/// The command lines of the example servers.
namespace arguments {

/// The options of one program.
///
/// Only arguments.cpp includes CLI11, which takes seconds to compile.
///
/// Lifetime: what `take` and `flag` refer to outlives `parse`.
class Parser {
public:
    Parser(std::string description, std::string name);
    ~Parser();
    Parser(const Parser&) = delete;
    Parser& operator=(const Parser&) = delete;

    const std::string& name() const noexcept { return name_; }

    /// Adds an option with a value; `take` gets its text. `take` throws `std::invalid_argument` if the value
    /// is wrong. `type` names the value in the help text.
    void add(const std::string& option, const char* type, std::function<void(const std::string&)> take,
             const char* help);

    /// As `add`. The program refuses to start without the option.
    void add_required(const std::string& option, const char* type,
                      std::function<void(const std::string&)> take, const char* help);

    /// Adds an option without a value: `flag` becomes true if it is given.
    void add_flag(const std::string& option, bool& flag, const char* help);

    /// Parses the command line. Gives an exit code if the program has nothing more to do: after --help and
    /// --version. Errors: `std::invalid_argument`, with a sentence for the user.
    std::optional<int> parse(int argc, char* argv[]);

private:
    struct Options;
    std::string name_;
    std::unique_ptr<Options> options_;
};

/// The settings that all servers have.
struct Common {
    leat::Address address = leat::Address::loopback(7777);
    std::optional<leat::Backend> backend;
    leat::ServeOptions serve;
    /// Zero: as many as there are CPUs.
    std::size_t threads = 1;
};

/// Adds --listen, --backend, --max-connections, --drain-timeout, --drain-quiet, --lame-duck and --version.
void add_common(Parser& parser, Common& common);

/// Adds --threads, for a server whose handlers share nothing.
void add_threads(Parser& parser, Common& common);

/// A whole number from one on. Errors: `std::invalid_argument`.
std::size_t parse_count(const std::string& text);

/// A number of seconds from 0 to 1e9. Errors: `std::invalid_argument`.
leat::Duration parse_seconds(const std::string& text);

}  // namespace arguments
