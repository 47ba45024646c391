// SPDX-License-Identifier: BSL-1.0
#include "src/handover.hpp"

#include <algorithm>
#include <utility>

namespace leat::detail {

Handover::Handover(std::vector<Remote> executors, std::size_t max_connections)
    : max_connections_(max_connections) {
    parts_.reserve(executors.size());
    for (Remote& executor : executors)
        parts_.push_back(std::make_unique<Part>(std::move(executor)));
}

void Handover::give(TcpStream&& stream) {
    auto least = std::min_element(parts_.begin(), parts_.end(), [](const auto& left, const auto& right) {
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
    if (part.has_ended) return count_down(index);
    try {
        part.early.push_back(std::move(stream));
    } catch (...) {
        // It is closed; the failure is the executor's to tell.
        count_down(index);
        throw;
    }
}

void Handover::begin(std::size_t index, HandoverTarget& server) {
    Part& part = *parts_[index];
    part.server = &server;
    for (TcpStream& stream : std::exchange(part.early, {}))
        server.take(std::move(stream));
}

void Handover::end(std::size_t index) noexcept {
    Part& part = *parts_[index];
    part.server = nullptr;
    part.has_ended = true;
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
