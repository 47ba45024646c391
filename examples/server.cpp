// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"

#include "console.hpp"

#include <leat/net/serve_until_signal.hpp>
#include <leat/runtime/signals.hpp>

#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <utility>

namespace server {
namespace {

// A port that one thread serves is nobody else's. With a limit of connections one thread accepts for all: if
// each accepted a part of them, connections could wait for a thread that is full while another has room.
leat::SharedListener bind_port(const leat::Runtime& runtime, const arguments::Common& common) {
    const bool is_limited = common.serve.max_connections != leat::ServeOptions().max_connections;
    auto sharing =
        runtime.size() == 1 || is_limited ? leat::Sharing::by_hand : leat::SharedListener::best_sharing();
    return leat::SharedListener::bind(common.address, leat::ListenOptions(), sharing);
}

}  // namespace

leat::Task<leat::ServeReport>
serve(std::string name, leat::Runtime& runtime, const arguments::Common& common,
      leat::ConnectionHandler handler,
      std::function<void(leat::TaskGroup&, const leat::ThreadedServeControl&)> beside) {
    leat::SharedListener listener = bind_port(runtime, common);
    std::optional<leat::Signals> dump_signals;
    if (int signal = console::dump_signal(); signal != 0) {
        dump_signals.emplace(std::initializer_list<int>{signal});
        // One that comes while `main` ends must not kill it.
        dump_signals->keep_installed();
    }
    leat::ThreadedServeControl control;
    leat::ServeOptions options = common.serve;
    options.on_listening = [&runtime, name, address = listener.local_address()] {
        std::string threads = runtime.size() == 1 ? "" : ", " + std::to_string(runtime.size()) + " threads";
        console::print(name + ": listening on " + to_string(address) + " (" +
                       std::string(runtime.executor().backend().name()) + threads + ")");
    };

    auto body = [&](leat::TaskGroup& group) -> leat::Task<leat::ServeReport> {
        if (dump_signals) group.spawn(leat::dump_on_signal, std::ref(*dump_signals));
        if (beside) beside(group, control);
        leat::ServeReport report = co_await leat::serve_until_signal(
            runtime, std::move(listener), std::move(handler), std::move(options), control);
        group.cancel();
        co_return report;
    };
    leat::ServeReport report = co_await leat::task_group(body);
    co_return report;
}

int run(arguments::Parser& parser, int argc, char* argv[], const arguments::Common& common,
        const std::function<leat::Task<>(leat::Runtime&)>& body) {
    constexpr int wrong_arguments = 2;
    auto refuse = [&parser](int status, const std::exception& error) {
        console::complain(parser.name() + ": " + error.what());
        return status;
    };
    console::prepare();
    try {
        if (std::optional<int> exit_code = parser.parse(argc, argv)) return *exit_code;
        leat::RuntimeOptions options(common.threads);
        if (common.backend) options.executor.backend = *common.backend;
        leat::Runtime runtime(options);
        runtime.executor().run_until(body(runtime));
        return 0;
    } catch (const std::invalid_argument& error) {  // of the command line or of LEAT_BACKEND
        return refuse(wrong_arguments, error);
    } catch (const std::exception& error) {
        return refuse(1, error);
    }
}

}  // namespace server
