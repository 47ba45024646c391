// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/wait.hpp>

#include "backend/diagnostic.hpp"
#include "src/joined_text.hpp"
#include "src/places.hpp"

#include <leat/reactor/error.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <system_error>

namespace leat {

namespace detail {

void stop_for_misuse(const char* sentence) noexcept {
    write_notice(JoinedText({"leat: ", sentence}).text());
    std::abort();
}

void stop_for_spent_task() noexcept {
    stop_for_misuse("a task (or a group, an offload, …) is awaited, run or its result taken a second time, "
                    "or it was moved from");
}

void stop_for_spent_operation() noexcept {
    stop_for_misuse(
        "one operation (a read, a write, a send, an accept, …) is awaited a second time, or it was "
        "moved from: each await needs a new one");
}

namespace {

/// The tasks that a wait runs.
struct Below {
    const TaskFrame* first = nullptr;
    std::size_t count = 0;
};

Below tasks_below(const Wait& wait) {
    Below below;
    wait.visit_tasks(
        [](TaskFrame& task, void* argument) {
            Below& found = *static_cast<Below*>(argument);
            if (found.count++ == 0) found.first = &task;
        },
        &below);
    return below;
}

}  // namespace

std::unique_ptr<const std::string> describe_innermost_wait(const TaskFrame& task) noexcept {
    try {
        const TaskFrame* innermost = &task;
        std::size_t others = 0;
        while (innermost->wait() != nullptr) {
            const Below below = tasks_below(*innermost->wait());
            if (below.count == 0) break;
            others += below.count - 1;
            innermost = below.first;
        }
        const bool has_line = innermost->line().line() != 0;
        std::string text = place_of(has_line ? innermost->line() : innermost->definition());
        if (const Wait* wait = innermost->wait())
            text += " waits for " + wait->describe();
        else
            text += has_line ? " is running" : " has not started";
        if (others != 0) text += ", and " + std::to_string(others) + " more";
        return std::make_unique<const std::string>(std::move(text));
    } catch (...) {
        // The deadline has passed all the same.
        return nullptr;
    }
}

void throw_deadline_exceeded(const char* what, const std::string* where) {
    const std::error_code code = make_error_code(errc::deadline_exceeded);
    try {
        std::string text(what);
        if (where != nullptr) text += ": " + *where;
        throw std::system_error(code, text);
    } catch (const std::bad_alloc&) {
        throw std::system_error(code, what);
    }
}

}  // namespace detail

void Wait::withdrawn() noexcept { executor().unwind(*this); }

void Wait::cancel_all() noexcept {
    detail::CancelWalk walk;
    walk.run(cancel_or_pass(walk));
}

void cancel_waits(TaskFrame& task) noexcept {
    detail::CancelWalk walk;
    walk.run(&task);
}

void detail::CancelWalk::go_down(TaskFrame* task) noexcept {
    for (;;) {
        while (task != nullptr) {
            Wait* wait = task->wait();
            if (wait == nullptr) break;
            task = wait->awaited_task();
            if (task == nullptr) task = wait->cancel_or_pass(*this);
        }
        if (pending_ == nullptr) return;
        task = pending_->next_to_cancel();
        if (task == nullptr) pending_ = pending_->next_;
    }
}

}  // namespace leat
