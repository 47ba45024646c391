// SPDX-License-Identifier: BSL-1.0
#include "src/inbox.hpp"

namespace leat::detail {

bool Inbox::push(PostedFunction&& function) {
    if (is_forked()) [[unlikely]]
        return false;
    return InboxQueue::push(std::move(function), [this] { registrator_.wake(); });
}

void Inbox::let_go() noexcept {
    // Release: whoever then sees that nobody holds it, in `is_held`, sees what was posted.
    if (holders_.fetch_sub(1, std::memory_order_release) == 1 && wakes_for_last_holder_) registrator_.wake();
}

}  // namespace leat::detail
