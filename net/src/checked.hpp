// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <system_error>
#include <type_traits>

namespace leat::detail {

/// Gives what `call(error)` gives, or throws the error that it sets, with `what` before it.
template <class Call>
auto checked(const char* what, Call call) {
    std::error_code error;
    if constexpr (std::is_void_v<decltype(call(error))>) {
        call(error);
        if (error) throw std::system_error(error, what);
    } else {
        auto result = call(error);
        if (error) throw std::system_error(error, what);
        return result;
    }
}

}  // namespace leat::detail
