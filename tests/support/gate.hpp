// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/wait.hpp>

#include <coroutine>
#include <string>
#include <utility>

namespace leat::test {

/// The smallest leaf wait: one task waits at the gate until the test opens it, which lets one pass.
///
/// Thread-safety: the executor's thread.
class Gate {
public:
    class [[nodiscard]] Passage : public Wait {
    public:
        using value_type = void;

        explicit Passage(Gate& gate) noexcept : gate_(gate) {}
        Passage(Passage&&) noexcept = default;

        bool await_ready() noexcept {
            if (is_stopped()) return false;
            ++gate_.arrivals_;
            if (std::exchange(gate_.is_open_, false)) return true;
            gate_.waiting_ = this;
            suspend();
            return false;
        }
        void await_suspend(TaskHandle) const noexcept {}
        void await_resume() const noexcept {}
        Result<void> result() const noexcept { return Result<void>(); }

        void cancel() noexcept override {
            ++gate_.cancellations_;
            if (gate_.waiting_ != this) return;
            gate_.waiting_ = nullptr;
            withdrawn();
        }
        std::string describe() const override { return "a gate"; }

    private:
        friend class Gate;
        void let_through() noexcept { resume_later(); }

        Gate& gate_;
    };

    Gate() noexcept = default;
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;

    Passage pass() noexcept { return Passage(*this); }

    void open() noexcept {
        if (Passage* passage = std::exchange(waiting_, nullptr))
            passage->let_through();
        else
            is_open_ = true;
    }

    bool has_waiter() const noexcept { return waiting_ != nullptr; }
    /// How often a wait has begun, and how often one was asked to end.
    int arrivals() const noexcept { return arrivals_; }
    int cancellations() const noexcept { return cancellations_; }

private:
    Passage* waiting_ = nullptr;
    bool is_open_ = false;
    int arrivals_ = 0;
    int cancellations_ = 0;
};

using Here = detail::CurrentEnvironment;

}  // namespace leat::test
