// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/group_child.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/stored_call.hpp>
#include <leat/runtime/task_group.hpp>

#include <concepts>
#include <exception>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

class StartWait;

/// A child that somebody waits for, until it says that it is ready.
class StartedChild : public RecordedChild {
public:
    explicit StartedChild(TaskGroup& group) noexcept : RecordedChild(group, std::source_location()) {}

    TaskFrame* task_to_cancel() noexcept override;

    /// Null once it has been told, or has no need to be.
    StartWait* starter() const noexcept { return starter_; }
    void tell_starter() noexcept;

protected:
    ~StartedChild() = default;

private:
    friend class StartWait;
    void ended(std::exception_ptr& failure, bool was_unwound) noexcept override;

    // A scope of its own, since the starter may be cancelled alone.
    Environment inside_;
    StartWait* starter_ = nullptr;
};

/// The part of `TaskGroup::start`'s awaiter that does not depend on the value.
class StartWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }
    // Here, since the line of the await is where the child comes from.
    void await_suspend(TaskHandle, std::source_location line = std::source_location::current()) noexcept;

    void cancel() noexcept override { cancel_all(); }
    TaskFrame* cancel_or_pass(CancelWalk&) noexcept override;
    std::string describe() const override { return "a child of a group to be ready"; }

protected:
    StartWait(TaskGroup& group, PreparedChild&& child) noexcept
        : group_(&group), prepared_(std::move(child)) {}
    StartWait(StartWait&&) noexcept = default;
    ~StartWait() = default;

    /// The reason why there is no value: of the child, or `closed` or `cancelled`. Null if there is one.
    std::exception_ptr take_failure();

private:
    friend class StartedChild;
    void child_is_ready() noexcept;
    void child_ended(std::exception_ptr&& failure, bool was_unwound) noexcept;

    enum class State { waiting, ready, ended, unwound };

    TaskGroup* group_;
    PreparedChild prepared_;
    StartedChild* child_ = nullptr;
    State state_ = State::waiting;
    bool is_stopping_ = false;
    std::exception_ptr failure_;
};

}  // namespace detail

/// What `TaskGroup::start` gives.
template <class T>
class [[nodiscard]] StartOperation : public detail::StartWait {
public:
    using value_type = T;

    StartOperation(TaskGroup& group, detail::PreparedChild&& child) noexcept
        : StartWait(group, std::move(child)) {}
    StartOperation(StartOperation&&) noexcept = default;

    T await_resume() {
        if (std::exception_ptr failure = take_failure()) std::rethrow_exception(std::move(failure));
        if constexpr (!std::is_void_v<T>) return static_cast<T>(std::move(*value_));
    }
    detail::ResultOf<T> result() {
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(detail::code_or_tell(executor(), failure));
        if constexpr (std::is_void_v<T>)
            return Result<T>();
        else
            return detail::ResultOf<T>(std::move(*value_));
    }

private:
    template <class U>
    friend class Ready;

    std::optional<detail::HeldOrNone<T>> value_;
};

/// What a child that was started with `TaskGroup::start` says when it is ready: `ready(value)`, or `ready()`.
///
/// Thread-safety: the executor's thread.
/// Lifetime:      the child's. A second call does nothing, nor does one when the starter was cancelled.
template <class T>
class Ready {
public:
    explicit Ready(detail::StartedChild& child) noexcept : child_(child) {}
    Ready(const Ready&) = delete;
    Ready& operator=(const Ready&) = delete;

    template <class... Value>
        requires std::constructible_from<detail::HeldOrNone<T>, Value...>
    void operator()(Value&&... value) {
        if (child_.starter() == nullptr) return;
        static_cast<StartOperation<T>*>(child_.starter())->value_.emplace(std::forward<Value>(value)...);
        child_.tell_starter();
    }

private:
    detail::StartedChild& child_;
};

namespace detail {

/// A started child together with what its task may refer to.
template <class T, class Callable, class... Arguments>
class StartedChildOf final : public StartedChild {
public:
    template <class C, class... A>
    StartedChildOf(TaskGroup& group, C&& callable, A&&... arguments)
        : StartedChild(group),
          ready_(*this),
          call_(std::in_place, std::forward<C>(callable), std::forward<A>(arguments)...) {}

    Task<void> begin() { return call_(ready_); }

private:
    void dispose() noexcept override { delete this; }

    Ready<T> ready_;
    StoredCall<Callable, Arguments...> call_;
};

}  // namespace detail

template <class T, class Callable, class... Arguments>
StartOperation<T> TaskGroup::start(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    if constexpr (detail::ChildCall<Task<void>, void(Ready<T>&), Callable, Arguments...>::is_right) {
        using Child = detail::StartedChildOf<T, std::decay_t<Callable>, std::decay_t<Arguments>...>;
        Child* made =
            new Child(*this, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
        detail::ChildPointer child(made);
        return StartOperation<T>(*this, detail::PreparedChild(std::move(child), made->begin()));
    } else {
        std::terminate();
    }
}

}  // namespace leat

#pragma GCC diagnostic pop
