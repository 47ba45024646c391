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
#include <string_view>
#include <utility>
#include <vector>

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

/// "epoll", "epoll, 3 threads", or "2 threads on io_uring, 1 on epoll": the system may refuse some of them a
/// backend.
leat::Task<std::string> describe_threads(leat::Runtime& runtime) {
    std::vector<std::string_view> names(runtime.size());
    auto note_name = [&names](leat::Executor& executor, std::size_t index) -> leat::Task<> {
        names[index] = executor.backend().name();
        co_return;
    };
    co_await runtime.run_on_all(note_name);

    std::string text;
    while (!names.empty()) {
        const std::string name(names.front());
        const std::size_t threads = std::erase(names, name);
        if (text.empty() && names.empty())
            co_return threads == 1 ? name : name + ", " + std::to_string(threads) + " threads";
        if (text.empty())
            text = std::to_string(threads) + (threads == 1 ? " thread on " : " threads on ") + name;
        else
            text += ", " + std::to_string(threads) + " on " + name;
    }
    co_return text;
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
    std::string threads = co_await describe_threads(runtime);
    options.on_listening = [name, threads, address = listener.local_address()] {
        console::print(name + ": listening on " + to_string(address) + " (" + threads + ")");
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
