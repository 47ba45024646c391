// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

/// Of the hand-written loops: where to listen, from "ADDRESS:PORT".
///
/// Errors: `std::invalid_argument` naming the text.
inline sockaddr_in parse_address(std::string_view text) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    std::size_t colon = text.rfind(':');
    std::uint16_t port = 0;
    if (colon != text.npos) {
        std::string_view digits = text.substr(colon + 1);
        auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
        bool is_number = error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
        address.sin_port = htons(port);
        if (is_number &&
            inet_pton(AF_INET, std::string(text.substr(0, colon)).c_str(), &address.sin_addr) == 1) {
            return address;
        }
    }
    throw std::invalid_argument(fmt::format("not an IPv4 address and port: {}", text));
}
