// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/readiness.hpp"
#include "src/selector.hpp"

#include <cstdint>
#include <system_error>

namespace leat::detail {

// What the kernel gives back with an event is a mark: the slot's index and generation, so that an event of the past is told
// from one of today. A bit that no index has tells interest mode, so that a slot need not be looked at to know whose
// lock it is under.
inline constexpr std::uint32_t interest_bit = SlotTable::free_bit;
inline constexpr std::uint64_t wake_mark = ~std::uint64_t{0};

inline std::uint64_t mark_of(std::uint32_t generation, std::uint32_t index) noexcept {
    return std::uint64_t{generation} << 32 | index;
}
inline std::uint64_t mark_of(const Slot& slot, std::uint32_t mode) noexcept {
    return mark_of(slot.generation.load(std::memory_order_relaxed), slot.index | mode);
}
inline std::uint32_t index_of(std::uint64_t mark) noexcept { return static_cast<std::uint32_t>(mark); }
inline std::uint32_t generation_of(std::uint64_t mark) noexcept {
    return static_cast<std::uint32_t>(mark >> 32);
}

/// The half of a selector that all backends share which learn of readiness (epoll, kqueue): carries operations out, and
/// parks those that would wait.
///
/// A source is registered once, edge-triggered, for both directions, when somebody first has to wait on it: after that a
/// message costs its recv, its send and a share of a wait. Edge-triggered means that an edge, once taken, does not come
/// again; so what it announced is kept as bits on the slot, cleared only by a call that found the direction empty.
class ReadinessSelector : public Selector {
public:
    std::error_code bind(Slot& slot) noexcept final;
    bool start(OperationRecord& operation, Slot& slot) noexcept final;
    bool cancel(OperationRecord& operation, Slot& slot) noexcept final;
    void end_reads(Slot& slot) noexcept final;
    void retry(Slot& slot, bool is_write) noexcept final;
    void detach(Slot& slot) noexcept final;

protected:
    explicit ReadinessSelector(const SelectorContext& context) noexcept;

    // ---- The kernel's side, of sources in operation mode. ----

    /// Tells the kernel of a source, one that is only read from or both directions. It reports what is ready already.
    virtual std::error_code watch(Slot& slot, bool is_listener) noexcept = 0;
    /// Of a source that it knows: lets it report once more what is ready.
    virtual std::error_code watch_anew(Slot& slot, bool is_listener) noexcept = 0;
    /// Ends that.
    virtual void forget(Slot& slot) noexcept = 0;

    // ---- For the loop over events. ----

    /// Lets who waits in a direction try again, after its bits were set. A spurious edge ends here: nobody is resumed for
    /// nothing.
    void try_again(Slot& slot, bool is_write) noexcept;

    SlotTable& slots_;
    Completions& completions_;

private:
    bool park(OperationRecord& operation, Slot& slot, Attempt outcome) noexcept;
    bool enter(OperationRecord& operation, Slot& slot) noexcept;
    bool recheck(OperationRecord& operation, Slot& slot) noexcept;
};

}  // namespace leat::detail
