// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/fork_mark.hpp>

#include "backend/fork_guard.hpp"

namespace leat::detail {

ForkMark::ForkMark() : guard_(std::make_unique<ForkGuard>()) {}

ForkMark::~ForkMark() = default;

bool ForkMark::is_forked_child() const noexcept { return guard_->is_forked_child(); }

}  // namespace leat::detail
