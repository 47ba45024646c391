// SPDX-License-Identifier: BSL-1.0
#include "backend/uring/ring.hpp"

#include "backend/descriptor_posix.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include <sys/syscall.h>
#include <unistd.h>

namespace leat::detail::uring {

namespace {

constexpr const char* entries_variable = "LEAT_IO_URING_ENTRIES";
constexpr const char* setup_variable = "LEAT_IO_URING_SETUP";
constexpr unsigned largest_queue = 32768;  // IORING_MAX_ENTRIES

// What a ring is asked for, the newest first: a kernel that does not know a flag says EINVAL (io_uring_setup(2)). Work that
// sockets cause is put off until this thread enters (DEFER_TASKRUN, Linux 6.1), and told of in the queue's flags; failing
// that, it comes with the next call of any kind rather than by an interrupt (COOP_TASKRUN, 5.19).
constexpr unsigned newest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                            IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_R_DISABLED;
constexpr std::array<unsigned, 4> steps = {
    newest,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0,
};

[[noreturn]] void fail(int error, const char* what) {
    throw std::system_error(error, std::system_category(), what);
}

}  // namespace

RingOptions RingOptions::from_environment() {
    RingOptions options;
    auto refuse = [](const char* variable, std::string_view value, const char* wanted) {
        throw std::invalid_argument("leat: " + std::string(variable) + " is \"" + std::string(value) +
                                    "\", not " + wanted);
    };
    if (const char* text = std::getenv(entries_variable); text != nullptr && *text != '\0') {
        std::string_view value = text;
        auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), options.entries);
        if (error != std::errc() || end != value.data() + value.size() || options.entries == 0 ||
            options.entries > largest_queue / 2)
            refuse(entries_variable, value, "a number from 1 to 16384");
        options.completions = 2 * options.entries;
    }
    if (const char* text = std::getenv(setup_variable); text != nullptr && *text != '\0') {
        if (std::string_view(text) != "plain") refuse(setup_variable, text, "\"plain\"");
        options.is_plain = true;
    }
    return options;
}

Ring::Ring(const RingOptions& options) {
    int error = -EINVAL;
    for (std::size_t step = options.is_plain ? steps.size() - 1 : 0; step < steps.size() && error == -EINVAL;
         ++step) {
        io_uring_params parameters{};
        parameters.flags = steps[step] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        parameters.cq_entries = options.completions;
        error = ::io_uring_queue_init_params(options.entries, &ring_, &parameters);
        is_enabled_ = (steps[step] & IORING_SETUP_R_DISABLED) == 0;
        is_newest_ = steps[step] == newest;
        tells_of_work_ = (steps[step] & IORING_SETUP_TASKRUN_FLAG) != 0;
        entries_ = parameters.sq_entries;
        mask_ = parameters.sq_entries - 1;
        completion_mask_ = parameters.cq_entries - 1;
    }
    if (error != 0) fail(-error, "leat: io_uring_setup");
    try {
        demand_features();
    } catch (...) {
        ::io_uring_queue_exit(&ring_);
        throw;
    }
    // Places in the order of the queue, once and for all.
    for (unsigned i = 0; i < entries_; ++i)
        ring_.sq.array[i] = i;
}

Ring::~Ring() { ::io_uring_queue_exit(&ring_); }

/// What is indispensable: a wait with a deadline, no completion that is dropped, and the operations.
/// IORING_OP_SOCKET stands for Linux 5.19, the oldest kernel that this is meant for (docs/backends.md).
void Ring::demand_features() const {
    constexpr unsigned needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                                IORING_FEAT_FAST_POLL | IORING_FEAT_CQE_SKIP;
    if ((ring_.features & needed) != needed) fail(ENOSYS, "leat: io_uring: this kernel's lacks features");

    std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> probe(
        ::io_uring_get_probe_ring(const_cast<io_uring*>(&ring_)), ::io_uring_free_probe);
    if (probe == nullptr) fail(ENOSYS, "leat: io_uring: cannot ask what it can do");
    for (int operation : {IORING_OP_POLL_ADD, IORING_OP_SENDMSG, IORING_OP_ASYNC_CANCEL, IORING_OP_CONNECT,
                          IORING_OP_SEND, IORING_OP_RECV, IORING_OP_SOCKET}) {
        if (!::io_uring_opcode_supported(probe.get(), operation))
            fail(ENOSYS, "leat: io_uring: this kernel's lacks operations");
    }
}

int Ring::enable() noexcept {
    const int result = call_register(ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    is_enabled_ = result >= 0;
    return result < 0 ? -result : 0;
}

int Ring::enter(unsigned wanted, std::optional<Duration> timeout) noexcept {
    if (!is_enabled_) [[unlikely]] {
        if (int error = enable(); error != 0) return error;
    }
    // What was written into the requests is there for the kernel before their number is.
    std::atomic_ref(*ring_.sq.ktail).store(tail_, std::memory_order_release);
    if (has_overflowed()) ++overflows_;

    __kernel_timespec limit{};
    io_uring_getevents_arg argument{};
    if (wanted != 0 && timeout) {
        auto seconds = std::chrono::duration_cast<std::chrono::seconds>(*timeout);
        limit.tv_sec = seconds.count();
        limit.tv_nsec = (*timeout - seconds).count();
        argument.ts = reinterpret_cast<std::uintptr_t>(&limit);
    }
    long result = ::syscall(__NR_io_uring_enter, ring_.ring_fd, unsubmitted(), wanted,
                            IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof argument);
    return result >= 0 || errno == ETIME ? 0 : errno;
}

int Ring::call_register(int ring, unsigned operation, const void* argument, unsigned count) noexcept {
    long result = ::syscall(__NR_io_uring_register, ring, operation, argument, count);
    return result < 0 ? -errno : static_cast<int>(result);
}

}  // namespace leat::detail::uring
