// SPDX-License-Identifier: BSL-1.0
#include "arguments.hpp"

#include <leat/reactor/config.hpp>

#include <charconv>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace arguments {
namespace {

template <class Number>
Number parse_number(const std::string& text, Number least, Number largest, const char* what) {
    Number number{};
    const char* end = text.data() + text.size();
    auto [stopped, error] = std::from_chars(text.data(), end, number);
    // Written so that what is not a number at all is out of range too.
    bool is_in_range = number >= least && number <= largest;
    if (error != std::errc() || stopped != end || !is_in_range) {
        throw std::invalid_argument("'" + text + "' is no " + what);
    }
    return number;
}

}  // namespace

std::size_t parse_count(const std::string& text) {
    return parse_number<std::size_t>(text, 1, std::numeric_limits<std::size_t>::max(),
                                     "positive whole number");
}

leat::Duration parse_seconds(const std::string& text) {
    double seconds = parse_number(text, 0.0, 1e9, "number of seconds from 0 to 1e9");
    return std::chrono::ceil<leat::Duration>(std::chrono::duration<double>(seconds));
}

void add(CLI::App& app, const std::string& name, const char* type,
         std::function<void(const std::string&)> take, const char* help) {
    auto take_or_explain = [name, take = std::move(take)](const std::string& text) {
        try {
            take(text);
        } catch (const std::invalid_argument& error) {
            throw CLI::ValidationError(name, error.what());
        }
    };
    app.add_option_function<std::string>(name, take_or_explain, help)->type_name(type);
}

void add_common(CLI::App& app, Common& common) {
    app.set_version_flag("--version", app.get_name() + " " LEAT_VERSION_STRING);
    add(
        app, "--listen", "ADDRESS:PORT",
        [&common](auto& text) { common.address = leat::Address::parse(text); },
        "where to listen, IPv6 in brackets, port 0 for any (127.0.0.1:7777)");
    add(
        app, "--backend", "NAME", [&common](auto& text) { common.backend = leat::Backend::by_name(text); },
        "the kernel interface to use (LEAT_BACKEND, or the best one)");
    add(
        app, "--max-connections", "N",
        [&common](auto& text) { common.serve.max_connections = parse_count(text); },
        "how many to serve at once; others wait (no limit)");
    add(
        app, "--drain-timeout", "SECONDS",
        [&common](auto& text) { common.serve.drain_timeout = parse_seconds(text); },
        "how long connections may take to finish after a signal (10)");
    add(
        app, "--drain-quiet", "SECONDS",
        [&common](auto& text) { common.serve.drain_quiet = parse_seconds(text); },
        "after a signal, ends a connection on which nothing has moved for so long (1)");
    add(
        app, "--lame-duck", "SECONDS",
        [&common](auto& text) { common.serve.lame_duck = parse_seconds(text); },
        "how long to accept and serve as before after a signal (0)");
}

void add_threads(CLI::App& app, Common& common) {
    auto take = [&common](const std::string& text) {
        common.threads = parse_number<std::size_t>(text, 0, 1024, "number of threads from 0 to 1024");
    };
    add(app, "--threads", "N", take, "how many threads serve; 0: one for each CPU (1)");
}

}  // namespace arguments
