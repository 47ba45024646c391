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

// A slab is aligned to its size, so the address of a buffer tells that of its slab. Its first page holds what
// the pool knows of it.
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

struct BufferPool::FreeBuffer {
    FreeBuffer* next;
};

/// Invariant: a slab is in the pool's list exactly while it has a buffer to give.
struct BufferPool::Slab {
    BufferPool* pool;
    Slab* next = nullptr;
    Slab* previous = nullptr;
    FreeBuffer* free = nullptr;
    // From here on buffers were never taken, and their pages cost no memory yet.
    std::byte* untouched;
    std::size_t out = 0;

    explicit Slab(BufferPool& owner) noexcept : pool(&owner), untouched(first()) {}
    std::byte* first() noexcept { return reinterpret_cast<std::byte*>(this) + buffer_size; }
    std::byte* end() noexcept { return reinterpret_cast<std::byte*>(this) + slab_size; }
    bool has_buffers() noexcept { return free != nullptr || untouched != end(); }

    static Slab& of(const std::byte* buffer) noexcept {
        auto address = reinterpret_cast<std::uintptr_t>(buffer);
        return *reinterpret_cast<Slab*>(address & ~(slab_size - 1));
    }
};

BufferPool* BufferPool::make() noexcept { return new (std::nothrow) BufferPool; }

BufferPool& BufferPool::of(const std::byte* buffer) noexcept { return *Slab::of(buffer).pool; }

BufferPool::~BufferPool() {
    // Nothing is out, so that each slab is in the list.
    while (first_ != nullptr)
        release(*first_);
}

std::byte* BufferPool::take() noexcept {
    if (first_ == nullptr && !add_slab()) return nullptr;
    Slab& slab = *first_;
    std::byte* buffer = nullptr;
    if (slab.free != nullptr) {
        buffer = reinterpret_cast<std::byte*>(slab.free);
        allow(buffer, buffer_size);
        slab.free = slab.free->next;
    } else {
        buffer = std::exchange(slab.untouched, slab.untouched + buffer_size);
        allow(buffer, buffer_size);
    }
    if (slab.out++ == 0) --empty_;
    if (!slab.has_buffers()) unlink(slab);
    ++out_;
    return buffer;
}

void BufferPool::give_back(std::byte* buffer) noexcept {
    Slab& slab = Slab::of(buffer);
    // A slab that was wholly out has few buffers to give: use it up first.
    if (!slab.has_buffers()) link_first(slab);
    slab.free = ::new (buffer) FreeBuffer{slab.free};
    forbid(buffer, buffer_size);
    --out_;
    if (--slab.out == 0) note_empty(slab);
    if (is_retired_ && out_ == 0) delete this;
}

void BufferPool::note_empty(Slab& slab) noexcept {
    ++empty_;
    if (empty_ > slabs_in_reserve) return release(slab);
    unlink(slab);
    link_last(slab);
}

void BufferPool::retire() noexcept {
    is_retired_ = true;
    if (out_ == 0) delete this;
}

bool BufferPool::add_slab() noexcept {
    void* memory = ::operator new(slab_size, slab_alignment, std::nothrow);
    if (memory == nullptr) return false;
    Slab& slab = *::new (memory) Slab(*this);
    forbid(slab.first(), slab_size - buffer_size);
    link_first(slab);
    ++empty_;
    ++slabs_;
    return true;
}

void BufferPool::release(Slab& slab) noexcept {
    unlink(slab);
    --empty_;
    --slabs_;
    allow(&slab, slab_size);
    ::operator delete(&slab, slab_alignment);
}

// ---- The list ----

void BufferPool::link_first(Slab& slab) noexcept {
    slab.previous = nullptr;
    slab.next = first_;
    (first_ != nullptr ? first_->previous : last_) = &slab;
    first_ = &slab;
}

void BufferPool::link_last(Slab& slab) noexcept {
    slab.next = nullptr;
    slab.previous = last_;
    (last_ != nullptr ? last_->next : first_) = &slab;
    last_ = &slab;
}

void BufferPool::unlink(Slab& slab) noexcept {
    (slab.previous != nullptr ? slab.previous->next : first_) = slab.next;
    (slab.next != nullptr ? slab.next->previous : last_) = slab.previous;
}

}  // namespace leat::detail
