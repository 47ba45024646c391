// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/native_handle.hpp>

namespace leat::detail {

/// Closes a handle; an error of that has nobody to go to, and the handle is gone either way.
void close_handle(NativeHandle handle) noexcept;

/// Of a socket that is to stay open for a while although its owner has closed it: tells the peer that nothing more comes.
/// False: closing it is to be a reset (a linger of zero), so it must not stay.
bool end_sending(NativeHandle handle) noexcept;

}  // namespace leat::detail
