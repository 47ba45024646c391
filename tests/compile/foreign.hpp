// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coroutine>
#include <exception>

/// The coroutine type of another library; one type for each number, since a compiler reports a mistake once
/// for each.
template <int number>
struct Foreign {
    struct promise_type {
        Foreign get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };
};
