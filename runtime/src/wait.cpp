// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/wait.hpp>

#include "backend/diagnostic.hpp"
#include "src/joined_text.hpp"

#include <cstdlib>

namespace leat {

namespace detail {

void stop_for_misuse(const char* sentence) noexcept {
    write_notice(JoinedText({"leat: ", sentence}).text());
    std::abort();
}

void stop_for_spent_task() noexcept {
    stop_for_misuse("a task is awaited, run or its result taken a second time, or it was moved from");
}

void stop_for_spent_operation() noexcept {
    stop_for_misuse(
        "one operation (a read, a write, an accept, a connect, …) is awaited a second time: each await "
        "needs a new one");
}

}  // namespace detail

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
