// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/task.hpp>

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace leat::detail {

/// What a call gives in the end: the value itself, or that of the task which it returns.
template <class T>
struct ValueOfCall {
    static constexpr bool is_task = false;
    using type = std::conditional_t<std::is_lvalue_reference_v<T>, T, std::remove_cvref_t<T>>;
};
template <>
struct ValueOfCall<void> {
    static constexpr bool is_task = false;
    using type = void;
};
template <class T>
struct ValueOfCall<Task<T>> {
    static constexpr bool is_task = true;
    using type = T;
};

/// A callable and what it is called with, stored. A task that it gives may refer to them.
template <class Callable, class... Arguments>
class StoredCall {
public:
    template <class C, class... A>
    explicit StoredCall(std::in_place_t, C&& callable, A&&... arguments)
        : callable_(std::forward<C>(callable)), arguments_(std::forward<A>(arguments)...) {}

    /// With `leading` before the stored arguments.
    template <class... Leading>
    decltype(auto) operator()(Leading&&... leading) {
        return std::apply(
            [&](auto&... arguments) -> decltype(auto) {
                return std::invoke(callable_, std::forward<Leading>(leading)..., std::move(arguments)...);
            },
            arguments_);
    }

private:
    Callable callable_;
    std::tuple<Arguments...> arguments_;
};

}  // namespace leat::detail
