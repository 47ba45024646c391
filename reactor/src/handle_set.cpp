// SPDX-License-Identifier: BSL-1.0
#include "src/handle_set.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace leat::detail {

namespace {

constexpr std::size_t bits = 64;
constexpr std::size_t first_size = 4;
// For two megabytes; Linux's own default limit is a sixteenth of it (proc_sys_fs(5), nr_open).
constexpr std::uintptr_t end_of_handles = std::uintptr_t{1} << 24;

std::uintptr_t number_of(NativeHandle handle) noexcept {
    return static_cast<std::uintptr_t>(handle) / native_handle_step;
}

}  // namespace

HandleSet::Added HandleSet::add(NativeHandle handle) noexcept {
    const std::uintptr_t number = number_of(handle);
    if (number >= end_of_handles) return Added::yes;
    const std::size_t word = number / bits;
    if (word >= size_ && !grow(word + 1)) return Added::no_memory;
    const Word bit = Word{1} << number % bits;
    if ((words_[word] & bit) != 0) return Added::is_there_already;
    words_[word] |= bit;
    return Added::yes;
}

void HandleSet::remove(NativeHandle handle) noexcept {
    const std::uintptr_t number = number_of(handle);
    if (number / bits < size_) words_[number / bits] &= ~(Word{1} << number % bits);
}

bool HandleSet::grow(std::size_t words) noexcept {
    const std::size_t size = std::max({first_size, 2 * size_, words});
    std::unique_ptr<Word[]> grown(new (std::nothrow) Word[size]());
    if (grown == nullptr) return false;
    std::copy_n(words_.get(), size_, grown.get());
    words_ = std::move(grown);
    size_ = size;
    return true;
}

}  // namespace leat::detail
