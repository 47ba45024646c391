// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/operation.hpp>

#include "src/core.hpp"

#include <leat/reactor/buffer_pool.hpp>

namespace leat {

std::error_code detail::OperationRecord::error() const noexcept {
    if (error_ == 0) return {};
    if (error_ < 0) return make_error_code(static_cast<errc>(-error_));
    return error_of_number(error_);
}

void detail::OperationRecord::note_failure() const noexcept {
    // Its slot may be another source's by now, and `Core::detach` has noted it.
    if (error_ == -static_cast<std::int32_t>(errc::closed)) return;
    if (slot_->watch != nullptr) slot_->watch->note_error(error_);
}

std::byte* detail::Completions::take_buffer() noexcept {
    if (buffers == nullptr) buffers = BufferPool::make();
    return buffers != nullptr ? buffers->take() : nullptr;
}

void Operation::abandon() noexcept { detail::Core::abandon(*this); }

}  // namespace leat
