// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <span>
#include <string_view>

namespace leat {

/// Which kernel interface carries a Poll. The choice never changes what a program sees.
///
/// Thread-safety: any thread.
class Backend {
public:
    /// The backend that the environment variable LEAT_BACKEND names. If it names none, the best of this
    /// build; where the system refuses that (io_uring in many containers), a Poll takes the next one, and
    /// `Poll::passed_over` says why.
    ///
    /// Errors: `std::invalid_argument` naming the variable's value if this build has no such backend.
    static Backend best();

    /// Errors: `std::invalid_argument` that names `name` and lists what this build has.
    static Backend by_name(std::string_view name);

    /// All backends of this build, best first.
    static std::span<const Backend> all() noexcept;

    std::string_view name() const noexcept { return name_; }
    /// Whether it was chosen because nobody named one.
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
