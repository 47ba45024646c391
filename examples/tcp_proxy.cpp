// SPDX-License-Identifier: BSL-1.0
//
// Passes each connection on to a server of your choice, both ways: `tcp_proxy --upstream 192.0.2.7:80`. The
// end of one side's stream is passed on as well, while the other side may go on; a connection on which
// nothing moves for too long is ended. SIGTERM lets those that are open finish; one that never pauses lasts
// until --drain-timeout. What it does for a connection is `forward`.
#include "arguments.hpp"
#include "console.hpp"
#include "server.hpp"

#include <leat/net/serve.hpp>
#include <leat/runtime/interval.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <system_error>
#include <utility>

namespace {

struct Settings {
    arguments::Common common;
    leat::Address upstream;
    leat::Duration connect_timeout = std::chrono::seconds(5);
    /// Both ways together; zero: none.
    leat::Duration idle_timeout = std::chrono::seconds(300);
};

/// Peers that go in the middle of something are nobody's fault here.
void complain_of(const std::error_code& error) {
    if (error == std::errc::connection_reset || error == std::errc::broken_pipe) return;
    console::complain("tcp_proxy: " + error.message());
}

/// Passes on what `from` sends, and its end. Each piece puts the next tick of `idle` off.
leat::Task<> copy(leat::TcpStream& from, leat::TcpStream& to, leat::Interval& idle, leat::TaskGroup& both) {
    // When one way fails, so does the other, often at the same moment: each sees to its own error.
    auto give_up = [&both](const std::error_code& error) {
        complain_of(error);
        both.cancel();
    };
    for (;;) {
        leat::Result<leat::LentBuffer> chunk = co_await as_result(from.receive());
        if (!chunk) co_return give_up(chunk.error());
        if (chunk->empty()) break;  // the end
        idle.reset();
        leat::Result<void> written = co_await as_result(to.write_all(*chunk));
        if (!written) co_return give_up(written.error());
        idle.reset();
    }
    to.shutdown(leat::Half::write);
}

leat::Task<> end_when_idle(leat::Interval& idle, leat::TaskGroup& connection) {
    co_await idle.tick();
    connection.cancel();
}

leat::Task<> forward(leat::TcpStream client, const Settings& settings) {
    leat::TcpStream upstream =
        co_await leat::timeout(settings.connect_timeout, leat::TcpStream::connect(settings.upstream));

    bool is_watched = settings.idle_timeout > leat::Duration::zero();
    leat::Interval idle(is_watched ? settings.idle_timeout : leat::Duration::max());
    auto both_ways = [&](leat::TaskGroup& group) -> leat::Task<> {
        group.spawn(copy, std::ref(client), std::ref(upstream), std::ref(idle), std::ref(group));
        co_await copy(upstream, client, idle, group);
    };
    auto connection = [&](leat::TaskGroup& group) -> leat::Task<> {
        group.spawn(end_when_idle, std::ref(idle), std::ref(group));
        co_await leat::task_group(both_ways);
        group.cancel();
    };
    co_await leat::task_group(connection);
}

// ---- The server ----

leat::Task<> run_server(leat::Runtime& runtime, const Settings& settings) {
    auto handler = [&](leat::TcpStream client) { return forward(std::move(client), settings); };
    leat::ServeReport report = co_await server::serve("tcp_proxy", runtime, settings.common, handler);
    console::print("tcp_proxy: served " + std::to_string(report.accepted) + " connections");
}

void add_arguments(arguments::Parser& parser, Settings& settings) {
    arguments::add_common(parser, settings.common);
    parser.add_required(
        "--upstream", "ADDRESS:PORT", [&](auto& text) { settings.upstream = leat::Address::parse(text); },
        "where to connect to");
    parser.add(
        "--connect-timeout", "SECONDS",
        [&](auto& text) { settings.connect_timeout = arguments::parse_seconds(text); },
        "how long the upstream may take to accept (5)");
    parser.add(
        "--idle-timeout", "SECONDS",
        [&](auto& text) { settings.idle_timeout = arguments::parse_seconds(text); },
        "ends a connection on which nothing moves either way for so long; 0: never (300)");
    arguments::add_threads(parser, settings.common);
}

}  // namespace

int main(int argc, char* argv[]) {
    arguments::Parser parser("Passes connections on, until SIGTERM or SIGINT.", "tcp_proxy");
    Settings settings;
    add_arguments(parser, settings);
    return server::run(parser, argc, argv, settings.common,
                       [&](leat::Runtime& runtime) { return run_server(runtime, settings); });
}
