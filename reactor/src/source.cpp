// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/source.hpp>

#include "backend/close.hpp"
#include "src/core.hpp"

#include <utility>

namespace leat {

Source::Source(Source&& other) noexcept
    : handle_(std::exchange(other.handle_, invalid_handle)), slot_(std::exchange(other.slot_, nullptr)) {}

Source& Source::operator=(Source&& other) noexcept {
    if (this == &other) return *this;
    close();
    handle_ = std::exchange(other.handle_, invalid_handle);
    slot_ = std::exchange(other.slot_, nullptr);
    return *this;
}

Source::~Source() {
    close();
}

NativeHandle Source::release() noexcept {
    detach();
    return std::exchange(handle_, invalid_handle);
}

void Source::close() noexcept {
    if (handle_ == invalid_handle) return;
    detach();
    detail::close_handle(std::exchange(handle_, invalid_handle));
}

void Source::detach() noexcept {
    if (slot_ != nullptr) detail::Core::detach(*this);
}

SourceWatch::SourceWatch(const Source& source) noexcept
    : slot_(source.slot_),
      generation_(source.slot_ != nullptr ? source.slot_->generation.load(std::memory_order_relaxed) : 0) {}

NativeHandle SourceWatch::native_handle() const noexcept {
    if (slot_ == nullptr || slot_->generation.load(std::memory_order_relaxed) != generation_) return invalid_handle;
    return slot_->handle;
}

std::uint64_t SourceWatch::moved() const noexcept {
    return native_handle() != invalid_handle ? slot_->moved : 0;
}

}  // namespace leat
