// SPDX-License-Identifier: BSL-1.0
//
// A walk over the tree of tasks. Lists instead of recursion throughout: chains of tasks may be longer than the stack is
// deep.
#include <leat/runtime/dump.hpp>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/root.hpp>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace leat {

namespace {

/// A task that is still to be looked at.
struct Entry {
    const TaskFrame* task;
    std::size_t parent;
    std::size_t depth;
    // When the first of the timeouts around it ends.
    std::optional<TimePoint> expires_at;
};

/// The edges from each task to those that it waits for; nobody is at zero, as tasks count from one.
using Edges = std::vector<std::vector<std::size_t>>;

Edges edges_of(const std::vector<TaskInfo>& tasks) {
    Edges edges(tasks.size() + 1);
    auto waits = [&](std::size_t number) {
        return number != 0 && tasks[number - 1].state == TaskInfo::State::waiting;
    };
    for (const TaskInfo& task : tasks) {
        if (waits(task.parent)) edges[task.parent].push_back(task.number);
        if (!waits(task.number)) continue;
        edges[task.number].insert(edges[task.number].end(), task.held_by.begin(), task.held_by.end());
    }
    return edges;
}

std::optional<TimePoint> earlier(std::optional<TimePoint> a, std::optional<TimePoint> b) {
    if (!a || !b) return a ? a : b;
    return std::min(*a, *b);
}

}  // namespace

std::vector<TaskInfo> Executor::tasks() const {
    using State = TaskInfo::State;
    std::unordered_set<const TaskFrame*> is_ready;
    for (const Wait* wait = ready_; wait != nullptr; wait = wait->next_)
        is_ready.insert(wait->frame_);

    std::vector<TaskInfo> tasks;
    std::unordered_map<const TaskFrame*, std::size_t> numbers;
    std::vector<std::pair<std::size_t, const TaskFrame*>> holders;
    std::vector<Entry> left;
    const TimePoint time = now();
    auto until = [&](TimePoint then) { return std::max(then - time, Duration::zero()); };

    for (detail::Root* root = roots_; root != nullptr; root = root->next_root)
        if (const TaskFrame* task = root->awaited_task()) left.push_back({task, 0, 0, std::nullopt});
    while (!left.empty()) {
        const Entry entry = left.back();
        left.pop_back();
        const TaskFrame& frame = *entry.task;
        const Wait& parent = frame.parent();
        const Wait* wait = frame.wait();

        TaskInfo info;
        info.number = tasks.size() + 1;
        numbers.emplace(&frame, info.number);
        info.parent = entry.parent;
        info.depth = entry.depth;
        info.name = parent.task_name();
        info.definition = frame.definition();
        info.line = frame.line();
        info.origin = parent.origin();
        if (std::optional<TimePoint> started = parent.task_started())
            info.age = std::max(time - *started, Duration::zero());
        const bool has_turn = is_ready.contains(&frame);
        if (wait == nullptr) {
            info.state = has_turn ? State::not_started : State::running;
            tasks.push_back(std::move(info));
            continue;
        }
        info.state = has_turn ? State::ready : State::waiting;
        info.wait = wait->describe();
        const std::optional<TimePoint> expires_at = earlier(entry.expires_at, wait->expires_at());
        if (expires_at) info.expires_in = until(*expires_at);

        std::pair<std::vector<std::pair<std::size_t, const TaskFrame*>>*, std::size_t> held(&holders,
                                                                                            info.number);
        if (!has_turn) {
            wait->visit_holders(
                [](const TaskFrame* holder, void* argument) {
                    auto& [list, number] = *static_cast<decltype(held)*>(argument);
                    list->emplace_back(number, holder);
                },
                &held);
        }
        std::pair<std::vector<Entry>*, Entry> next(&left,
                                                   {nullptr, info.number, entry.depth + 1, expires_at});
        wait->visit_tasks(
            [](TaskFrame& task, void* argument) {
                auto& [list, child] = *static_cast<decltype(next)*>(argument);
                child.task = &task;
                list->push_back(child);
            },
            &next);
        tasks.push_back(std::move(info));
    }
    for (auto [number, holder] : holders) {
        // One that has ended is in no list, and its address means nothing.
        auto found = numbers.find(holder);
        if (found != numbers.end()) tasks[number - 1].held_by.push_back(found->second);
    }
    return tasks;
}

std::vector<std::vector<std::size_t>> find_circles(const std::vector<TaskInfo>& tasks) {
    enum class Mark : std::uint8_t { unseen, on_path, done };
    struct Step {
        std::size_t number;
        std::size_t next_edge;
    };
    const Edges edges = edges_of(tasks);
    std::vector<Mark> marks(edges.size(), Mark::unseen);
    std::vector<bool> is_told(edges.size(), false);
    std::vector<std::vector<std::size_t>> circles;
    std::vector<Step> path;

    for (std::size_t start = 1; start < edges.size(); ++start) {
        if (marks[start] != Mark::unseen) continue;
        path.push_back({start, 0});
        marks[start] = Mark::on_path;
        while (!path.empty()) {
            Step& step = path.back();
            if (step.next_edge == edges[step.number].size()) {
                marks[step.number] = Mark::done;
                path.pop_back();
                continue;
            }
            const std::size_t target = edges[step.number][step.next_edge++];
            if (marks[target] == Mark::unseen) {
                marks[target] = Mark::on_path;
                path.push_back({target, 0});
            } else if (marks[target] == Mark::on_path && !is_told[target]) {
                is_told[target] = true;
                auto first = std::ranges::find(path, target, &Step::number);
                std::vector<std::size_t> circle;
                for (; first != path.end(); ++first)
                    circle.push_back(first->number);
                circles.push_back(std::move(circle));
            }
        }
    }
    return circles;
}

std::string Executor::dump_tasks() const { return to_text(tasks()); }

std::string Executor::dump_tasks(DumpFormat format) const {
    return format == DumpFormat::json ? to_json(tasks()) : to_text(tasks());
}

}  // namespace leat
