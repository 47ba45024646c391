// SPDX-License-Identifier: BSL-1.0
//
// An echo server with what a person expects of a server: arguments, statistics, an orderly end on SIGTERM and SIGINT, and
// on SIGUSR1 a dump of its tasks (docs/debugging.md). What it does for a connection is `echo`, the first function; examples/hello.cpp is that part alone. With
// --pooled-buffers it is `echo_pooled`, the second.
#include "console.hpp"

#include <leat/net/serve.hpp>
#include <leat/reactor/config.hpp>
#include <leat/runtime/signals.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>

#include <CLI/CLI.hpp>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>

namespace {

leat::Task<> echo(leat::TcpStream peer) {
    std::array<std::byte, 4096> buffer;
    for (;;) {
        std::size_t received = co_await peer.read(buffer);  // 0: the peer closed
        if (received == 0) co_return;
        co_await peer.write_all(std::span(buffer).first(received));
    }
}

// The same with buffers that are lent: a connection that waits holds none.
leat::Task<> echo_pooled(leat::TcpStream peer) {
    for (;;) {
        leat::LentBuffer chunk = co_await peer.receive();  // empty: the peer closed
        if (chunk.empty()) co_return;
        co_await peer.write_all(chunk);
    }
}

struct Settings {
    leat::Address address = leat::Address::loopback(7777);
    std::optional<leat::Backend> backend;
    bool pools_buffers = false;
    leat::ServeOptions serve;
    leat::Duration statistics_period = leat::Duration::zero();
};

// ---- Serving ----

// The first signal lets connections finish what has arrived; the second one ends them.
leat::Task<> end_on_signals(leat::Signals& signals, leat::ServeControl& control,
                            leat::TcpListener& listener) {
    co_await signals.next();
    control.drain();
    listener.close();
    co_await signals.next();
    control.stop();
}

std::string summary(const leat::ServeReport& report) {
    // Each byte was moved twice, in and out.
    return std::to_string(report.accepted) + " connections, " + std::to_string(report.bytes / 2) + " bytes";
}

leat::Task<> print_statistics(const leat::ServeControl& control, leat::Duration period) {
    for (;;) {
        co_await leat::sleep_for(period);
        console::print("echo_server: " + std::to_string(control.connections()) + " open; so far " +
                       summary(control.report()));
    }
}

leat::Task<> run_server(leat::Executor& executor, const Settings& settings) {
    leat::TcpListener listener = leat::TcpListener::bind(settings.address);
    leat::Signals signals{SIGTERM, SIGINT};
    std::optional<leat::Signals> dump_signals;
    if (int signal = console::dump_signal(); signal != 0)
        dump_signals.emplace(std::initializer_list<int>{signal});
    leat::ServeControl control;
    console::print("echo_server: listening on " + to_string(listener.local_address()) + " (" +
                   std::string(executor.backend().name()) + ")");

    auto* handler = settings.pools_buffers ? echo_pooled : echo;
    auto body = [&](leat::TaskGroup& group) -> leat::Task<leat::ServeReport> {
        group.spawn(end_on_signals, std::ref(signals), std::ref(control), std::ref(listener));
        if (dump_signals) group.spawn(leat::dump_on_signal, std::ref(*dump_signals));
        if (settings.statistics_period > leat::Duration::zero()) {
            group.spawn(print_statistics, std::cref(control), settings.statistics_period);
        }
        leat::ServeReport report = co_await leat::serve(listener, handler, settings.serve, control);
        group.cancel();
        co_return report;
    };
    leat::ServeReport report = co_await leat::task_group(body);
    console::print("echo_server: served " + summary(report));
}

// ---- Arguments ----

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

std::size_t parse_count(const std::string& text) {
    return parse_number<std::size_t>(text, 1, std::numeric_limits<std::size_t>::max(),
                                     "positive whole number");
}

leat::Duration parse_seconds(const std::string& text) {
    double seconds = parse_number(text, 0.0, 1e9, "number of seconds from 0 to 1e9");
    return std::chrono::ceil<leat::Duration>(std::chrono::duration<double>(seconds));
}

Settings parse_arguments(CLI::App& app, int argc, char* argv[]) {
    Settings settings;
    auto add = [&app](const std::string& name, const char* type, auto take, const char* help) {
        auto take_or_explain = [name, take](const std::string& text) {
            try {
                take(text);
            } catch (const std::invalid_argument& error) {
                throw CLI::ValidationError(name, error.what());
            }
        };
        app.add_option_function<std::string>(name, take_or_explain, help)->type_name(type);
    };
    add(
        "--listen", "ADDRESS:PORT", [&](auto& text) { settings.address = leat::Address::parse(text); },
        "where to listen, IPv6 in brackets, port 0 for any (127.0.0.1:7777)");
    add(
        "--backend", "NAME", [&](auto& text) { settings.backend = leat::Backend::by_name(text); },
        "the kernel interface to use (LEAT_BACKEND, or the best one)");
    add(
        "--max-connections", "N", [&](auto& text) { settings.serve.max_connections = parse_count(text); },
        "how many to serve at once; others wait (no limit)");
    add(
        "--idle-timeout", "SECONDS", [&](auto& text) { settings.serve.idle_timeout = parse_seconds(text); },
        "closes a connection on which nothing moves for so long; 0: never (0)");
    add(
        "--drain-timeout", "SECONDS", [&](auto& text) { settings.serve.drain_timeout = parse_seconds(text); },
        "how long connections may take to finish after a signal (10)");
    add(
        "--stats", "SECONDS", [&](auto& text) { settings.statistics_period = parse_seconds(text); },
        "prints a line each period; 0: none (0)");
    app.add_flag("--pooled-buffers", settings.pools_buffers,
                 "lends each connection a buffer only while it has something to send back");
    app.parse(argc, argv);
    return settings;
}

int refuse(int status, const std::exception& error) {
    console::complain(std::string("echo_server: ") + error.what());
    return status;
}

}  // namespace

int main(int argc, char* argv[]) {
    constexpr int wrong_arguments = 2;
    console::prepare();
    CLI::App app("Sends back what it receives, until SIGTERM or SIGINT.", "echo_server");
    app.set_version_flag("--version", "echo_server " LEAT_VERSION_STRING);
    try {
        Settings settings = parse_arguments(app, argc, argv);
        leat::ExecutorOptions options;
        if (settings.backend) options.backend = *settings.backend;
        leat::Executor executor(options);
        executor.run_until(run_server(executor, settings));
        return 0;
    } catch (const CLI::Success& wish) {  // --help or --version
        return app.exit(wish);
    } catch (const CLI::Error& error) {
        return refuse(wrong_arguments, error);
    } catch (const std::invalid_argument& error) {  // of LEAT_BACKEND
        return refuse(wrong_arguments, error);
    } catch (const std::exception& error) {
        return refuse(1, error);
    }
}
