// SPDX-License-Identifier: BSL-1.0
//
// The shortest way for the two things that every message needs.
//
// An operation's record is some sixty bytes in the coroutine's frame, and filling it costs more instructions than deciding
// that a read has to wait, or that a write is done. So the functions that a message calls give a request, three words
// that say what is wanted. Awaited, it looks whether its source is idle (`Slot::idle`): a read then begins its life
// parked, and a write is tried before there is any record of it. What does not go that way, and what is wrapped
// in `as_result` or `timeout`, becomes the operation that the request stands for.
//
// That way is compiled into each coroutine, `always_inline` from `await_transform` on: left to itself, a compiler makes a
// function of it as soon as a file has two such awaits, and a message costs a fifth more.
#pragma once

#include <leat/reactor/operation.hpp>
#include <leat/reactor/source.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/wait.hpp>

#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <source_location>
#include <span>
#include <string_view>
#include <type_traits>

namespace leat {

/// What holds bytes in one piece to read into: an array, a vector, a span. A function that takes it by reference spares
/// the coroutine a span in its frame.
template <class B>
concept WritableBytes = requires(B&& bytes) {
    { std::data(bytes) } -> std::convertible_to<std::byte*>;
    { std::size(bytes) } -> std::convertible_to<std::size_t>;
} && (std::is_lvalue_reference_v<B> || std::is_convertible_v<B, std::span<std::byte>>);

/// The same to write from.
template <class B>
concept ReadableBytes = requires(B&& bytes) {
    { std::data(bytes) } -> std::convertible_to<const std::byte*>;
    { std::size(bytes) } -> std::convertible_to<std::size_t>;
};

/// Text, which is written as its bytes: a literal, without the NUL at its end, or what converts to a
/// `std::string_view`.
///
/// Lifetime: that of the text, which outlives the await.
class TextBytes {
public:
    template <class T>
        requires(std::convertible_to<const T&, std::string_view> && !std::is_array_v<T>)
    TextBytes(const T& text) noexcept(noexcept(std::string_view(text)))
        : bytes_(std::as_bytes(std::span(std::string_view(text)))) {}
    // An embedded NUL is a byte like any other.
    template <std::size_t size>
    TextBytes(const char (&text)[size]) noexcept
        : TextBytes(std::string_view(text, text[size - 1] == '\0' ? size - 1 : size)) {}
    template <std::size_t size>
    TextBytes(char (&)[size]) noexcept {
        static_assert(size == 0,
                      "leat: how much of an array of char is text? Pass std::string_view(array, length)");
    }

    std::span<const std::byte> bytes() const noexcept { return bytes_; }

private:
    std::span<const std::byte> bytes_;
};

namespace detail {
template <class Op>
class ReadAwaiter;
template <class Op, Operation::Kind kind>
class WriteAwaiter;
}  // namespace detail

/// A read that is wanted, and stands for an `Op`. Awaited again, it reads again.
template <class Op>
class [[nodiscard]] ReadRequest {
public:
    using operation_type = Op;
    using value_type = typename Op::value_type;

    ReadRequest(Source& source, std::byte* data, std::size_t size) noexcept
        : source_(&source), data_(data), size_(size) {}

    Source& source() const noexcept { return *source_; }
    std::span<std::byte> buffer() const noexcept { return {data_, size_}; }
    operator Op() const noexcept { return Op(Operation::receive(*source_, buffer())); }
    /// For a coroutine of another kind, which cannot await it: says so when it is compiled.
    detail::TaskOnlyAwait<value_type> operator co_await() const noexcept {
        return detail::TaskOnlyAwait<value_type>();
    }

    /// For `await_transform`.
    detail::ReadAwaiter<Op> await_in(TaskFrame& frame) const noexcept;

private:
    Source* source_;
    std::byte* data_;
    std::size_t size_;
};

/// A write that is wanted, of a part of the buffer or of all of it, and stands for an `Op`. Awaited again, it
/// writes again.
template <class Op, Operation::Kind kind>
class [[nodiscard]] WriteRequest {
public:
    using operation_type = Op;
    using value_type = typename Op::value_type;

    WriteRequest(Source& source, const std::byte* data, std::size_t size) noexcept
        : source_(&source), data_(data), size_(size) {}

    Source& source() const noexcept { return *source_; }
    std::span<const std::byte> buffer() const noexcept { return {data_, size_}; }
    operator Op() const noexcept {
        if constexpr (kind == Operation::Kind::send)
            return Op(Operation::send(*source_, buffer()));
        else
            return Op(Operation::send_all(*source_, buffer()));
    }
    /// For a coroutine of another kind, which cannot await it: says so when it is compiled.
    detail::TaskOnlyAwait<value_type> operator co_await() const noexcept {
        return detail::TaskOnlyAwait<value_type>();
    }

    /// For `await_transform`.
    detail::WriteAwaiter<Op, kind> await_in(TaskFrame& frame) const noexcept;

private:
    Source* source_;
    const std::byte* data_;
    std::size_t size_;
};

namespace detail {

/// What a task awaits for a read: the operation, made in its place.
template <class Op>
class ReadAwaiter {
public:
    [[gnu::always_inline]] ReadAwaiter(const ReadRequest<Op>& request, TaskFrame& frame) noexcept {
        Slot* slot = request.source().idle_slot(frame.environment().queue());
        if (slot == nullptr || request.buffer().empty()) [[unlikely]] {
            start(request, frame);
            return;
        }
        std::construct_at(&operation_, *slot, request.buffer());
        operation_.attach_parked(frame);
    }
    ReadAwaiter(const ReadAwaiter&) = delete;
    ReadAwaiter& operator=(const ReadAwaiter&) = delete;

    bool await_ready() const noexcept { return operation_.is_ready(); }
    void await_suspend(TaskHandle, std::source_location line = std::source_location::current()) noexcept {
        note_line(operation_, line);
    }
    auto await_resume() { return operation_.await_resume(); }

private:
    [[gnu::noinline, gnu::cold]] void start(const ReadRequest<Op>& request, TaskFrame& frame) noexcept {
        std::construct_at(&operation_, Op(request));
        operation_.start_for(frame);
    }

    static_assert(std::is_trivially_destructible_v<Op>);
    union {
        Op operation_;
    };
};

/// What a task awaits for a write: the operation, if it came to that.
template <class Op, Operation::Kind kind>
class WriteAwaiter {
public:
    [[gnu::always_inline]] WriteAwaiter(const WriteRequest<Op, kind>& request, TaskFrame& frame) noexcept {
        Completions* queue = frame.environment().queue();
        Slot* slot = request.source().idle_slot(queue);
        std::size_t size = request.buffer().size();
        std::ptrdiff_t left = not_tried;
        if (slot != nullptr && size != 0 && --queue->budget.left != 0) [[likely]] {
            sent_ = size;
            left = queue->send(*slot, request.buffer().data(), size);
            if (left == 0) [[likely]]
                return;
        }
        // One way out, so that nothing that it needs is kept in registers on the other.
        start(left, request, frame);
    }
    WriteAwaiter(const WriteAwaiter&) = delete;
    WriteAwaiter& operator=(const WriteAwaiter&) = delete;

    bool await_ready() const noexcept { return sent_ != 0 || operation_.is_ready(); }
    void await_suspend(TaskHandle, std::source_location line = std::source_location::current()) noexcept {
        note_line(operation_, line);
    }
    typename Op::value_type await_resume() {
        if (sent_ == 0) [[unlikely]]
            return operation_.await_resume();
        if constexpr (!std::is_void_v<typename Op::value_type>) return sent_;
    }

private:
    static constexpr std::ptrdiff_t not_tried = 1;

    [[gnu::noinline, gnu::cold]] void start(std::ptrdiff_t left, const WriteRequest<Op, kind>& request,
                                            TaskFrame& frame) noexcept {
        sent_ = 0;
        std::construct_at(&operation_, Op(request));
        if (left == not_tried)
            operation_.start_for(frame);
        else
            operation_.start_after_send(frame, left + static_cast<std::ptrdiff_t>(request.buffer().size()));
    }

    static_assert(std::is_trivially_destructible_v<Op>);
    // All of the buffer, at once; or zero, and then there is an operation.
    std::size_t sent_;
    union {
        Op operation_;
    };
};

}  // namespace detail

template <class Op>
[[gnu::always_inline]] inline detail::ReadAwaiter<Op>
ReadRequest<Op>::await_in(TaskFrame& frame) const noexcept {
    return detail::ReadAwaiter<Op>(*this, frame);
}

template <class Op, Operation::Kind kind>
[[gnu::always_inline]] inline detail::WriteAwaiter<Op, kind>
WriteRequest<Op, kind>::await_in(TaskFrame& frame) const noexcept {
    return detail::WriteAwaiter<Op, kind>(*this, frame);
}

}  // namespace leat
