// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace leat::detail {

/// Writes a line to standard error if that takes it at once; drops it, or the rest of it, otherwise. Never
/// blocks, never raises SIGPIPE, and never writes to what has got standard error's number by chance
/// (`ExecutorOptions::diagnostic`).
void write_notice(std::string_view text) noexcept;

/// The same for a part of a text: writes what standard error takes at once. Gives how many bytes that were,
/// or nothing if it will never take any more.
std::optional<std::size_t> write_what_fits(std::string_view text) noexcept;

}  // namespace leat::detail
