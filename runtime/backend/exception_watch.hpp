// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <exception>

namespace leat::detail {

/// What is called when an exception object ends, in place of its destructor, with the object's address.
using ExceptionEnd = void (*)(void*);

/// The object that `exception` refers to: one address for all who refer to it. Null if the C++ runtime is not one whose
/// exceptions can be watched.
void* object_of(const std::exception_ptr& exception) noexcept;

/// Makes `end` what is called when the object ends. It calls what is returned, unless that is null, which is what would
/// have been called.
///
/// Thread-safety: one at a time for an object; the caller holds a reference to it.
ExceptionEnd replace_end(void* object, ExceptionEnd end) noexcept;

}  // namespace leat::detail
