// SPDX-License-Identifier: BSL-1.0
//
// A server is one task and a group. The task accepts; each connection is a child of the group, which is a handler's frame
// and one small block beside it. What a connection costs while it waits is these two and its slot in the queue: the idle
// time-out looks at all connections now and then instead of giving each a timer, and so costs a message nothing.
//
// A drain accepts what the system has accepted and then closes the listener. It lets the reads of each
// connection end once the connection is quiet, so that handlers come to their ends as they do when a peer
// closes. What a handler then closes is held back if the peer has not had everything, until it has
// (docs/adr/0015).
//
// When descriptors run out. accept(2) fails with EMFILE before it looks whether anybody waits, and those who
// do wait would go on waiting in silence. So the process holds one descriptor in reserve for all its servers
// (descriptor_reserve.hpp). When accept finds no descriptor, the reserve is spent on the next peer: it is
// served if the reserve can be opened again, and otherwise it is closed at once, at a measured pace. If not
// even that helps, accepting pauses, longer each time, until a connection ends or the pause does. Where the
// reserve is refused for another reason (a filter of system calls may allow no sockets but those of the
// network), there is none, and everybody is served all the same.
//
// When memory runs out, a message about it must not need any: what is noexcept here formats it on the stack.
#include <leat/net/serve.hpp>

#include <leat/runtime/failures.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>

#include "backend/socket.hpp"
#include "src/connection.hpp"
#include "src/descriptor_reserve.hpp"
#include "src/drain.hpp"
#include "src/serve_part.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace leat {

namespace detail {

namespace {

// Failures of accept in a row that are taken for single connections' own trouble and cost no pause.
constexpr int failures_without_pause = 8;
// Closing surplus connections: at most this many a second, so that being out of descriptors never means a busy loop.
constexpr Duration pause_after_shedding = std::chrono::milliseconds(20);
constexpr Duration pause_between_notices = std::chrono::seconds(1);
// How often a connection that lingers is asked whether its peer has had everything; the system has no event for it.
constexpr Duration first_look_at_lingering = std::chrono::milliseconds(5);
constexpr Duration longest_look_at_lingering = std::chrono::milliseconds(500);
// Sweeps for idle or quiet connections are at least so far apart.
constexpr Duration shortest_sweep = std::chrono::milliseconds(1);
// Where the system cannot keep new connections from a backlog, they could come for ever; no backlog is longer
// than this.
constexpr std::size_t longest_backlog = 65'536;

// How long a drain waits for the last segments of handshakes that are under way, and how often it asks.
constexpr Duration longest_handshake = std::chrono::seconds(1);
constexpr Duration pause_between_looks_at_handshakes = std::chrono::milliseconds(10);

/// What a server may have to report. Each kind is reported at most once a second, whatever else is.
enum class Trouble {
    accept_failed,
    accepting_ended,
    no_descriptors,
    no_memory,
    no_reserve,
    handler_not_started,
    handler_failed,
    not_lingering,
};
constexpr std::size_t trouble_count = static_cast<std::size_t>(Trouble::not_lingering) + 1;

const char* name_of(Trouble trouble) noexcept {
    switch (trouble) {
    case Trouble::accept_failed:
    case Trouble::no_descriptors:
    case Trouble::no_memory:
        break;
    case Trouble::accepting_ended:
        return "no more connections are accepted";
    case Trouble::no_reserve:
        return "no descriptor is held in reserve";
    case Trouble::handler_not_started:
        return "a connection was closed";
    case Trouble::handler_failed:
        return "a handler failed";
    case Trouble::not_lingering:
        return "a drained connection was closed at once";
    }
    return "accept";
}

/// Whether a socket's error is something that its peer or the network does. The others say something about
/// this process.
bool is_done_by_peer(const std::error_code& error) noexcept {
    for (std::errc own : {std::errc::bad_address, std::errc::bad_file_descriptor, std::errc::invalid_argument,
                          std::errc::no_buffer_space, std::errc::not_a_socket, std::errc::not_enough_memory})
        if (error == own) return false;
    return static_cast<bool>(error);
}

/// Which of these a connection that has broken gives depends on the call that finds it.
bool is_end_of_connection(const std::error_code& error) noexcept {
    if (error == make_error_code(errc::unexpected_end)) return true;
    // A deadline of leat's compares equal to `timed_out`.
    if (error.category() != std::system_category() && error.category() != std::generic_category())
        return false;
    for (std::errc each : {std::errc::broken_pipe, std::errc::connection_aborted, std::errc::connection_reset,
                           std::errc::host_unreachable, std::errc::network_down, std::errc::network_reset,
                           std::errc::network_unreachable, std::errc::not_connected, std::errc::timed_out})
        if (error == each) return true;
    return false;
}

/// Whether it is the error `last`, or another that the same broken connection gives.
bool is_system_error(const std::exception_ptr& failure, const std::error_code& last) noexcept {
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
        return error.code() == last || (is_end_of_connection(error.code()) && is_end_of_connection(last));
    } catch (...) {
        return false;
    }
}

bool is_out_of_memory(const std::exception_ptr& failure) noexcept {
    try {
        std::rethrow_exception(failure);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (...) {
        return false;
    }
}

/// Whether a failure, with all that is attached to it, is no more than the error that the connection's own
/// socket gave.
bool is_of_connection(const std::exception_ptr& failure, const std::error_code& last_error) noexcept {
    if (!is_done_by_peer(last_error) || !is_system_error(failure, last_error)) return false;
    try {
        for (const std::exception_ptr& other : attached_failures(failure))
            if (!is_system_error(other, last_error) || !attached_failures(other).empty()) return false;
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

// What a handler throws may have the peer's bytes in it.
constexpr std::size_t longest_report = 4000;

/// Cuts `text` to `longest_report` bytes, between two UTF-8 sequences.
void cut(std::string& text) {
    if (text.size() <= longest_report) return;
    std::size_t end = longest_report;
    while ((static_cast<unsigned char>(text[end]) & 0xc0u) == 0x80)
        --end;
    text.resize(end);
}

/// Errors: `std::bad_alloc`, and what the exception's `what` throws.
std::string describe(const ServeFailure& failure, std::uint64_t left_out) {
    std::string text = "serve: the handler of " +
                       (failure.peer ? to_string(*failure.peer) : "a peer of unknown address") + " failed: ";
    text += detail::printable(describe_failure(failure));
    cut(text);
    if (left_out != 0) text += " (" + std::to_string(left_out) + " others since the last report)";
    std::string trace = async_trace(failure);
    if (trace.ends_with('\n')) trace.pop_back();
    if (!trace.empty()) text += "\n" + trace;
    return text;
}

Trouble trouble_of(socket::AcceptFailure failure) noexcept {
    if (failure == socket::AcceptFailure::no_descriptors) return Trouble::no_descriptors;
    if (failure == socket::AcceptFailure::no_memory) return Trouble::no_memory;
    return Trouble::accept_failed;
}

}  // namespace

class Server final : private Timer, private HandoverTarget, private DrainTarget {
public:
    Server(Executor& executor, TcpListener* listener, ConnectionHandler& handler, const ServeOptions& options,
           ServeControl& control) noexcept;
    Server(const Server&) = delete;
    ~Server();

    Task<> run(TaskGroup& group);
    /// Makes it one of several, before it runs.
    void become_part(WholeServer& whole, std::shared_ptr<Handover> handover, std::size_t index) noexcept {
        is_part_ = true;
        whole_ = &whole;
        handover_ = std::move(handover);
        index_ = index;
    }
    /// After the end of the group. Throws what ended accepting.
    ServeReport finish();

    void drain() noexcept;
    void stop() noexcept;
    /// Lets the server's task look again at what it waits for.
    void wake() noexcept override;
    std::size_t connections() const noexcept { return group_ != nullptr ? group_->size() - lingering_ : 0; }
    ServeReport report() const noexcept;

    void connection_ended(Connection& connection, std::exception_ptr& failure, bool was_unwound) noexcept;
    void lingering_ended() noexcept;

private:
    class Acceptance;
    class EndOfTask;
    class Pause;

    bool is_full() const noexcept {
        return handover_ != nullptr ? handover_->is_full() : group_->size() >= options_.max_connections;
    }
    bool is_accepting() const noexcept;
    bool has_to_wait() const noexcept;
    bool waits_for_connections() const noexcept;
    bool has_idle_timeout() const noexcept { return options_.idle_timeout > Duration::zero(); }
    bool ends_when_quiet() const noexcept {
        return drain_.is_finishing() && options_.drain_quiet > Duration::zero();
    }

    Duration accept_ended(Result<TcpStream>& result) noexcept;
    Duration accept_from_backlog() noexcept;
    bool awaits_handshakes() const noexcept;
    void end_accepting() noexcept;
    void begin_to_finish() noexcept override;
    void cancel_the_rest() noexcept;
    Duration accepted(TcpStream&& stream) noexcept;
    Duration accept_failed(const std::error_code& error) noexcept;
    Duration next_pause() noexcept;
    Duration accept_surplus() noexcept;
    Duration serve_accepted(TcpStream&& stream) noexcept;
    Duration shed() noexcept;
    void note_refused_reserve(const std::error_code& refusal) noexcept;
    void take(TcpStream&& stream) noexcept override { start(std::move(stream)); }
    void hand_over(TcpStream&& stream) noexcept;
    void start(TcpStream&& stream) noexcept;
    void could_not_start(const std::optional<Address>& peer) noexcept;
    bool linger(Source&& closed) noexcept;
    void leave_group() noexcept;
    void start_handler(TcpStream&& stream, PackedPeer peer);
    void note_failure(const ServeFailure& failure) noexcept;
    void handler_failed(std::exception_ptr exception, const Connection& connection) noexcept;
    /// Reports `failure` and, unless null, what `on_failure` threw.
    void report(const ServeFailure& failure, const std::exception_ptr& of_on_failure = nullptr) noexcept;
    bool may_report(Trouble trouble) noexcept;
    void notice(Trouble trouble, std::string_view why) noexcept;
    void notice(Trouble trouble, const std::error_code& why) noexcept;
    void stop_new_connections() noexcept;
    void drain_connection(Connection& connection, TimePoint now) noexcept;
    void arm_sweep() noexcept;
    void sweep(Connection& connection, TimePoint now) noexcept;
    void expired() noexcept override;
    template <class Visit>
    void for_each_connection(Visit visit) const;

    Executor& executor_;
    // Null for one that serves what it is given.
    TcpListener* listener_;
    ConnectionHandler& handler_;
    const ServeOptions& options_;
    ServeControl& control_;
    // One of several servers; with a handover if one of them accepts for all.
    bool is_part_ = false;
    WholeServer* whole_ = nullptr;
    std::shared_ptr<Handover> handover_;
    std::size_t index_ = 0;
    Drain drain_;
    // In a drain.
    std::size_t accepted_from_backlog_ = 0;
    // The backlog is empty, or the listener was closed.
    bool has_accepted_all_ = false;
    // The listener drops new connections, until it is closed.
    bool is_filtered_ = false;
    bool handshakes_are_over_ = false;
    TimePoint end_of_handshakes_{};
    // Null before the group has begun and once its last task has ended.
    TaskGroup* group_ = nullptr;
    PeerTable peers_;
    bool task_has_ended_ = false;
    // Of the group's tasks.
    std::size_t lingering_ = 0;
    // What the server's own task waits for, if anything: one of them at most.
    Acceptance* acceptance_ = nullptr;
    Pause* pause_ = nullptr;

    ReserveShare reserve_;
    bool told_of_no_reserve_ = false;
    int failures_in_a_row_ = 0;
    Duration pause_length_;
    std::array<TimePoint, trouble_count> next_notices_{};
    // Failures of handlers since the last report of one.
    std::uint64_t failures_left_out_ = 0;
    std::error_code fatal_;
    // Its bytes are those of connections that have ended.
    ServeReport report_;
};

/// An accept that the server can interrupt; then it gives nothing.
class Server::Acceptance final : public AcceptOperation {
public:
    explicit Acceptance(Server& server) noexcept
        : AcceptOperation(server.listener_->accept()), server_(server) {
        server_.acceptance_ = this;
    }
    Acceptance(const Acceptance&) = delete;
    ~Acceptance() { server_.acceptance_ = nullptr; }

    void interrupt() noexcept {
        is_interrupted_ = true;
        cancel();
    }

    std::optional<Result<TcpStream>> await_resume() {
        if (!has_result_) return std::nullopt;
        return result();
    }

private:
    void withdrawn() noexcept override {
        if (!is_interrupted_ || environment().is_cancelled()) return AcceptOperation::withdrawn();
        has_result_ = false;
        resume_later();
    }

    Server& server_;
    bool is_interrupted_ = false;
    bool has_result_ = true;
};

/// Tells the server that its own task ends, by itself or by a cancellation.
class Server::EndOfTask {
public:
    explicit EndOfTask(Server& server) noexcept : server_(server) {}
    EndOfTask(const EndOfTask&) = delete;
    ~EndOfTask() {
        if (server_.handover_ != nullptr) server_.handover_->end(server_.index_);
        server_.drain_.cancel();
        // After a cancellation the caller goes on with an open listener.
        if (server_.is_filtered_ && server_.listener_->is_open())
            socket::allow_new_connections(server_.listener_->native_handle());
        server_.task_has_ended_ = true;
        if (server_.group_->size() == 0) server_.group_ = nullptr;
    }

private:
    Server& server_;
};

/// A wait for `wake`, or for a deadline.
class Server::Pause final : public Wait, private Timer {
public:
    Pause(Server& server, TimePoint deadline) noexcept : server_(server), deadline_(deadline) {}
    Pause(const Pause&) = delete;

    bool await_ready() noexcept {
        if (is_stopped()) return false;
        server_.pause_ = this;
        if (deadline_ != TimePoint::max()) executor().timers().arm(*this, deadline_);
        suspend();
        return false;
    }
    void await_suspend(TaskHandle) const noexcept {}
    void await_resume() const noexcept {}

    void wake() noexcept {
        end();
        resume_later();
    }
    void cancel() noexcept override {
        if (server_.pause_ != this) return;
        end();
        withdrawn();
    }
    std::string describe() const override { return "a pause of a server"; }

private:
    void expired() noexcept override { wake(); }
    void end() noexcept {
        disarm();
        server_.pause_ = nullptr;
    }

    Server& server_;
    TimePoint deadline_;
};

void Connection::ended(std::exception_ptr& failure, bool was_unwound) noexcept {
    server().connection_ended(*this, failure, was_unwound);
}

void Lingering::ended(std::exception_ptr&, bool) noexcept { server().lingering_ended(); }

Server::Server(Executor& executor, TcpListener* listener, ConnectionHandler& handler,
               const ServeOptions& options, ServeControl& control) noexcept
    : executor_(executor),
      listener_(listener),
      handler_(handler),
      options_(options),
      control_(control),
      drain_(executor, options, *this),
      pause_length_(options.shortest_pause) {
    control_.server_ = this;
    if (listener_ == nullptr) return;
    std::error_code refusal;
    reserve_.open(refusal);
    note_refused_reserve(refusal);
}

Server::~Server() {
    control_.last_report_ = report();
    control_.server_ = nullptr;
    if (failures_left_out_ == 0) return;
    std::array<char, 96> text;
    std::snprintf(text.data(), text.size(), "serve: failures of handlers that were not reported: %llu",
                  static_cast<unsigned long long>(failures_left_out_));
    executor_.notice_always(text.data());
}

// ---- The server's task ----

Task<> Server::run(TaskGroup& group) {
    group_ = &group;
    group.set_context(this);
    group.environment().add_context(drain_.signal());
    EndOfTask end(*this);
    if (handover_ != nullptr) handover_->begin(index_, *this);
    // They may have come before the beginning.
    if (control_.draining_) drain_.begin();
    if (control_.stopping_) drain_.stop();
    while (is_accepting()) {
        if (has_to_wait()) {
            co_await Pause(*this, drain_.deadline());
            continue;
        }
        Duration pause{};
        if (drain_.is_finishing()) {
            pause = accept_from_backlog();
            // One after the other, so that those that are served already go on.
            co_await yield();
        } else {
            std::optional<Result<TcpStream>> result = co_await Acceptance(*this);
            if (result) pause = accept_ended(*result);
        }
        if (pause > Duration::zero() && is_accepting()) {
            TimePoint end_of_pause = saturating_add(executor_.now(), pause);
            co_await Pause(*this, std::min(end_of_pause, drain_.deadline()));
        }
    }
    end_accepting();
    while (waits_for_connections()) {
        co_await Pause(*this, drain_.deadline());
    }
    if (group.size() != 0) cancel_the_rest();
}

bool Server::is_accepting() const noexcept {
    if (fatal_ || control_.stopping_) return false;
    if (!drain_.is_finishing()) return true;
    if (listener_ == nullptr) return !handover_->has_all(index_) && !drain_.is_over();
    return !has_accepted_all_ && !drain_.is_over();
}

/// For room, or for what the acceptor gives. In a drain a full server need not keep the port if nobody waits
/// there.
bool Server::has_to_wait() const noexcept {
    if (listener_ == nullptr) return true;
    // The listener was closed in the lame duck, or failed: nothing can be accepted before its end.
    if (has_accepted_all_ && !drain_.is_finishing()) return true;
    if (!is_full()) return false;
    return !drain_.is_finishing() || socket::has_waiting_connection(listener_->native_handle());
}

/// In a drain: takes a connection that the system has accepted already. Returns how long to pause before the
/// next one.
Duration Server::accept_from_backlog() noexcept {
    if (options_.keep_listener_open || !listener_->is_open() || accepted_from_backlog_ == longest_backlog) {
        has_accepted_all_ = true;
        return Duration::zero();
    }
    std::error_code error;
    std::optional<TcpStream> stream;
    // A full server that comes here has seen an empty backlog (`has_to_wait`).
    if (!is_full()) stream = listener_->try_accept(error);
    if (error) return accept_failed(error);
    if (!stream) {
        if (awaits_handshakes()) return pause_between_looks_at_handshakes;
        // One may have been finished between the two questions.
        has_accepted_all_ = std::exchange(handshakes_are_over_, true);
        return Duration::zero();
    }
    ++accepted_from_backlog_;
    return accepted(std::move(*stream));
}

/// Whose clients may not know yet that they are connected, or know it and have sent a request. Where new ones
/// are kept out, they come to an end.
bool Server::awaits_handshakes() const noexcept {
    return is_filtered_ && !handshakes_are_over_ && executor_.now() < end_of_handshakes_ &&
           socket::has_handshakes(listener_->native_handle());
}

Duration Server::accept_ended(Result<TcpStream>& result) noexcept {
    return result ? accepted(std::move(*result)) : accept_failed(result.error());
}

void Server::end_accepting() noexcept {
    if (listener_ != nullptr) {
        if (is_part_ || (drain_.is_finishing() && !options_.keep_listener_open)) listener_->close();
        if (handover_ != nullptr) handover_->end_giving();
    }
    // After an error, what runs has that long.
    drain_.set_deadline();
}

/// Whether connections are left: its own, or some that other parts may give back.
bool Server::waits_for_connections() const noexcept {
    if (control_.stopping_ || drain_.is_over()) return false;
    const bool is_acceptor = handover_ != nullptr && listener_ != nullptr;
    return group_->size() != 0 || (is_acceptor && !handover_->is_settled());
}

void Server::cancel_the_rest() noexcept {
    if (!control_.stopping_) {
        try {
            Remainder rest;
            rest.add_lingering(lingering_);
            for_each_connection([&](const Connection& connection) {
                if (!connection.is_lingering()) rest.add(connection.native_handle());
            });
            executor_.notice((control_.draining_ ? "serve: the deadline of a drain "
                                                 : "serve: the deadline after an error ") +
                             rest.describe());
        } catch (const std::bad_alloc&) {
            // There is no memory to name them.
        }
    }
    group_->cancel();
}

ServeReport Server::finish() {
    if (fatal_) throw std::system_error(fatal_, "accept");
    return report();
}

/// Returns how long to pause before the next accept.
Duration Server::accepted(TcpStream&& stream) noexcept {
    std::error_code refusal;
    const bool has_room = reserve_.keep(stream, refusal);
    note_refused_reserve(refusal);
    return has_room ? serve_accepted(std::move(stream)) : shed();
}

Duration Server::serve_accepted(TcpStream&& stream) noexcept {
    failures_in_a_row_ = 0;
    pause_length_ = options_.shortest_pause;
    ++report_.accepted;
    if (handover_ != nullptr)
        hand_over(std::move(stream));
    else
        start(std::move(stream));
    return Duration::zero();
}

void Server::hand_over(TcpStream&& stream) noexcept {
    try {
        handover_->give(std::move(stream));
    } catch (...) {
        could_not_start(std::nullopt);
    }
}

/// Called while an exception is handled.
void Server::could_not_start(const std::optional<Address>& peer) noexcept {
    const ServeFailure failure(std::current_exception(), peer, false);
    note_failure(failure);
    // Without memory there is no text of it.
    if (!options_.on_failure && !is_out_of_memory(failure)) return report(failure);
    notice(Trouble::handler_not_started, "its handler could not be started");
}

Duration Server::accept_failed(const std::error_code& error) noexcept {
    using socket::AcceptFailure;
    AcceptFailure failure = socket::classify_accept_failure(error);
    if (failure == AcceptFailure::fatal) {
        // Whoever drains may close the listener as well.
        if (control_.draining_) {
            has_accepted_all_ = true;
        } else {
            fatal_ = error;
            notice(Trouble::accepting_ended, error);
            if (whole_ != nullptr) whole_->part_failed();
        }
        return Duration::zero();
    }
    ++report_.accept_errors;
    notice(trouble_of(failure), error);
    if (failure == AcceptFailure::no_descriptors) return accept_surplus();
    if (failure == AcceptFailure::passing && ++failures_in_a_row_ <= failures_without_pause)
        return Duration::zero();
    return next_pause();
}

/// Spends the reserve on the next peer. Returns how long to pause before the next accept.
Duration Server::accept_surplus() noexcept {
    using Surplus = ReserveShare::Surplus;
    std::optional<TcpStream> accepted;
    std::error_code error;
    switch (reserve_.accept_surplus(*listener_, accepted, error)) {
    case Surplus::kept:
        return serve_accepted(std::move(*accepted));
    case Surplus::closed:
        return shed();
    case Surplus::nobody:
        return Duration::zero();
    case Surplus::nothing_to_spend:
        return next_pause();
    case Surplus::failed:
        break;
    }
    ++report_.accept_errors;
    return next_pause();
}

/// A peer has seen a close. Returns how long to pause before the next accept.
Duration Server::shed() noexcept {
    failures_in_a_row_ = 0;
    pause_length_ = options_.shortest_pause;
    ++report_.shed;
    return pause_after_shedding;
}

void Server::note_refused_reserve(const std::error_code& refusal) noexcept {
    if (refusal && !std::exchange(told_of_no_reserve_, true)) notice(Trouble::no_reserve, refusal);
}

Duration Server::next_pause() noexcept {
    Duration pause = pause_length_;
    pause_length_ = std::min(2 * pause_length_, options_.longest_pause);
    return pause;
}

/// Whatever goes wrong here closes that connection and no more.
void Server::start(TcpStream&& stream) noexcept {
    std::error_code gone;  // The handler finds out.
    const PackedPeer peer = peers_.pack(socket::peer_address(stream.native_handle(), gone));
    try {
        std::error_code error = executor_.poll().bind(stream.source());
        if (error) throw std::system_error(error, "bind a connection");
        start_handler(std::move(stream), peer);
    } catch (...) {
        could_not_start(peers_.unpack(peer));
        peers_.drop(peer);
        if (handover_ != nullptr) handover_->count_down(index_);
        return;
    }
    if (!is_armed()) arm_sweep();
}

void Server::start_handler(TcpStream&& stream, PackedPeer peer) {
    const TimePoint now = has_idle_timeout() || ends_when_quiet() ? executor_.now() : TimePoint();
    auto connection = std::make_unique<ServedConnection>(*group_, stream.source(), peer, now);
    Task<> task = handler_(std::move(stream));
    // A drain may have begun since the system took it; the handler may have begun it.
    if (drain_.is_finishing()) drain_connection(*connection, executor_.now());
    group_->adopt(*connection.release(), task.release().promise());
}

// ---- What connections and their owner tell ----

void Server::connection_ended(Connection& connection, std::exception_ptr& failure,
                              bool was_unwound) noexcept {
    Source closed(connection.take_handle());
    const bool lingers =
        closed.is_open() && !was_unwound && !group_->is_cancelled() && linger(std::move(closed));
    if (was_unwound)
        ++report_.cancelled;
    else if (failure != nullptr)
        handler_failed(std::exchange(failure, nullptr), connection);
    else
        ++report_.finished;
    peers_.drop(connection.peer());
    // One that lingers takes a place until its end.
    if (handover_ != nullptr && !lingers) handover_->count_down(index_);
    // There is room, or a descriptor, again; or this was the last that a drain waits for.
    wake();
    report_.bytes += connection.moved();
    leave_group();
}

void Server::lingering_ended() noexcept {
    --lingering_;
    if (handover_ != nullptr) handover_->count_down(index_);
    wake();
    leave_group();
}

/// The child that leaves still counts in the group until this returns.
void Server::leave_group() noexcept {
    if (task_has_ended_ && group_->size() == 1) group_ = nullptr;
}

namespace {

/// Says that nothing more comes, and takes what the peer still sends, until the peer's system has acknowledged everything
/// or its end has come: closed before that, a connection that something arrives on is reset (RFC 1122, 4.2.2.13), and what
/// is still to be sent is gone. A peer that never stops sending is no reason to stay.
Task<> end_in_order(const Executor& executor, Source connection) {
    std::error_code gone;  // Then there is nobody left to be orderly with.
    socket::shutdown(connection.native_handle(), Half::write, gone);
    std::array<std::byte, 512> discarded;
    Duration pause = first_look_at_lingering;
    TimePoint next_look = executor.now() + pause;
    for (;;) {
        ReadOperation read(Operation::receive(connection, discarded));
        Result<std::size_t> received = co_await as_result(timeout_at(next_look, std::move(read)));
        if (received && *received == 0) co_return;
        if (!received && received.error() != errc::deadline_exceeded) co_return;
        if (executor.now() < next_look) continue;
        if (!is_unacknowledged(connection.native_handle())) co_return;
        pause = std::min(2 * pause, longest_look_at_lingering);
        next_look = executor.now() + pause;
    }
}

}  // namespace

/// The drain waits for it, within its deadline. False: there is no memory to wait with.
bool Server::linger(Source&& closed) noexcept {
    try {
        auto lingering = std::make_unique<Lingering>(*group_);
        Task<> task = end_in_order(executor_, std::move(closed));
        ++lingering_;
        group_->adopt(*lingering.release(), task.release().promise());
        return true;
    } catch (const std::bad_alloc&) {
        notice(Trouble::not_lingering, "out of memory");
        return false;
    }
}

/// Counts it, and tells the program if it wants to hear of failures.
void Server::note_failure(const ServeFailure& failure) noexcept {
    ++report_.failed;
    if (!options_.on_failure) return;
    try {
        options_.on_failure(failure);
    } catch (...) {
        report(failure, std::current_exception());
    }
}

void Server::handler_failed(std::exception_ptr exception, const Connection& connection) noexcept {
    const bool is_own = is_of_connection(exception, connection.last_error());
    const ServeFailure failure(std::move(exception), peers_.unpack(connection.peer()), is_own);
    note_failure(failure);
    if (!options_.on_failure && !failure.is_of_connection) report(failure);
}

void Server::report(const ServeFailure& failure, const std::exception_ptr& of_on_failure) noexcept {
    if (!may_report(Trouble::handler_failed)) {
        ++failures_left_out_;
        return;
    }
    try {
        std::string text = describe(failure, failures_left_out_);
        if (of_on_failure != nullptr) {
            std::string thrown = detail::printable(describe_failure(of_on_failure));
            cut(thrown);
            text += "\non_failure threw: " + thrown;
        }
        failures_left_out_ = 0;
        executor_.notice(text);
    } catch (...) {
        executor_.notice("serve: a handler failed, and there is no text of its exception");
    }
}

void Server::wake() noexcept {
    if (pause_ != nullptr) pause_->wake();
}

// Once its task has ended nobody accepts any more, and what still runs is being cancelled.
void Server::drain() noexcept {
    if (group_ != nullptr && !task_has_ended_) drain_.begin();
}

void Server::stop() noexcept {
    if (group_ != nullptr && !task_has_ended_) drain_.stop();
    wake();
}

void Server::begin_to_finish() noexcept {
    stop_new_connections();
    if (acceptance_ != nullptr) acceptance_->interrupt();
    // A handler that is about to be cancelled must not read an end first.
    if (!control_.stopping_) {
        const TimePoint now = executor_.now();
        for_each_connection([&](Connection& connection) { drain_connection(connection, now); });
        arm_sweep();
    }
    wake();
}

/// The filter belongs to the socket, whoever has a descriptor of it. A listener that was adopted may be
/// another process's too, and stays open there: what is left in its backlog is not lost.
void Server::stop_new_connections() noexcept {
    if (listener_ == nullptr || options_.keep_listener_open) return;
    if (!listener_->source().is_known_as_tcp()) return;
    socket::stop_new_connections(listener_->native_handle());
    is_filtered_ = true;
    end_of_handshakes_ = saturating_add(executor_.now(), longest_handshake);
}

void Server::drain_connection(Connection& connection, TimePoint now) noexcept {
    connection.drain(now);
    if (!ends_when_quiet()) connection.end_reads();
}

ServeReport Server::report() const noexcept {
    ServeReport report = report_;
    for_each_connection([&](const Connection& connection) { report.bytes += connection.moved(); });
    return report;
}

bool Server::may_report(Trouble trouble) noexcept {
    const TimePoint now = executor_.now();
    TimePoint& next_time = next_notices_[static_cast<std::size_t>(trouble)];
    if (now < next_time) return false;
    next_time = saturating_add(now, pause_between_notices);
    return true;
}

void Server::notice(Trouble trouble, std::string_view why) noexcept {
    if (!may_report(trouble)) return;
    std::array<char, 256> text;
    std::snprintf(text.data(), text.size(), "serve: %s: %.*s", name_of(trouble), static_cast<int>(why.size()),
                  why.data());
    executor_.notice(text.data());
}

void Server::notice(Trouble trouble, const std::error_code& why) noexcept {
    try {
        notice(trouble, why.message());
    } catch (const std::bad_alloc&) {
        std::array<char, 64> number;
        std::snprintf(number.data(), number.size(), "%s error %d", why.category().name(), why.value());
        notice(trouble, number.data());
    }
}

template <class Visit>
void Server::for_each_connection(Visit visit) const {
    if (group_ == nullptr) return;
    for (GroupChild* child = group_->first_child(); child != nullptr; child = child->next_sibling()) {
        visit(static_cast<Connection&>(*child));
    }
}

// ---- Idle and quiet connections ----

void Server::arm_sweep() noexcept {
    Duration shortest = Duration::max();
    if (has_idle_timeout()) shortest = options_.idle_timeout;
    if (ends_when_quiet()) shortest = std::min(shortest, options_.drain_quiet);
    if (shortest == Duration::max()) return;
    constexpr int sweeps_per_timeout = 4;
    Duration interval = std::max(shortest / sweeps_per_timeout, shortest_sweep);
    executor_.timers().arm(*this, saturating_add(executor_.now(), interval));
}

void Server::expired() noexcept {
    TimePoint now = executor_.now();
    for_each_connection([&](Connection& each) { sweep(each, now); });
    if (connections() != 0) arm_sweep();
}

/// In a drain every byte counts, for the idle time-out too: there is one count for both.
void Server::sweep(Connection& connection, TimePoint now) noexcept {
    const Duration quiet = connection.quiet_for(drain_.is_finishing() ? 1 : options_.idle_bytes, now);
    if (drain_.is_finishing()) connection.end_marked_reads();
    if (ends_when_quiet() && quiet >= options_.drain_quiet) connection.end_reads();
    if (!has_idle_timeout() || quiet < options_.idle_timeout) return;
    ++report_.idle;
    connection.shut();
}

}  // namespace detail

void ServeControl::drain() noexcept {
    if (std::exchange(draining_, true)) return;
    if (server_ != nullptr) server_->drain();
}

void ServeControl::stop() noexcept {
    draining_ = true;
    stopping_ = true;
    if (server_ != nullptr) server_->stop();
}

std::size_t ServeControl::connections() const noexcept {
    return server_ != nullptr ? server_->connections() : 0;
}

ServeReport ServeControl::report() const noexcept {
    return server_ != nullptr ? server_->report() : last_report_;
}

Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler) {
    return serve(listener, std::move(handler), ServeOptions());
}

Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler, ServeOptions options) {
    ServeControl control;
    ServeReport report = co_await serve(listener, std::move(handler), std::move(options), control);
    co_return report;
}

Task<ServeReport> serve(TcpListener& listener, ConnectionHandler handler, ServeOptions options,
                        ServeControl& control) {
    Environment& environment = co_await detail::CurrentEnvironment();
    if (options.on_listening) options.on_listening();
    detail::Server server(environment.executor(), &listener, handler, options, control);
    auto body = [&server](TaskGroup& group) { return server.run(group); };
    co_await task_group(body);
    co_return server.finish();
}

Task<ServeReport> detail::serve_part(TcpListener* listener, ConnectionHandler handler, ServeOptions options,
                                     ServeControl& control, WholeServer& whole,
                                     std::shared_ptr<Handover> handover, std::size_t index) {
    Environment& environment = co_await CurrentEnvironment();
    Server server(environment.executor(), listener, handler, options, control);
    server.become_part(whole, std::move(handover), index);
    auto body = [&server](TaskGroup& group) { return server.run(group); };
    co_await task_group(body);
    co_return server.finish();
}

}  // namespace leat
