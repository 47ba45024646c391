// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/buffer_pool.hpp>

#include <cstdint>
#include <new>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAT_POISONS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LEAT_POISONS
#endif

#if defined(LEAT_POISONS)
#include <sanitizer/asan_interface.h>
#endif

namespace leat::detail {

namespace {

// A slab is aligned to its size, so the address of a buffer tells that of its slab. The first page is the slab's own.
constexpr std::size_t slab_size = 64 * BufferPool::buffer_size;
constexpr std::align_val_t slab_alignment{slab_size};

void forbid([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) noexcept {
#if defined(LEAT_POISONS)
    ASAN_POISON_MEMORY_REGION(memory, size);
#endif
}

void allow([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) noexcept {
#if defined(LEAT_POISONS)
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
#endif
}

}  // namespace

struct BufferPool::Slab {
    BufferPool* pool;
    Slab* next;
};

struct BufferPool::FreeBuffer {
    FreeBuffer* next;
};

BufferPool* BufferPool::make() noexcept { return new (std::nothrow) BufferPool; }

BufferPool& BufferPool::of(const std::byte* buffer) noexcept {
    auto address = reinterpret_cast<std::uintptr_t>(buffer);
    return *reinterpret_cast<const Slab*>(address & ~(slab_size - 1))->pool;
}

BufferPool::~BufferPool() {
    while (Slab* slab = slabs_) {
        slabs_ = slab->next;
        allow(slab, slab_size);
        ::operator delete(slab, slab_alignment);
    }
}

std::byte* BufferPool::take() noexcept {
    std::byte* buffer = nullptr;
    if (free_ != nullptr) {
        buffer = reinterpret_cast<std::byte*>(free_);
        allow(buffer, buffer_size);
        free_ = free_->next;
    } else {
        if (untouched_ == untouched_end_ && !add_slab()) return nullptr;
        buffer = std::exchange(untouched_, untouched_ + buffer_size);
        allow(buffer, buffer_size);
    }
    ++out_;
    return buffer;
}

void BufferPool::give_back(std::byte* buffer) noexcept {
    free_ = ::new (buffer) FreeBuffer{free_};
    forbid(buffer, buffer_size);
    --out_;
    if (is_retired_ && out_ == 0) delete this;
}

void BufferPool::retire() noexcept {
    is_retired_ = true;
    if (out_ == 0) delete this;
}

bool BufferPool::add_slab() noexcept {
    void* memory = ::operator new(slab_size, slab_alignment, std::nothrow);
    if (memory == nullptr) return false;
    slabs_ = ::new (memory) Slab{this, slabs_};
    untouched_ = static_cast<std::byte*>(memory) + buffer_size;
    untouched_end_ = static_cast<std::byte*>(memory) + slab_size;
    forbid(untouched_, slab_size - buffer_size);
    return true;
}

}  // namespace leat::detail
