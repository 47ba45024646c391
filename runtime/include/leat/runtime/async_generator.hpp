// SPDX-License-Identifier: BSL-1.0
//
// A generator's frame is a task's, run by whoever awaits its next item. At a `co_yield` it says to the executor what a task
// says at its end, and suspends; the next item's await takes the frame up again as if it were a task to begin. So it
// stands in the tree of tasks below its consumer, and neither items nor consumers grow the stack.
#pragma once

#include <leat/reactor/clock.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/task.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T>
class AsyncGenerator;
template <class T>
class NextOperation;

namespace detail {

template <class T>
class AsyncGeneratorPromise : public TaskPromise<void> {
public:
    using Item = std::remove_reference_t<T>;

    AsyncGenerator<T>
    get_return_object(std::source_location definition = std::source_location::current()) noexcept;

    FinalSuspend yield_value(Item& item) noexcept
        requires std::is_lvalue_reference_v<T>
    {
        item_ = std::addressof(item);
        return FinalSuspend();
    }
    FinalSuspend yield_value(Item&& item) noexcept
        requires(!std::is_lvalue_reference_v<T> || std::is_const_v<Item>)
    {
        item_ = std::addressof(item);
        may_take_ = true;
        return FinalSuspend();
    }
    FinalSuspend yield_value(const Item& item) noexcept
        requires(!std::is_reference_v<T> && std::copy_constructible<Item>)
    {
        item_ = const_cast<Item*>(std::addressof(item));
        may_take_ = false;
        return FinalSuspend();
    }

    void unhandled_exception() noexcept {
        if (is_destroyed_) [[unlikely]]
            stop_for_throwing_destructor(std::current_exception());
        TaskPromise<void>::unhandled_exception();
    }

private:
    friend class AsyncGenerator<T>;
    friend class NextOperation<T>;

    // In the generator's frame, where it stays until the next item is asked for; null at the end.
    Item* item_ = nullptr;
    // A temporary or what the generator has given up; else a variable of it, to be copied.
    bool may_take_ = false;
    bool is_awaited_ = false;
    bool is_destroyed_ = false;
};

}  // namespace detail

/// What `AsyncGenerator::next` gives.
template <class T>
class [[nodiscard]] NextOperation : public detail::TaskAwaiterBase {
    using Promise = detail::AsyncGeneratorPromise<T>;
    using Item = typename Promise::Item;

public:
    using value_type = std::conditional_t<std::is_reference_v<T>, Item*, std::optional<std::remove_cv_t<T>>>;

    explicit NextOperation(AsyncGenerator<T>& generator) noexcept : generator_(&generator) {}
    NextOperation(NextOperation&&) noexcept = default;
    // The frame is the generator's.
    ~NextOperation() { child_ = nullptr; }

    bool await_ready() const noexcept {
        generator_->demand_idle();
        return generator_->promise_ == nullptr;
    }
    bool await_suspend(TaskHandle handle,
                       std::source_location line = std::source_location::current()) noexcept {
        if (is_stopped()) return true;
        Promise& promise = *generator_->promise_;
        promise.is_awaited_ = true;
        child_ = &promise;
        return TaskAwaiterBase::await_suspend(handle, line);
    }
    value_type await_resume() {
        if (std::exception_ptr failure = exception()) [[unlikely]]
            std::rethrow_exception(std::move(failure));
        return take_value();
    }

    /// For `as_result`: the exception, or null if `take_value` may be called.
    std::exception_ptr exception() noexcept;
    value_type take_value();

    std::string describe() const override { return "the next item of a generator"; }
    void child_unwound() noexcept override {
        generator_->promise_ = nullptr;
        TaskAwaiterBase::child_unwound();
    }

private:
    AsyncGenerator<T>* generator_;
};

/// A coroutine that gives one item after the other, and may wait between them.
///
///     leat::AsyncGenerator<Reading> readings(Sensor& sensor) {
///         for (;;) {
///             co_await leat::sleep_for(1s);
///             co_yield sensor.read();
///         }
///     }
///     leat::AsyncGenerator<Reading> source = readings(sensor);
///     for (;;) {
///         std::optional<Reading> reading = co_await source.next();
///         if (!reading) break;
///         ...
///     }
///
/// It runs only while somebody awaits `next`, on that task's executor and in its scope; another task may await the next
/// item. In a dump it stands below that task. It may await all that a task may.
///
/// What is yielded as a variable is copied into the optional; a temporary, and `co_yield std::move(variable)`, is moved. Items of an
/// `AsyncGenerator<T&>` are the objects themselves: `next` gives a pointer, null at the end, which is valid
/// until the next call.
///
/// Destroying it where it stands, at its beginning or at a `co_yield`, destroys its variables at once; what it would
/// still have done is not done. So one that has something to wait for at its end is to be gone through to its end.
///
/// Thread-safety: the executor's thread, once awaited.
/// Lifetime:      reference parameters outlive it, as for every coroutine. While somebody waits in `next`, it is
///                neither moved nor destroyed, nor awaited a second time: that ends the program.
/// Errors:        what it throws comes out of `next`, and is its end.
/// Complexity:    an item is O(1) and allocates nothing, and the stack does not grow; the frame comes from the pool of
///                frames.
template <class T>
class [[nodiscard("a generator does nothing until its items are awaited")]] AsyncGenerator {
    static_assert(!std::is_void_v<T> && !std::is_rvalue_reference_v<T>,
                  "leat: items are objects or lvalue references");

public:
    using promise_type = detail::AsyncGeneratorPromise<T>;

    AsyncGenerator(AsyncGenerator&& other) noexcept : promise_(other.release()) {}
    AsyncGenerator& operator=(AsyncGenerator&& other) noexcept {
        if (this != &other) {
            destroy();
            promise_ = other.release();
        }
        return *this;
    }
    ~AsyncGenerator() { destroy(); }

    /// Waits for the next item: `std::optional<T>`, empty at the end and ever after; of a generator of references, a
    /// pointer.
    ///
    /// A deadline for one item cannot be had with `timeout`, since it would end the generator, and so it does not compile: put
    /// the deadline inside, where it waits.
    ///
    /// Errors:       what the generator throws; after that, it is at its end.
    /// Cancellation: the generator is unwound, innermost first, and then the awaiting task. An item that has been yielded
    ///               is given. In a scope that is cancelled already, the generator does not go on.
    NextOperation<T> next() noexcept { return NextOperation<T>(*this); }

private:
    friend promise_type;
    friend class NextOperation<T>;
    explicit AsyncGenerator(promise_type& promise) noexcept : promise_(&promise) {}

    promise_type* release() noexcept {
        demand_idle();
        return std::exchange(promise_, nullptr);
    }
    void destroy() noexcept {
        demand_idle();
        if (promise_ == nullptr) return;
        promise_->is_destroyed_ = true;
        std::exchange(promise_, nullptr)->handle().destroy();
    }
    void demand_idle() const noexcept {
        if (promise_ != nullptr && promise_->is_awaited_) [[unlikely]]
            detail::stop_for_misuse("a generator is moved, destroyed or asked for another item while a task "
                                    "waits for its next one");
    }

    // Owned; null at the end.
    promise_type* promise_;
};

template <class T>
std::exception_ptr NextOperation<T>::exception() noexcept {
    // It was at its end already; or this is awaited again.
    if (child_ == nullptr || generator_->promise_ == nullptr) return nullptr;
    Promise& promise = *generator_->promise_;
    promise.is_awaited_ = false;
    if (promise.item_ != nullptr) [[likely]]
        return nullptr;
    std::exception_ptr failure = take_exception(promise);
    generator_->destroy();
    return failure;
}

template <class T>
typename NextOperation<T>::value_type NextOperation<T>::take_value() {
    Promise* promise = generator_->promise_;
    if (promise == nullptr) [[unlikely]]
        return value_type();
    Item* item = std::exchange(promise->item_, nullptr);
    if constexpr (std::is_reference_v<T>) {
        return item;
    } else {
        if constexpr (std::copy_constructible<Item>) {
            if (!promise->may_take_) return value_type(std::in_place, std::as_const(*item));
        }
        return value_type(std::in_place, std::move(*item));
    }
}

namespace detail {

template <class T>
AsyncGenerator<T> AsyncGeneratorPromise<T>::get_return_object(std::source_location definition) noexcept {
    static_assert(alignof(AsyncGeneratorPromise) <= 2 * sizeof(void*));
    // A task that ends more than once.
    (void)TaskPromise<void>::get_return_object(definition).release();
    return AsyncGenerator<T>(*this);
}

template <class T>
class NextAsResult final : public NextOperation<T> {
public:
    using value_type = Result<typename NextOperation<T>::value_type>;

    explicit NextAsResult(NextOperation<T>&& next) noexcept : NextOperation<T>(std::move(next)) {}

    value_type await_resume() {
        if (std::exception_ptr failure = this->exception())
            return Unexpected<std::error_code>(code_or_tell(this->executor(), failure));
        return value_type(this->take_value());
    }
};

template <class T>
class NextAsOutcome final : public NextOperation<T> {
public:
    using value_type = Outcome<typename NextOperation<T>::value_type>;

    explicit NextAsOutcome(NextOperation<T>&& next) noexcept : NextOperation<T>(std::move(next)) {}

    value_type await_resume() {
        if (std::exception_ptr failure = this->exception())
            return Unexpected<std::exception_ptr>(std::move(failure));
        return value_type(this->take_value());
    }
};

}  // namespace detail

/// `co_await as_result(generator.next())`: a `std::system_error` of the generator becomes a code, every other exception
/// passes through; either is its end.
template <class T>
[[nodiscard]] detail::NextAsResult<T> as_result(NextOperation<T>&& next) noexcept {
    return detail::NextAsResult<T>(std::move(next));
}

/// The same with any exception.
template <class T>
[[nodiscard]] detail::NextAsOutcome<T> as_outcome(NextOperation<T>&& next) noexcept {
    return detail::NextAsOutcome<T>(std::move(next));
}

}  // namespace leat

#pragma GCC diagnostic pop
