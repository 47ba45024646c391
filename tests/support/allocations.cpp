// SPDX-License-Identifier: BSL-1.0
// Replaces the program's operator new and delete: the only way to count and to fail what a library allocates.
#include "support/allocations.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

namespace leat::test {
namespace {

constinit std::atomic<std::size_t> outstanding{0};
constinit thread_local std::size_t made = 0;
// Counts down to the allocation that fails; zero: none does.
constinit thread_local std::size_t until_failure = 0;
constinit thread_local bool struck = false;

constinit thread_local MemoryShortage* shortage = nullptr;

bool must_fail() noexcept {
    if (shortage != nullptr && shortage->strikes()) return true;
    if (until_failure == 0) return false;
    if (--until_failure != 0) return false;
    struck = true;
    return true;
}

void* take(std::size_t size) noexcept {
    ++made;
    if (must_fail()) return nullptr;
    void* memory = std::malloc(size == 0 ? 1 : size);
    if (memory != nullptr) outstanding.fetch_add(1, std::memory_order_relaxed);
    return memory;
}

void give(void* memory) noexcept {
    if (memory == nullptr) return;
    outstanding.fetch_sub(1, std::memory_order_relaxed);
    std::free(memory);
}

// The library's own way is called differently, or is not there, from system to system: so the block's beginning stands in
// front of what is aligned in it.
void* take(std::size_t size, std::align_val_t alignment) noexcept {
    std::size_t distance = std::max(static_cast<std::size_t>(alignment), sizeof(void*));
    void* block = take(size + distance + sizeof(void*));
    if (block == nullptr) return nullptr;
    std::size_t room = size + distance;
    void* memory = static_cast<void**>(block) + 1;
    std::align(distance, size, memory, room);
    static_cast<void**>(memory)[-1] = block;
    return memory;
}

void give_aligned(void* memory) noexcept {
    if (memory != nullptr) give(static_cast<void**>(memory)[-1]);
}

template <class... Arguments>
void* take_or_throw(Arguments... arguments) {
    void* memory = take(arguments...);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
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

void MemoryShortage::subject_this_thread() noexcept { shortage = this; }

void MemoryShortage::release_this_thread() noexcept { shortage = nullptr; }

void MemoryShortage::begin(std::size_t successes, std::size_t failures) noexcept {
    seen_ = 0;
    failed_ = 0;
    first_ = successes;
    count_ = failures;
    // Release: the subjects see the above.
    is_on_.store(true, std::memory_order_release);
}

void MemoryShortage::end() noexcept { is_on_ = false; }

std::size_t MemoryShortage::failures() const noexcept { return failed_; }

bool MemoryShortage::strikes() noexcept {
    if (!is_on_.load(std::memory_order_acquire)) return false;
    std::size_t number = seen_.fetch_add(1);
    // In this form, as the count may be without limit.
    if (number < first_ || number - first_ >= count_) return false;
    ++failed_;
    return true;
}

}  // namespace leat::test

using leat::test::give;
using leat::test::give_aligned;
using leat::test::take;
using leat::test::take_or_throw;

void* operator new(std::size_t size) { return take_or_throw(size); }
void* operator new[](std::size_t size) { return take_or_throw(size); }
void* operator new(std::size_t size, std::align_val_t alignment) { return take_or_throw(size, alignment); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return take_or_throw(size, alignment); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return take(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return take(size); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return take(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return take(size, alignment);
}

void operator delete(void* memory) noexcept { give(memory); }
void operator delete[](void* memory) noexcept { give(memory); }
void operator delete(void* memory, std::size_t) noexcept { give(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { give(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { give(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give_aligned(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { give_aligned(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { give_aligned(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { give_aligned(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { give_aligned(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
    give_aligned(memory);
}
