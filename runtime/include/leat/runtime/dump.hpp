// SPDX-License-Identifier: BSL-1.0
//
// The tasks of an executor as values, and what is printed of them: docs/debugging.md tells how to read it.
#pragma once

#include <leat/reactor/clock.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

namespace leat {

/// How `Executor::dump_tasks` prints: lines for a person, or one JSON object, {"tasks": […], "circles": […]}.
enum class DumpFormat : std::uint8_t { text, json };

/// What an executor knows of one of its tasks.
struct TaskInfo {
    enum class State : std::uint8_t {
        not_started,
        waiting,
        /// What it waited for has come; its turn has not.
        ready,
        /// It, or a destructor in it, asks.
        running,
    };

    /// Counted from one in the order of the list; good for this list only.
    std::size_t number = 0;
    /// Of the task that runs this one, and stands before it; zero if none does.
    std::size_t parent = 0;
    std::size_t depth = 0;
    State state = State::waiting;
    /// What it was started with; often empty.
    std::string name;
    /// The coroutine: its file, its line, its signature.
    std::source_location definition;
    /// Where it was started, if that was not an await: by `Executor::start` or `run_until` if nobody runs it, else by `spawn`.
    std::optional<std::source_location> origin;
    /// Since it was started, if that was not an await; as nearly as the executor's loop knew.
    std::optional<Duration> age;
    /// The await that it stands at, or last stood at; line zero before the first.
    std::source_location line;
    /// What it waits for, or waited for; empty while it runs or has not started.
    std::string wait;
    /// Until a timeout ends the wait: the first of all that surround it.
    std::optional<Duration> expires_in;
    /// The numbers of the tasks that hold what it waits for, as far as that is known.
    std::vector<std::size_t> held_by;
};

/// The circles in which tasks wait: each for what the next one holds, or for its end, and the last for the first. A task that
/// waits for itself is one. Of those that go through one task one is told.
///
/// Complexity: O(tasks), without recursion.
std::vector<std::vector<std::size_t>> find_circles(const std::vector<TaskInfo>& tasks);

/// What `Executor::dump_tasks` gives, of a list that is there.
std::string to_text(const std::vector<TaskInfo>& tasks);
std::string to_json(const std::vector<TaskInfo>& tasks);

}  // namespace leat
