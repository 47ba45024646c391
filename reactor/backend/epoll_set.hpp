// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/descriptor_posix.hpp"
#include "src/selector.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <system_error>

#include <sys/epoll.h>

namespace leat::detail {

/// A set of epoll(7), whose entries are slots, with their mark (backend/readiness_selector.hpp) as what an event gives back.
///
/// Thread-safety: any thread; `wait` the owner's.
class EpollSet {
public:
    EpollSet();

    int descriptor() const noexcept { return epoll_.get(); }

    // ---- Slots in interest mode. Under the core's lock. ----

    std::error_code add(Slot& slot) noexcept;
    std::error_code modify(Slot& slot) noexcept;
    void remove(Slot& slot) noexcept;
    /// Whether there are any, so that nobody looks for their events in vain.
    bool has_interests() const noexcept { return interests_.load(std::memory_order_relaxed) != 0; }
    /// Tells `harvest` of those of `events` that are of slots in interest mode.
    static void report(std::span<const epoll_event> events, Harvest& harvest) noexcept;

    // ---- Entries. ----

    /// `action` on the slot's entry, with the mark of `mode`. Where the kernel remembers otherwise than we do (an entry that
    /// is there, or is not), it is made as it is wanted.
    std::error_code control(int action, Slot& slot, std::uint32_t mask, std::uint32_t mode) noexcept;
    void forget(Slot& slot) noexcept;

    /// How many events there are, at most as many as `events` has room for; negative: `errno` tells. Limits are rounded up.
    int wait(std::span<epoll_event> events, std::optional<Duration> timeout) noexcept;

private:
    Descriptor epoll_;
    // Slots in interest mode; an executor has none, and then no event is looked at twice.
    std::atomic<std::uint32_t> interests_{0};
    bool has_nanoseconds_ = true;
};

}  // namespace leat::detail
