// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/task.hpp>

namespace leat::detail {

std::string TaskAwaiterBase::describe() const { return "the end of a task"; }

void TaskAwaiterBase::child_unwound() noexcept {
    child_ = nullptr;
    withdrawn();
}

}  // namespace leat::detail
