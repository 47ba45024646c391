// SPDX-License-Identifier: BSL-1.0
#include "arguments.hpp"

#include <leat/reactor/config.hpp>

#include <CLI/CLI.hpp>

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

struct Parser::Options {
    Options(std::string description, const std::string& name) : app(std::move(description), name) {
        app.set_version_flag("--version", name + " " LEAT_VERSION_STRING);
    }

    CLI::Option* add(const std::string& option, const char* type,
                     std::function<void(const std::string&)> take, const char* help) {
        auto take_or_explain = [option, take = std::move(take)](const std::string& text) {
            try {
                take(text);
            } catch (const std::invalid_argument& error) {
                throw CLI::ValidationError(option, error.what());
            }
        };
        return app.add_option_function<std::string>(option, take_or_explain, help)->type_name(type);
    }

    CLI::App app;
};

Parser::Parser(std::string description, std::string name)
    : name_(std::move(name)), options_(std::make_unique<Options>(std::move(description), name_)) {}

Parser::~Parser() = default;

void Parser::add(const std::string& option, const char* type, std::function<void(const std::string&)> take,
                 const char* help) {
    options_->add(option, type, std::move(take), help);
}

void Parser::add_required(const std::string& option, const char* type,
                          std::function<void(const std::string&)> take, const char* help) {
    options_->add(option, type, std::move(take), help)->required();
}

void Parser::add_flag(const std::string& option, bool& flag, const char* help) {
    options_->app.add_flag(option, flag, help);
}

std::optional<int> Parser::parse(int argc, char* argv[]) {
    try {
        options_->app.parse(argc, argv);
        return std::nullopt;
    } catch (const CLI::Success& wish) {  // --help or --version
        return options_->app.exit(wish);
    } catch (const CLI::Error& error) {
        throw std::invalid_argument(error.what());
    }
}

void add_common(Parser& parser, Common& common) {
    parser.add(
        "--listen", "ADDRESS:PORT", [&common](auto& text) { common.address = leat::Address::parse(text); },
        "where to listen, IPv6 in brackets, port 0 for any (127.0.0.1:7777)");
    parser.add(
        "--backend", "NAME", [&common](auto& text) { common.backend = leat::Backend::by_name(text); },
        "the kernel interface to use (LEAT_BACKEND, or the best one that the system allows)");
    parser.add(
        "--max-connections", "N", [&common](auto& text) { common.serve.max_connections = parse_count(text); },
        "how many to serve at once, on all threads together; others wait (no limit)");
    parser.add(
        "--drain-timeout", "SECONDS",
        [&common](auto& text) { common.serve.drain_timeout = parse_seconds(text); },
        "how long connections may take to finish after a signal (10)");
    parser.add(
        "--drain-quiet", "SECONDS", [&common](auto& text) { common.serve.drain_quiet = parse_seconds(text); },
        "after a signal, ends a connection on which nothing has moved for so long (1)");
    parser.add(
        "--lame-duck", "SECONDS", [&common](auto& text) { common.serve.lame_duck = parse_seconds(text); },
        "how long to accept and serve as before after a signal (0)");
}

void add_threads(Parser& parser, Common& common) {
    auto take = [&common](const std::string& text) {
        common.threads = parse_number<std::size_t>(text, 0, 1024, "number of threads from 0 to 1024");
    };
    parser.add("--threads", "N", take, "how many threads serve; 0: one for each CPU (1)");
}

}  // namespace arguments
