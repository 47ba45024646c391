// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/wait.hpp>

namespace leat {

void Wait::withdrawn() noexcept { executor().unwind(*this); }

void cancel_waits(TaskFrame& task) noexcept {
    // Down to the leaf in a loop: a chain of tasks may be longer than the stack is deep.
    TaskFrame* current = &task;
    while (Wait* wait = current->wait()) {
        TaskFrame* next = wait->awaited_task();
        if (next == nullptr) next = wait->cancel_or_pass();
        if (next == nullptr) return;
        current = next;
    }
}

}  // namespace leat
