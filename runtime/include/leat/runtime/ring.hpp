// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

namespace leat::detail {

/// Values in the order in which they came, in room that is taken once: what channels keep. Whoever has `T` moved here has made
/// sure that this does not throw.
template <class T>
class Ring {
public:
    /// Errors: `std::bad_alloc`.
    explicit Ring(std::size_t capacity)
        : capacity_(capacity), places_(capacity != 0 ? std::allocator<T>().allocate(capacity) : nullptr) {}
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() {
        while (size_ != 0)
            drop_first();
        if (places_ != nullptr) std::allocator<T>().deallocate(places_, capacity_);
    }

    bool is_empty() const noexcept { return size_ == 0; }
    bool is_full() const noexcept { return size_ == capacity_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }

    /// Of one that is not full.
    void push(T&& value) noexcept {
        // No division, which would cost as much as all else.
        std::size_t index = first_ + size_;
        std::construct_at(places_ + (index < capacity_ ? index : index - capacity_), std::move(value));
        ++size_;
    }

    /// Of one that is not empty.
    void pop(std::optional<T>& value) noexcept {
        value.emplace(std::move(places_[first_]));
        drop_first();
    }

private:
    void drop_first() noexcept {
        T& dropped = places_[first_];
        if (++first_ == capacity_) first_ = 0;
        --size_;
        // Last, since what a destructor does may come back here.
        std::destroy_at(std::addressof(dropped));
    }

    const std::size_t capacity_;
    // `size_` places from `first_` on hold a value.
    T* const places_;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
};

}  // namespace leat::detail
