// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/serve.hpp>
#include <leat/reactor/backend.hpp>
#include <leat/reactor/clock.hpp>

#include <CLI/CLI.hpp>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

/// What the servers among the examples are told on their command line.
namespace arguments {

/// What all of them are told.
struct Common {
    leat::Address address = leat::Address::loopback(7777);
    std::optional<leat::Backend> backend;
    leat::ServeOptions serve;
    /// Zero: as many as there are CPUs.
    std::size_t threads = 1;
};

/// Adds an option, whose text `take` is given. What that throws as `std::invalid_argument` is wrong with the option.
void add(CLI::App& app, const std::string& name, const char* type,
         std::function<void(const std::string&)> take, const char* help);

/// Adds --listen, --backend, --max-connections, --drain-timeout, --drain-quiet, --lame-duck and --version.
void add_common(CLI::App& app, Common& common);

/// Adds --threads, for a server whose handlers share nothing.
void add_threads(CLI::App& app, Common& common);

/// A whole number from one on. Errors: `std::invalid_argument`, as the next.
std::size_t parse_count(const std::string& text);
leat::Duration parse_seconds(const std::string& text);

}  // namespace arguments
