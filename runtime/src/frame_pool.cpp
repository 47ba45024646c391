// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/frame_pool.hpp>

#include <algorithm>
#include <new>

#if LEAT_IS_ADDRESS_SANITIZED
#include <sanitizer/asan_interface.h>
#endif

namespace leat::detail {

#if LEAT_IS_ADDRESS_SANITIZED
void FramePool::poison(void* memory, std::size_t size) noexcept { ASAN_POISON_MEMORY_REGION(memory, size); }

void FramePool::unpoison(void* memory, std::size_t size) noexcept {
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
}
#endif

void* FramePool::allocate_slowly(std::size_t size) {
    std::size_t list = list_of(size);
    // The whole block, so that it serves every frame of this list later.
    return ::operator new(list < list_count ? block_size(list) : size);
}

void FramePool::deallocate_slowly(void* memory, std::size_t size) noexcept {
    if (list_of(size) < list_count && open_lists()) return deallocate(memory, size);
    ::operator delete(memory);
}

void FramePool::set_limits(FreeList* lists) noexcept {
    for (std::size_t i = 1; i < list_count; ++i)
        lists[i].limit = std::max<std::size_t>(bytes_kept_a_size / (i * granularity), 8);
}

void FramePool::trim() noexcept { trim(lists_); }

void FramePool::trim(FreeList* lists) noexcept {
    for (std::size_t i = 0; i < list_count; ++i) {
        while (Block* block = lists[i].first) {
            lists[i].first = block->next;
            ::operator delete(block);
        }
    }
}

}  // namespace leat::detail
