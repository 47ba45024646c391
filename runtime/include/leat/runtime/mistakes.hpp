// SPDX-License-Identifier: BSL-1.0
//
// What a caller can get wrong at compile time, and the one sentence that names it. Not for programs.
//
// A call that does not fit is taken by an overload of its own, or checked before anything else is compiled
// for it, so that the sentence comes first and the compiler does not go on to list candidates. Each
// sentence begins with "leat:", and each is tested: tests/compile.
#pragma once

#include <leat/reactor/config.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace leat {

template <class T>
class Task;
template <class T>
class AsyncGenerator;
template <class T>
class NextOperation;
class Wait;

namespace detail {

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<Task<T>> = true;

template <class T>
inline constexpr bool is_generator = false;
template <class T>
inline constexpr bool is_generator<AsyncGenerator<T>> = true;

template <class T>
void next_operation_of(const NextOperation<T>*);
template <class A>
concept IsNextOperation =
    requires(const std::remove_reference_t<A>* awaitable) { next_operation_of(awaitable); };

/// Called without arguments it gives a task: so somebody has forgotten to call it.
template <class F>
concept GivesTask = requires(F& function) { requires is_task<std::remove_cvref_t<decltype(function())>>; };

/// What a body must do.
template <class F, class... Arguments>
consteval bool gives_task() {
    if constexpr (std::is_invocable_v<F, Arguments...>)
        return is_task<std::remove_cvref_t<std::invoke_result_t<F, Arguments...>>>;
    else
        return false;
}

/// What a refused call is said to give, so that its sentence remains the only error.
class Anything {
public:
    template <class T>
    operator T() const noexcept;
};

/// What a refused `co_await`, and a combinator that was refused, is said to be.
class RefusedAwait {
public:
    bool await_ready() const noexcept { return true; }
    template <class Handle>
    void await_suspend(Handle) const noexcept {}
    Anything await_resume() const noexcept { return Anything(); }
};

// ---- Of a co_await. ----

template <class A>
class RefusedTaskAwait : public RefusedAwait {
    static_assert(!std::is_same_v<A, A>,
                  "leat: a named task is awaited once, and given up: co_await std::move(task)");
};

template <class A>
class RefusedForeignAwait : public RefusedAwait {
    using Object = std::remove_cvref_t<A>;
    static_assert(!GivesTask<Object>, "leat: this is a function that returns a task: call it, co_await f()");
    static_assert(!is_generator<Object>,
                  "leat: a generator is awaited item by item: co_await generator.next()");
    static_assert(!std::is_base_of_v<Wait, Object>, "leat: a const wait cannot be awaited");
    static_assert(
        GivesTask<Object> || is_generator<Object> || std::is_base_of_v<Wait, Object>,
        "leat: this cannot be awaited in a leat::Task: it is no task and no wait, and has no await_ready, "
        "await_suspend(std::coroutine_handle<>) and await_resume of its own");
};

// ---- Of what a task, or a call, gives. ----

template <class T>
struct CheckedResult {
    static_assert(std::is_object_v<T> && !std::is_array_v<T>,
                  "leat: a task gives an object, an lvalue reference, or nothing");
    static_assert(!std::is_object_v<T> || std::is_move_constructible_v<std::remove_cv_t<T>>,
                  "leat: a result is moved to whoever awaits it, and this one cannot be moved: give a "
                  "std::unique_ptr of it");
    static_assert(
        alignof(T) <= 2 * sizeof(void*),
        "leat: a frame has no place for a result of such an alignment: give a std::unique_ptr of it");
};

// ---- Of what a combinator is to run. ----

template <class A>
inline constexpr bool is_named = std::is_lvalue_reference_v<A> || std::is_const_v<A>;

/// For combinators that run tasks and waits.
template <class A>
class RefusedAwaitable : public RefusedAwait {
    using Object = std::remove_cvref_t<A>;
    static constexpr bool is_ours =
        is_task<Object> || std::is_base_of_v<Wait, Object> || requires { typename Object::operation_type; };
    static_assert(!(is_ours && is_named<A>),
                  "leat: a combinator takes over the task or wait that it runs: pass std::move(name)");
    static_assert(
        !is_generator<Object> && !IsNextOperation<Object>,
        "leat: a combinator would end a generator whose item it stops waiting for: write a task that awaits "
        "the items, and pass that");
    static_assert(!GivesTask<Object>,
                  "leat: this is a function that returns a task: call it and pass the task, f()");
    static_assert(
        (is_ours && is_named<A>) || is_generator<Object> || IsNextOperation<Object> || GivesTask<Object>,
        "leat: this combinator cannot run such an object: it takes a leat::Task or a wait of leat's; write a "
        "coroutine that awaits the object, and pass its task");
};

/// For combinators that run tasks only.
template <class A>
class RefusedTask : public RefusedAwait {
    using Object = std::remove_cvref_t<A>;
    static_assert(!is_task<Object>,
                  "leat: a combinator takes over the task that it runs: pass std::move(task)");
    static_assert(!GivesTask<Object>,
                  "leat: this is a function that returns a task: call it and pass the task, f()");
    static_assert(
        is_task<Object> || GivesTask<Object>,
        "leat: this combinator takes a leat::Task: write a coroutine that awaits the object, and pass its "
        "task");
};

// ---- Of what a child, or a call, is made from. ----

template <class Object, class Given>
inline constexpr bool can_store = std::is_constructible_v<Object, Given>;

/// A child's callable and arguments as they were given; `Leading` is what the library puts before them.
/// `Returned` is what the call must give.
template <class Returned, class Leading, class Callable, class... Arguments>
class ChildCall;
template <class Returned, class... Leading, class Callable, class... Arguments>
class ChildCall<Returned, void(Leading...), Callable, Arguments...> {
    using Stored = std::decay_t<Callable>;

    static constexpr bool is_task_already = is_task<Stored>;
    static constexpr bool is_stored =
        can_store<Stored, Callable> && (can_store<std::decay_t<Arguments>, Arguments> && ...);
    static constexpr bool is_callable = std::is_invocable_v<Stored&, Leading..., std::decay_t<Arguments>...>;

    static constexpr bool would_take_names() {
        if constexpr (is_callable || is_task_already)
            return false;
        else
            return std::is_invocable_v<Stored&, Leading..., std::decay_t<Arguments>&...>;
    }
    static constexpr bool gives_what_it_must() {
        if constexpr (is_callable)
            return std::is_same_v<std::invoke_result_t<Stored&, Leading..., std::decay_t<Arguments>...>,
                                  Returned>;
        else
            return true;
    }

    static_assert(
        !is_task_already,
        "leat: a child is started from a function and its arguments, which it then owns: spawn(f, x), not "
        "spawn(f(x))");
    static_assert(
        is_stored || is_task_already,
        "leat: a child owns its function and arguments, and one of them cannot be copied into it: pass "
        "std::move(x), or std::ref(x) of what outlives the group");
    static_assert(
        !is_stored || !would_take_names(),
        "leat: a child owns its arguments and passes them on as temporaries, which this function takes by "
        "reference: let it take a value, or pass std::ref(x) of what outlives the group");
    static_assert(!is_stored || is_callable || is_task_already || would_take_names(),
                  "leat: a child's function cannot be called with these arguments");
    static_assert(!is_stored || !std::is_void_v<typename Returned::value_type> || gives_what_it_must(),
                  "leat: the function of a child must return leat::Task<>, and give nothing: for values use "
                  "leat::TaskResults");
    static_assert(!is_stored || std::is_void_v<typename Returned::value_type> || gives_what_it_must(),
                  "leat: the function of a child of leat::TaskResults<T> must return leat::Task<T>");

public:
    static constexpr bool is_right = !is_task_already && is_stored && is_callable && gives_what_it_must();
};

// ---- Of a temporary beside co_await. ----

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13

// No trait tells a lambda's type. This compiler writes it as `…<lambda(int)>`, and closes what is made from
// one otherwise.
template <class T>
consteval bool is_closure() {
    std::string_view name = __PRETTY_FUNCTION__;
    name.remove_prefix(name.find("T = ") + 4);
    name = name.substr(0, std::min(name.find("; "), name.size() - 1));
    if (!name.ends_with(")>")) return false;
    std::size_t at = name.size() - 2;
    for (std::size_t depth = 1; depth != 0 && at != 0;) {
        --at;
        if (name[at] == ')') ++depth;
        if (name[at] == '(') --depth;
    }
    return name.substr(0, at).ends_with("<lambda");
}

/// `F` is what a forwarding reference was deduced as. GCC 12 destroys a temporary that no constructor has
/// made, a lambda with captures or an aggregate, twice if it stands in an expression with `co_await`. A
/// function cannot tell it from what was passed as `std::move(name)`, which would be right.
template <class F>
consteval bool is_destroyed_twice() {
    if constexpr (std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<F>)
        return false;
    else
        return is_closure<std::remove_cv_t<F>>();
}
template <class F>
consteval bool is_callable_destroyed_twice() {
    return is_destroyed_twice<F>() ||
           (!std::is_lvalue_reference_v<F> && !std::is_trivially_destructible_v<F> &&
            std::is_aggregate_v<std::remove_cv_t<F>>);
}

#else

template <class F>
consteval bool is_destroyed_twice() {
    return false;
}
template <class F>
consteval bool is_callable_destroyed_twice() {
    return false;
}

#endif

/// For a callable that the await refers to, if it has a name.
template <class F>
consteval bool check_named() {
    static_assert(!is_callable_destroyed_twice<F>(),
                  "leat: GCC 12 destroys this temporary function object twice beside co_await: name it in a "
                  "line before, auto body = [captured] { ... };, and pass the name, body");
    return true;
}

/// For a callable and arguments that are moved to where they are called.
template <class F, class... Arguments>
consteval bool check_moved() {
    static_assert(!is_callable_destroyed_twice<F>() && !(is_destroyed_twice<Arguments>() || ...),
                  "leat: GCC 12 destroys this temporary function object twice beside co_await: name it in a "
                  "line before, auto work = [captured] { ... };, and pass the name, work, or "
                  "std::bind_front(std::move(work)) if it cannot be copied");
    return true;
}

}  // namespace detail

}  // namespace leat
