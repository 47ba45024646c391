// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/mistakes.hpp>

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// Where a task's value is until it is taken, once.
template <class T>
struct TaskResult : CheckedResult<T> {
    TaskResult() noexcept {}
    ~TaskResult() {
        if (has_value_) std::destroy_at(std::addressof(value_));
    }
    template <class U>
        requires std::constructible_from<T, U>
    void return_value(U&& value) {
        std::construct_at(std::addressof(value_), std::forward<U>(value));
        has_value_ = true;
    }
    T take() { return std::move(value_); }

    union {
        T value_;
    };
    bool has_value_ = false;
};

// Nobody need know whether it is there: it is taken from a task that has returned it, or not at all.
template <class T>
    requires std::is_trivially_destructible_v<T>
struct TaskResult<T> : CheckedResult<T> {
    TaskResult() noexcept {}
    template <class U>
        requires std::constructible_from<T, U>
    void return_value(U&& value) {
        std::construct_at(std::addressof(value_), std::forward<U>(value));
    }
    T take() { return std::move(value_); }

    union {
        T value_;
    };
};

template <class T>
struct TaskResult<T&> {
    void return_value(T& value) noexcept { value_ = std::addressof(value); }
    T& take() noexcept { return *value_; }

    T* value_ = nullptr;
};

template <>
struct TaskResult<void> {
    void return_void() noexcept {}
    void take() noexcept {}
};

}  // namespace leat::detail
