// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <atomic>

namespace leat::test {

/// An object that counts how many of its kind live, and notices when one is destroyed twice.
///
/// Put one into each frame, result and argument whose end matters.
class Counted {
public:
    explicit Counted(int value = 0) noexcept : value_(value) { ++live_; }
    Counted(const Counted& other) noexcept : value_(other.value_) { ++live_; }
    Counted(Counted&& other) noexcept : value_(other.value_) {
        other.value_ = -1;
        ++live_;
    }
    Counted& operator=(const Counted& other) noexcept = default;
    ~Counted() {
        if (state_ != alive) ++misused_;
        state_ = dead;
        --live_;
    }

    int value() const noexcept { return value_; }

    static int live() noexcept { return live_; }
    /// Destructions of what was none, or none any more.
    static int misused() noexcept { return misused_; }

private:
    static constexpr unsigned alive = 0x0a11fe, dead = 0xdead;

    int value_;
    // Volatile, so that the last store of the destructor is not optimised away.
    volatile unsigned state_ = alive;

    static inline std::atomic<int> live_{0};
    static inline std::atomic<int> misused_{0};
};

}  // namespace leat::test
