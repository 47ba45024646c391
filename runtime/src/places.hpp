// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace leat::detail {

/// "server.cpp:44": the file without its folders, and the line.
inline std::string place_of(const std::source_location& location) {
    std::string_view path = location.file_name();
    std::size_t slash = path.find_last_of("/\\");
    if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
    return std::string(path) + ":" + std::to_string(location.line());
}

}  // namespace leat::detail
