// SPDX-License-Identifier: BSL-1.0
#include "src/handover.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace leat::detail {

Handover::Handover(std::vector<Remote> executors, std::size_t max_connections)
    : max_connections_(max_connections), unconfirmed_(executors.size() - 1) {
    parts_.reserve(executors.size());
    for (Remote& executor : executors)
        parts_.push_back(std::make_unique<Part>(std::move(executor)));
}

void Handover::give(TcpStream&& stream) {
    auto least = std::min_element(parts_.begin(), parts_.end(), [](const auto& left, const auto& right) {
        if (left->is_given_up != right->is_given_up) return right->is_given_up;
        return left->connections.load(std::memory_order_relaxed) <
               right->connections.load(std::memory_order_relaxed);
    });
    Part& part = **least;
    const std::size_t index = static_cast<std::size_t>(least - parts_.begin());
    if (index == 0) return keep(std::move(stream));
    ++part.connections;
    ++total_;
    try {
        // Refused: its executor is gone, and the connection is closed with the function.
        const bool is_taken =
            part.executor.try_post([self = shared_from_this(), index, stream = std::move(stream)]() mutable {
                self->take(index, std::move(stream));
            });
        if (!is_taken) count_down(index);
    } catch (...) {
        count_down(index);
        throw;
    }
}

void Handover::keep(TcpStream&& stream) {
    ++parts_[0]->connections;
    ++total_;
    take(0, std::move(stream));
}

void Handover::take(std::size_t index, TcpStream&& stream) {
    Part& part = *parts_[index];
    if (part.server != nullptr) return part.server->take(std::move(stream));
    if (part.has_ended) return take_back(index, std::move(stream));
    try {
        part.early.push_back(std::move(stream));
    } catch (...) {
        // It is closed; the failure is the executor's to tell.
        count_down(index);
        throw;
    }
}

/// To the acceptor. If there is no memory for that, or the acceptor has ended too, it is closed.
void Handover::take_back(std::size_t index, TcpStream&& stream) noexcept {
    count_down(index);
    bool is_kept = false;
    try {
        auto keep_it = [self = shared_from_this(), stream = std::move(stream)]() mutable {
            self->keep(std::move(stream));
        };
        is_kept = index != 0 && parts_[0]->executor.try_post(std::move(keep_it));
    } catch (const std::bad_alloc&) {
        // The stream went with the function.
    }
    if (!is_kept) lost_.fetch_add(1, std::memory_order_relaxed);
}

void Handover::begin(std::size_t index, HandoverTarget& server) {
    Part& part = *parts_[index];
    part.server = &server;
    for (TcpStream& stream : std::exchange(part.early, {}))
        server.take(std::move(stream));
    confirm(part);
}

void Handover::end(std::size_t index) noexcept {
    Part& part = *parts_[index];
    part.server = nullptr;
    part.has_ended = true;
    for (TcpStream& stream : std::exchange(part.early, {}))
        take_back(index, std::move(stream));
    confirm(part);
    if (index == 0) end_giving();
}

void Handover::end_giving() noexcept {
    if (std::exchange(has_ended_giving_, true)) return;
    for (std::size_t index = 1; index < parts_.size(); ++index) {
        const bool is_posted = parts_[index]->executor.post_surely(
            [self = shared_from_this(), index]() noexcept { self->last_was_given(index); });
        if (!is_posted) confirmed();
    }
}

/// Posted after the last connection; what was posted back before is at the acceptor before the confirmation
/// is.
void Handover::last_was_given(std::size_t index) noexcept {
    Part& part = *parts_[index];
    part.has_all = true;
    if (part.server != nullptr) part.server->wake();
    // One that has not begun may still give back what came early: then `begin` or `end` confirms.
    if (part.server != nullptr || part.has_ended) confirm(part);
}

void Handover::confirm(Part& part) noexcept {
    if (!part.has_all || std::exchange(part.has_confirmed, true)) return;
    parts_[0]->executor.post_surely([self = shared_from_this()]() noexcept { self->confirmed(); });
}

void Handover::confirmed() noexcept {
    if (--unconfirmed_ == 0 && parts_[0]->server != nullptr) parts_[0]->server->wake();
}

void Handover::give_up(std::size_t index) noexcept {
    parts_[index]->is_given_up = true;
    if (index == 0) return end(0);
    parts_[index]->executor.post_surely([self = shared_from_this(), index]() noexcept { self->end(index); });
}

void Handover::count_down(std::size_t index) noexcept {
    --parts_[index]->connections;
    if (total_.fetch_sub(1) != max_connections_) return;
    // The acceptor may have found no room.
    parts_[0]->executor.post_surely([self = shared_from_this()]() noexcept {
        if (HandoverTarget* acceptor = self->parts_[0]->server) acceptor->wake();
    });
}

}  // namespace leat::detail
