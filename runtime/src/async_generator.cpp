// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/async_generator.hpp>

#include "backend/diagnostic.hpp"

#include <cstdlib>

namespace leat::detail {

void stop_for_busy_generator() noexcept {
    write_notice("leat: a generator is moved, destroyed or asked for another item while a task waits for its "
                 "next one");
    std::abort();
}

}  // namespace leat::detail
