// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/interest.hpp>

#include <ostream>

namespace leat {

std::string to_string(Interest interest) {
    std::string text;
    auto append = [&text](bool is_set, const char* name) {
        if (!is_set) return;
        if (!text.empty()) text += '|';
        text += name;
    };
    append(interest.is_readable(), "readable");
    append(interest.is_writable(), "writable");
    append(interest.is_priority(), "priority");
    return text.empty() ? "none" : text;
}

std::ostream& operator<<(std::ostream& out, Interest interest) { return out << to_string(interest); }

}  // namespace leat
