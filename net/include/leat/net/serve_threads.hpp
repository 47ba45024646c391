// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/net/address.hpp>
#include <leat/net/serve.hpp>
#include <leat/net/tcp_listener.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/task.hpp>

#include <cstddef>
#include <memory>

namespace leat {

namespace detail {
class ThreadedServer;
}

/// How several executors share the connections of one port.
enum class Sharing {
    /// Each has a listener, and the system spreads connections over them (SO_REUSEPORT on Linux). A full executor's
    /// connections wait in its own backlog, however idle the others are.
    by_system,
    /// One accepts for all, and hands each connection to whoever has fewest.
    by_hand,
};

/// A port for `serve` on several executors.
///
/// Thread-safety: one thread at a time.
class SharedListener {
public:
    /// `by_system` where the system spreads connections, else `by_hand`.
    static Sharing best_sharing() noexcept;

    /// Listens at `address`; port 0 lets the system choose: see `local_address()`.
    ///
    /// A port that somebody else has is refused, even if they would share it.
    ///
    /// Errors: as `TcpListener::bind`; `std::errc::not_supported` for a sharing that the system does not have.
    static SharedListener bind(const Address& address);
    static SharedListener bind(const Address& address, const ListenOptions& options);
    static SharedListener bind(const Address& address, const ListenOptions& options, Sharing sharing);

    Address local_address() const { return listener_.local_address(); }
    Sharing sharing() const noexcept { return sharing_; }

private:
    friend class detail::ThreadedServer;
    SharedListener(TcpListener&& listener, const Address& address, const ListenOptions& options,
                   Sharing sharing) noexcept;

    TcpListener listener_;
    // As it was asked for: the other threads' listeners are of the same family.
    Address address_;
    ListenOptions options_;
    Sharing sharing_;
};

/// What a server on several threads was found doing.
struct ServeSnapshot {
    ServeSnapshot() noexcept = default;

    /// Connections whose handlers run.
    std::size_t connections = 0;
    ServeReport report;
};

/// The way to end a running `serve` on several threads, and to look at it.
///
/// Thread-safety: any thread; `look` in a task.
/// Lifetime:      outlives the `serve` that was given it. For one: the next fails with `leat::errc::busy`.
class ThreadedServeControl {
public:
    ThreadedServeControl();
    ThreadedServeControl(const ThreadedServeControl&) = delete;
    ThreadedServeControl& operator=(const ThreadedServeControl&) = delete;
    ~ThreadedServeControl();

    /// As `ServeControl::drain` and `stop`, on each executor, soon. Before `serve` has begun, the drain
    /// begins with it.
    void drain() noexcept;
    void stop() noexcept;

    /// From the first call of `drain` or `stop` on, or the failure of an executor.
    bool is_draining() const noexcept;

    /// Asks each executor, one after the other, and adds up.
    ///
    /// Errors: those of `Remote::call`.
    Task<ServeSnapshot> look() const;

private:
    friend Task<ServeReport> serve(Runtime&, SharedListener, ConnectionHandler, ServeOptions,
                                   ThreadedServeControl&);
    std::shared_ptr<detail::ThreadedServer> server_;
};

/// As `serve` with a `TcpListener`, on all executors of `runtime` at once, from a task of executor 0. Gives what all of them did
/// together.
///
///     leat::Runtime runtime;
///     leat::SharedListener listener = leat::SharedListener::bind(leat::Address::loopback(7777));
///     leat::ServeReport report = runtime.executor().run_until(leat::serve(runtime, std::move(listener), echo));
///
/// Each executor has a copy of `handler`, and of `options.on_failure`, which are called on its thread: what they share must
/// bear that. The listeners are closed as soon as accepting ends, whatever `keep_listener_open` says.
/// `on_listening` is called on executor 0, once all of them listen.
///
/// `max_connections` is the limit of all executors together. With `Sharing::by_system` each executor has an
/// equal part of it: connections wait at a full executor while another one has room, and if the limit is
/// smaller than the number of executors, only that many serve. Choose `Sharing::by_hand` if you set a limit.
///
/// Lifetime:     `runtime` and `control` outlive the await.
/// Errors:       as `serve`: when one executor can accept no more, all are drained at once; its error is
///               thrown when they have ended.
/// Cancellation: all handlers are cancelled.
Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler);
Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                        ServeOptions options);
Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                        ServeOptions options, ThreadedServeControl& control);

}  // namespace leat
