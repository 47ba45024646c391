// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/serve.hpp>
#include <leat/net/serve_threads.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/task.hpp>

namespace leat {

/// Serves until the process is asked to end: the first SIGTERM or SIGINT drains (`ServeControl::drain`), the
/// second one stops. Two that come at once may count as one.
///
///     int main() {
///         leat::TcpListener listener = leat::TcpListener::bind(leat::Address::loopback(7777));
///         leat::run(leat::serve_until_signal(listener, echo));
///     }
///
/// From the first signal on, SIGTERM and SIGINT do not kill the process any more, also once this has
/// returned: `main` then comes to its end in order, however many more come. A program that does not end
/// soon afterwards must watch them itself (`leat::Signals`), or only SIGKILL ends it. If `serve` ends
/// without a signal, the handlers are what they were before.
///
/// Each call watches these signals for itself: of several servers in a process each drains. On Windows see
/// `leat::Signals`.
///
/// Lifetime:     as `serve`.
/// Errors:       as `serve`; those of `leat::Signals`.
/// Cancellation: the handlers of connections are cancelled too.
Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler);
Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler, ServeOptions options);
/// With a control of your own, to end the server without a signal too.
Task<ServeReport> serve_until_signal(TcpListener& listener, ConnectionHandler handler, ServeOptions options,
                                     ServeControl& control);

/// The same on all executors of `runtime`, from a task of executor 0, as the `serve` that takes one.
Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler);
Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                                     ServeOptions options);
Task<ServeReport> serve_until_signal(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                                     ServeOptions options, ThreadedServeControl& control);

}  // namespace leat
