// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/remote.hpp>

#include "src/inbox.hpp"

#include <leat/reactor/error.hpp>

#include <system_error>
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

void Remote::throw_refused() const {
    errc refusal = inbox_->is_forked() ? errc::forked : errc::closed;
    throw std::system_error(make_error_code(refusal), "leat: post");
}

}  // namespace leat
