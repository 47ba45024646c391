// SPDX-License-Identifier: BSL-1.0
#include "swarm.hpp"

#include "deadline.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <stdexcept>
#include <string>

namespace leat::test {
namespace {

// Fewer than a usual accept queue holds: none of them has to repeat its first packet after a second.
constexpr std::size_t wave_size = 64;

// A block up to this size arrives as a whole: the loopback's segments are larger.
constexpr std::size_t piece_size = 16 * 1024;

Descriptor start_connecting(const Endpoint& server) {
    Descriptor socket(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.is_open()) throw system_failure("socket");
    int enabled = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &enabled, sizeof enabled);
    sockaddr_storage address{};
    socklen_t length = server.fill(address);
    int result = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length);
    if (result != 0 && errno != EINPROGRESS) throw system_failure("connect");
    return socket;
}

bool is_for_later(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

Swarm::Swarm(const Endpoint& server, const SwarmOptions& options)
    : options_(options), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    // The epoll set holds pointers to the members.
    members_.reserve(options_.connections);
    while (members_.size() < options_.connections) {
        connect_wave(server, std::min(wave_size, options_.connections - members_.size()));
    }
}

void Swarm::connect_wave(const Endpoint& server, std::size_t count) {
    std::size_t first = members_.size();
    for (std::size_t i = 0; i < count; ++i) {
        Member& member = members_.emplace_back();
        member.socket = start_connecting(server);
        member.pattern = Pattern(1'000'000 + members_.size());
    }
    wait_until_connected(first);
}

void Swarm::wait_until_connected(std::size_t first) {
    for (Member& member : std::span(members_).subspan(first)) {
        wait_ready(member.socket.get(), POLLOUT, Deadline(), "a connection");
        epoll_event interest{};
        interest.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        interest.data.ptr = &member;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, member.socket.get(), &interest) != 0) {
            throw system_failure("epoll_ctl");
        }
    }
}

void Swarm::give_target(Member& member, std::uint64_t blocks) {
    if (member.ended) return;
    member.target += blocks * options_.block;
    member.is_busy = true;
    ++busy_;
    serve(member);
}

void Swarm::exchange(std::uint64_t blocks) {
    for (Member& member : members_) {
        give_target(member, blocks);
    }
    while (busy_ > 0) {
        turn();
    }
}

void Swarm::exchange_until_all_end(Afterwards afterwards, const std::function<void()>& act) {
    constexpr std::uint64_t warm_up_blocks = 5;
    exchange(warm_up_blocks);
    endless_ = true;
    std::uint64_t in_the_midst = blocks_ + 2 * members_.size();
    for (Member& member : members_)
        give_target(member, 1);
    while (blocks_ < in_the_midst)
        turn();
    act();
    endless_ = afterwards == Afterwards::go_on;
    while (alive() > 0)
        turn();
}

void Swarm::turn() {
    std::array<epoll_event, 256> events;
    Deadline deadline;
    int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                             deadline.milliseconds_left());
    if (count == 0) {
        throw std::runtime_error("waited too long for " + std::to_string(busy_) + " of " +
                                 std::to_string(members_.size()) + " connections to go on");
    }
    for (int i = 0; i < count; ++i) {
        serve(*static_cast<Member*>(events[static_cast<std::size_t>(i)].data.ptr));
    }
}

void Swarm::serve(Member& member) {
    if (member.ended) return;
    do {
        receive(member);
        send(member);
        // The edge of the next echo may have come before this one was read.
    } while (!member.ended && member.received < member.target && is_ready(member.socket.get(), POLLIN));
    if (member.is_busy && (member.ended || member.received >= member.target)) {
        member.is_busy = false;
        --busy_;
    }
}

void Swarm::send(Member& member) {
    std::array<std::byte, piece_size> piece;
    // The end of the block that is under way.
    std::uint64_t limit =
        std::min(member.target, member.received / options_.block * options_.block + options_.block);
    while (!member.ended && member.sent < limit) {
        std::size_t length = std::min({options_.segment, piece.size(), std::size_t{limit - member.sent}});
        auto chosen = std::span(piece).first(length);
        member.pattern.fill(chosen, member.sent);
        ssize_t taken = ::send(member.socket.get(), chosen.data(), chosen.size(), MSG_NOSIGNAL);
        if (taken < 0 && is_for_later(errno)) return;
        if (taken < 0) return end(member);
        member.sent += static_cast<std::uint64_t>(taken);
    }
}

void Swarm::receive(Member& member) {
    std::array<std::byte, piece_size> piece;
    for (;;) {
        ssize_t length = ::recv(member.socket.get(), piece.data(), piece.size(), 0);
        if (length < 0 && is_for_later(errno)) return;
        if (length <= 0) return end(member);
        auto arrived = std::span(piece).first(static_cast<std::size_t>(length));
        if (auto place = member.pattern.first_difference(arrived, member.received)) {
            throw std::runtime_error("byte " + std::to_string(*place) + " of a connection came back wrong");
        }
        std::uint64_t before = member.received / options_.block;
        member.received += arrived.size();
        blocks_ += member.received / options_.block - before;
        if (endless_) member.target = member.received / options_.block * options_.block + options_.block;
    }
}

void Swarm::end(Member& member) {
    member.ended = true;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, member.socket.get(), nullptr);
}

void Swarm::close() {
    members_.clear();
    busy_ = 0;
}

std::size_t Swarm::alive() const {
    return static_cast<std::size_t>(std::ranges::count(members_, false, &Member::ended));
}

std::size_t Swarm::cut_short() const {
    return static_cast<std::size_t>(std::ranges::count_if(members_, [&](const Member& member) {
        return member.ended && member.received % options_.block != 0;
    }));
}

std::size_t Swarm::served() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        members_, [&](const Member& member) { return member.received >= options_.block; }));
}

std::size_t raise_descriptor_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

}  // namespace leat::test
