// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/backend.hpp>
#include <leat/reactor/clock.hpp>
#include <leat/reactor/event.hpp>
#include <leat/reactor/operation.hpp>

#include "src/slot.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace leat::detail {

/// Where a selector puts the readiness that it has found; operations that have ended go to `Completions`.
///
/// Thread-safety: the owner's thread, during `Selector::wait`.
class Harvest {
public:
    /// How many calls of `ready` may follow.
    virtual std::size_t room() const noexcept = 0;

    /// Readiness is reported between these two, which hold the core's lock.
    virtual void begin_readiness() noexcept = 0;
    virtual void end_readiness() noexcept = 0;
    /// `generation` as the kernel gave it back: if it is of the past, nothing happens. `flags` as in `Readiness`.
    virtual void ready(std::uint32_t index, std::uint32_t generation, std::uint32_t flags) noexcept = 0;

protected:
    ~Harvest() = default;
};

/// What `Harvest::ready` is told; what an `Event` then answers.
struct Readiness {
    static constexpr std::uint32_t readable = 1, writable = 2, priority = 4, error = 8, read_closed = 16,
                                   write_closed = 32;
};

/// What a backend must do: the whole contract between the queue and the kernel.
///
/// A backend is a file (or a folder) in reactor/backend that defines `make_selector_<name>` and is in the
/// generated table. Readiness backends carry operations out themselves when the source is ready
/// (backend/readiness.hpp); completion backends hand them to the kernel.
///
/// Rules: an interruption by a signal ends `wait` early, never with an error · timeouts are rounded up ·
/// descriptors are close-on-exec · no allocation in `wake`, nor per message in `start` and `wait` (a
/// `receive_lent` may allocate when the pool has no buffer left) · an operation that was started ends once:
/// by `start`, by `cancel`, by `detach`, or by being pushed to the `Completions`.
///
/// Thread-safety: stated per function. "Locked": any thread, one at a time, under the core's lock, also while
///                the owner waits.
class Selector {
public:
    virtual ~Selector() = default;

    // ---- Interest. Locked. ----

    /// Reports `slot` from now on, with its interest and generation.
    virtual std::error_code add(Slot& slot) noexcept = 0;
    /// The same after a change of either.
    virtual std::error_code modify(Slot& slot) noexcept = 0;
    /// Ends it. Nothing can fail that would matter: the generation guards against what still comes.
    virtual void remove(Slot& slot) noexcept = 0;

    /// The user has found a direction (`Slot::wanted_…`) empty, or full. Asked for only by a selector that `rearms`.
    virtual void rearm(Slot&, std::uint8_t) noexcept {}

    // ---- Operations. Owner. ----

    /// A source enters operation mode. Locked, too.
    virtual std::error_code bind(Slot&) noexcept { return {}; }
    /// Begins an operation on its slot. True: it has ended already. False: it was parked with the `Completions`.
    virtual bool start(OperationRecord& operation, Slot& slot) noexcept = 0;
    /// True: the operation is withdrawn and nothing of it will come. False: it ends through the `Completions`.
    virtual bool cancel(OperationRecord& operation, Slot& slot) noexcept = 0;
    /// Reads of the source end from now on (`OperationAccess::finds_end`): the one that waits gives what has
    /// arrived, or the end of the stream.
    virtual void end_reads(Slot& slot) noexcept = 0;
    /// The direction was shut down: the operation that waits in it is to find that, which not every kernel
    /// reports (Linux does not for a local socket). Locked, too.
    virtual void retry(Slot& slot, bool is_write) noexcept = 0;
    /// The source is about to be closed or released: the kernel forgets it. Locked, too. An operation that is left on the slot is
    /// withdrawn, and the core ends it. One that the kernel still holds is taken off the slot; it ends through the
    /// `Completions`, with `errc::closed` unless a result came first. It may wait until the kernel has let go of it.
    virtual void detach(Slot& slot) noexcept = 0;
    /// Of an operation that `cancel` could not withdraw: returns when it has been pushed to the `Completions`.
    virtual void await_end(OperationRecord&) noexcept {}

    /// Waits at most `timeout` (forever if missing, not at all if zero) for something to report, `wake`, or a signal.
    /// Errors: the kernel's, as `std::system_error`.
    virtual void wait(Harvest& harvest, std::optional<Duration> timeout) = 0;

    /// For who sleeps in another loop: what was queued for the kernel is given to it, and `native_handle` is from here on
    /// readable when there is something.
    virtual void flush() noexcept {}

    /// A handle that is readable when `wait` would report something.
    /// Errors: `operation_not_supported` where there is no such handle, and the system's; it then returns
    ///         `invalid_handle`.
    virtual NativeHandle native_handle(std::error_code& error) noexcept = 0;

    // ---- Any thread. ----

    /// Ends the wait that runs, or the next one.
    virtual void wake() noexcept = 0;
    /// Whether the kernel tells levels, of which each is reported once, until `rearm`.
    virtual bool rearms() const noexcept { return false; }

    // ---- In a forked child, before it is destroyed there. ----

    /// Lets go of what the child has not inherited. What it shares with its parent it closes as usual.
    virtual void leave_to_parent() noexcept {}
};

class ForkGuard;

/// What backends may ask their queue for.
struct SelectorContext {
    SlotTable& slots;
    Completions& completions;
    const ForkGuard& guard;
};

// One maker a row of the generated table.
#define LEAT_BACKEND(name) std::unique_ptr<Selector> make_selector_##name(const SelectorContext& context);
#include "backend_table.inc"
#undef LEAT_BACKEND

/// A selector, and what it is one of.
struct Selection {
    Backend backend;
    std::unique_ptr<Selector> selector;
    /// Why it is not the best one; empty if it is what was asked for.
    std::string passed_over;
};

/// The selector of a row of the generated table. An automatic choice that the system refuses is passed over.
///
/// Errors: the kernel's, as `std::system_error`; `std::invalid_argument` of a variable that sets up a backend.
Selection select(Backend backend, const SelectorContext& context);

}  // namespace leat::detail
