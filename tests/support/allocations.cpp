// SPDX-License-Identifier: BSL-1.0
// Replaces the program's operator new and delete: the only way to count and to fail what a library allocates.
#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace leat::test {
namespace {

constinit std::atomic<std::size_t> outstanding{0};
constinit thread_local std::size_t made = 0;
// Counts down to the allocation that fails; zero: none does.
constinit thread_local std::size_t until_failure = 0;
constinit thread_local bool struck = false;

bool must_fail() noexcept {
    if (until_failure == 0) return false;
    if (--until_failure != 0) return false;
    struck = true;
    return true;
}

void* take(std::size_t size, std::size_t alignment) noexcept {
    ++made;
    if (must_fail()) return nullptr;
    if (size == 0) size = 1;
    void* memory = alignment <= alignof(std::max_align_t)
                       ? std::malloc(size)
                       : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    if (memory != nullptr) outstanding.fetch_add(1, std::memory_order_relaxed);
    return memory;
}

void* take_or_throw(std::size_t size, std::size_t alignment) {
    void* memory = take(size, alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

void give(void* memory) noexcept {
    if (memory == nullptr) return;
    outstanding.fetch_sub(1, std::memory_order_relaxed);
    std::free(memory);
}

}  // namespace

std::size_t outstanding_allocations() noexcept { return outstanding.load(std::memory_order_relaxed); }

std::size_t allocations_made() noexcept { return made; }

FailingAllocation::FailingAllocation(std::size_t which) noexcept {
    struck = false;
    until_failure = which;
}

FailingAllocation::~FailingAllocation() { until_failure = 0; }

bool FailingAllocation::has_struck() noexcept { return struck; }

}  // namespace leat::test

void* operator new(std::size_t size) { return leat::test::take_or_throw(size, 1); }
void* operator new[](std::size_t size) { return leat::test::take_or_throw(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
    return leat::test::take_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return leat::test::take_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return leat::test::take(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return leat::test::take(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return leat::test::take(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return leat::test::take(size, static_cast<std::size_t>(alignment));
}

void operator delete(void* memory) noexcept { leat::test::give(memory); }
void operator delete[](void* memory) noexcept { leat::test::give(memory); }
void operator delete(void* memory, std::size_t) noexcept { leat::test::give(memory); }
void operator delete[](void* memory, std::size_t) noexcept { leat::test::give(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { leat::test::give(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { leat::test::give(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { leat::test::give(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { leat::test::give(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { leat::test::give(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { leat::test::give(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
    leat::test::give(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
    leat::test::give(memory);
}
