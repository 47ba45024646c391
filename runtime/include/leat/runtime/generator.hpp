// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/runtime/frame_pool.hpp>

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

namespace leat {

template <class T>
class Generator;

namespace detail {

// As wait.hpp declares it.
[[noreturn]] void stop_for_throwing_destructor(const std::exception_ptr& failure) noexcept;

/// For `co_yield`: a copy of what was yielded, since what the consumer does to an item must not change a variable of the generator.
template <class T>
class YieldCopy : public std::suspend_always {
public:
    YieldCopy(const T& value, T*& item) : copy_(value), item_(&item) {}
    YieldCopy(YieldCopy&&) = default;

    // Only here, where it stays.
    bool await_ready() noexcept {
        *item_ = std::addressof(copy_);
        return false;
    }

private:
    T copy_;
    T** item_;
};

template <class T>
class GeneratorPromise {
public:
    using Item = std::remove_reference_t<T>;

    GeneratorPromise() noexcept {}
    GeneratorPromise(const GeneratorPromise&) = delete;

    Generator<T> get_return_object() noexcept;
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept {
        exception_ = std::current_exception();
        if (is_destroyed_) [[unlikely]]
            stop_for_throwing_destructor(exception_);
    }
    void note_destruction() noexcept { is_destroyed_ = true; }

    std::suspend_always yield_value(Item& item) noexcept
        requires std::is_lvalue_reference_v<T>
    {
        item_ = std::addressof(item);
        return std::suspend_always();
    }
    std::suspend_always yield_value(Item&& item) noexcept
        requires(!std::is_lvalue_reference_v<T> || std::is_const_v<Item>)
    {
        item_ = std::addressof(item);
        return std::suspend_always();
    }
    YieldCopy<Item> yield_value(const Item& item)
        requires(!std::is_reference_v<T> && std::copy_constructible<Item>)
    {
        return YieldCopy<Item>(item, item_);
    }

    template <class A>
    void await_transform(A&&) = delete;  // a Generator never waits: write an AsyncGenerator for that

    Item* item() const noexcept { return item_; }
    void throw_if_failed() {
        if (exception_ != nullptr) [[unlikely]]
            std::rethrow_exception(std::exchange(exception_, nullptr));
    }

    static void* operator new(std::size_t size) { return FramePool::allocate(size); }
    static void operator delete(void* memory, std::size_t size) noexcept {
        FramePool::deallocate(memory, size);
    }

private:
    Item* item_ = nullptr;
    std::exception_ptr exception_;
    bool is_destroyed_ = false;
};

}  // namespace detail

/// A coroutine that gives a range of values, each computed when it is asked for.
///
///     leat::Generator<int> up_to(int last) {
///         for (int i = 1; i <= last; ++i) co_yield i;
///     }
///     for (int i : up_to(10)) ...
///
/// An input range that can be gone through once, and a view, so that `std::views::filter` and the like take it. It
/// runs on the stack of whoever goes on in it and knows no executor: it cannot `co_await` (see `AsyncGenerator`).
///
/// The consumer is handed a reference to each item, and may move from it. What is yielded as a variable is copied
/// first; `co_yield std::move(variable)`, a temporary, and a `Generator<T&>`, whose items are the variables themselves, copy nothing.
///
/// Thread-safety: none; it may move between threads while nobody goes on in it.
/// Lifetime:      reference parameters outlive it, as for every coroutine. An item is valid until the iterator goes
///                on. Destroying the generator destroys its variables, wherever it stands.
/// Errors:        what it throws comes out of `begin()` or `++`, and is its end. An exception that leaves a destructor
///                while the generator is destroyed is std::terminate.
/// Complexity:    an item costs a call; the frame comes from the pool of frames.
template <class T>
class [[nodiscard("a generator does nothing until it is gone through")]] Generator
    : public std::ranges::view_base {
    static_assert(!std::is_void_v<T> && !std::is_rvalue_reference_v<T>,
                  "leat: items are objects or lvalue references");

public:
    using promise_type = detail::GeneratorPromise<T>;

    class iterator;

    Generator(Generator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Generator& operator=(Generator&& other) noexcept {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~Generator() { destroy(); }

    /// Computes the first item. Once: a generator has no second beginning.
    iterator begin() { return iterator(handle_); }
    std::default_sentinel_t end() const noexcept { return {}; }

private:
    friend promise_type;
    explicit Generator(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
    void destroy() noexcept {
        if (!handle_) return;
        handle_.promise().note_destruction();
        handle_.destroy();
    }

    std::coroutine_handle<promise_type> handle_;
};

/// Lifetime: the generator's.
template <class T>
class Generator<T>::iterator {
public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = std::remove_cvref_t<T>;
    using reference = std::remove_reference_t<T>&;

    iterator() noexcept = default;
    iterator(iterator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    iterator& operator=(iterator&& other) noexcept {
        handle_ = std::exchange(other.handle_, nullptr);
        return *this;
    }

    reference operator*() const noexcept { return *handle_.promise().item(); }
    std::remove_reference_t<T>* operator->() const noexcept { return handle_.promise().item(); }

    iterator& operator++() {
        handle_.resume();
        if (handle_.done()) [[unlikely]]
            handle_.promise().throw_if_failed();
        return *this;
    }
    void operator++(int) { ++*this; }

    friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept {
        return !at.handle_ || at.handle_.done();
    }

private:
    friend Generator;
    // A generator that was moved from is empty.
    explicit iterator(std::coroutine_handle<promise_type> handle) : handle_(handle) {
        if (handle_ && !handle_.done()) ++*this;
    }

    std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <class T>
Generator<T> GeneratorPromise<T>::get_return_object() noexcept {
    return Generator<T>(std::coroutine_handle<GeneratorPromise>::from_promise(*this));
}

}  // namespace detail

}  // namespace leat
