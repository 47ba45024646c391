// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/drain.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/net/tcp_stream.hpp>
#include <leat/reactor/clock.hpp>
#include <leat/runtime/task.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

namespace leat {

namespace detail {
class Server;
}

/// What a running `serve` has done so far.
struct ServeReport {
    ServeReport() noexcept = default;

    /// Connections taken, and of them: ended well; ended by an exception; cancelled at the end of a drain.
    std::uint64_t accepted = 0;
    std::uint64_t finished = 0;
    std::uint64_t failed = 0;
    std::uint64_t cancelled = 0;
    /// Shut because they moved nothing for too long; they count as finished or failed too.
    std::uint64_t idle = 0;
    /// Closed at once because the process had no descriptor left; not among `accepted`.
    std::uint64_t shed = 0;
    /// Accepts that failed and were tried again.
    std::uint64_t accept_errors = 0;
    /// Bytes that the connections have moved, both directions together, those that run included.
    std::uint64_t bytes = 0;
};

/// A handler that failed, for `ServeOptions::on_failure`. It converts to the exception, so that functions
/// which take one can be called with it:
///
///     options.on_failure = [](const leat::ServeFailure& failure) {
///         if (failure.is_of_connection) return;
///         log(leat::describe_failure(failure) + "\n" + leat::async_trace(failure));
///     };
struct ServeFailure {
    ServeFailure(std::exception_ptr e, std::optional<Address> p, bool is_own) noexcept
        : exception(std::move(e)), peer(p), is_of_connection(is_own) {}

    /// Its text, and that of the failures which are attached to it: `describe_failure`. The tasks that it has
    /// left: `async_trace`. Both are in <leat/runtime/failures.hpp>.
    std::exception_ptr exception;
    /// Empty if it is not known: the peer was gone before it was asked for, or memory ran out.
    std::optional<Address> peer;
    /// Whether it is an error of the connection's own socket that its peer or the network has caused, or the
    /// end of the stream in the middle of something. Not: a deadline, a mistake in the use of this one, or an
    /// error of another socket, unless this connection has broken as well.
    bool is_of_connection;

    operator const std::exception_ptr&() const noexcept { return exception; }
};

/// How `serve` behaves. Make one and set its members.
struct ServeOptions {
    ServeOptions() noexcept = default;

    /// At this many connections no more are accepted until one ends; they wait in the system's backlog.
    std::size_t max_connections = std::numeric_limits<std::size_t>::max();
    /// A connection that moves no byte for this long is shut down in both directions: its handler reads the
    /// end of the stream, and can write nothing any more. Zero: none. Never early, late by at most a
    /// quarter of it, or a millisecond if that is longer.
    Duration idle_timeout = Duration::zero();
    /// With `idle_timeout`: at least this many bytes are to move within it, so that a trickle does not count.
    std::uint64_t idle_bytes = 1;
    /// How long a drain goes on accepting and serving as before, while `leat::is_draining` is true already.
    /// Meanwhile a health check can say so, and a load balancer stops sending. At `max_connections` a new
    /// health check waits in the backlog: answer it on a connection that is open, or on a listener of its
    /// own. Idle connections stay open during the lame duck.
    Duration lame_duck = Duration::zero();
    /// After the lame duck: a connection that moves no byte for this long reads the end of the stream. It
    /// is counted from the end of the lame duck; never early, late by at most a quarter of it, or a
    /// millisecond if that is longer. So what has begun is finished: a request of which a part has come, an
    /// answer under way, a new connection. Choose more than a client pauses in a request. Reads `until_drain`
    /// end without this wait, except on a connection that has moved nothing yet. Zero: all reads end at once.
    Duration drain_quiet = std::chrono::seconds(1);
    /// How long a drain waits after the lame duck: for handlers before it cancels them, and for connections
    /// that linger before it closes them. Those are named in a diagnostic message.
    Duration drain_timeout = std::chrono::seconds(10);
    /// If true, a drain leaves the listener open and its backlog alone, for whoever accepts from it next:
    /// another `serve` in this process, or a successor that inherits the descriptor (`TcpListener::release`,
    /// without FD_CLOEXEC, and `TcpListener::adopt`). If false, the server accepts the backlog and closes the
    /// listener, so that a successor finds the port free. For that, Linux gives a filter to the socket
    /// (SO_ATTACH_FILTER), which all descriptors of the socket share: set this if there are others, after
    /// dup(2) or fork(2). An adopted listener gets no filter; one that the program has set is replaced. The
    /// `serve` of a `Runtime` ignores this option.
    bool keep_listener_open = false;
    /// The pause after an accept that failed because memory or descriptors have run out: `shortest_pause`,
    /// doubled each time up to `longest_pause`.
    Duration shortest_pause = std::chrono::milliseconds(5);
    Duration longest_pause = std::chrono::seconds(1);
    /// Called for each handler that failed or could not be started. By default the executor's diagnostic
    /// gets the peer's address, the failure as `describe_failure` gives it, and its `async_trace`, at most
    /// once a second; errors of a connection's own socket (`ServeFailure::is_of_connection`) are only
    /// counted. It may take a `std::exception_ptr` instead. What it throws is reported with the failure.
    std::function<void(const ServeFailure&)> on_failure;
    /// Called once, before anything is accepted: from here on, clients can connect to every listener of the
    /// server. What it throws, `serve` throws.
    std::function<void()> on_listening;
};

/// The way to end a running `serve`, and to look at it.
///
///     leat::ServeControl control;
///     ... control.drain();     // from a task that waits for a signal, say
///
/// Thread-safety: the executor's thread.
/// Lifetime:      outlives the `serve` that was given it. For one `serve`: a control that has drained or
///                stopped drains or stops the next one from its beginning.
class ServeControl {
public:
    ServeControl() noexcept = default;
    ServeControl(const ServeControl&) = delete;
    ServeControl& operator=(const ServeControl&) = delete;

    /// Ends the server and finishes what has begun. A handler may call it. After `lame_duck`, the server
    /// accepts the connections that the system has accepted, within `max_connections`, and closes the
    /// listener (see `keep_listener_open`): a full server keeps the port until all who wait there have had
    /// their turn. Reads `until_drain` end at once unless their connection has moved nothing yet, all others
    /// once their connection has been quiet for `drain_quiet`: they give the end of the stream. A connection
    /// that its handler closes before the peer's system has acknowledged everything is held until it has, or
    /// until the peer closes. At `drain_timeout` what remains is cancelled, and the backlog closed.
    ///
    /// Before `serve` has begun, the drain begins with it.
    void drain() noexcept;

    /// Stops accepting, closes the listener without accepting its backlog (see `keep_listener_open`), and
    /// cancels all handlers; also in the middle of a drain.
    void stop() noexcept;

    /// From the first call of `drain` or `stop` on.
    bool is_draining() const noexcept { return draining_; }
    /// Connections whose handlers run.
    std::size_t connections() const noexcept;
    /// What the server has done so far; after its end, what it did.
    ServeReport report() const noexcept;

private:
    friend class detail::Server;
    detail::Server* server_ = nullptr;
    ServeReport last_report_;
    bool draining_ = false;
    bool stopping_ = false;
};

class ConnectionHandler;

namespace detail {

template <class F>
consteval bool check_handler() {
    using Handler = std::decay_t<F>;
    // Asked also while it is found out whether one can be copied.
    if constexpr (!std::same_as<Handler, ConnectionHandler>) {
        static_assert(std::is_invocable_r_v<Task<>, Handler&, TcpStream>,
                      "leat: the handler of a connection takes a leat::TcpStream and returns a leat::Task<>");
        static_assert(std::is_copy_constructible_v<Handler>,
                      "leat: the handler of a connection is copied: let it hold what cannot be copied by a "
                      "std::shared_ptr");
        return check_named<F>();
    } else {
        return true;
    }
}

}  // namespace detail

/// A handler: called with each connection, which it owns. `serve` keeps the handler until the last connection
/// has ended, so a coroutine lambda with captures is safe. GCC 12 wants one that owns what it captures to
/// have a name: it does not compile otherwise.
class ConnectionHandler : public std::function<Task<>(TcpStream)> {
public:
    template <class F, bool = detail::check_handler<F>()>
        requires(!std::same_as<std::remove_cvref_t<F>, ConnectionHandler>)
    ConnectionHandler(F&& handler) : std::function<Task<>(TcpStream)>(std::forward<F>(handler)) {}
};

/// Accepts connections on `listener` and runs `handler(stream)` for each, until it is drained or cancelled.
///
///     leat::ServeReport report = co_await leat::serve(listener, echo);
///
/// A handler that fails ends its own connection only (`ServeOptions::on_failure`). Accepting survives what
/// passes: peers that are gone again, and network errors (accept(2) says to treat them like EAGAIN). When
/// memory runs out, new connections are closed or wait, and those that are served go on. When descriptors run
/// out, the server takes each surplus connection with a descriptor that the process holds in reserve, and
/// closes it: the peer sees the end of the stream, or a reset if it has sent something. Accepting resumes,
/// after pauses, when descriptors are free. Where the system gives none to hold in reserve, surplus
/// connections wait. Each kind of trouble is reported to the executor's diagnostic, at most once a second.
///
/// Lifetime:     `listener` and `control` outlive the await. A drain or a stop closes the listener unless
///               `keep_listener_open` is set; after an error or a cancellation it is open.
/// Errors:       of accept, those that do not pass (bad_file_descriptor, invalid_argument, `closed`): running handlers,
///               whose connections have no part in it, are given `drain_timeout` to end first; then it is thrown.
/// Cancellation: the handlers are cancelled too.
Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler);
Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler, ServeOptions options);
Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler, ServeOptions options,
                        ServeControl& control);

}  // namespace leat
