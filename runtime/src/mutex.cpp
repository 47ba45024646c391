// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/mutex.hpp>

namespace leat {

bool LockOperation::wait() noexcept {
    suspend();
    mutex_->waiters_.append(*this);
    return false;
}

void LockOperation::cancel() noexcept {
    if (!is_queued()) return;
    mutex_->waiters_.remove(*this);
    withdrawn();
}

}  // namespace leat
