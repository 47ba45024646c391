// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/root.hpp>

#include <algorithm>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace leat {

namespace {

struct Entry {
    TaskFrame* task;
    std::size_t depth;
};

std::string_view file_of(const std::source_location& location) {
    std::string_view path = location.file_name();
    std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string place_of(const std::source_location& location) {
    return std::string(file_of(location)) + ":" + std::to_string(location.line());
}

void append_task(std::string& text, const Entry& entry) {
    const TaskFrame& task = *entry.task;
    // Deeper than this, only the first words of a line would be seen anyway.
    constexpr std::size_t deepest_indentation = 20;
    text.append(2 * std::min(entry.depth, deepest_indentation), ' ');
    text += "task ";
    text += task.definition().function_name();
    text += " (" + place_of(task.definition()) + ")";
    if (std::optional<std::source_location> origin = task.parent().origin())
        text += ", spawned at " + place_of(*origin) + ",";
    if (const Wait* wait = task.wait())
        text += " at " + place_of(task.line()) + " waits for " + wait->describe() + "\n";
    else if (task.line().line() != 0)
        text += " runs on from " + place_of(task.line()) + "\n";
    else
        text += " has not started\n";
}

}  // namespace

std::string Executor::dump_tasks() const {
    std::string text;
    // A list instead of recursion: chains of tasks may be longer than the stack is deep.
    std::vector<Entry> left;
    for (detail::Root* root = roots_; root != nullptr; root = root->next_root)
        left.push_back({&root->task(), 0});
    while (!left.empty()) {
        Entry entry = left.back();
        left.pop_back();
        append_task(text, entry);
        const Wait* wait = entry.task->wait();
        if (wait == nullptr) continue;
        std::pair<std::vector<Entry>*, std::size_t> next(&left, entry.depth + 1);
        wait->visit_tasks(
            [](TaskFrame& task, void* argument) {
                auto& [list, depth] = *static_cast<decltype(next)*>(argument);
                list->push_back({&task, depth});
            },
            &next);
    }
    return text;
}

}  // namespace leat
