// SPDX-License-Identifier: BSL-1.0
//
// An echo server with what a person expects of a server: arguments, statistics, an orderly end on SIGTERM and SIGINT, and
// on SIGUSR1 a dump of its tasks (docs/debugging.md). What it does for a connection is `echo`, the first function;
// examples/hello.cpp is that part alone. With --pooled-buffers it is `echo_pooled`, the second. What it shares with the
// other servers stands in server.cpp.
#include "arguments.hpp"
#include "console.hpp"
#include "server.hpp"

#include <leat/net/serve_threads.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <span>
#include <string>

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
    arguments::Common common;
    bool pools_buffers = false;
    leat::Duration statistics_period = leat::Duration::zero();
};

std::string summary(const leat::ServeReport& report) {
    // Each byte was moved twice, in and out.
    return std::to_string(report.accepted) + " connections, " + std::to_string(report.bytes / 2) + " bytes";
}

leat::Task<> print_statistics(const leat::ThreadedServeControl& control, leat::Duration period) {
    for (;;) {
        co_await leat::sleep_for(period);
        leat::ServeSnapshot seen = co_await control.look();
        console::print("echo_server: " + std::to_string(seen.connections) + " open; so far " +
                       summary(seen.report));
    }
}

leat::Task<> run_server(leat::Runtime& runtime, const Settings& settings) {
    auto* handler = settings.pools_buffers ? echo_pooled : echo;
    auto print_beside = [&](leat::TaskGroup& group, const leat::ThreadedServeControl& control) {
        if (settings.statistics_period > leat::Duration::zero()) {
            group.spawn(print_statistics, std::cref(control), settings.statistics_period);
        }
    };
    leat::ServeReport report =
        co_await server::serve("echo_server", runtime, settings.common, handler, print_beside);
    console::print("echo_server: served " + summary(report));
}

void add_arguments(arguments::Parser& parser, Settings& settings) {
    arguments::add_common(parser, settings.common);
    parser.add(
        "--idle-timeout", "SECONDS",
        [&](auto& text) { settings.common.serve.idle_timeout = arguments::parse_seconds(text); },
        "closes a connection on which nothing moves for so long; 0: never (0)");
    parser.add(
        "--stats", "SECONDS",
        [&](auto& text) { settings.statistics_period = arguments::parse_seconds(text); },
        "prints a line each period; 0: none (0)");
    arguments::add_threads(parser, settings.common);
    parser.add_flag("--pooled-buffers", settings.pools_buffers,
                    "lends each connection a buffer only while it has something to send back");
}

}  // namespace

int main(int argc, char* argv[]) {
    arguments::Parser parser("Sends back what it receives, until SIGTERM or SIGINT.", "echo_server");
    Settings settings;
    add_arguments(parser, settings);
    return server::run(parser, argc, argv, settings.common,
                       [&](leat::Runtime& runtime) { return run_server(runtime, settings); });
}
