// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/event.hpp>

#include "src/core.hpp"

#include <ostream>
#include <stdexcept>

namespace leat {

Events::Events(std::size_t capacity) : entries_(capacity) {
    if (capacity == 0) throw std::invalid_argument("leat: Events need room for at least one event");
}

Events::~Events() {
    if (core_ == nullptr) return;
    core_->forget(*this);
    core_->release();
}

void Events::clear() noexcept {
    if (core_ != nullptr) core_->forget(*this);
    size_ = 0;
}

bool Events::stands(const Event& entry) const noexcept {
    if (entry.is_timeout()) return true;
    // A timer that was cancelled since.
    if (entry.flags_ == 0) return false;
    return entry.slot_->generation.load(std::memory_order_acquire) == entry.generation_;
}

std::ostream& operator<<(std::ostream& out, const Event& event) {
    if (event.operation() != nullptr) return out << "operation ended";
    out << "token " << event.token().value();
    auto append = [&out](bool is_set, const char* name) {
        if (is_set) out << ' ' << name;
    };
    append(event.is_timeout(), "timeout");
    append(event.is_readable(), "readable");
    append(event.is_writable(), "writable");
    append(event.is_priority(), "priority");
    append(event.is_error(), "error");
    append(event.is_read_closed(), "read-closed");
    append(event.is_write_closed(), "write-closed");
    return out;
}

}  // namespace leat
