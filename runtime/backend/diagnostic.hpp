// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace leat::detail {

/// Writes a line to standard error if that can take it at once; drops it otherwise. Never blocks, never raises SIGPIPE.
void write_notice(std::string_view text) noexcept;

/// Writes to standard error what that can take at once; how many bytes that were, or nothing if it will never take any more.
std::optional<std::size_t> write_what_fits(std::string_view text) noexcept;

}  // namespace leat::detail
