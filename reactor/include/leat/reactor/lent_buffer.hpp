// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>

#include <cstddef>
#include <span>
#include <utility>

namespace leat {

namespace detail {
class OperationRecord;
}  // namespace detail

/// Bytes that have arrived, in a buffer of the queue that received them, which has it back when this is destroyed, `reset`
/// or assigned to.
///
/// Empty at the end of a stream, and then without a buffer. The bytes are the holder's to read and to change.
///
///     leat::LentBuffer chunk = co_await stream.receive();
///     co_await stream.write_all(chunk);
///
/// Thread-safety: the thread of the queue's owner.
/// Lifetime:      may outlive the queue. The memory of a queue's buffers stays until the last of them is back.
class LentBuffer {
public:
    LentBuffer() noexcept : data_(nullptr), size_(0) {}
    LentBuffer(LentBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    LentBuffer& operator=(LentBuffer&& other) noexcept;
    ~LentBuffer() { reset(); }

    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    std::byte* begin() const noexcept { return data_; }
    std::byte* end() const noexcept { return data_ + size_; }
    std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

    /// Gives the buffer back; what remains is empty. Twice is harmless.
    void reset() noexcept {
        if (data_ != nullptr) give_back();
    }

private:
    friend class detail::OperationRecord;
    LentBuffer(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}

    void give_back() noexcept;

    // Null exactly when there is no buffer.
    std::byte* data_;
    std::size_t size_;
};

inline LentBuffer& LentBuffer::operator=(LentBuffer&& other) noexcept {
    LentBuffer taken(std::move(other));
    std::swap(data_, taken.data_);
    std::swap(size_, taken.size_);
    return *this;
}

}  // namespace leat
