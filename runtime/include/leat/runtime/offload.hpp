// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/error.hpp>
#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/stored_call.hpp>
#include <leat/runtime/task.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

namespace detail {

class OffloadWait;

/// A call on its way through a pool, without its types.
///
/// Invariants: 1. In the queue it is its executor's, and either may take it out, under the pool's lock. From then until
///                it tells its executor of the end it is the thread's, but for `stop_` and `stage_`.
///             2. `waiting_` is the executor's thread's alone.
class OffloadJob {
public:
    explicit OffloadJob(bool takes_stop_token)
        : stop_(takes_stop_token ? std::stop_source() : std::stop_source(std::nostopstate)) {}
    OffloadJob(const OffloadJob&) = delete;
    OffloadJob& operator=(const OffloadJob&) = delete;
    virtual ~OffloadJob() = default;

    std::source_location caller() const noexcept { return caller_; }

protected:
    std::stop_token stop_token() const noexcept { return stop_.get_token(); }

private:
    friend class PoolCore;
    friend class OffloadWait;

    /// Calls it and keeps the value; throws what it throws.
    virtual void call() = 0;
    virtual void drop_callable() noexcept = 0;

    // The thread's, and the executor's afterwards.
    void run() noexcept;
    void drop() noexcept;
    /// Whoever waits is told.
    static void tell(std::shared_ptr<OffloadJob>&& job) noexcept;

    std::stop_source stop_;
    std::source_location caller_;
    std::optional<Remote> executor_;
    OffloadWait* waiting_ = nullptr;
    std::exception_ptr failure_;
    bool was_dropped_ = false;
    // Whether the end, or the going of who waits for it, was first.
    enum class Stage : std::uint8_t { under_way, ended, abandoned };
    std::atomic<Stage> stage_ = Stage::under_way;
    // The pool's, under its lock: the queue's reference to it, and its place there or among those that run.
    std::shared_ptr<OffloadJob> self_;
    OffloadJob* next_ = nullptr;
    OffloadJob* previous_ = nullptr;
    // While it is among those that run: on which thread.
    std::thread::id runner_;
    bool is_queued_ = false;
};

template <class Callable, class... Arguments>
class TypedOffload final : public OffloadJob {
    static constexpr bool takes_stop_token = std::is_invocable_v<Callable&, std::stop_token, Arguments...>;
    static_assert(
        takes_stop_token || std::is_invocable_v<Callable&, Arguments...>,
        "leat: the function cannot be called with these arguments, which it is given as temporaries: "
        "let it take values, or pass std::ref(x)");

    template <bool with_token>
    static auto returned() {
        if constexpr (with_token)
            return std::type_identity<std::invoke_result_t<Callable&, std::stop_token, Arguments...>>();
        else
            return std::type_identity<std::invoke_result_t<Callable&, Arguments...>>();
    }
    using Value = ValueOfCall<typename decltype(returned<takes_stop_token>())::type>;
    static_assert(
        !Value::is_task,
        "leat: a task needs an executor, and the pool's threads have none: offload a plain function");

public:
    using value_type = typename Value::type;

    template <class C, class... A>
    explicit TypedOffload(std::in_place_t, C&& callable, A&&... arguments)
        : OffloadJob(takes_stop_token),
          stored_(std::in_place, std::in_place, std::forward<C>(callable), std::forward<A>(arguments)...) {}
    // Also if what was given has a destructor that may throw: that ends the program.
    ~TypedOffload() noexcept override {}

    value_type take() { return result_.take(); }

private:
    decltype(auto) invoke() {
        if constexpr (takes_stop_token)
            return (*stored_)(stop_token());
        else
            return (*stored_)();
    }
    void call() override {
        if constexpr (std::is_void_v<value_type>)
            invoke();
        else
            result_.return_value(invoke());
    }
    void drop_callable() noexcept override { stored_.reset(); }

    std::optional<StoredCall<Callable, Arguments...>> stored_;
    TaskResult<value_type> result_;
};

/// The part of an offload's awaiter that does not depend on the types.
class OffloadWait : public Wait {
public:
    bool await_ready() const noexcept { return false; }
    // Here, where the line is known.
    bool await_suspend(TaskHandle, std::source_location line = std::source_location::current());

    void cancel() noexcept override;
    std::string describe() const override { return "a call on a thread of a pool"; }

protected:
    // Without a pool it takes its executor's.
    OffloadWait(std::shared_ptr<OffloadJob>&& job, std::shared_ptr<PoolCore> pool,
                bool may_be_abandoned) noexcept
        : job_(std::move(job)), pool_(std::move(pool)), may_be_abandoned_(may_be_abandoned) {}
    // Movable until awaited.
    OffloadWait(OffloadWait&& other) noexcept
        : Wait(static_cast<Wait&&>(other)),
          job_(std::move(other.job_)),
          pool_(std::move(other.pool_)),
          may_be_abandoned_(other.may_be_abandoned_) {}
    ~OffloadWait() = default;

    OffloadJob& job() const noexcept { return *job_; }
    /// Why there is neither a value nor an exception, if so.
    std::error_code missing() const noexcept;
    void throw_if_missing() const;
    std::exception_ptr take_failure() noexcept { return std::move(job_->failure_); }

private:
    friend class OffloadJob;
    void ended() noexcept;
    void leave() noexcept;

    std::shared_ptr<OffloadJob> job_;
    std::shared_ptr<PoolCore> pool_;
    std::error_code refusal_;
    bool may_be_abandoned_;
    // Between the start and the end.
    bool is_under_way_ = false;
    bool was_asked_ = false;
};

template <class Callable, class... Arguments>
class TypedOffloadWait : public OffloadWait {
protected:
    using Job = TypedOffload<Callable, Arguments...>;

public:
    using value_type = typename Job::value_type;

    TypedOffloadWait(std::shared_ptr<Job> job, std::shared_ptr<PoolCore> pool, bool may_be_abandoned) noexcept
        : OffloadWait(std::move(job), std::move(pool), may_be_abandoned) {}
    TypedOffloadWait(TypedOffloadWait&&) noexcept = default;

    value_type await_resume() {
        throw_if_missing();
        if (std::exception_ptr failure = take_failure()) std::rethrow_exception(std::move(failure));
        return static_cast<Job&>(job()).take();
    }

    ResultOf<value_type> result() {
        if (std::error_code error = missing()) return Unexpected<std::error_code>(error);
        if (std::exception_ptr failure = take_failure())
            return Unexpected<std::error_code>(code_or_tell(this->executor(), failure));
        if constexpr (std::is_void_v<value_type>)
            return Result<value_type>();
        else
            return ResultOf<value_type>(static_cast<Job&>(job()).take());
    }
};

template <class T>
inline constexpr bool is_reference_wrapper = false;
template <class T>
inline constexpr bool is_reference_wrapper<std::reference_wrapper<T>> = true;

}  // namespace detail

/// What `offload` gives.
template <class Callable, class... Arguments>
class [[nodiscard]] OffloadOperation : public detail::TypedOffloadWait<Callable, Arguments...> {
    using Base = detail::TypedOffloadWait<Callable, Arguments...>;

public:
    template <class... Parts>
    explicit OffloadOperation(std::shared_ptr<detail::PoolCore> pool, Parts&&... parts)
        : Base(std::make_shared<typename Base::Job>(std::in_place, std::forward<Parts>(parts)...),
               std::move(pool), false) {}
    OffloadOperation(OffloadOperation&&) noexcept = default;
};

/// What `offload_detached` gives.
template <class Callable, class... Arguments>
class [[nodiscard]] DetachedOffloadOperation : public detail::TypedOffloadWait<Callable, Arguments...> {
    using Base = detail::TypedOffloadWait<Callable, Arguments...>;
    static_assert(!(detail::is_reference_wrapper<Arguments> || ...) &&
                      !std::is_reference_v<typename Base::value_type>,
                  "leat: a detached call may outlive what it refers to: pass copies");

public:
    template <class... Parts>
    explicit DetachedOffloadOperation(std::shared_ptr<detail::PoolCore> pool, Parts&&... parts)
        : Base(std::make_shared<typename Base::Job>(std::in_place, std::forward<Parts>(parts)...),
               std::move(pool), true) {}
    DetachedOffloadOperation(DetachedOffloadOperation&&) noexcept = default;
};

/// Calls `callable(arguments…)`, a plain function that may block, on a thread of the executor's pool, and gives its value or
/// throws its exception.
///
///     std::string text = co_await leat::offload(read_file, path);
///
///     auto search = [&index](std::stop_token stop, const std::string& word) { ... };
///     Hits hits = co_await leat::offload(search, word);
///
/// Callable and arguments are moved there, and are destroyed there before the await ends; what they refer to in the caller's
/// frame lives as long as the await. A callable that takes a `std::stop_token` first is given one, which tells of a
/// cancellation; what hangs on that token with a `std::stop_callback` is called on the executor's thread.
///
/// If all threads are busy the call is queued, first come, first served; if the queue is full, it waits for a place there.
///
/// Lifetime:     name a capturing lambda first, as above: GCC 12 destroys it twice beside an await.
/// Errors:       the callable's; `closed` if the pool ends before the call has begun; `forked` in a child; that of starting
///               a thread, if the pool has none.
/// Cancellation: a call that has not begun is taken back at once. One that runs is told by its stop token and waited for; its
///               result, which it had all the same, is returned.
/// Complexity:   an allocation, a lock, a post back; a thread now and then.
template <class Callable, class... Arguments>
OffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...> offload(Callable&& callable,
                                                                             Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    return OffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>(
        nullptr, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
}

/// The same for a call that nobody need wait for: when it is cancelled, the task ends at once, and the thread discards the
/// result whenever it comes. So the callable may refer to nothing that could be gone by then: it has copies of its arguments,
/// and a lambda captures by value. A stop token, if it takes one, tells it that it was abandoned. The end of
/// the pool does not wait for it: it may still run when `main` returns, and ends with the process then.
///
/// Cancellation: at once; a result that has come already is returned.
template <class Callable, class... Arguments>
DetachedOffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
offload_detached(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    return DetachedOffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>(
        nullptr, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
}

template <class Callable, class... Arguments>
OffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
BlockingPool::offload(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    return OffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>(
        core_, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
}

template <class Callable, class... Arguments>
DetachedOffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>
BlockingPool::offload_detached(Callable&& callable, Arguments&&... arguments) {
    static_assert(detail::check_moved<Callable, Arguments...>());
    return DetachedOffloadOperation<std::decay_t<Callable>, std::decay_t<Arguments>...>(
        core_, std::forward<Callable>(callable), std::forward<Arguments>(arguments)...);
}

}  // namespace leat

#pragma GCC diagnostic pop
