// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/buffer_ring.hpp"

#include <leat/reactor/buffer_pool.hpp>

#include <sys/mman.h>

namespace leat::detail::uring {

BufferRing::~BufferRing() {
    if (shared_ == nullptr) return;
    io_uring_buf_reg registration{};
    registration.bgid = group;
    Ring::call_register(ring_.descriptor(), IORING_UNREGISTER_PBUF_RING, &registration, 1);
    ::munmap(shared_, bytes);
    for (std::byte* buffer : buffers_) {
        if (buffer == nullptr) continue;
        BufferPool& pool = BufferPool::of(buffer);
        pool.handed_out();
        pool.give_back(buffer);
    }
}

bool BufferRing::open() noexcept {
    if (shared_ != nullptr || is_refused_) return !is_refused_;
    is_refused_ = true;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
    registration.ring_entries = size_;
    registration.bgid = group;
    if (Ring::call_register(ring_.descriptor(), IORING_REGISTER_PBUF_RING, &registration, 1) < 0) {
        ::munmap(memory, bytes);
        return false;
    }
    shared_ = static_cast<io_uring_buf_ring*>(memory);
    is_refused_ = false;
    for (std::uint32_t number = 0; number < size_; ++number)
        unused_[unused_count_++] = static_cast<std::uint16_t>(number);
    return true;
}

bool BufferRing::fill() noexcept {
    int added = 0;
    while (unused_count_ != 0) {
        std::byte* buffer = completions_.take_buffer();
        if (buffer == nullptr) break;
        BufferPool::of(buffer).put_aside();
        const std::uint16_t number = unused_[--unused_count_];
        buffers_[number] = buffer;
        ::io_uring_buf_ring_add(shared_, buffer, BufferPool::buffer_size, number, static_cast<int>(size_ - 1),
                                added++);
    }
    if (added != 0) ::io_uring_buf_ring_advance(shared_, added);
    return unused_count_ != size_;
}

std::byte* BufferRing::take(std::uint32_t completion_flags) noexcept {
    const auto number = static_cast<std::uint16_t>(completion_flags >> IORING_CQE_BUFFER_SHIFT);
    std::byte* buffer = buffers_[number];
    buffers_[number] = nullptr;
    unused_[unused_count_++] = number;
    BufferPool::of(buffer).handed_out();
    return buffer;
}

}  // namespace leat::detail::uring
