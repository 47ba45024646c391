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
    /// The one named by the environment variable LEAT_BACKEND, or else the best that this build has: then an automatic
    /// choice, and where the system refuses it (io_uring in many containers, say), a Poll takes the next one
    /// and tells why (`Poll::passed_over`).
    ///
    /// Errors: `std::invalid_argument` naming the variable's value if this build has no such backend.
    static Backend best();

    /// Errors: `std::invalid_argument` that names `name` and lists what this build has.
    static Backend by_name(std::string_view name);

    /// All backends of this build, best first.
    static std::span<const Backend> all() noexcept;

    std::string_view name() const noexcept { return name_; }
    /// Whether nobody has named it.
    constexpr bool is_automatic() const noexcept { return is_automatic_; }

    friend bool operator==(Backend a, Backend b) noexcept { return a.name_ == b.name_; }

    /// Of the generated table; use `by_name`.
    constexpr Backend(std::string_view name, int row, bool is_automatic = false) noexcept
        : name_(name), row_(row), is_automatic_(is_automatic) {}
    constexpr int row() const noexcept { return row_; }

private:
    std::string_view name_;
    int row_;
    bool is_automatic_;
};

}  // namespace leat
