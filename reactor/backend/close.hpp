// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

namespace leat::detail {

/// Closes a handle; an error of that has nobody to go to, and the handle is gone either way.
void close_handle(NativeHandle handle) noexcept;

/// Of a handle that is to stay open for a while although its owner has closed it, if that is for its peer's sake: true, and the
/// peer is told that nothing more comes. False: closing it now costs the peer nothing (`is_unfinished`), or is to be
/// a reset (a linger of zero).
bool end_sending(NativeHandle handle) noexcept;

}  // namespace leat::detail
