// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/stored_call.hpp>
#include <leat/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

class TaskGroup;
class TaskGroupWait;

namespace detail {

/// A child of a group: who runs its task, and what the task was started with.
class GroupChild : public Wait {
public:
    explicit GroupChild(TaskGroup& group) noexcept : group_(group) {}
    GroupChild(const GroupChild&) = delete;

    // Not started yet, or running: either way it goes on to its first or next wait.
    void cancel() noexcept override {}
    std::string describe() const override { return "its first turn"; }
    void child_finished(TaskFrame& task) noexcept override;
    void child_unwound() noexcept override;

    /// The line that started it.
    virtual std::source_location spawned() const noexcept = 0;
    std::optional<std::source_location> origin() const noexcept override { return spawned(); }
    /// For a child that is made before it is known which line starts it.
    virtual void note_spawned(std::source_location) noexcept {}
    /// In a scope that was cancelled: the task, which is to be asked to end; null if it was asked before.
    virtual TaskFrame* task_to_cancel() noexcept { return frame_; }
    TaskFrame& task() const noexcept { return *frame_; }
    GroupChild* next_sibling() const noexcept { return next_sibling_; }

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }

    /// For what holds a child that no group has yet.
    struct Disposer {
        void operator()(GroupChild* child) const noexcept { child->dispose(); }
    };

protected:
    ~GroupChild() = default;

    TaskGroup& group() const noexcept { return group_; }

private:
    friend class leat::TaskGroup;
    friend class leat::TaskGroupWait;
    // For `task_started`.
    virtual void note_started(TimePoint) noexcept = 0;
    // Destroys itself.
    virtual void dispose() noexcept = 0;
    // Told of the end before that: `failure` is null for a task that finished or was cancelled. What it leaves in
    // `failure` is the group's to deal with.
    virtual void ended(std::exception_ptr& failure, bool was_unwound) noexcept;

    TaskGroup& group_;
    GroupChild* next_sibling_ = nullptr;
    GroupChild* previous_sibling_ = nullptr;
};

using ChildPointer = std::unique_ptr<GroupChild, GroupChild::Disposer>;

/// A child that remembers when it was started, and by which line.
class RecordedChild : public GroupChild {
public:
    RecordedChild(TaskGroup& group, std::source_location spawned) noexcept
        : GroupChild(group), spawned_(spawned) {}

    std::source_location spawned() const noexcept override { return spawned_; }
    void note_spawned(std::source_location line) noexcept override { spawned_ = line; }
    std::optional<TimePoint> task_started() const noexcept override { return started_; }

protected:
    ~RecordedChild() = default;

private:
    void note_started(TimePoint time) noexcept override { started_ = time; }

    std::source_location spawned_;
    TimePoint started_;
};

/// A child together with the callable and the arguments that its task may refer to.
template <class Callable, class... Arguments>
class StoredChild : public RecordedChild {
public:
    template <class C, class... A>
    StoredChild(TaskGroup& group, std::source_location spawned, C&& callable, A&&... arguments)
        : RecordedChild(group, spawned),
          call_(std::in_place, std::forward<C>(callable), std::forward<A>(arguments)...) {}

    Task<void> begin() { return call_(); }

protected:
    virtual ~StoredChild() = default;

private:
    void dispose() noexcept override { delete this; }

    StoredCall<Callable, Arguments...> call_;
};

/// A child whose coroutine holds all that it needs in its own frame.
class PlainChild : public RecordedChild {
public:
    using RecordedChild::RecordedChild;

protected:
    virtual ~PlainChild() = default;

private:
    void dispose() noexcept override { delete this; }
};

/// A child with a name; all else is its base's.
template <class Base>
class NamedChild final : public Base {
public:
    template <class... Arguments>
    explicit NamedChild(std::string name, Arguments&&... arguments)
        : Base(std::forward<Arguments>(arguments)...), name_(std::move(name)) {}

    std::string_view task_name() const noexcept override { return name_; }

private:
    std::string name_;
};

// Whether a call of the function F with arguments of these types leaves nothing behind that refers to the caller's
// objects: each parameter is a value of its argument's own type. One of another type may be a view of the argument.
template <class F, class... A>
inline constexpr bool keeps_its_parameters = false;
template <class R, class... P, class... A>
    requires(sizeof...(P) == sizeof...(A))
inline constexpr bool keeps_its_parameters<R (*)(P...), A...> = (std::is_same_v<P, A> && ...);
template <class R, class... P, class... A>
    requires(sizeof...(P) == sizeof...(A))
inline constexpr bool keeps_its_parameters<R (*)(P...) noexcept, A...> = (std::is_same_v<P, A> && ...);
template <class C, class R, class... P, class... A>
    requires(sizeof...(P) == sizeof...(A))
inline constexpr bool keeps_its_parameters<R (C::*)(P...) const, A...> = (std::is_same_v<P, A> && ...);

/// `Arguments` are decayed types: what a child would keep.
template <class Callable, class... Arguments>
constexpr bool is_self_contained() {
    if constexpr (std::is_pointer_v<Callable>)
        return keeps_its_parameters<Callable, Arguments...>;
    else if constexpr (std::is_empty_v<Callable> && requires { &Callable::operator(); })
        return keeps_its_parameters<decltype(&Callable::operator()), Arguments...>;
    else
        return false;
}

/// A child and its task before they begin.
class PreparedChild {
public:
    PreparedChild(ChildPointer child, Task<void> task) noexcept
        : child_(std::move(child)), task_(std::move(task)) {}

    GroupChild& child() const noexcept { return *child_; }
    void start_in(TaskGroup& group) noexcept;
    void start_in(TaskGroup& group, Environment& inside) noexcept;

private:
    ChildPointer child_;
    // Goes first: it may refer to what the child holds.
    Task<void> task_;
};

/// A child, before it has a task, of the kind that keeps what the task may refer to. `Wrap` may give it more.
template <template <class> class Wrap, class... Extra>
class ChildMaker {
public:
    explicit ChildMaker(Extra&&... extra) : extra_(std::forward<Extra>(extra)...) {}

    template <class Callable, class... Arguments>
    PreparedChild operator()(TaskGroup& group, std::source_location caller, Callable&& callable,
                             Arguments&&... arguments) {
        using Stored = std::decay_t<Callable>;
        if constexpr (is_self_contained<Stored, std::decay_t<Arguments>...>()) {
            ChildPointer child(make<PlainChild>(group, caller));
            return PreparedChild(std::move(child), std::invoke(std::forward<Callable>(callable),
                                                               std::forward<Arguments>(arguments)...));
        } else {
            using Child = StoredChild<Stored, std::decay_t<Arguments>...>;
            Wrap<Child>* made = make<Child>(group, caller, std::forward<Callable>(callable),
                                            std::forward<Arguments>(arguments)...);
            ChildPointer child(made);
            return PreparedChild(std::move(child), made->begin());
        }
    }

private:
    template <class Child, class... Parts>
    Wrap<Child>* make(Parts&&... parts) {
        return std::apply(
            [&](auto&... extra) {
                return new Wrap<Child>(std::move(extra)..., std::forward<Parts>(parts)...);
            },
            extra_);
    }

    std::tuple<Extra...> extra_;
};

template <class Child>
using Unnamed = Child;
using UnnamedChildMaker = ChildMaker<Unnamed>;
using NamedChildMaker = ChildMaker<NamedChild, std::string>;

}  // namespace detail

}  // namespace leat

#pragma GCC diagnostic pop
