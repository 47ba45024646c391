// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <functional>
#include <string>

namespace leat::test {

/// How a process ended: the signal that killed it or zero, and what it wrote to standard error.
struct ChildEnd {
    int signal = 0;
    std::string text;
};

/// Runs `action` in a child of this process, to see how that ends. Only while this process has one thread.
ChildEnd end_of_child(const std::function<void()>& action);

}  // namespace leat::test
