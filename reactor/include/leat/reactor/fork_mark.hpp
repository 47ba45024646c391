// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <memory>

namespace leat::detail {

class ForkGuard;

/// Tells, for what has threads of its own, whether this process is a forked child of the one that made it: then it has none.
///
/// Thread-safety: any thread.
class ForkMark {
public:
    /// Errors: the kernel's, as `std::system_error`.
    ForkMark();
    ForkMark(const ForkMark&) = delete;
    ForkMark& operator=(const ForkMark&) = delete;
    ~ForkMark();

    bool is_forked_child() const noexcept;

private:
    std::unique_ptr<ForkGuard> guard_;
};

}  // namespace leat::detail
