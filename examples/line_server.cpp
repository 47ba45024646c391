// SPDX-License-Identifier: BSL-1.0
//
// Requests and answers, a line each, on connections that stay open: `nc 127.0.0.1 7777`. It shows what a
// protocol of one's own does in a drain (SIGTERM): connections between two requests end at once, a request of
// which a part has arrived is answered, and the answer says that it is the last one.
#include "arguments.hpp"
#include "console.hpp"
#include "server.hpp"

#include <leat/net/drain.hpp>
#include <leat/net/serve.hpp>

#include <chrono>
#include <cstddef>
#include <string>

namespace {

constexpr std::size_t longest_request = 1000;

/// Between two requests it waits no longer than until the server drains; within a request it waits for the
/// rest.
leat::ReceiveOperation receive_more(leat::TcpStream& peer, bool is_in_request) {
    if (is_in_request) return peer.receive();
    return peer.receive(leat::until_drain);
}

leat::Task<> answer_requests(leat::TcpStream peer) {
    std::string request;
    for (;;) {
        leat::LentBuffer chunk = co_await receive_more(peer, !request.empty());
        if (chunk.empty()) co_return;  // The peer has closed, or the server drains.
        for (std::byte byte : chunk) {
            const char character = static_cast<char>(byte);
            if (character != '\n') {
                request += character;
                if (request.size() > longest_request) co_return;
                continue;
            }
            const bool is_last = co_await leat::is_draining();
            const std::string answer = (is_last ? "BYE " : "OK ") + request + "\n";
            co_await peer.write_all(answer);
            request.clear();
        }
        // A client that sends without a pause would go on until the drain's deadline.
        if (request.empty() && peer.is_draining()) co_return;
    }
}

leat::Task<> run_server(leat::Runtime& runtime, const arguments::Common& common) {
    leat::ServeReport report = co_await server::serve("line_server", runtime, common, answer_requests);
    console::print("line_server: served " + std::to_string(report.accepted) + " connections");
}

}  // namespace

int main(int argc, char* argv[]) {
    arguments::Parser parser("Answers each line with a line, until SIGTERM or SIGINT.", "line_server");
    arguments::Common common;
    arguments::add_common(parser, common);
    return server::run(parser, argc, argv, common,
                       [&](leat::Runtime& runtime) { return run_server(runtime, common); });
}
