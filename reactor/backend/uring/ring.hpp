// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/clock.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>

#include <liburing.h>
#include <sys/socket.h>

namespace leat::detail::uring {

// What came to the kernel after the header that Debian 12 has (io_uring_setup(2), io_uring_register(2), <linux/io_uring.h>).
// Whether it is there is found by trying.
inline constexpr unsigned register_send_message = 31;  // IORING_REGISTER_SEND_MSG_RING

/// How a ring is made.
struct RingOptions {
    RingOptions() noexcept = default;
    /// As LEAT_IO_URING_ENTRIES and LEAT_IO_URING_SETUP say; see docs/backends.md.
    ///
    /// Errors: `std::invalid_argument` naming the variable and its value.
    static RingOptions from_environment();

    /// Requests that may be queued before the kernel is called; rounded up to a power of two.
    unsigned entries = 256;
    /// Ends of requests that the kernel keeps without memory of its own.
    unsigned completions = 4096;
    /// As the oldest kernel would make it, without any of the flags that spare work.
    bool is_plain = false;
};

/// The two queues that io_uring(7) shares with the kernel, and the call that moves them on.
///
/// A request is written into the submission queue, and given to the kernel by the next `enter`; its end comes through the
/// completion queue. How much the kernel has taken is read from the queue's head and never counted, so that whatever way
/// a call ends, nothing is submitted twice and nothing is left out.
///
/// Thread-safety: the thread that first enters it.
class Ring {
public:
    /// Errors: the kernel's, as `std::system_error`: EPERM and ENOSYS where it is refused or missing, ENOMEM, EMFILE.
    explicit Ring(const RingOptions& options);
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring();

    int descriptor() const noexcept { return ring_.ring_fd; }
    unsigned entries() const noexcept { return entries_; }
    /// Whether the kernel took all flags, and so is Linux 6.1 or newer.
    bool is_newest() const noexcept { return is_newest_; }
    /// A request to be filled, or null while the queue is full. `index` is that of the request in the queue.
    io_uring_sqe* next_request() noexcept {
        if (tail_ - head() >= entries_) return nullptr;
        return &ring_.sq.sqes[tail_++ & mask_];
    }
    unsigned index_of(const io_uring_sqe* request) const noexcept {
        return static_cast<unsigned>(request - ring_.sq.sqes);
    }
    unsigned unsubmitted() const noexcept { return tail_ - head(); }
    /// How many requests have a place before the next `enter`.
    unsigned room() const noexcept { return entries_ - unsubmitted(); }

    /// Submits what is queued, lets the kernel do what it has put off, and waits until there are `wanted` ends of requests
    /// (none: not at all) or the time has passed. Zero, or the kernel's error number; ETIME is none. The first thread that
    /// enters is the only one that may (EEXIST), where the kernel has SINGLE_ISSUER.
    int enter(unsigned wanted, std::optional<Duration> timeout) noexcept;

    /// Whether the kernel has something that `enter` would bring, or brings nothing more by itself.
    bool needs_enter() const noexcept { return !tells_of_work_ || has_put_off(); }
    /// Whether it says so itself.
    bool has_put_off() const noexcept { return (flags() & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN)) != 0; }
    bool has_overflowed() const noexcept { return (flags() & IORING_SQ_CQ_OVERFLOW) != 0; }
    /// Ends that found the completion queue full and were kept by the kernel meanwhile: how often that was seen.
    std::uint64_t overflows() const noexcept { return overflows_; }
    bool has_completions() const noexcept { return load(ring_.cq.ktail) != *ring_.cq.khead; }

    /// Calls `take(completion)` for those that are there now; what comes meanwhile is left for the next call,
    /// so that whoever makes completions faster than they are taken holds nobody up. Returns how many. `take`
    /// may queue requests, enter, and reap.
    template <class Take>
    unsigned reap(Take take) {
        const unsigned end = load(ring_.cq.ktail);
        unsigned count = 0;
        for (;;) {
            const unsigned head = *ring_.cq.khead;
            // Not "equal": a nested call may have gone beyond.
            if (static_cast<std::int32_t>(end - head) <= 0) return count;
            // Copied, and its place given back before anybody else looks at the queue.
            const io_uring_cqe completion = ring_.cq.cqes[head & completion_mask_];
            std::atomic_ref(*ring_.cq.khead).store(head + 1, std::memory_order_release);
            take(completion);
            ++count;
        }
    }

    /// io_uring_register(2), which liburing 2.3 exports in part only. A negated error number if negative.
    static int call_register(int ring, unsigned operation, const void* argument, unsigned count) noexcept;

private:
    static unsigned load(const unsigned* word) noexcept {
        return std::atomic_ref(const_cast<unsigned&>(*word)).load(std::memory_order_acquire);
    }
    unsigned head() const noexcept { return load(ring_.sq.khead); }
    unsigned flags() const noexcept { return load(ring_.sq.kflags); }
    void demand_features() const;
    int enable() noexcept;

    io_uring ring_{};
    unsigned entries_ = 0;
    unsigned mask_ = 0;
    unsigned completion_mask_ = 0;
    // Where the next request goes; the kernel hears of it with the next `enter`.
    unsigned tail_ = 0;
    // A ring that was made disabled becomes the thread's that enables it.
    bool is_enabled_ = true;
    // The kernel says in the queue's flags that it has put work off (TASKRUN_FLAG).
    bool tells_of_work_ = false;
    bool is_newest_ = false;
    std::uint64_t overflows_ = 0;
};

}  // namespace leat::detail::uring
