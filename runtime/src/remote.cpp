// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/remote.hpp>

#include "src/inbox.hpp"

#include <leat/reactor/error.hpp>

#include <chrono>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

namespace leat {

Remote::Remote(std::shared_ptr<detail::Inbox> inbox) noexcept : inbox_(std::move(inbox)) { inbox_->hold(); }

Remote::Remote(const Remote& other) noexcept : inbox_(other.inbox_) {
    if (inbox_ != nullptr) inbox_->hold();
}

Remote::~Remote() {
    if (inbox_ != nullptr) inbox_->let_go();
}

bool Remote::push(detail::PostedFunction&& function) const { return inbox_->push(std::move(function)); }

bool Remote::push_surely(detail::PostedFunction&& function) const noexcept {
    for (;;) {
        try {
            return push(std::move(function));
        } catch (const std::bad_alloc&) {
            // Nothing has been claimed. Whoever posts has nobody to tell, and somebody waits for it.
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
}

bool Remote::is_forked() const noexcept { return inbox_->is_forked(); }

bool Remote::is_own_thread() const noexcept { return inbox_->is_own_thread(); }

void Remote::throw_refused() const {
    errc refusal = inbox_->is_forked() ? errc::forked : errc::closed;
    throw std::system_error(make_error_code(refusal), "leat: post");
}

}  // namespace leat
