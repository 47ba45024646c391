// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>
#include <cstddef>

namespace leat::test {

/// Blocks that the program has taken from `operator new`, on any thread, and not given back.
std::size_t outstanding_allocations() noexcept;

/// Calls of `operator new` by this thread so far.
std::size_t allocations_made() noexcept;

/// While it lives, the `which`-th allocation of this thread from now on (the first is 1) throws `std::bad_alloc`.
class FailingAllocation {
public:
    explicit FailingAllocation(std::size_t which) noexcept;
    FailingAllocation(const FailingAllocation&) = delete;
    FailingAllocation& operator=(const FailingAllocation&) = delete;
    ~FailingAllocation();

    /// Whether it came to that.
    static bool has_struck() noexcept;
};

/// A time in which memory has run out for some threads and for no others: a server's, and not that of its
/// clients.
///
/// Thread-safety: any thread; `begin` and `end` by one.
/// Lifetime:      outlives the threads that are its subjects, or `release_this_thread` there.
class MemoryShortage {
public:
    static constexpr std::size_t unlimited = static_cast<std::size_t>(-1);

    MemoryShortage() noexcept = default;
    MemoryShortage(const MemoryShortage&) = delete;
    MemoryShortage& operator=(const MemoryShortage&) = delete;

    void subject_this_thread() noexcept;
    static void release_this_thread() noexcept;

    /// From now on `successes` allocations of its subjects succeed; then `failures` fail; then all succeed
    /// again.
    void begin(std::size_t successes, std::size_t failures = unlimited) noexcept;
    void end() noexcept;
    /// How many have failed since it began.
    std::size_t failures() const noexcept;

    /// For `operator new`.
    bool strikes() noexcept;

private:
    std::atomic<bool> is_on_ = false;
    std::atomic<std::size_t> seen_ = 0;
    std::atomic<std::size_t> failed_ = 0;
    std::atomic<std::size_t> first_ = 0;
    std::atomic<std::size_t> count_ = 0;
};

}  // namespace leat::test
