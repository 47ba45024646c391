// SPDX-License-Identifier: BSL-1.0
//
// A server on several threads is one `serve` on each, begun and awaited by calls from executor 0. Each has a ServeControl, which
// stays on its own thread; what comes from elsewhere is posted, and always over executor 0: it is the one that hands connections
// over, if that is done by hand, and what it has handed over before a drain arrives before it.
#include <leat/net/serve_threads.hpp>

#include "backend/socket.hpp"
#include "src/serve_part.hpp"

#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/task_group.hpp>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace leat {

namespace socket = detail::socket;

// ---- The port ----

namespace {

/// Listeners that share a port would let in any other that does; so the port is tried first, by one that does not share.
void demand_unused(const Address& where, const ListenOptions& options) {
    const Address address = where.unmapped();
    std::error_code error;
    Source probe(socket::open_tcp(address.family(), error));
    auto set = [&](socket::Option option, bool on) {
        if (!error) socket::set_option(probe.native_handle(), option, on ? 1 : 0, error);
    };
    set(socket::Option::reuse_address, options.reuse_address);
    if (address.is_ipv6()) set(socket::Option::ipv6_only, !options.dual_stack);
    if (!error) socket::bind(probe.native_handle(), address, error);
    if (error) throw std::system_error(error, "listen on " + to_string(address));
}

void add(ServeReport& sum, const ServeReport& part) noexcept {
    sum.accepted += part.accepted;
    sum.finished += part.finished;
    sum.failed += part.failed;
    sum.cancelled += part.cancelled;
    sum.idle += part.idle;
    sum.shed += part.shed;
    sum.accept_errors += part.accept_errors;
    sum.bytes += part.bytes;
}

}  // namespace

SharedListener::SharedListener(TcpListener&& listener, const Address& address, const ListenOptions& options,
                               Sharing sharing) noexcept
    : listener_(std::move(listener)), address_(address), options_(options), sharing_(sharing) {}

Sharing SharedListener::best_sharing() noexcept {
    return socket::spreads_connections() ? Sharing::by_system : Sharing::by_hand;
}

SharedListener SharedListener::bind(const Address& address) { return bind(address, ListenOptions()); }

SharedListener SharedListener::bind(const Address& address, const ListenOptions& options) {
    return bind(address, options, best_sharing());
}

SharedListener SharedListener::bind(const Address& address, const ListenOptions& options, Sharing sharing) {
    ListenOptions shared = options;
    if (sharing == Sharing::by_system) {
        if (!socket::spreads_connections())
            throw std::system_error(make_error_code(std::errc::not_supported),
                                    "leat: a port shared by the system");
        if (address.port() != 0 && !options.reuse_port) demand_unused(address, options);
        shared.reuse_port = true;
    }
    return SharedListener(TcpListener::bind(address, shared), address, shared, sharing);
}

// ---- The servers ----

namespace detail {

/// What the control and the posts to the executors share.
class ThreadedServer final : public std::enable_shared_from_this<ThreadedServer>, private WholeServer {
public:
    ThreadedServer() = default;
    ThreadedServer(const ThreadedServer&) = delete;
    ThreadedServer& operator=(const ThreadedServer&) = delete;

    // Any thread.
    void drain() noexcept { end(false); }
    void stop() noexcept { end(true); }
    bool is_draining() const noexcept {
        std::lock_guard lock(mutex_);
        return is_drained_;
    }
    /// Empty before the beginning.
    std::vector<Remote> executors() const {
        std::lock_guard lock(mutex_);
        return executors_;
    }

    // The executor's thread of that number.
    ServeControl& control(std::size_t index) noexcept { return *controls_[index]; }

    Task<ServeReport> run(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                          ServeOptions options);

private:
    void begin(Runtime& runtime, std::size_t parts);
    void part_failed() noexcept override { drain(); }
    void end(bool stops) noexcept;
    void end_each(bool stops) noexcept;
    Task<ServeReport> serve_one(TcpListener listener, ConnectionHandler handler, ServeOptions options,
                                std::shared_ptr<Handover> handover, std::size_t index);

    mutable std::mutex mutex_;
    std::vector<Remote> executors_;
    bool is_drained_ = false;
    bool is_stopped_ = false;
    // Not changed once the executors are there.
    std::vector<std::unique_ptr<ServeControl>> controls_;
};

void ThreadedServer::begin(Runtime& runtime, std::size_t parts) {
    std::vector<Remote> executors;
    std::vector<std::unique_ptr<ServeControl>> controls;
    for (std::size_t index = 0; index < parts; ++index) {
        executors.push_back(runtime.remote(index));
        controls.push_back(std::make_unique<ServeControl>());
    }
    std::lock_guard lock(mutex_);
    // Posts of the first server may still be on their way to its controls.
    if (!executors_.empty())
        throw std::system_error(make_error_code(errc::busy),
                                "leat: a ThreadedServeControl is for one server");
    executors_ = std::move(executors);
    controls_ = std::move(controls);
    for (std::unique_ptr<ServeControl>& control : controls_) {
        if (is_drained_) control->drain();
        if (is_stopped_) control->stop();
    }
}

void ThreadedServer::end(bool stops) noexcept {
    std::unique_lock lock(mutex_);
    is_drained_ = true;
    is_stopped_ = is_stopped_ || stops;
    if (executors_.empty()) return;
    // Refused: everything has ended.
    executors_[0].post_surely([self = shared_from_this(), stops]() noexcept { self->end_each(stops); });
}

/// On executor 0.
void ThreadedServer::end_each(bool stops) noexcept {
    auto end_one = [stops](ServeControl& control) noexcept {
        if (stops)
            control.stop();
        else
            control.drain();
    };
    end_one(*controls_[0]);
    for (std::size_t index = 1; index < controls_.size(); ++index) {
        executors_[index].post_surely(
            [self = shared_from_this(), index, end_one]() noexcept { end_one(*self->controls_[index]); });
    }
}

/// Owns its listener, if it has one.
Task<ServeReport> ThreadedServer::serve_one(TcpListener listener, ConnectionHandler handler,
                                            ServeOptions options, std::shared_ptr<Handover> handover,
                                            std::size_t index) {
    TcpListener* own = listener.is_open() ? &listener : nullptr;
    WholeServer& whole = *this;
    ServeReport report = co_await serve_part(own, std::move(handler), std::move(options), *controls_[index],
                                             whole, std::move(handover), index);
    co_return report;
}

Task<ServeReport> ThreadedServer::run(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                                      ServeOptions options) {
    const bool by_system = listener.sharing_ == Sharing::by_system;
    const std::size_t limit = options.max_connections;
    std::size_t parts = runtime.size();
    if (by_system) parts = std::clamp<std::size_t>(limit, 1, parts);
    begin(runtime, parts);

    std::vector<TcpListener> listeners(parts);
    std::shared_ptr<Handover> handover;
    const Address address = listener.address_.with_port(listener.local_address().port());
    listeners[0] = std::move(listener.listener_);
    for (std::size_t index = 1; by_system && index < parts; ++index)
        listeners[index] = TcpListener::bind(address, listener.options_);
    if (!by_system && parts > 1) handover = std::make_shared<Handover>(executors(), limit);
    // The listeners are not the caller's.
    options.keep_listener_open = false;
    if (auto on_listening = std::exchange(options.on_listening, nullptr)) on_listening();

    std::vector<ServeReport> reports(parts);
    std::exception_ptr failure;
    auto body = [&](TaskGroup& group) -> Task<> {
        for (std::size_t index = 0; index < parts; ++index) {
            ServeOptions own_options = options;
            // The first ones have what is left over.
            if (by_system) own_options.max_connections = limit / parts + (index < limit % parts ? 1 : 0);
            auto one = [&, index](ServeOptions part_options) -> Task<> {
                try {
                    ServeReport report = co_await executors_[index].call(
                        &ThreadedServer::serve_one, this, std::move(listeners[index]), handler,
                        std::move(part_options), handover, index);
                    reports[index] = report;
                } catch (...) {
                    // The others' connections have no part in it.
                    drain();
                    if (handover != nullptr) handover->give_up(index);
                    if (failure != nullptr) throw;
                    failure = std::current_exception();
                }
            };
            group.spawn(std::move(one), std::move(own_options));
        }
        co_return;
    };
    co_await task_group(body);
    if (failure != nullptr) std::rethrow_exception(failure);
    ServeReport sum;
    for (const ServeReport& report : reports)
        add(sum, report);
    if (handover != nullptr) sum.cancelled += handover->lost();
    co_return sum;
}

}  // namespace detail

ThreadedServeControl::ThreadedServeControl() : server_(std::make_shared<detail::ThreadedServer>()) {}

ThreadedServeControl::~ThreadedServeControl() = default;

void ThreadedServeControl::drain() noexcept { server_->drain(); }

void ThreadedServeControl::stop() noexcept { server_->stop(); }

bool ThreadedServeControl::is_draining() const noexcept { return server_->is_draining(); }

Task<ServeSnapshot> ThreadedServeControl::look() const {
    ServeSnapshot sum;
    std::shared_ptr<detail::ThreadedServer> server = server_;
    std::vector<Remote> executors = server->executors();
    for (std::size_t index = 0; index < executors.size(); ++index) {
        auto look_there = [server, index] {
            ServeSnapshot part;
            part.connections = server->control(index).connections();
            part.report = server->control(index).report();
            return part;
        };
        ServeSnapshot part = co_await executors[index].call(look_there);
        sum.connections += part.connections;
        add(sum.report, part.report);
    }
    co_return sum;
}

Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler) {
    return serve(runtime, std::move(listener), std::move(handler), ServeOptions());
}

Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                        ServeOptions options) {
    ThreadedServeControl control;
    ServeReport report =
        co_await serve(runtime, std::move(listener), std::move(handler), std::move(options), control);
    co_return report;
}

Task<ServeReport> serve(Runtime& runtime, SharedListener listener, ConnectionHandler handler,
                        ServeOptions options, ThreadedServeControl& control) {
    return control.server_->run(runtime, std::move(listener), std::move(handler), std::move(options));
}

}  // namespace leat
