// SPDX-License-Identifier: BSL-1.0
#include <leat/net/tcp_stream.hpp>

#include "backend/socket.hpp"
#include "src/checked.hpp"

#include <limits>
#include <utility>

namespace leat {

using detail::checked;
namespace socket = detail::socket;

// ---- What a dump says ----

namespace {

std::string end_of(const char* word, NativeHandle handle) {
    std::error_code error;  // Of a peer that is gone, or a handle that is none.
    if (handle == invalid_handle) return {};
    Address peer = socket::peer_address(handle, error);
    return error ? std::string() : word + to_string(peer);
}

}  // namespace

std::string ReadOperation::describe() const { return describe_with(end_of(" from ", handle())); }
std::string ReceiveOperation::describe() const { return describe_with(end_of(" from ", handle())); }
std::string WriteOperation::describe() const { return describe_with(end_of(" to ", handle())); }
std::string TransferOperation::describe() const {
    return describe_with(end_of(is_write(kind()) ? " to " : " from ", handle()));
}

void TransferOperation::throw_transfer_error() const {
    throw_error(is_write(kind()) ? "write_all" : "read_exactly");
}

// ---- Connecting ----

namespace {

/// A mapped address is connected to as the IPv4 one, which an IPv6 socket does not reach on every system. Not
/// from an IPv6 address.
Address reached_at(const Address& address, const std::optional<Address>& local) noexcept {
    const bool is_from_ipv6 = local && local->unmapped().is_ipv6();
    return is_from_ipv6 ? address : address.unmapped();
}

}  // namespace

ConnectOperation::ConnectOperation(const Address& address, const ConnectOptions& options) noexcept
    : IoOperation(
          Operation::connect(socket_, native_, socket::native_size(reached_at(address, options.local)))),
      address_(reached_at(address, options.local)),
      options_(options) {
    socket::to_native(address_, native_);
}

// The record points into this object, so it is made anew; only what has not been awaited moves.
ConnectOperation::ConnectOperation(ConnectOperation&& other) noexcept
    : ConnectOperation(other.address_, other.options_) {}

bool ConnectOperation::await_ready() noexcept {
    require_unspent();
    if (is_stopped()) return false;
    std::error_code error;
    socket_ = Source::tcp(socket::open_tcp(address_.family(), error));
    if (!error && options_.no_delay) {
        socket::set_option(socket_.native_handle(), socket::Option::no_delay, 1, error);
    }
    if (!error && options_.local) {
        const Address local = address_.is_ipv6() ? *options_.local : options_.local->unmapped();
        socket::bind(socket_.native_handle(), local, error);
    }
    if (error) {
        fail(error);
        return go_on();
    }
    return start();
}

TcpStream ConnectOperation::await_resume() {
    if (has_failed()) throw std::system_error(error(), "connect to " + to_string(address_));
    return TcpStream(std::move(socket_));
}

Result<TcpStream> ConnectOperation::result() {
    if (has_failed()) return Unexpected<std::error_code>(error());
    return TcpStream(std::move(socket_));
}

std::string ConnectOperation::describe() const { return describe_with(" to " + to_string(address_)); }

ConnectOperation TcpStream::connect(const Address& address) { return {address, ConnectOptions()}; }

ConnectOperation TcpStream::connect(const Address& address, const ConnectOptions& options) {
    return {address, options};
}

TcpStream TcpStream::start_connect(const Address& where) {
    const Address address = where.unmapped();
    std::error_code error;
    TcpStream stream(Source::tcp(socket::open_tcp(address.family(), error)));
    if (!error) socket::set_option(stream.native_handle(), socket::Option::no_delay, 1, error);
    if (!error) socket::connect(stream.native_handle(), address, error);
    if (error) throw std::system_error(error, "connect to " + to_string(address));
    return stream;
}

TcpStream TcpStream::adopt(NativeHandle handle) {
    checked("adopt a stream", [&](std::error_code& error) { socket::adopt(handle, false, error); });
    return TcpStream(Source(handle));
}

// ---- Calls past the queue ----

namespace {

/// `checked` for a call on the stream's socket: whoever watches the connection learns of the error, as of an
/// operation's.
template <class Call>
auto checked_on(const Source& source, const char* what, Call call) {
    return checked(what, [&](std::error_code& error) {
        struct Note {
            ~Note() { SourceWatch::note_error(watched, found); }
            const Source& watched;
            const std::error_code& found;
        } note{source, error};
        return call(error);
    });
}

}  // namespace

// ---- Without waiting ----

namespace {

/// After a call that moved less than was asked for, the direction is certain to be reported again; but not an end, which
/// stays.
void rearm_if_short(Source& source, Interest direction, std::optional<std::size_t> moved,
                    std::size_t asked) noexcept {
    if (!moved || (*moved != 0 && *moved < asked)) source.rearm(direction);
}

}  // namespace

std::optional<std::size_t> TcpStream::try_read(std::span<std::byte> buffer, std::error_code& error) noexcept {
    std::optional<std::size_t> received = socket::try_receive(native_handle(), buffer, false, error);
    if (!error) rearm_if_short(source_, Interest::readable, received, buffer.size());
    SourceWatch::note_error(source_, error);
    if (!received && !error && source_.reads_end()) return 0;
    return received;
}

std::optional<std::size_t> TcpStream::try_read(std::span<std::byte> buffer) {
    return checked("try_read", [&](std::error_code& error) { return try_read(buffer, error); });
}

std::optional<std::size_t> TcpStream::try_peek(std::span<std::byte> buffer, std::error_code& error) noexcept {
    std::optional<std::size_t> seen = socket::try_receive(native_handle(), buffer, true, error);
    if (!seen && !error) source_.rearm(Interest::readable);
    SourceWatch::note_error(source_, error);
    if (!seen && !error && source_.reads_end()) return 0;
    return seen;
}

std::optional<std::size_t> TcpStream::try_write(std::span<const std::byte> buffer,
                                                std::error_code& error) noexcept {
    std::optional<std::size_t> sent = socket::try_send(native_handle(), buffer, error);
    if (!error) rearm_if_short(source_, Interest::writable, sent, buffer.size());
    SourceWatch::note_error(source_, error);
    return sent;
}

std::optional<std::size_t> TcpStream::try_write(std::span<const std::byte> buffer) {
    return checked("try_write", [&](std::error_code& error) { return try_write(buffer, error); });
}

std::error_code TcpStream::take_error() noexcept {
    std::error_code error;
    int pending = socket::option(native_handle(), socket::Option::pending_error, error);
    if (error || pending == 0) return error;
    return detail::error_of_number(pending);
}

// ---- The connection ----

void TcpStream::shutdown(Half half, std::error_code& error) noexcept {
    socket::shutdown(native_handle(), half, error);
    if (error) return;
    if (half != Half::read) SourceWatch::note_shutdown(source_);
    if (half != Half::write) source_.retry(Interest::readable);
    if (half != Half::read) source_.retry(Interest::writable);
}

void TcpStream::shutdown(Half half) {
    checked_on(source_, "shutdown", [&](std::error_code& error) { shutdown(half, error); });
}

Address TcpStream::local_address() const {
    return checked_on(source_, "local_address",
                      [&](std::error_code& error) { return socket::local_address(native_handle(), error); });
}

Address TcpStream::peer_address() const {
    return checked_on(source_, "peer_address",
                      [&](std::error_code& error) { return socket::peer_address(native_handle(), error); });
}

// ---- Options ----

namespace {

int get(const Source& source, socket::Option option) {
    return checked_on(source, "read a socket's option", [&](std::error_code& error) {
        return socket::option(source.native_handle(), option, error);
    });
}

void set(const Source& source, socket::Option option, long long value) {
    checked_on(source, "set a socket's option", [&](std::error_code& error) {
        if (value < 0 || value > std::numeric_limits<int>::max()) {
            error = std::make_error_code(std::errc::invalid_argument);
            return;
        }
        socket::set_option(source.native_handle(), option, static_cast<int>(value), error);
    });
}

}  // namespace

void TcpStream::set_no_delay(bool on) { set(source_, socket::Option::no_delay, on ? 1 : 0); }

bool TcpStream::no_delay() const { return get(source_, socket::Option::no_delay) != 0; }

void TcpStream::set_keep_alive(const KeepAlive& settings) {
    // Not every system refuses it.
    if (settings.probes < 1)
        throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                                "keep-alive without a probe");
    set(source_, socket::Option::keep_alive_idle, settings.idle.count());
    set(source_, socket::Option::keep_alive_interval, settings.interval.count());
    set(source_, socket::Option::keep_alive_probes, settings.probes);
    set(source_, socket::Option::keep_alive, 1);
}

void TcpStream::disable_keep_alive() { set(source_, socket::Option::keep_alive, 0); }

bool TcpStream::keep_alive() const { return get(source_, socket::Option::keep_alive) != 0; }

void TcpStream::set_linger(std::optional<std::chrono::seconds> linger) {
    checked_on(source_, "set_linger", [&](std::error_code& error) {
        // Any other time would make `close` wait, and with it the whole thread.
        if (linger && *linger != std::chrono::seconds::zero())
            error = std::make_error_code(std::errc::invalid_argument);
        else
            socket::set_linger(native_handle(), linger, error);
    });
}

std::optional<std::chrono::seconds> TcpStream::linger() const {
    return checked_on(source_, "linger",
                      [&](std::error_code& error) { return socket::linger(native_handle(), error); });
}

void TcpStream::set_receive_buffer_size(int bytes) {
    set(source_, socket::Option::receive_buffer_size, bytes);
}

int TcpStream::receive_buffer_size() const { return get(source_, socket::Option::receive_buffer_size); }

void TcpStream::set_send_buffer_size(int bytes) { set(source_, socket::Option::send_buffer_size, bytes); }

int TcpStream::send_buffer_size() const { return get(source_, socket::Option::send_buffer_size); }

void TcpStream::set_user_timeout(std::chrono::milliseconds timeout) {
    set(source_, socket::Option::user_timeout, timeout.count());
}

std::chrono::milliseconds TcpStream::user_timeout() const {
    return std::chrono::milliseconds(get(source_, socket::Option::user_timeout));
}

void TcpStream::set_ttl(int hops) { set(source_, socket::Option::hops, hops); }

int TcpStream::ttl() const { return get(source_, socket::Option::hops); }

std::pair<TcpReader, TcpWriter> TcpStream::split() && {
    auto stream = std::make_shared<TcpStream>(std::move(*this));
    return {TcpReader(stream), TcpWriter(stream)};
}

}  // namespace leat
