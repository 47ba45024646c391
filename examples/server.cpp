// SPDX-License-Identifier: BSL-1.0
#include "server.hpp"

#include "console.hpp"

#include <leat/runtime/signals.hpp>

#include <csignal>
#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <utility>

namespace server {
namespace {

leat::Task<> end_on_signals(leat::Signals& signals, leat::ThreadedServeControl& control) {
    co_await signals.next();
    control.drain();
    co_await signals.next();
    control.stop();
}

// A port that one thread serves is nobody else's.
leat::SharedListener bind_port(const leat::Runtime& runtime, const leat::Address& address) {
    auto sharing = runtime.size() == 1 ? leat::Sharing::by_hand : leat::SharedListener::best_sharing();
    return leat::SharedListener::bind(address, leat::ListenOptions(), sharing);
}

}  // namespace

leat::Task<leat::ServeReport>
serve_until_signal(std::string name, leat::Runtime& runtime, const arguments::Common& common,
                   leat::ConnectionHandler handler,
                   std::function<void(leat::TaskGroup&, const leat::ThreadedServeControl&)> beside) {
    leat::SharedListener listener = bind_port(runtime, common.address);
    leat::Signals signals{SIGTERM, SIGINT};
    std::optional<leat::Signals> dump_signals;
    if (int signal = console::dump_signal(); signal != 0)
        dump_signals.emplace(std::initializer_list<int>{signal});
    leat::ThreadedServeControl control;
    std::string threads = runtime.size() == 1 ? "" : ", " + std::to_string(runtime.size()) + " threads";
    console::print(name + ": listening on " + to_string(listener.local_address()) + " (" +
                   std::string(runtime.executor().backend().name()) + threads + ")");

    auto body = [&](leat::TaskGroup& group) -> leat::Task<leat::ServeReport> {
        group.spawn(end_on_signals, std::ref(signals), std::ref(control));
        if (dump_signals) group.spawn(leat::dump_on_signal, std::ref(*dump_signals));
        if (beside) beside(group, control);
        leat::ServeReport report =
            co_await leat::serve(runtime, std::move(listener), std::move(handler), common.serve, control);
        group.cancel();
        co_return report;
    };
    leat::ServeReport report = co_await leat::task_group(body);
    co_return report;
}

int run(CLI::App& app, int argc, char* argv[], const arguments::Common& common,
        const std::function<leat::Task<>(leat::Runtime&)>& body) {
    constexpr int wrong_arguments = 2;
    auto refuse = [&app](int status, const std::exception& error) {
        console::complain(app.get_name() + ": " + error.what());
        return status;
    };
    console::prepare();
    try {
        app.parse(argc, argv);
        leat::RuntimeOptions options(common.threads);
        if (common.backend) options.executor.backend = *common.backend;
        leat::Runtime runtime(options);
        runtime.executor().run_until(body(runtime));
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

}  // namespace server
