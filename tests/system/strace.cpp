// SPDX-License-Identifier: BSL-1.0
#include "strace.hpp"

#include "child_process.hpp"
#include "support/skip.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace leat::test {
namespace {

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        text += (text.empty() ? "" : ",") + word;
    }
    return text;
}

template <typename Predicate>
std::size_t count_lines(const std::string& text, Predicate matches) {
    std::size_t count = 0;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (matches(line)) ++count;
    }
    return count;
}

// "1234  accept4(3, …" or, after a call of another thread in between, "1234  <... accept4 resumed>…", which is
// the same call once more.
bool enters(const std::string& line, const std::string& call) {
    std::size_t name = line.find_first_not_of("0123456789 ");
    return name != std::string::npos && line.compare(name, call.size() + 1, call + "(") == 0;
}

bool contains(const std::string& line, const std::string& text) {
    return line.find(text) != std::string::npos;
}

}  // namespace

Injection& Injection::fail(const std::string& calls, const std::string& error, const std::string& when) {
    return tamper(calls, "error=" + error, when);
}

Injection& Injection::tamper(const std::string& calls, const std::string& clause, const std::string& when) {
    injected_.push_back("inject=" + calls + ":" + clause + ":when=" + when);
    return watch(calls);
}

Injection& Injection::watch(const std::string& calls) {
    traced_.push_back(calls);
    return *this;
}

Injection& Injection::only_on(const std::string& path) {
    path_ = path;
    return *this;
}

std::vector<std::string> Injection::arguments() const {
    std::vector<std::string> words{"-e", "trace=" + joined(traced_)};
    for (const std::string& clause : injected_) {
        words.insert(words.end(), {"-e", clause});
    }
    if (!path_.empty()) words.insert(words.end(), {"-P", path_});
    return words;
}

std::string Trace::text() const {
    std::ifstream file(file_);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::size_t Trace::calls(const std::string& call) const {
    return count_lines(text(), [&](const std::string& line) { return enters(line, call); });
}

std::size_t Trace::calls_before(const std::string& call, const std::string& wanted) const {
    std::string all = text();
    all.resize(std::min(all.size(), all.find(wanted)));
    // The line that holds it has begun already.
    all.resize(all.rfind('\n') + 1);
    return count_lines(all, [&](const std::string& line) { return enters(line, call); });
}

std::size_t Trace::injected(const std::string& call) const {
    return count_lines(text(), [&](const std::string& line) {
        return contains(line, call) && (contains(line, "(INJECTED") || contains(line, "(DELAYED"));
    });
}

std::size_t Trace::lines_with(const std::string& wanted) const {
    return count_lines(text(), [&](const std::string& line) { return contains(line, wanted); });
}

void Trace::wait_until_complete() const {
    Deadline deadline;
    while (lines_with("+++ exited with") + lines_with("+++ killed by") == 0) {
        deadline.check("strace to write that its process ended");
        std::this_thread::yield();
    }
}

bool can_inject() {
    if (std::getenv("LEAT_SANITIZED") != nullptr) {
        skip("unsanitized", "a leak check fails under ptrace");
        return false;
    }
    if (!is_installed("strace")) {
        skip("strace", "it is not installed");
        return false;
    }
    Command trial;
    trial.words = {"strace", "-qq", "-o", "/dev/null", "-e", "inject=getppid:error=EPERM", "true"};
    if (run(trial).status == 0) return true;
    skip("ptrace", "strace may not follow a process here");
    return false;
}

}  // namespace leat::test
