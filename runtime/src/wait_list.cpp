// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/wait_list.hpp>

#include "backend/diagnostic.hpp"
#include "src/joined_text.hpp"

#include <cstdlib>

namespace leat::detail {

bool QueuedWait::leave(WaitList& list) noexcept {
    if (!is_queued_) return false;
    list.remove(*this);
    return true;
}

void WaitList::stop_for_waiters(const char* what) noexcept {
    write_notice(JoinedText({"leat: ", what, " is destroyed while tasks wait for it"}).text());
    std::abort();
}

}  // namespace leat::detail
