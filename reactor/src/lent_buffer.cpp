// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/lent_buffer.hpp>

#include <leat/reactor/buffer_pool.hpp>

namespace leat {

void LentBuffer::give_back() noexcept {
    size_ = 0;
    std::byte* buffer = std::exchange(data_, nullptr);
    detail::BufferPool::of(buffer).give_back(buffer);
}

}  // namespace leat
