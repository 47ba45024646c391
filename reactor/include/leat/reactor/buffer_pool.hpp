// SPDX-License-Identifier: BSL-1.0
//
// Where a queue has the buffers that it lends. Public only so that tests and backends above and below can ask for the
// same: a program has `LentBuffer`.
#pragma once

#include <leat/reactor/config.hpp>

#include <cstddef>

namespace leat::detail {

/// Buffers of one size, in slabs of 63. A slab of which no buffer is in use goes back to the allocator, but
/// for a few that are kept in reserve; so a flood of bytes costs memory no longer than it lasts.
///
/// A buffer finds its pool by its address, so that whoever has one need not remember whose it is. Of a slab,
/// the buffer that came back last goes out first, while it is still in the processor's cache. Under the
/// address sanitizer one that nobody has may not be touched.
///
/// Thread-safety: one thread at a time; the queue's owner, while there is a queue.
/// Lifetime:      ends by itself, once it has been retired and nothing is lent.
class BufferPool {
public:
    static constexpr std::size_t buffer_size = 4096;
    /// A megabyte: more than one loop iteration uses, so that a steady load allocates nothing.
    static constexpr std::size_t slabs_in_reserve = 4;

    /// Null if there is no memory.
    static BufferPool* make() noexcept;
    /// Of one of its buffers.
    static BufferPool& of(const std::byte* buffer) noexcept;

    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    /// A buffer of `buffer_size` bytes at the beginning of a page, or null if there is no memory.
    std::byte* take() noexcept;
    void give_back(std::byte* buffer) noexcept;

    /// Of a buffer that was taken: the kernel has it, to put into it what comes. Nobody has been lent it until it is `handed_out`.
    void put_aside() noexcept { ++aside_; }
    void handed_out() noexcept { --aside_; }

    /// Buffers that were taken, are not put aside, and are not back.
    std::size_t lent() const noexcept { return out_ - aside_; }
    /// Slabs that the pool has.
    std::size_t slabs() const noexcept { return slabs_; }

    /// Its queue has gone: what is lent comes back and nothing more is taken.
    void retire() noexcept;

private:
    struct Slab;
    struct FreeBuffer;

    BufferPool() noexcept = default;
    ~BufferPool();

    bool add_slab() noexcept;
    void note_empty(Slab& slab) noexcept;
    void release(Slab& slab) noexcept;
    void link_first(Slab& slab) noexcept;
    void link_last(Slab& slab) noexcept;
    void unlink(Slab& slab) noexcept;

    // Those that have a buffer to give, with the unused ones last.
    Slab* first_ = nullptr;
    Slab* last_ = nullptr;
    std::size_t slabs_ = 0;
    // Those of which no buffer is out.
    std::size_t empty_ = 0;
    // Taken and not back, and those of them that are put aside.
    std::size_t out_ = 0;
    std::size_t aside_ = 0;
    bool is_retired_ = false;
};

}  // namespace leat::detail
