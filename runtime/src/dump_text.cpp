// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/dump.hpp>

#include "src/places.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace leat {

namespace {

using State = TaskInfo::State;

using detail::place_of;

std::string number_of(std::size_t number) { return "#" + std::to_string(number); }

std::string seconds_of(Duration duration) {
    char text[64];
    std::snprintf(text, sizeof text, "%.3f", std::chrono::duration<double>(duration).count());
    return text;
}

/// How many bytes of `text` are one character of UTF-8 (RFC 3629, section 4); zero if they are none.
std::size_t size_of_character(std::string_view text) {
    auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = at(0);
    if (first < 0x80) return 1;
    const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
    for (std::size_t i = 1; i < size; ++i)
        if ((at(i) & 0xC0) != 0x80) return 0;
    // Longer than needed, half of a pair of UTF-16, or beyond the last character.
    if ((first == 0xE0 && at(1) < 0xA0) || (first == 0xED && at(1) > 0x9F)) return 0;
    if ((first == 0xF0 && at(1) < 0x90) || (first == 0xF4 && at(1) > 0x8F)) return 0;
    return size;
}

/// In quotation marks, as JSON has it (RFC 8259, section 7). A byte that is no UTF-8 becomes U+FFFD.
std::string quoted(std::string_view text) {
    std::string result = "\"";
    while (!text.empty()) {
        const std::size_t size = size_of_character(text);
        const char first = text.front();
        if (size == 0) {
            result += "\\ufffd";
        } else if (first == '"' || first == '\\') {
            result += '\\';
            result += first;
        } else if (static_cast<unsigned char>(first) < 0x20 || first == 0x7F) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(first));
            result += escape;
        } else {
            result += text.substr(0, size);
        }
        text.remove_prefix(std::max<std::size_t>(size, 1));
    }
    result += '"';
    return result;
}

// ---- For a person ----

void append_wait(std::string& text, const TaskInfo& task) {
    text += task.wait;
    for (std::size_t i = 0; i < task.held_by.size(); ++i)
        text += (i == 0 ? " held by " : ", ") + number_of(task.held_by[i]);
    if (task.expires_in) {
        char left[64];
        std::snprintf(left, sizeof left, ", deadline in %.1f s",
                      std::chrono::duration<double>(*task.expires_in).count());
        text += left;
    }
}

void append_task(std::string& text, const TaskInfo& task) {
    // Deeper than this, only the first words of a line would be seen anyway.
    constexpr std::size_t deepest_indentation = 20;
    text.append(2 * std::min(task.depth, deepest_indentation), ' ');
    text += number_of(task.number);
    if (!task.name.empty()) text += " " + quoted(task.name);
    text += " task ";
    text += task.definition.function_name();
    text += " (" + place_of(task.definition) + ")";
    if (task.origin)
        text += (task.parent == 0 ? ", started at " : ", spawned at ") + place_of(*task.origin) + ",";
    if (task.age) {
        char age[64];
        std::snprintf(age, sizeof age, " %.1f s ago,", std::chrono::duration<double>(*task.age).count());
        text += age;
    }
    switch (task.state) {
    case State::not_started:
        text += " has not begun";
        break;
    case State::running:
        text += task.line.line() == 0 ? " runs" : " runs on from " + place_of(task.line);
        break;
    case State::ready:
        text += " at " + place_of(task.line) + " is next, after its wait for ";
        append_wait(text, task);
        break;
    case State::waiting:
        text += " at " + place_of(task.line) + " waits for ";
        append_wait(text, task);
        break;
    }
    text += "\n";
}

void append_circle(std::string& text, const std::vector<std::size_t>& circle) {
    if (circle.size() == 1) {
        text += number_of(circle.front()) + " waits for itself\n";
        return;
    }
    // Of a long one, the beginning and the end.
    constexpr std::size_t most_named = 32;
    text += "these wait for each other: ";
    for (std::size_t i = 0; i < circle.size(); ++i) {
        if (i == most_named / 2 && circle.size() > most_named) {
            text += "… -> ";
            i = circle.size() - most_named / 2;
        }
        text += number_of(circle[i]) + " -> ";
    }
    text += number_of(circle.front()) + "\n";
}

// ---- For a program ----

const char* name_of(State state) {
    switch (state) {
    case State::not_started:
        return "not started";
    case State::waiting:
        return "waiting";
    case State::ready:
        return "ready";
    case State::running:
        break;
    }
    return "running";
}

std::string json_of(const std::source_location& location) {
    return "{\"file\":" + quoted(location.file_name()) + ",\"line\":" + std::to_string(location.line()) + "}";
}

std::string json_of(const std::vector<std::size_t>& numbers) {
    std::string text = "[";
    for (std::size_t number : numbers) {
        if (text.size() > 1) text += ",";
        text += std::to_string(number);
    }
    return text + "]";
}

std::string json_of(const TaskInfo& task) {
    std::string text = "{\"number\":" + std::to_string(task.number);
    if (task.parent != 0) text += ",\"parent\":" + std::to_string(task.parent);
    text += ",\"state\":" + quoted(name_of(task.state));
    if (!task.name.empty()) text += ",\"name\":" + quoted(task.name);
    text += ",\"function\":" + quoted(task.definition.function_name());
    text += ",\"definition\":" + json_of(task.definition);
    if (task.origin) text += ",\"started_at\":" + json_of(*task.origin);
    if (task.age) text += ",\"age_seconds\":" + seconds_of(*task.age);
    if (task.line.line() != 0) text += ",\"at\":" + json_of(task.line);
    if (!task.wait.empty()) text += ",\"wait\":" + quoted(task.wait);
    if (task.expires_in) text += ",\"deadline_in_seconds\":" + seconds_of(*task.expires_in);
    if (!task.held_by.empty()) text += ",\"held_by\":" + json_of(task.held_by);
    return text + "}";
}

}  // namespace

std::string to_text(const std::vector<TaskInfo>& tasks) {
    std::string text;
    for (const TaskInfo& task : tasks)
        append_task(text, task);
    for (const std::vector<std::size_t>& circle : find_circles(tasks))
        append_circle(text, circle);
    return text;
}

std::string to_json(const std::vector<TaskInfo>& tasks) {
    std::string text = "{\"tasks\":[";
    for (const TaskInfo& task : tasks) {
        if (task.number != 1) text += ",";
        text += "\n" + json_of(task);
    }
    text += "],\n\"circles\":[";
    bool is_first = true;
    for (const std::vector<std::size_t>& circle : find_circles(tasks)) {
        text += (std::exchange(is_first, false) ? "" : ",") + json_of(circle);
    }
    return text + "]}\n";
}

}  // namespace leat
