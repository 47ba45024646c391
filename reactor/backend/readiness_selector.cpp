// SPDX-License-Identifier: BSL-1.0
#include "backend/readiness_selector.hpp"

namespace leat::detail {

namespace {

bool is_listener(const OperationRecord& operation) noexcept {
    return operation.kind() == OperationRecord::Kind::accept;
}

// A connect has to be begun whatever the bits say; the waits ask for themselves; an empty buffer ends at once, but one
// that is yet to come is not empty.
bool must_try(OperationRecord& operation, const Slot& slot) noexcept {
    using Kind = OperationRecord::Kind;
    if (OperationAccess::finds_end(operation, slot)) return true;
    switch (operation.kind()) {
    case Kind::accept:
    case Kind::receive_lent:
        return false;
    case Kind::connect:
        return true;
    case Kind::receive_vector:
    case Kind::send_vector:
    case Kind::send_vector_all:
        return holds_nothing(operation);
    default:
        return OperationAccess::size(operation) == 0;
    }
}

// How often in a row, while no operation ends, a source is asked again.
constexpr std::uint8_t most_rechecks = 16;

}  // namespace

ReadinessSelector::ReadinessSelector(const SelectorContext& context) noexcept
    : slots_(context.slots), completions_(context.completions) {
    completions_.send = send_on_idle;
}

std::error_code ReadinessSelector::bind(Slot& slot) noexcept {
    learn_short_reads(slot);
    return {};
}

bool ReadinessSelector::start(OperationRecord& operation, Slot& slot) noexcept {
    bool is_write = OperationAccess::is_write(operation);
    if (slot.waiting(is_write) != nullptr) {
        OperationAccess::end(operation, errc::busy);
        return true;
    }
    Attempt outcome = Attempt::partial;
    if (slot.has(is_write ? Slot::writable : Slot::readable) || must_try(operation, slot))
        outcome = attempt(operation, slot);
    if (outcome != Attempt::ended) return park(operation, slot, outcome);
    OperationAccess::state(operation) = OperationAccess::State::ended;
    return true;
}

bool ReadinessSelector::cancel(OperationRecord& operation, Slot& slot) noexcept {
    bool is_write = OperationAccess::is_write(operation);
    if (slot.waiting(is_write) == &operation) slot.unpark(is_write);
    return true;
}

void ReadinessSelector::end_reads(Slot& slot) noexcept {
    slot.set(Slot::readable | Slot::read_closed);
    try_again(slot, false);
}

void ReadinessSelector::retry(Slot& slot, bool is_write) noexcept {
    slot.set(is_write ? Slot::writable : Slot::readable);
    try_again(slot, is_write);
}

void ReadinessSelector::detach(Slot& slot) noexcept {
    if (slot.has(Slot::registered)) forget(slot);
}

void ReadinessSelector::try_again(Slot& slot, bool is_write) noexcept {
    OperationRecord* operation = slot.waiting(is_write);
    if (operation == nullptr) return;
    Attempt outcome = attempt(*operation, slot);
    if (outcome == Attempt::partial) return;
    if (outcome == Attempt::refused && recheck(*operation, slot)) return;
    slot.rechecks = 0;
    slot.unpark(is_write);
    completions_.push(*operation);
}

/// After a call that left something to wait for. True: that failed, and the operation has ended.
bool ReadinessSelector::park(OperationRecord& operation, Slot& slot, Attempt outcome) noexcept {
    bool is_registered = slot.has(Slot::registered);
    if (!is_registered || outcome == Attempt::refused) {
        if (!(is_registered ? recheck(operation, slot) : enter(operation, slot))) return true;
    }
    slot.park(OperationAccess::is_write(operation), operation);
    if (operation.kind() == OperationRecord::Kind::receive) slot.set(Slot::plain_reader);
    completions_.park(operation);
    return false;
}

/// When somebody has to wait on the source for the first time. The kernel reports at once what is ready already, so nothing
/// can fall between the call and this. False: it refused, and the operation has ended.
bool ReadinessSelector::enter(OperationRecord& operation, Slot& slot) noexcept {
    if (std::error_code error = watch(slot, is_listener(operation))) {
        OperationAccess::end_with(operation, error.value());
        return false;
    }
    slot.set(Slot::registered);
    return true;
}

/// After a call on a registered source that would block: if the source says that it is ready, the edge that told so
/// is gone, and so it is asked for again. False: the kernel refused, and the operation has ended with that.
bool ReadinessSelector::recheck(OperationRecord& operation, Slot& slot) noexcept {
    if (!is_ready_now(operation, slot)) {
        slot.rechecks = 0;
        return true;
    }
    // Not without end: a source may report that it is ready and go on refusing the call (a peek at urgent
    // data of a local socket). Then only the next event is worth a try.
    if (!slot.is_tcp) {
        if (slot.rechecks == most_rechecks) return true;
        ++slot.rechecks;
    }
    std::error_code error = watch_anew(slot, is_listener(operation));
    if (!error) return true;
    OperationAccess::end_with(operation, error.value());
    return false;
}

}  // namespace leat::detail
