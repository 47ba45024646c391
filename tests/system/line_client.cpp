// SPDX-License-Identifier: BSL-1.0
#include "line_client.hpp"

#include "deadline.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <utility>

namespace leat::test {

LineClient::LineClient(const Endpoint& server, const ClientOptions& options)
    : socket_(connect_to(server, options)) {
    if (!socket_.is_open()) throw std::runtime_error("the server refuses a connection");
}

std::size_t LineClient::send_what_fits(const std::string& text) {
    ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno != EAGAIN) throw system_failure("send");
    return 0;
}

void LineClient::send(const std::string& text) {
    Deadline deadline;
    for (std::size_t sent = 0; sent < text.size();) {
        wait_ready(socket_.get(), POLLOUT, deadline, "the server to take a line");
        sent += send_what_fits(text.substr(sent));
    }
}

void LineClient::finish_sending() {
    if (::shutdown(socket_.get(), SHUT_WR) != 0) throw system_failure("shutdown");
}

void LineClient::reset() {
    linger at_once{1, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    socket_.reset();
}

bool LineClient::receive() {
    wait_ready(socket_.get(), POLLIN, Deadline(), "a line; so far there is '" + received_ + "'");
    std::array<char, 65536> buffer;
    ssize_t length = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (length < 0 && errno == EAGAIN) return true;
    if (length <= 0) return false;
    received_.append(buffer.data(), static_cast<std::size_t>(length));
    return true;
}

std::string LineClient::line() {
    std::size_t end = received_.find('\n');
    for (; end == std::string::npos; end = received_.find('\n')) {
        if (!receive()) throw std::runtime_error("the connection has ended after '" + received_ + "'");
    }
    std::string line = received_.substr(0, end);
    received_.erase(0, end + 1);
    return line;
}

std::string LineClient::rest() {
    while (receive()) {
    }
    return std::exchange(received_, {});
}

bool LineClient::has_something_to_receive() const {
    return !received_.empty() || is_ready(socket_.get(), POLLIN);
}

}  // namespace leat::test
