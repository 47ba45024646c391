// SPDX-License-Identifier: BSL-1.0
#include "src/selector.hpp"

#include <leat/reactor/backend.hpp>

#include <array>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace leat {

namespace detail {

namespace {

struct Row {
    std::string_view name;
    std::unique_ptr<Selector> (*make)(const SelectorContext&);
};

constexpr Row rows[] = {
#define LEAT_BACKEND(name) {#name, make_selector_##name},
#include "backend_table.inc"
#undef LEAT_BACKEND
};

constexpr std::size_t row_count = sizeof rows / sizeof *rows;

constexpr auto backends = [] {
    auto at = [](std::size_t row) { return Backend(rows[row].name, static_cast<int>(row)); };
    return [&]<std::size_t... row>(std::index_sequence<row...>) {
        return std::array<Backend, row_count>{at(row)...};
    }(std::make_index_sequence<row_count>{});
}();

}  // namespace

Selection select(Backend wanted, const SelectorContext& context) {
    // Of all kernel interfaces, the one that systems take away from programs.
    const bool may_be_refused = wanted.is_automatic() && wanted.name() == "io_uring";
    const auto make = [&](std::size_t row) { return rows[row].make(context); };
    const auto row = static_cast<std::size_t>(wanted.row());
    if (!may_be_refused || row + 1 == row_count) return {wanted, make(row), {}};
    try {
        return {wanted, make(row), {}};
    } catch (const std::system_error& error) {
        return {backends[row + 1], make(row + 1),
                std::string(wanted.name()) + " is refused: " + error.what()};
    }
}

}  // namespace detail

std::span<const Backend> Backend::all() noexcept { return detail::backends; }

Backend Backend::by_name(std::string_view name) {
    std::string known;
    for (Backend backend : all()) {
        if (backend.name() == name) return backend;
        known += known.empty() ? "" : ", ";
        known += backend.name();
    }
    throw std::invalid_argument("leat: no backend \"" + std::string(name) + "\"; this build has " + known);
}

Backend Backend::best() {
    const char* chosen = std::getenv("LEAT_BACKEND");
    if (chosen == nullptr || *chosen == '\0') return Backend(all().front().name(), all().front().row(), true);
    try {
        return by_name(chosen);
    } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(std::string(error.what()) + " (LEAT_BACKEND)");
    }
}

}  // namespace leat
