// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>

namespace leat::detail {

/// A diagnostic message that is made of several parts. When memory runs out it is cut off, rather than not
/// written at all: the message is often about just that.
class JoinedText {
public:
    explicit JoinedText(std::initializer_list<std::string_view> parts) noexcept {
        try {
            for (std::string_view part : parts)
                whole_ += part;
            text_ = whole_;
        } catch (...) {
            text_ = cut_off(parts);
        }
    }
    JoinedText(const JoinedText&) = delete;
    JoinedText& operator=(const JoinedText&) = delete;

    std::string_view text() const noexcept { return text_; }

private:
    std::string_view cut_off(std::initializer_list<std::string_view> parts) noexcept {
        std::size_t size = 0;
        for (std::string_view part : parts)
            size += part.copy(short_.data() + size, short_.size() - size);
        return {short_.data(), size};
    }

    std::string whole_;
    std::array<char, 256> short_;
    std::string_view text_;
};

}  // namespace leat::detail
