// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "backend/uring/requests.hpp"
#include "src/slot.hpp"

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace leat::detail::uring {

/// One listener: its accept stays with the kernel, which answers it once for each connection ("multishot",
/// io_uring_enter(2), from Linux 5.19 on).
struct Listener {
    Listener(Slot& listening, std::uint32_t number) noexcept : slot(&listening), generation(number) {}

    /// Whether the source has gone: another thread may have closed it.
    bool is_stale() const noexcept { return slot->generation.load(std::memory_order_acquire) != generation; }

    Slot* slot;
    std::uint32_t generation;
    Standing standing{};
    // Connections that came while nobody waited, the oldest first.
    std::vector<NativeHandle> arrivals;
};

/// The listeners of a queue.
///
/// So that the kernel does not take connections that nobody wants, a request is taken back before a wait in which nobody waits
/// for one, and when many have come; those that did are the next accepts'.
///
/// Thread-safety: the owner's thread.
class Listeners {
public:
    Listeners(Requests& requests, Completions& completions) noexcept
        : requests_(requests), completions_(completions) {}
    Listeners(const Listeners&) = delete;
    Listeners& operator=(const Listeners&) = delete;
    ~Listeners();

    /// Begins an accept; true: it has ended already, else it is parked.
    bool start(OperationRecord& operation, Slot& slot) noexcept;
    /// An accept was withdrawn.
    void note_unwanted(const Slot& slot) noexcept;
    /// Takes back what nobody waits for.
    void rest() noexcept;

    /// The end, or one of several, of a listener's request.
    void take(Listener& listener, const io_uring_cqe& completion) noexcept;
    /// A request was to be taken back, and was not found.
    void disarm_again(const Slot& slot) noexcept;

    /// The source is about to be closed: when this returns, the kernel has let go of it.
    void detach(const Slot& slot) noexcept;
    /// The same for those that another thread has closed.
    void detach_stale() noexcept;

private:
    // More than so many that nobody has asked for, and the kernel is asked for no more.
    static constexpr std::size_t plenty = 64;

    Listener* find_or_add(Slot& slot) noexcept;
    void arm(Listener& listener) noexcept;
    void disarm(Listener& listener) noexcept;
    void take_connection(Listener& listener, NativeHandle handle) noexcept;
    void take_error(Listener& listener, std::int32_t error) noexcept;
    OperationRecord* take_waiting(Listener& listener) noexcept;
    void end_waiting(Listener& listener, std::int32_t error) noexcept;
    void let_go(Listener& listener) noexcept;

    Requests& requests_;
    Completions& completions_;
    std::unordered_map<const Slot*, Listener> listeners_;
    bool may_be_unwanted_ = false;
};

}  // namespace leat::detail::uring
