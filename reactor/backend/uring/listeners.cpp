// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/listeners.hpp"

#include <cerrno>
#include <new>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace leat::detail::uring {

namespace {

using Access = OperationAccess;

std::uint64_t mark_of(const Listener& listener) noexcept { return Mark::of(&listener, Mark::Kind::listener); }
std::uint64_t answer_of(const Listener& listener) noexcept {
    return Mark::of(listener.slot, Mark::Kind::cancel_listener);
}

void close_all(std::vector<NativeHandle>& handles) noexcept {
    for (NativeHandle handle : handles)
        ::close(handle);
    handles.clear();
}

}  // namespace

Listeners::~Listeners() {
    for (auto& [slot, listener] : listeners_)
        close_all(listener.arrivals);
}

bool Listeners::start(OperationRecord& operation, Slot& slot) noexcept {
    Listener* listener = find_or_add(slot);
    if (listener == nullptr) {
        Access::end_with(operation, ENOMEM);
        return true;
    }
    if (!listener->arrivals.empty()) {
        Access::value(operation) = static_cast<std::size_t>(listener->arrivals.front());
        listener->arrivals.erase(listener->arrivals.begin());
        Access::state(operation) = Access::State::ended;
        may_be_unwanted_ = true;
        return true;
    }
    listener->standing.is_awaited = true;
    slot.park(false, operation);
    completions_.park(operation);
    if (!listener->standing.is_armed) arm(*listener);
    return false;
}

Listener* Listeners::find_or_add(Slot& slot) noexcept {
    const std::uint32_t generation = slot.generation.load(std::memory_order_relaxed);
    auto found = listeners_.find(&slot);
    if (found != listeners_.end() && found->second.generation == generation) return &found->second;
    if (found != listeners_.end()) detach(slot);
    try {
        return &listeners_.try_emplace(&slot, slot, generation).first->second;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void Listeners::arm(Listener& listener) noexcept {
    io_uring_sqe* request = requests_.demand();
    if (request == nullptr) {
        end_waiting(listener, Requests::unusable);
        return;
    }
    ::io_uring_prep_multishot_accept(request, listener.slot->handle, nullptr, nullptr,
                                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    requests_.mark(*request, mark_of(listener));
    listener.standing.is_armed = true;
}

void Listeners::disarm(Listener& listener) noexcept {
    requests_.take_back(listener.standing, mark_of(listener), answer_of(listener));
}

void Listeners::disarm_again(const Slot& slot) noexcept {
    auto found = listeners_.find(&slot);
    if (found == listeners_.end()) return;
    Listener& listener = found->second;
    requests_.take_back_again(listener.standing, mark_of(listener), answer_of(listener));
}

void Listeners::rest() noexcept {
    if (!std::exchange(may_be_unwanted_, false)) return;
    for (auto& [slot, listener] : listeners_)
        if (!listener.standing.is_awaited) disarm(listener);
}

void Listeners::take(Listener& listener, const io_uring_cqe& completion) noexcept {
    listener.standing.note_answer(completion);
    if (!listener.standing.is_awaited && listener.is_stale()) {
        if (completion.res >= 0) ::close(completion.res);
        return;
    }
    if (completion.res >= 0)
        take_connection(listener, completion.res);
    else
        take_error(listener, -completion.res);
    // A request with several answers may end at any time: because the queue of ends was full, say.
    if (!listener.standing.is_armed && !listener.standing.is_resting && listener.standing.is_awaited)
        arm(listener);
}

void Listeners::note_unwanted(const Slot& slot) noexcept {
    if (auto found = listeners_.find(&slot); found != listeners_.end())
        found->second.standing.is_awaited = false;
    may_be_unwanted_ = true;
}

OperationRecord* Listeners::take_waiting(Listener& listener) noexcept {
    if (!listener.standing.is_awaited) return nullptr;
    listener.standing.is_awaited = false;
    OperationRecord* operation = listener.slot->waiting(false);
    listener.slot->unpark(false);
    return operation;
}

void Listeners::take_connection(Listener& listener, NativeHandle handle) noexcept {
    if (OperationRecord* operation = take_waiting(listener)) {
        Access::value(*operation) = static_cast<std::size_t>(handle);
        completions_.push(*operation);
        may_be_unwanted_ = true;
        return;
    }
    try {
        listener.arrivals.push_back(handle);
    } catch (const std::bad_alloc&) {
        // Its peer is told rather than kept waiting.
        ::close(handle);
    }
    if (listener.arrivals.size() >= plenty) disarm(listener);
}

void Listeners::take_error(Listener& listener, std::int32_t error) noexcept {
    switch (error) {
    // Taken back, or nobody's concern: a peer that has gone again (accept(2): ECONNABORTED), a signal.
    case ECANCELED:
    case ECONNABORTED:
    case EINTR:
    case EAGAIN:
        return;
    default:
        end_waiting(listener, error);
    }
}

/// If nobody waits, who accepts next finds the error again.
void Listeners::end_waiting(Listener& listener, std::int32_t error) noexcept {
    OperationRecord* operation = take_waiting(listener);
    if (operation == nullptr) return;
    Access::error(*operation) = error;
    completions_.push(*operation);
}

void Listeners::detach(const Slot& slot) noexcept {
    auto found = listeners_.find(&slot);
    if (found == listeners_.end()) return;
    let_go(found->second);
    listeners_.erase(found);
}

void Listeners::detach_stale() noexcept {
    for (auto each = listeners_.begin(); each != listeners_.end();) {
        if (!each->second.is_stale()) {
            ++each;
            continue;
        }
        let_go(each->second);
        each = listeners_.erase(each);
    }
}

void Listeners::let_go(Listener& listener) noexcept {
    // What comes meanwhile goes to who waits, or to those that came before it.
    requests_.lay_to_rest(listener.standing, mark_of(listener), answer_of(listener));
    close_all(listener.arrivals);
}

}  // namespace leat::detail::uring
