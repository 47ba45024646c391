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

leat::Task<> end_on_signals(leat::Signals& signals, leat::ServeControl& control,
                            leat::TcpListener& listener) {
    co_await signals.next();
    control.drain();
    listener.close();
    co_await signals.next();
    control.stop();
}

}  // namespace

leat::Task<leat::ServeReport>
serve_until_signal(std::string name, leat::Executor& executor, const arguments::Common& common,
                   leat::ConnectionHandler handler,
                   std::function<void(leat::TaskGroup&, const leat::ServeControl&)> beside) {
    leat::TcpListener listener = leat::TcpListener::bind(common.address);
    leat::Signals signals{SIGTERM, SIGINT};
    std::optional<leat::Signals> dump_signals;
    if (int signal = console::dump_signal(); signal != 0)
        dump_signals.emplace(std::initializer_list<int>{signal});
    leat::ServeControl control;
    console::print(name + ": listening on " + to_string(listener.local_address()) + " (" +
                   std::string(executor.backend().name()) + ")");

    auto body = [&](leat::TaskGroup& group) -> leat::Task<leat::ServeReport> {
        group.spawn(end_on_signals, std::ref(signals), std::ref(control), std::ref(listener));
        if (dump_signals) group.spawn(leat::dump_on_signal, std::ref(*dump_signals));
        if (beside) beside(group, control);
        leat::ServeReport report = co_await leat::serve(listener, std::move(handler), common.serve, control);
        group.cancel();
        co_return report;
    };
    leat::ServeReport report = co_await leat::task_group(body);
    co_return report;
}

int run(CLI::App& app, int argc, char* argv[], const arguments::Common& common,
        const std::function<leat::Task<>(leat::Executor&)>& body) {
    constexpr int wrong_arguments = 2;
    auto refuse = [&app](int status, const std::exception& error) {
        console::complain(app.get_name() + ": " + error.what());
        return status;
    };
    console::prepare();
    try {
        app.parse(argc, argv);
        leat::ExecutorOptions options;
        if (common.backend) options.backend = *common.backend;
        leat::Executor executor(options);
        executor.run_until(body(executor));
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
