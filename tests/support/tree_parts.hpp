// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/wait.hpp>

#include <cstddef>
#include <utility>

namespace leat::test {

/// Those who wait for one thing, in the order in which they came.
class Line {
public:
    /// Somebody in it; whoever is in a cancelled scope may be passed by.
    class Place {
    public:
        Place(Line& line, const Environment& environment, std::size_t wanted = 1) noexcept
            : line_(line), environment_(environment), wanted_(wanted), before_(line.last_) {
            if (before_ != nullptr) before_->behind_ = this;
            line.last_ = this;
        }
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;
        ~Place() { leave(); }

        /// It has what it waited for. False: before others who came before.
        [[nodiscard]] bool served() noexcept {
            bool in_order = true;
            for (const Place* other = before_; other != nullptr; other = other->before_)
                in_order = in_order && other->environment_.is_cancelled();
            leave();
            return in_order;
        }

    private:
        friend class Line;
        void leave() noexcept {
            if (!std::exchange(is_in_line_, false)) return;
            if (before_ != nullptr) before_->behind_ = behind_;
            (behind_ != nullptr ? behind_->before_ : line_.last_) = before_;
        }

        Line& line_;
        const Environment& environment_;
        const std::size_t wanted_;
        Place* before_;
        Place* behind_ = nullptr;
        bool is_in_line_ = true;
    };

    /// What the first in it wants; zero if nobody is in it.
    std::size_t wanted() const noexcept {
        std::size_t wanted = 0;
        for (const Place* place = last_; place != nullptr; place = place->before_)
            wanted = place->wanted_;
        return wanted;
    }

private:
    Place* last_ = nullptr;
};

/// What a task can cancel: a list of scopes and groups, and of sources of stop tokens.
class Target {
public:
    Target(Target*& first, void* what, void (*how)(void*)) noexcept
        : first_(first), what_(what), cancel_(how), next_(first) {
        if (next_ != nullptr) next_->previous_ = this;
        first_ = this;
    }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    ~Target() {
        (previous_ != nullptr ? previous_->next_ : first_) = next_;
        if (next_ != nullptr) next_->previous_ = previous_;
    }

    Target* next() const noexcept { return next_; }
    void cancel() const noexcept { cancel_(what_); }

private:
    Target*& first_;
    void* what_;
    void (*cancel_)(void*);
    Target* next_;
    Target* previous_ = nullptr;
};

/// While it lives, one more is inside.
class Inside {
public:
    explicit Inside(int& count) noexcept : count_(count) { ++count_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() { --count_; }

private:
    int& count_;
};

}  // namespace leat::test
