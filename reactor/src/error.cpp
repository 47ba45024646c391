// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/error.hpp>

#include <string>

namespace leat {

namespace {

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "leat"; }

    std::string message(int value) const override {
        switch (static_cast<errc>(value)) {
        case errc::busy:
            return "in use by another thread or operation";
        case errc::closed:
            return "closed";
        case errc::deadline_exceeded:
            return "deadline exceeded";
        case errc::deadlock:
            return "nothing can ever run again";
        case errc::not_registered:
            return "not registered with this queue";
        case errc::already_registered:
            return "registered already";
        case errc::forked:
            return "belongs to the process that forked";
        case errc::unexpected_end:
            return "the stream ended too early";
        case errc::cancelled:
            return "cancelled";
        }
        return "unknown error " + std::to_string(value);
    }
};

}  // namespace

const std::error_category& error_category() noexcept {
    static const Category category;
    return category;
}

std::error_code make_error_code(errc code) noexcept {
    return std::error_code(static_cast<int>(code), error_category());
}

}  // namespace leat
