// SPDX-License-Identifier: BSL-1.0
//
// A group ends when nothing is left in it and nothing is on its way into it. What is on its way is counted in the gate, in
// one word with whether it is closed. The group closes the gate when nothing is left in it, and then waits for those that
// have entered: so they find it alive, and it ends, however many more would come.
#include <leat/runtime/group_handle.hpp>

#include <leat/reactor/error.hpp>

#include <system_error>

namespace leat {

namespace detail {

bool GroupGate::enter() noexcept {
    std::uint64_t now = state.load(std::memory_order_relaxed);
    do {
        if ((now & 1) != 0) return false;
    } while (!state.compare_exchange_weak(now, now + 2, std::memory_order_relaxed));
    return true;
}

void GroupGate::arrived() noexcept {
    state.fetch_sub(2, std::memory_order_relaxed);
    group->wait_->end_if_settled();
}

void GroupGate::turned_back(const std::shared_ptr<GroupGate>& gate, const Remote& remote) noexcept {
    // The group may wait for this one alone, and is told. An executor that takes nothing any more has no groups left.
    (void)remote.post_surely([gate]() noexcept { gate->arrived(); });
}

bool GroupGate::close() noexcept {
    return (state.fetch_or(1, std::memory_order_relaxed) & ~std::uint64_t{1}) == 0;
}

void GroupGate::fail(std::exception_ptr failure) noexcept { group->fail(std::move(failure)); }

}  // namespace detail

void GroupHandle::throw_refused() const {
    throw std::system_error(make_error_code(errc::closed), "leat: spawn into a group");
}

GroupHandle TaskGroup::handle() {
    if (gate_ == nullptr) {
        gate_ = std::make_shared<detail::GroupGate>(*this);
        if (is_cancelled()) gate_->close();
    }
    return GroupHandle(gate_, environment_.executor().remote());
}

bool TaskGroup::closes_to_handles() noexcept {
    if (gate_ == nullptr || gate_->close()) return true;
    // In a forked child nothing arrives any more.
    return environment_.executor().remote().is_forked();
}

}  // namespace leat
