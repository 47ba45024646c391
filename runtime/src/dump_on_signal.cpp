// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/signals.hpp>

#include "backend/diagnostic.hpp"

#include <leat/runtime/executor.hpp>
#include <leat/runtime/sleep.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace leat {

namespace {

/// There is no asking to be told when standard error takes more: it may be a file, and belongs to the whole process.
Task<> write_all_of(std::string_view text) {
    constexpr Duration shortest = std::chrono::milliseconds(1);
    constexpr Duration longest = std::chrono::milliseconds(250);
    Duration pause = shortest;
    while (!text.empty()) {
        std::optional<std::size_t> written = detail::write_what_fits(text);
        if (!written) co_return;
        text.remove_prefix(*written);
        if (text.empty()) break;
        pause = *written != 0 ? shortest : std::min(2 * pause, longest);
        co_await sleep_for(pause);
    }
}

}  // namespace

Task<> dump_on_signal(Signals& signals) {
    Environment& environment = co_await detail::CurrentEnvironment();
    Executor& executor = environment.executor();
    for (;;) {
        co_await signals.next();
        std::string text;
        try {
            text = "the tasks:\n" + executor.dump_tasks();
        } catch (const std::bad_alloc&) {
            // The next signal may find memory again.
            executor.notice_always("no memory for a dump of the tasks");
            continue;
        }
        if (executor.has_diagnostic()) {
            executor.notice_always(text);
            continue;
        }
        text.insert(0, "leat: ");
        co_await write_all_of(text);
    }
}

}  // namespace leat
