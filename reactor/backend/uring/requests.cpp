// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/requests.hpp"

#include <cerrno>

#include <sched.h>

namespace leat::detail::uring {

namespace {

/// Of errors of io_uring_enter(2), those that pass: a signal, no memory for requests, no place for their ends.
bool will_pass(int error) noexcept {
    return error == 0 || error == EINTR || error == EAGAIN || error == EBUSY;
}

}  // namespace

io_uring_sqe* Requests::demand() noexcept {
    if (io_uring_sqe* request = ring_.next_request()) [[likely]]
        return request;
    return make_room(1) ? ring_.next_request() : nullptr;
}

bool Requests::make_room(unsigned wanted) noexcept {
    for (int tries = 0; ring_.room() < wanted; ++tries) {
        if (tries == most_tries) return refuse(ENOMEM);
        const int error = ring_.enter(0, std::nullopt);
        if (!will_pass(error)) return refuse(EBADF);
        if (error != EBUSY && error != EAGAIN) continue;
        if (depth_ < most_nested) reap();
        ::sched_yield();
    }
    return true;
}

bool Requests::refuse(std::int32_t why) noexcept {
    refusal_ = why;
    return false;
}

bool Requests::cancel(std::uint64_t mark, std::uint64_t answer) noexcept {
    io_uring_sqe* request = demand();
    if (request == nullptr) return false;
    ::io_uring_prep_cancel64(request, mark, 0);
    request->user_data = answer;
    // If it is found, its own completion shows that.
    request->flags = IOSQE_CQE_SKIP_SUCCESS;
    return true;
}

bool Requests::advance(unsigned wanted) noexcept {
    const int error = ring_.enter(ring_.has_completions() ? 0 : wanted, std::nullopt);
    reap();
    return will_pass(error);
}

unsigned Requests::reap() noexcept {
    ++depth_;
    const unsigned count = ring_.reap([this](const io_uring_cqe& completion) {
        if (completion.user_data == Mark::nobody) return;
        const Mark::Kind kind = Mark::kind_of(completion.user_data);
        if (kind >= Mark::Kind::cancel_read) {
            // EALREADY: it is being carried out, and will end.
            if (completion.res < 0 && completion.res != -EALREADY) taker_.take(completion);
            return;
        }
        // A message was no request.
        if ((completion.flags & IORING_CQE_F_MORE) == 0 && completion.user_data != Mark::message) --held_;
        taker_.take(completion);
    });
    --depth_;
    return count;
}

void Requests::end_all() noexcept {
    reap();
    while (held_ != 0) {
        io_uring_sqe* request = demand();
        if (request == nullptr) {
            // Memory may come back, and the kernel must have let go before this returns.
            if (!advance(0)) return;
            continue;
        }
        ::io_uring_prep_cancel64(request, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
        request->user_data = Mark::nobody;
        if (!advance(1)) return;
    }
}

}  // namespace leat::detail::uring
