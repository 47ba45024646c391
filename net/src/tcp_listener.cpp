// SPDX-License-Identifier: BSL-1.0
#include <leat/net/tcp_listener.hpp>

#include "backend/socket.hpp"
#include "src/checked.hpp"

#include <utility>

namespace leat {

using detail::checked;
namespace socket = detail::socket;

namespace {

void listen_at(NativeHandle handle, const Address& address, const ListenOptions& options,
               std::error_code& error) {
    auto set = [&](socket::Option option, bool on) {
        if (!error) socket::set_option(handle, option, on ? 1 : 0, error);
    };
    set(socket::Option::reuse_address, options.reuse_address);
    set(socket::Option::reuse_port, options.reuse_port);
    if (address.is_ipv6()) set(socket::Option::ipv6_only, !options.dual_stack);
    // The system hands it on to each connection, so that none needs a call of its own.
    set(socket::Option::no_delay, options.no_delay);
    if (!error) socket::bind(handle, address, error);
    if (!error) socket::listen(handle, options.backlog, error);
}

/// What a listener has accepted is a socket of the same kind.
Source accepted_by(bool is_tcp, NativeHandle handle) noexcept {
    return is_tcp ? Source::tcp(handle) : Source(handle);
}

}  // namespace

TcpListener TcpListener::bind(const Address& address) { return bind(address, ListenOptions()); }

TcpListener TcpListener::bind(const Address& where, const ListenOptions& options) {
    // Not every system lets an IPv6 socket listen on a mapped address.
    const Address address = where.unmapped();
    std::error_code error;
    TcpListener listener(Source::tcp(socket::open_tcp(address.family(), error)));
    if (!error) listen_at(listener.native_handle(), address, options, error);
    if (error) throw std::system_error(error, "listen on " + to_string(address));
    return listener;
}

TcpListener TcpListener::adopt(NativeHandle handle) {
    checked("adopt a listener", [&](std::error_code& error) { socket::adopt(handle, true, error); });
    return TcpListener(Source(handle));
}

Address TcpListener::local_address() const {
    return checked("local_address",
                   [&](std::error_code& error) { return socket::local_address(native_handle(), error); });
}

void TcpListener::set_ttl(int hops) {
    checked("set_ttl", [&](std::error_code& error) {
        socket::set_option(native_handle(), socket::Option::hops, hops, error);
    });
}

int TcpListener::ttl() const {
    return checked("ttl", [&](std::error_code& error) {
        return socket::option(native_handle(), socket::Option::hops, error);
    });
}

std::optional<TcpStream> TcpListener::try_accept(std::error_code& error) noexcept {
    NativeHandle accepted = socket::try_accept(native_handle(), error);
    if (accepted == invalid_handle) {
        if (!error) source_.rearm(Interest::readable);
        return std::nullopt;
    }
    return TcpStream(accepted_by(source_.is_known_as_tcp(), accepted));
}

std::optional<TcpStream> TcpListener::try_accept() {
    return checked("try_accept", [&](std::error_code& error) { return try_accept(error); });
}

AcceptOperation::~AcceptOperation() {
    if (is_ended() && !has_failed() && !is_taken_) socket::close(accepted());
}

TcpStream AcceptOperation::take() noexcept {
    is_taken_ = true;
    return TcpStream(accepted_by(is_tcp_, accepted()));
}

TcpStream AcceptOperation::await_resume() {
    if (has_failed()) throw_error("accept");
    return take();
}

std::string AcceptOperation::describe() const {
    if (handle() == invalid_handle) return describe_with({});
    std::error_code error;
    Address local = socket::local_address(handle(), error);
    return describe_with(error ? std::string() : " at " + to_string(local));
}

Result<TcpStream> AcceptOperation::result() {
    if (has_failed()) return Unexpected<std::error_code>(error());
    return take();
}

}  // namespace leat
