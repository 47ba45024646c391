// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/task.hpp>

#include "backend/diagnostic.hpp"

#include <cstdlib>

namespace leat::detail {

void stop_for_spent_task() noexcept {
    write_notice("leat: a task is awaited, run or its result taken a second time, or it was moved from");
    std::abort();
}

std::string TaskAwaiterBase::describe() const { return "the end of a task"; }

void TaskAwaiterBase::child_unwound() noexcept {
    child_ = nullptr;
    withdrawn();
}

}  // namespace leat::detail
