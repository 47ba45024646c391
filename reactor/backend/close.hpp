// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

namespace leat::detail {

/// Closes a handle; an error of that has nobody to go to, and the handle is gone either way.
void close_handle(NativeHandle handle) noexcept;

}  // namespace leat::detail
