// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/remote.hpp>

#include <system_error>

namespace leat {

namespace detail {

bool Inbox::push(PostedFunction&& function) {
    {
        std::lock_guard lock(mutex_);
        if (is_closed_) return false;
        waiting_.push_back(std::move(function));
        // Only the first one wakes: whoever takes it takes the rest along.
        if (has_mail_.load(std::memory_order_relaxed)) return true;
        has_mail_.store(true, std::memory_order_release);
    }
    registrator_.wake();
    return true;
}

std::vector<PostedFunction>& Inbox::take() noexcept {
    std::lock_guard lock(mutex_);
    waiting_.swap(taken_);
    has_mail_.store(false, std::memory_order_relaxed);
    return taken_;
}

void Inbox::close() noexcept {
    std::lock_guard lock(mutex_);
    is_closed_ = true;
}

}  // namespace detail

void Remote::throw_closed() { throw std::system_error(make_error_code(errc::closed), "leat: post"); }

}  // namespace leat
