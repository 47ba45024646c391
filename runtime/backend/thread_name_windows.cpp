// SPDX-License-Identifier: BSL-1.0
#include "backend/thread_name.hpp"

#include <string>

#include <windows.h>

namespace leat::detail {

void name_thread(const std::string& name) noexcept {
    try {
        // Names here are ASCII.
        std::wstring wide(name.begin(), name.end());
        ::SetThreadDescription(::GetCurrentThread(), wide.c_str());
    } catch (...) {
        // A thread without a name does as well.
    }
}

}  // namespace leat::detail
