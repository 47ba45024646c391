// SPDX-License-Identifier: BSL-1.0
#include <leat/net/serve_until_signal.hpp>

#include <leat/runtime/signals.hpp>
#include <leat/runtime/task_group.hpp>

#include <csignal>
#include <functional>
#include <utility>

namespace leat {

namespace {

template <class Control>
Task<> end_on_signals(Signals& signals, Control& control) {
    co_await signals.next();
    signals.keep_installed();
    control.drain();
    co_await signals.next();
    control.stop();
}

/// Runs `server`, which `control` ends.
template <class Control>
Task<ServeReport> serve_with_signals(Task<ServeReport> server, Control& control) {
    Signals signals{SIGTERM, SIGINT};
    auto body = [&](TaskGroup& group) -> Task<ServeReport> {
        group.spawn(end_on_signals<Control>, std::ref(signals), std::ref(control));
        ServeReport report = co_await std::move(server);
        group.cancel();
        co_return report;
    };
    ServeReport report = co_await task_group(body);
    co_return report;
}

}  // namespace

Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler) {
    return serve_until_signal(listener, std::move(handler), ServeOptions());
}

Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler, ServeOptions options) {
    ServeControl control;
    ServeReport report =
        co_await serve_until_signal(listener, std::move(handler), std::move(options), control);
    co_return report;
}

Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler, ServeOptions options,
                                     ServeControl& control) {
    return serve_with_signals(serve(listener, std::move(handler), std::move(options), control), control);
}

Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler) {
    return serve_until_signal(runtime, std::move(listener), std::move(handler), ServeOptions());
}

Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                                     ServeOptions options) {
    ThreadedServeControl control;
    ServeReport report = co_await serve_until_signal(runtime, std::move(listener), std::move(handler),
                                                     std::move(options), control);
    co_return report;
}

Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                                     ServeOptions options, ThreadedServeControl& control) {
    return serve_with_signals(
        serve(runtime, std::move(listener), std::move(handler), std::move(options), control), control);
}

}  // namespace leat
