// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <span>
#include <string_view>

namespace leat {

/// Which kernel interface carries a Poll. The choice never changes what a program sees.
///
/// Thread-safety: any thread.
class Backend {
public:
    /// The one named by the environment variable LEAT_BACKEND, or else the best that this build has.
    ///
    /// Errors: `std::invalid_argument` naming the variable's value if this build has no such backend.
    static Backend best();

    /// Errors: `std::invalid_argument` that names `name` and lists what this build has.
    static Backend by_name(std::string_view name);

    /// All backends of this build, best first.
    static std::span<const Backend> all() noexcept;

    std::string_view name() const noexcept { return name_; }

    friend bool operator==(Backend a, Backend b) noexcept { return a.name_ == b.name_; }

    /// Of the generated table; use `by_name`.
    constexpr Backend(std::string_view name, int row) noexcept : name_(name), row_(row) {}
    constexpr int row() const noexcept { return row_; }

private:
    std::string_view name_;
    int row_;
};

}  // namespace leat
