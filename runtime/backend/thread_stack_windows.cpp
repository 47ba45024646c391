// SPDX-License-Identifier: BSL-1.0
#include "backend/thread_stack.hpp"

namespace leat::detail {

// A thread that is suspended may hold the lock which walking its stack takes; so there is nothing to see here.
struct ThreadStack::Thread {};

ThreadStack::ThreadStack(void (*)(void*) noexcept, void*) {}
ThreadStack::~ThreadStack() = default;

std::string ThreadStack::take() { return {}; }

void refuse_signals() noexcept {}

}  // namespace leat::detail
