// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace leat::detail {

/// Sets what `unwinding()` returns on this thread, for as long as it lives. They nest: a destructor may run an
/// executor, whose tasks are not being unwound.
class UnwindingScope {
public:
    explicit UnwindingScope(bool is_unwinding) noexcept;
    UnwindingScope(const UnwindingScope&) = delete;
    UnwindingScope& operator=(const UnwindingScope&) = delete;
    ~UnwindingScope();

private:
    const bool before_;
};

}  // namespace leat::detail
