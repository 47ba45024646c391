// SPDX-License-Identifier: BSL-1.0
#include <leat/net/address.hpp>

#include "backend/socket.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <ostream>
#include <span>
#include <stdexcept>

namespace leat {
namespace {

constexpr std::size_t group_count = 8;
using Groups = std::array<std::uint16_t, group_count>;

[[noreturn]] void refuse(std::string_view text, std::string_view reason) {
    throw std::invalid_argument("'" + std::string(text) + "' is no address: " + std::string(reason));
}

// All of `text` as a number of at most `digits` digits; signs and spaces are none.
template <class Number>
std::optional<Number> number(std::string_view text, int base, std::size_t digits) {
    if (text.empty() || text.size() > digits) return std::nullopt;
    Number value = 0;
    const char* end = text.data() + text.size();
    auto [stopped, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc() || stopped != end || text.front() == '-') return std::nullopt;
    return value;
}

// Cuts off what stands before the next `separator`, or all.
std::string_view take_until(std::string_view& text, std::string_view separator) {
    std::size_t end = text.find(separator);
    std::string_view taken = text.substr(0, end);
    text = end == text.npos ? std::string_view() : text.substr(end + separator.size());
    return taken;
}

// Four decimal numbers. "010" is refused, since half of the world reads it as eight.
std::optional<std::array<std::uint8_t, 4>> parse_ipv4(std::string_view text) {
    if (std::ranges::count(text, '.') != 3) return std::nullopt;
    std::array<std::uint8_t, 4> octets{};
    for (std::uint8_t& octet : octets) {
        std::string_view digits = take_until(text, ".");
        std::optional<std::uint8_t> value = number<std::uint8_t>(digits, 10, 3);
        if (!value || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;
        octet = *value;
    }
    return octets;
}

// Groups between single colons, the last two perhaps written as an IPv4 address; gives how many there are.
std::optional<std::size_t> parse_groups(std::string_view text, Groups& groups) {
    if (text.empty()) return 0;
    auto parts = static_cast<std::size_t>(std::ranges::count(text, ':')) + 1;
    std::size_t count = 0;
    for (std::size_t part = 1; part <= parts; ++part) {
        std::string_view digits = take_until(text, ":");
        if (part == parts && digits.find('.') != digits.npos) {
            std::optional<std::array<std::uint8_t, 4>> ipv4 = parse_ipv4(digits);
            if (!ipv4 || count + 2 > group_count) return std::nullopt;
            const auto& octets = *ipv4;
            groups[count++] = static_cast<std::uint16_t>(octets[0] << 8 | octets[1]);
            groups[count++] = static_cast<std::uint16_t>(octets[2] << 8 | octets[3]);
        } else {
            std::optional<std::uint16_t> value = number<std::uint16_t>(digits, 16, 4);
            if (!value || count == group_count) return std::nullopt;
            groups[count++] = *value;
        }
    }
    return count;
}

// RFC 4291 §2.2: eight groups, of which "::" stands for one or more that are zero.
std::optional<std::array<std::uint8_t, 16>> parse_ipv6(std::string_view text) {
    Groups head{};
    Groups tail{};
    bool is_shortened = text.find("::") != text.npos;
    std::string_view rest = text;
    std::string_view before = is_shortened ? take_until(rest, "::") : text;
    std::string_view after = is_shortened ? rest : std::string_view();
    // An IPv4 form stands at the very end, so not before "::".
    if (is_shortened && before.find('.') != before.npos) return std::nullopt;

    std::optional<std::size_t> first = parse_groups(before, head);
    std::optional<std::size_t> last = parse_groups(after, tail);
    if (!first || !last) return std::nullopt;
    std::size_t given = *first + *last;
    if (is_shortened ? given >= group_count : given != group_count) return std::nullopt;

    std::copy_n(tail.begin(), *last, head.end() - static_cast<std::ptrdiff_t>(*last));
    std::array<std::uint8_t, 16> octets{};
    for (std::size_t i = 0; i < group_count; ++i) {
        octets[2 * i] = static_cast<std::uint8_t>(head[i] >> 8);
        octets[2 * i + 1] = static_cast<std::uint8_t>(head[i] & 0xff);
    }
    return octets;
}

std::uint32_t parse_scope(std::string_view scope, std::string_view text) {
    constexpr std::size_t digits_of_32_bits = 10;
    if (std::optional<std::uint32_t> index = number<std::uint32_t>(scope, 10, digits_of_32_bits))
        return *index;
    std::optional<std::uint32_t> index = detail::socket::scope_by_name(std::string(scope).c_str());
    if (!index) refuse(text, "there is no interface '" + std::string(scope) + "'");
    return *index;
}

std::uint16_t parse_port(std::string_view digits, std::string_view text) {
    constexpr std::size_t digits_of_a_port = 5;
    if (digits.empty()) refuse(text, "the port is missing");
    std::optional<std::uint16_t> port = number<std::uint16_t>(digits, 10, digits_of_a_port);
    if (!port) refuse(text, "the port '" + std::string(digits) + "' is no number from 0 to 65535");
    return *port;
}

Address parse_bracketed(std::string_view text) {
    std::size_t end = text.find(']');
    if (end == text.npos) refuse(text, "the bracket is not closed");
    if (end + 1 == text.size() || text[end + 1] != ':') refuse(text, "the port is missing after the bracket");
    std::string_view host = text.substr(1, end - 1);

    std::size_t percent = host.find('%');
    std::uint32_t scope = percent == host.npos ? 0 : parse_scope(host.substr(percent + 1), text);
    std::optional<std::array<std::uint8_t, 16>> octets = parse_ipv6(host.substr(0, percent));
    if (!octets) refuse(text, "between the brackets stands no IPv6 address");
    return Address::ipv6(*octets, parse_port(text.substr(end + 2), text), scope);
}

void append_hexadecimal(std::string& text, std::uint16_t group) {
    std::array<char, 4> digits;
    const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), group, 16).ptr;
    text.append(static_cast<const char*>(digits.data()), end);
}

std::string ipv4_to_string(std::span<const std::uint8_t> octets) {
    std::string text;
    for (std::uint8_t octet : octets) {
        if (!text.empty()) text += '.';
        text += std::to_string(octet);
    }
    return text;
}

struct Run {
    std::size_t first = 0;
    std::size_t length = 0;
};

// RFC 5952 §4.2: the longest run of zeros, the first among equals, and never a single one.
Run longest_run_of_zeros(const Groups& groups) {
    Run longest;
    Run run;
    for (std::size_t i = 0; i < group_count; ++i) {
        if (groups[i] != 0) {
            run.length = 0;
            continue;
        }
        if (run.length++ == 0) run.first = i;
        if (run.length > longest.length) longest = run;
    }
    return longest.length > 1 ? longest : Run();
}

std::string ipv6_to_string(const Address& address) {
    const std::array<std::uint8_t, 16>& octets = address.octets();
    if (address.is_ipv4_mapped()) return "::ffff:" + ipv4_to_string(std::span(octets).last<4>());
    Groups groups{};
    for (std::size_t i = 0; i < group_count; ++i) {
        groups[i] = static_cast<std::uint16_t>(octets[2 * i] << 8 | octets[2 * i + 1]);
    }
    Run zeros = longest_run_of_zeros(groups);
    std::string text;
    for (std::size_t i = 0; i < group_count; ++i) {
        if (zeros.length != 0 && i == zeros.first) {
            text += "::";
            i += zeros.length - 1;
            continue;
        }
        if (!text.empty() && text.back() != ':') text += ':';
        append_hexadecimal(text, groups[i]);
    }
    return text;
}

}  // namespace

Address Address::parse(std::string_view text) {
    // The system takes names of interfaces as C strings, and nobody could see what hides behind a zero.
    if (text.find('\0') != text.npos) refuse(text.substr(0, text.find('\0')), "it holds a zero byte");
    if (text.starts_with('[')) return parse_bracketed(text);
    std::size_t colon = text.rfind(':');
    if (colon == text.npos) refuse(text, "the port is missing");
    if (text.find(':') != colon) refuse(text, "an IPv6 address stands in brackets");
    std::optional<std::array<std::uint8_t, 4>> octets = parse_ipv4(text.substr(0, colon));
    if (!octets) refuse(text, "an IPv4 address is four numbers from 0 to 255");
    return ipv4(*octets, parse_port(text.substr(colon + 1), text));
}

bool Address::is_loopback() const noexcept {
    if (is_ipv4()) return octets_[0] == 127;
    if (is_ipv4_mapped()) return octets_[12] == 127;
    return octets_ == loopback(0, Family::ipv6).octets_;
}

bool Address::is_any() const noexcept { return unmapped().octets_ == std::array<std::uint8_t, 16>(); }

bool Address::is_ipv4_mapped() const noexcept {
    if (!is_ipv6()) return false;
    auto zeros = std::span(octets_).first<10>();
    return std::ranges::all_of(zeros, [](std::uint8_t octet) { return octet == 0; }) && octets_[10] == 0xff &&
           octets_[11] == 0xff;
}

Address Address::unmapped() const noexcept {
    if (!is_ipv4_mapped()) return *this;
    return ipv4({octets_[12], octets_[13], octets_[14], octets_[15]}, port_);
}

std::string to_string(const Address& address) {
    std::string port = std::to_string(address.port());
    if (address.is_ipv4()) return ipv4_to_string(std::span(address.octets()).first<4>()) + ":" + port;
    std::string scope = address.scope() == 0 ? "" : "%" + std::to_string(address.scope());
    return "[" + ipv6_to_string(address) + scope + "]:" + port;
}

std::ostream& operator<<(std::ostream& out, const Address& address) { return out << to_string(address); }

}  // namespace leat
