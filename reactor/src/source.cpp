// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/source.hpp>

#include "backend/close.hpp"
#include "src/core.hpp"

#include <utility>

namespace leat {

Source::Source(Source&& other) noexcept
    : handle_(std::exchange(other.handle_, invalid_handle)),
      is_tcp_(other.is_tcp_),
      slot_(std::exchange(other.slot_, &detail::no_slot)) {}

Source& Source::operator=(Source&& other) noexcept {
    if (this == &other) return *this;
    close();
    handle_ = std::exchange(other.handle_, invalid_handle);
    is_tcp_ = other.is_tcp_;
    slot_ = std::exchange(other.slot_, &detail::no_slot);
    return *this;
}

Source::~Source() { close(); }

NativeHandle Source::release() noexcept {
    detach();
    return std::exchange(handle_, invalid_handle);
}

void Source::close() noexcept {
    if (handle_ == invalid_handle) return;
    SourceWatch* keeper = slot_->watch != nullptr && slot_->watch->keeps_handle_ ? slot_->watch : nullptr;
    detach();
    NativeHandle handle = std::exchange(handle_, invalid_handle);
    if (keeper != nullptr && detail::end_sending(handle))
        keeper->kept_ = handle;
    else
        detail::close_handle(handle);
}

void Source::rearm(Interest interest) noexcept {
    if (has_slot()) detail::Core::rearm(*this, interest);
}

void Source::retry(Interest interest) noexcept {
    if (has_slot()) detail::Core::retry(*slot_, interest);
}

void Source::detach() noexcept {
    if (has_slot()) detail::Core::detach(*this);
}

// ---- Watching ----

SourceWatch::SourceWatch(const Source& source) noexcept {
    if (!source.has_slot()) return;
    state_ = reinterpret_cast<std::uintptr_t>(source.slot_);
    source.slot_->watch = this;
}

SourceWatch::~SourceWatch() {
    if (detail::Slot* watched = slot()) watched->watch = nullptr;
    if (kept_ != invalid_handle) detail::close_handle(kept_);
}

void SourceWatch::end_reads() noexcept {
    if (detail::Slot* watched = slot()) detail::Core::of(*watched).end_reads(*watched);
}

void SourceWatch::begin_drain() noexcept {
    if (detail::Slot* watched = slot()) detail::Core::of(*watched).begin_drain(*watched);
}

void SourceWatch::retry() noexcept {
    if (detail::Slot* watched = slot())
        detail::Core::retry(*watched, Interest::readable | Interest::writable);
}

void SourceWatch::note_error(std::int32_t number) noexcept {
    const bool is_of_source = number > 0 || number == -static_cast<std::int32_t>(errc::unexpected_end) ||
                              number == -static_cast<std::int32_t>(errc::closed);
    const bool is_own = is_shut_ && number > 0 && detail::error_of_number(number) == std::errc::broken_pipe;
    if (is_of_source && !is_own) error_ = static_cast<std::int16_t>(number);
}

void SourceWatch::note_shutdown(const Source& source) noexcept {
    if (SourceWatch* watch = source.slot_->watch) watch->is_shut_ = true;
}

void SourceWatch::note_error(const Source& source, const std::error_code& error) noexcept {
    SourceWatch* watch = source.slot_->watch;
    if (!error || watch == nullptr) return;
    if (error.category() == error_category())
        watch->note_error(-static_cast<std::int32_t>(error.value()));
    else
        watch->note_error(detail::error_number(error));
}

std::error_code SourceWatch::last_error() const noexcept {
    if (error_ == 0) return {};
    if (error_ < 0) return make_error_code(static_cast<errc>(-error_));
    return detail::error_of_number(error_);
}

detail::Slot* SourceWatch::slot() const noexcept {
    if ((state_ & 1) != 0) return nullptr;
    return reinterpret_cast<detail::Slot*>(static_cast<std::uintptr_t>(state_));
}

NativeHandle SourceWatch::native_handle() const noexcept {
    detail::Slot* watched = slot();
    return watched != nullptr ? watched->handle : invalid_handle;
}

std::uint64_t SourceWatch::moved() const noexcept {
    detail::Slot* watched = slot();
    return watched != nullptr ? watched->moved : state_ >> 1;
}

}  // namespace leat
