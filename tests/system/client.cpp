// SPDX-License-Identifier: BSL-1.0
#include "client.hpp"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <string>
#include <thread>

namespace leat::test {
namespace {

constexpr std::size_t piece_size = 64 * 1024;

void set_option(const Descriptor& socket, int level, int name, int value) {
    if (::setsockopt(socket.get(), level, name, &value, sizeof value) != 0)
        throw system_failure("setsockopt");
}

void apply(const ClientOptions& options, const Descriptor& socket) {
    if (options.no_delay) set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    if (!options.narrow) return;
    set_option(socket, IPPROTO_TCP, TCP_MAXSEG, 536);
    set_option(socket, SOL_SOCKET, SO_RCVBUF, 4096);
    set_option(socket, SOL_SOCKET, SO_SNDBUF, 4096);
}

// Each connection has a pattern of its own, so that an echo which went astray is seen.
std::uint64_t next_seed() {
    static std::uint64_t last = 0;
    return ++last;
}

bool is_for_later(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Descriptor connect_to(const Endpoint& server, const ClientOptions& options) {
    Descriptor socket(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) throw system_failure("socket");
    apply(options, socket);
    sockaddr_storage address{};
    socklen_t length = server.fill(address);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return {};
    ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    return socket;
}

Client::Client(const Endpoint& server, const ClientOptions& options)
    : socket_(connect_to(server, options)), pattern_(next_seed()) {
    if (!socket_.is_open()) throw system_failure("connect to " + server.text());
}

// One piece, or nothing if the kernel takes none now.
std::uint64_t Client::send_some(std::uint64_t bytes) {
    std::array<std::byte, piece_size> piece;
    auto chosen = std::span(piece).first(std::min<std::uint64_t>(bytes, piece_size));
    pattern_.fill(chosen, sent_);
    ssize_t length = ::send(socket_.get(), chosen.data(), chosen.size(), MSG_NOSIGNAL);
    if (length < 0) {
        if (!is_for_later(errno)) ended_ = true;
        return 0;
    }
    auto taken = static_cast<std::uint64_t>(length);
    if (on_sent) on_sent(chosen.first(taken));
    sent_ += taken;
    return taken;
}

void Client::receive_some() {
    std::array<std::byte, piece_size> piece;
    ssize_t length = ::recv(socket_.get(), piece.data(), piece.size(), 0);
    if (length < 0 && is_for_later(errno)) return;
    if (length <= 0) {
        was_reset_ = length < 0;
        ended_ = true;
        return;
    }
    auto arrived = std::span(piece).first(static_cast<std::size_t>(length));
    if (auto place = pattern_.first_difference(arrived, received_)) {
        throw std::runtime_error("byte " + std::to_string(*place) + " came back wrong");
    }
    if (on_received) on_received(arrived);
    received_ += arrived.size();
}

// One step in whichever direction can go on. The limit is that of a step: an exchange may be long if it moves.
void Client::move(std::uint64_t send_until) {
    short events = sent_ < send_until ? POLLIN | POLLOUT : POLLIN;
    wait_ready(socket_.get(), events, Deadline(), "byte " + std::to_string(received_) + " to come back");
    if (is_ready(socket_.get(), POLLIN)) receive_some();
    if (!ended_ && sent_ < send_until) send_some(send_until - sent_);
}

Outcome Client::exchange(std::uint64_t bytes) {
    std::uint64_t target = sent_ + bytes;
    while (received_ < target && !ended_) {
        move(target);
    }
    return received_ == target ? Outcome::echoed : Outcome::closed;
}

void Client::expect_echo(std::uint64_t bytes) {
    if (exchange(bytes) == Outcome::closed) throw std::runtime_error("the server closed a connection");
}

void Client::send(std::uint64_t bytes) {
    std::uint64_t target = sent_ + bytes;
    while (sent_ < target) {
        wait_ready(socket_.get(), POLLOUT, Deadline(), "room to send");
        send_some(target - sent_);
        if (ended_) throw std::runtime_error("the server closed a connection");
    }
}

std::uint64_t Client::send_what_fits(std::uint64_t bytes) {
    std::uint64_t start = sent_;
    while (sent_ - start < bytes && send_some(bytes - (sent_ - start)) > 0) {
    }
    return sent_ - start;
}

void Client::expect_rest() { expect_echo(0); }

bool Client::echoes_to_the_end(std::uint64_t bytes) {
    std::uint64_t target = sent_ + bytes;
    while (sent_ < target && !ended_) {
        move(target);
    }
    if (ended_) return false;
    finish_sending();
    return received_at_the_end() == sent_ && !was_reset_;
}

std::uint64_t Client::received_at_the_end() {
    while (!ended_) {
        wait_ready(socket_.get(), POLLIN, Deadline(), "the server to close a connection");
        receive_some();
    }
    return received_;
}

void Client::wait_until_arrived() const {
    Deadline deadline;
    int unacknowledged = 1;
    while (::ioctl(socket_.get(), SIOCOUTQ, &unacknowledged) == 0 && unacknowledged > 0) {
        deadline.check("what was sent to arrive");
        std::this_thread::yield();
    }
}

void Client::finish_sending() {
    if (::shutdown(socket_.get(), SHUT_WR) != 0) throw system_failure("shutdown");
}

void Client::reset() {
    linger at_once{1, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    socket_.reset();
}

bool Client::has_something_to_receive() const { return is_ready(socket_.get(), POLLIN); }

}  // namespace leat::test
