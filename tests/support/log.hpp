// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/wait.hpp>

#include <string>
#include <utility>

namespace leat::test {

/// Words in the order in which things happened, separated by blanks.
class Log {
public:
    void note(const std::string& word) {
        if (!text_.empty()) text_ += ' ';
        text_ += word;
    }
    const std::string& text() const noexcept { return text_; }

private:
    std::string text_;
};

/// Notes its end: "name", or "name!" if it was destroyed by a cancellation.
class Guard {
public:
    Guard(Log& log, std::string name) : log_(log), name_(std::move(name)) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { log_.note(unwinding() ? name_ + '!' : name_); }

private:
    Log& log_;
    std::string name_;
};

}  // namespace leat::test
