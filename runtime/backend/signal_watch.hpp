// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/source.hpp>

#include <cstdint>
#include <initializer_list>

namespace leat::detail {

/// One watcher of signals: notes which have come, and a source that is readable then.
///
/// Thread-safety: one thread; signals come to any.
class SignalWatch {
public:
    /// Errors: `std::system_error` naming a signal that cannot be handled; `std::errc::resource_unavailable_try_again`
    ///         beyond 64 watchers in the process.
    explicit SignalWatch(std::initializer_list<int> signals);
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;
    ~SignalWatch();

    Source& source() noexcept { return source_; }

    /// Whether this process is a forked child of the one that made this. It has no part in the signals then, and the source
    /// is shared with the parent.
    bool is_forked() const noexcept;

    /// Leaves the handlers in place when this is destroyed: its signals then do nothing.
    void keep_installed() noexcept;

    /// Takes one of the signals that have come, the lowest number first; zero if there is none.
    int take() noexcept;
    /// Makes the source silent again, before `take`: what comes after that is heard.
    void clear() noexcept;

private:
    std::uint64_t wanted_ = 0;
    // Those of `wanted_` whose handlers stay.
    std::uint64_t kept_ = 0;
    int place_ = -1;
    std::int64_t process_;
    Source source_;
};

}  // namespace leat::detail
