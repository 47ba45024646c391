// SPDX-License-Identifier: BSL-1.0
#pragma once

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

}  // namespace leat::test
