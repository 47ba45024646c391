// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/stop_token.hpp>

#include <utility>

namespace leat::detail {

void StoppableScope::listen() {
    // Nobody can ever ask.
    if (!token_.stop_possible()) return;
    link_ = std::make_shared<Link>(Link{this});
    callback_.emplace(token_, PostStop(link_, executor().remote()));
}

void StoppableScope::begin(TaskFrame& body) noexcept {
    run(body);
    if (token_.stop_requested()) cancel_inside();
}

void StoppableScope::PostStop::operator()() noexcept {
    // An executor that is gone has ended the scope. The link is not held by the callback alone: that may be destroyed meanwhile.
    (void)remote_.post_surely([link = link_]() noexcept {
        if (link->scope != nullptr) link->scope->cancel_inside();
    });
}

TaskFrame* StopRequestingScope::cancel_or_pass(CancelWalk& walk) noexcept {
    // What listens may do anything, so it is not called in the middle of a cancellation. A timer needs no memory.
    if (!source_.stop_requested() && !is_armed()) executor().timers().arm(*this, executor().now());
    return ScopeWait::cancel_or_pass(walk);
}

}  // namespace leat::detail
