// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/task_group.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

/// What a group and its handles share: how many children are on their way into it, and whether it takes any.
struct GroupGate {
    explicit GroupGate(TaskGroup& g) noexcept : group(&g) {}

    /// Any thread. False: the group has ended.
    bool enter() noexcept;
    /// The executor's thread, of one that has entered, when it has been started or could not be.
    void arrived() noexcept;
    /// Any thread, of one that has entered and could not be posted.
    static void turned_back(const std::shared_ptr<GroupGate>& gate, const Remote& remote) noexcept;
    /// The executor's thread: from here on nobody enters. False: some are on their way.
    bool close() noexcept;
    void fail(std::exception_ptr failure) noexcept;

    // Two for each that is on its way, and one once closed.
    std::atomic<std::uint64_t> state{0};
    // The executor's thread only.
    TaskGroup* group;
};

}  // namespace detail

/// A live group as other threads and executors see it: children can be started in it, there.
///
///     leat::GroupHandle sessions = group.handle();
///     ... on another thread:
///     sessions.spawn(serve_session, std::move(request));
///
/// A handle does not keep the group alive: it is closed once body and children have ended, or the group is cancelled. But what
/// was accepted before is started: the group waits for it.
///
/// While one is held, the virtual clock of the group's executor (in tests) stands, as with a `Remote`.
///
/// Thread-safety: any thread. Copies are one handle.
/// Lifetime:      may outlive the group and its executor.
class GroupHandle {
public:
    /// Starts `callable(arguments…)`, which gives a `Task<>`, as a child of the group on the group's thread. Callable and arguments
    /// are moved there. Does not block.
    ///
    /// A child that cannot be made there (`std::bad_alloc`, or what the callable throws) fails the group.
    ///
    /// Errors:     `closed` if the group has ended or was cancelled, or its executor is gone or in another process: nothing is
    ///             started.
    /// Complexity: that of `Remote::post`, and an allocation.
    template <class Callable, class... Arguments>
    void spawn(Callable&& callable, Arguments&&... arguments) {
        if (!try_spawn(std::forward<Callable>(callable), std::forward<Arguments>(arguments)...))
            throw_refused();
    }

    /// The same; false instead of the error.
    template <class Callable, class... Arguments>
    [[nodiscard]] bool try_spawn(Callable&& callable, Arguments&&... arguments) {
        if constexpr (detail::ChildCall<Task<void>, void(), Callable, Arguments...>::is_right) {
            if (!gate_->enter()) return false;
            Entry entry(gate_, remote_);
            return remote_.try_post([entry = std::move(entry),
                                     callable = std::decay_t<Callable>(std::forward<Callable>(callable)),
                                     arguments = std::tuple<std::decay_t<Arguments>...>(
                                         std::forward<Arguments>(arguments)...)]() mutable {
                std::apply(
                    [&](auto&... argument) { entry.start(std::move(callable), std::move(argument)...); },
                    arguments);
            });
        } else {
            return false;
        }
    }

private:
    friend class TaskGroup;
    GroupHandle(std::shared_ptr<detail::GroupGate> gate, Remote remote) noexcept
        : gate_(std::move(gate)), remote_(std::move(remote)) {}

    [[noreturn]] void throw_refused() const;

    /// A child on its way: it has entered, and either arrives or is turned back.
    class Entry {
    public:
        Entry(std::shared_ptr<detail::GroupGate> gate, Remote remote) noexcept
            : gate_(std::move(gate)), remote_(std::move(remote)) {}
        Entry(Entry&&) noexcept = default;
        ~Entry() {
            if (gate_ != nullptr) detail::GroupGate::turned_back(gate_, remote_);
        }

        template <class Callable, class... Arguments>
        void start(Callable&& callable, Arguments&&... arguments) noexcept {
            std::shared_ptr<detail::GroupGate> gate = std::move(gate_);
            try {
                gate->group->spawn_at(std::source_location::current(), std::forward<Callable>(callable),
                                      std::forward<Arguments>(arguments)...);
            } catch (...) {
                gate->fail(std::current_exception());
            }
            gate->arrived();
        }

    private:
        std::shared_ptr<detail::GroupGate> gate_;
        Remote remote_;
    };

    std::shared_ptr<detail::GroupGate> gate_;
    Remote remote_;
};

}  // namespace leat

#pragma GCC diagnostic pop
