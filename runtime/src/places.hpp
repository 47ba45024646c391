// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace leat::detail {

/// "server.cpp:44": the file without its folders, and the line.
inline std::string place_of(const std::source_location& location) {
    std::string_view path = location.file_name();
    // Of a path without folders the whole: one past "nowhere" is zero.
    return std::string(path.substr(path.find_last_of("/\\") + 1)) + ":" + std::to_string(location.line());
}

}  // namespace leat::detail
