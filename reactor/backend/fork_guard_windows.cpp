// SPDX-License-Identifier: BSL-1.0
#include "backend/fork_guard.hpp"

namespace leat::detail {

// No process is a copy of another one here, so nothing ever empties the word.
ForkGuard::ForkGuard() : word_(new std::atomic<std::uintptr_t>(unowned)) {}

ForkGuard::~ForkGuard() { delete word_; }

}  // namespace leat::detail
