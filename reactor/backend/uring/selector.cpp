// SPDX-License-Identifier: BSL-1.0
//
// The Linux backend on io_uring(7).
//
// Operations are handed to the kernel in batches: one call a turn submits what the tasks have asked for and waits. What
// the kernel would not wait with (a read of what is no socket, say) is tried by us whenever the ring says that it is
// ready. Sources in interest mode stand in an epoll set that the ring watches, since a ring is one thread's and registering is
// everybody's.

#include "src/selector.hpp"

#include "backend/descriptor_posix.hpp"
#include "backend/epoll_set.hpp"
#include "backend/fork_guard.hpp"
#include "backend/readiness.hpp"
#include "backend/uring/listeners.hpp"
#include "backend/uring/requests.hpp"
#include "backend/uring/streams.hpp"
#include "backend/uring/transfer.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace leat::detail {

namespace uring {

namespace {

using Access = OperationAccess;
using Kind = OperationRecord::Kind;

class UringSelector final : public Selector, private Requests::Taker {
public:
    UringSelector(const SelectorContext& context, const RingOptions& options)
        : slots_(context.slots),
          completions_(context.completions),
          guard_(context.guard),
          requests_(options, *this),
          wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "leat: eventfd"),
          listeners_(requests_, completions_),
          streams_(requests_, completions_),
          headers_(std::make_unique<msghdr[]>(requests_.ring().entries())) {}

    ~UringSelector() override {
        if (is_the_parents_) return;
        is_ending_ = true;
        // The kernel must have let go of the memory of whoever still waits.
        requests_.end_all();
        streams_.drop_pieces(slots_);
    }

    // ---- Interest ----

    std::error_code add(Slot& slot) noexcept override { return set_.add(slot); }
    std::error_code modify(Slot& slot) noexcept override { return set_.modify(slot); }
    void remove(Slot& slot) noexcept override { set_.remove(slot); }

    // ---- Operations ----

    bool start(OperationRecord& operation, Slot& slot) noexcept override {
        const bool is_write = Access::is_write(operation);
        if (slot.waiting(is_write) != nullptr) {
            Access::end(operation, errc::busy);
            return true;
        }
        // The queues are the parent's, too.
        if (guard_.is_forked_child()) {
            Access::end(operation, errc::forked);
            return true;
        }
        Access::entry(operation) = 0;
        if (operation.kind() == Kind::accept) return listeners_.start(operation, slot);
        if (stays_with_kernel(operation)) {
            if (!may_try(operation, slot) || attempt(operation, slot) != Attempt::ended)
                return streams_.start(operation, slot);
            Access::state(operation) = Access::State::ended;
            return true;
        }
        const bool is_served =
            !is_write && Streams::reads_ahead(slot) && streams_.serve(operation, slot) == Streams::Found::all;
        const Step step = is_served ? Step::ended : begin(operation, slot);
        if (step == Step::ended) {
            Access::state(operation) = Access::State::ended;
            return true;
        }
        slot.park(is_write, operation);
        completions_.park(operation);
        submit(operation, slot, step);
        return false;
    }

    bool cancel(OperationRecord& operation, Slot& slot) noexcept override {
        if (operation.kind() == Kind::accept) {
            slot.unpark(false);
            listeners_.note_unwanted(slot);
            // From here on any thread may close the listener: what is not submitted would find another file then.
            if (ring().unsubmitted() != 0) give_to_kernel();
            return true;
        }
        if (stays_with_kernel(operation)) {
            Flight::set(operation, Flight::cancelled);
            streams_.withdraw(slot);
            return false;
        }
        if (!Flight::has(operation, Flight::cancelled)) withdraw(operation, Flight::cancelled);
        return false;
    }

    std::size_t take_ahead(Slot& slot, std::span<std::byte> buffer, bool takes,
                           std::error_code& error) noexcept override {
        return Streams::reads_ahead(slot) ? streams_.take_ahead(slot, buffer, takes, error) : 0;
    }

    void end_reads(Slot& slot) noexcept override {
        OperationRecord* operation = slot.waiting(false);
        if (operation == nullptr || operation->kind() == Kind::accept) return;
        if (stays_with_kernel(*operation)) {
            streams_.end_reads(slot);
            return;
        }
        // What comes back then finds what has arrived, or the end.
        withdraw(*operation, Flight::ending);
    }

    void detach(Slot& slot) noexcept override {
        if (!guard_.is_owner()) {
            // Nobody waits, then; but the request of a listener or a stream may be with the kernel.
            has_stale_.store(true, std::memory_order_release);
            wake();
            return;
        }
        listeners_.detach(slot);
        streams_.detach(slot);
        for (bool is_write : {false, true}) {
            OperationRecord* operation = slot.waiting(is_write);
            if (operation == nullptr || stays_with_kernel(*operation)) continue;
            withdraw(*operation, Flight::closing);
        }
        // A request that is not submitted yet would find another file under the number, and one that is would keep
        // the file open.
        for (bool is_write : {false, true}) {
            OperationRecord* operation = slot.waiting(is_write);
            if (operation != nullptr && !stays_with_kernel(*operation)) await_end(*operation);
        }
    }

    void await_end(OperationRecord& operation) noexcept override {
        while (Access::state(operation) == Access::State::in_flight) {
            if (requests_.advance(1)) continue;
            // The thread whose ring it was has ended, and all its requests with it.
            Access::slot(operation).unpark(Access::is_write(operation));
            Access::end(operation, errc::closed);
            completions_.push(operation);
        }
    }

    void flush() noexcept override {
        arm();
        if (ring().unsubmitted() != 0) give_to_kernel();
        answer_watcher();
    }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        if (harvest.room() == 0) return;
        arm();
        if (has_stale_.load(std::memory_order_relaxed)) detach_stale(harvest);
        streams_.top_up();
        if (has_more_readiness_ || ring().has_completions()) timeout = Duration::zero();
        const bool sleeps = !timeout || *timeout > Duration::zero();
        if (sleeps) listeners_.rest();
        if (sleeps || ring().unsubmitted() != 0 || ring().needs_enter()) {
            const int error = ring().enter(sleeps ? 1 : 0, timeout);
            // Others pass: a signal, and want of memory or of places for ends, which are taken now.
            if (error != 0 && error != EINTR && error != EAGAIN && error != EBUSY)
                throw std::system_error(error, std::system_category(), "leat: io_uring_enter");
        }
        batch_ = requests_.reap();
        // The ring does not watch what it must.
        if (const int failure = std::exchange(failure_, 0); failure != 0)
            throw std::system_error(failure, std::system_category(), "leat: io_uring");
        if (!set_.has_interests())
            has_more_readiness_ = false;
        else if (has_more_readiness_ || !sleeps)
            report_readiness(harvest);
        if (is_watched()) flush();
    }

    void wake() noexcept override {
        // An eventfd that another one's signal leads to is signalled late (eventfd_signal_allowed in the kernel's
        // fs/eventfd.c), so that a foreign loop is better woken by a message.
        if (is_watched() && send_message()) return;
        increment(wake_.get());
        if (is_watched()) increment(bell_->get());
    }

    NativeHandle native_handle() noexcept override {
        // What makes it readable has to be entered first, and that is the owner's to do.
        if (!guard_.is_owner()) return invalid_handle;
        if (bell_ != nullptr) return bell_->get();
        try {
            auto bell =
                std::make_unique<Descriptor>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "leat: eventfd");
            const int descriptor = bell->get();
            if (Ring::call_register(ring().descriptor(), IORING_REGISTER_EVENTFD, &descriptor, 1) < 0)
                return invalid_handle;
            bell_ = std::move(bell);
            flush();
        } catch (const std::exception&) {
            return invalid_handle;
        }
        return bell_->get();
    }

    void leave_to_parent() noexcept override { is_the_parents_ = true; }

private:
    // With fewer ends than this in a turn, what need not wait is cheaper by a call of its own than as a request
    // (docs/adr/0011).
    static constexpr unsigned small_batch = 4;

    static void increment(int eventfd) noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] ssize_t written = ::write(eventfd, &one, sizeof one);
    }

    /// To this ring, from a thread that may have none; from Linux 6.13 on.
    bool send_message() noexcept {
        io_uring_sqe message{};
        ::io_uring_prep_msg_ring(&message, requests_.ring().descriptor(), 0, Mark::message, 0);
        return Ring::call_register(-1, register_send_message, &message, 1) >= 0;
    }

    Ring& ring() noexcept { return requests_.ring(); }
    bool is_watched() const noexcept { return bell_ != nullptr; }
    /// What it refuses for now stays in the queue.
    void give_to_kernel() noexcept { [[maybe_unused]] int error = ring().enter(0, std::nullopt); }

    /// Requests that are always there: for wakes, and for the set of those in interest mode.
    void arm() noexcept {
        if (!is_wake_armed_) is_wake_armed_ = poll_always(wake_.get(), Mark::wake, true);
        if (!is_set_armed_) is_set_armed_ = poll_always(set_.descriptor(), Mark::interest, false);
    }

    bool poll_always(int descriptor, std::uint64_t mark, bool many) noexcept {
        io_uring_sqe* request = requests_.demand();
        if (request == nullptr) return false;
        if (many)
            ::io_uring_prep_poll_multishot(request, descriptor, POLLIN);
        else
            ::io_uring_prep_poll_add(request, descriptor, POLLIN);
        requests_.mark(*request, mark);
        return true;
    }

    void detach_stale(Harvest& harvest) noexcept {
        harvest.begin_readiness();
        has_stale_.store(false, std::memory_order_relaxed);
        listeners_.detach_stale();
        streams_.detach_stale(slots_);
        harvest.end_readiness();
    }

    // ---- Operations ----

    /// Whether there is one request for all operations of this kind on a source, and none for each.
    bool stays_with_kernel(const OperationRecord& operation) noexcept {
        return operation.kind() == Kind::accept ||
               (operation.kind() == Kind::receive_lent && streams_.are_supported());
    }

    /// Whether a `receive_lent` is to be tried before the kernel is asked to read ahead.
    bool may_try(const OperationRecord& operation, const Slot& slot) const noexcept {
        return operation.kind() == Kind::receive_lent && batch_ < small_batch && slot.has(Slot::readable) &&
               !Streams::reads_ahead(slot);
    }

    Step begin(OperationRecord& operation, Slot& slot) noexcept {
        const Step otherwise = is_transfer(operation.kind()) ? Step::transfer : Step::poll;
        if (!begins_at_once(operation, slot)) {
            // With many to do in a turn, all that the kernel can do goes to it together.
            if (otherwise == Step::transfer && batch_ >= small_batch) return otherwise;
            if (operation.kind() == Kind::connect) return otherwise;
            if (!slot.has(Access::is_write(operation) ? Slot::writable : Slot::readable)) return otherwise;
        }
        return attempt(operation, slot) == Attempt::ended ? Step::ended : otherwise;
    }

    void submit(OperationRecord& operation, Slot& slot, Step step) noexcept {
        io_uring_sqe* request = requests_.demand();
        if (request == nullptr) {
            slot.unpark(Access::is_write(operation));
            Access::error(operation) = Requests::unusable;
            completions_.push(operation);
            return;
        }
        if (step == Step::transfer)
            prepare_transfer(*request, operation, slot, headers_[ring().index_of(request)],
                             ring().is_newest());
        else
            prepare_poll(*request, operation, slot);
        requests_.mark(*request, Mark::of(&operation, Mark::Kind::operation));
    }

    void ask_for_end(OperationRecord& operation) noexcept {
        const auto kind = Access::is_write(operation) ? Mark::Kind::cancel_write : Mark::Kind::cancel_read;
        requests_.cancel(Mark::of(&operation, Mark::Kind::operation),
                         Mark::of(&Access::slot(operation), kind));
    }

    /// A request was not found. If it has not ended meanwhile, it was between two tries.
    void ask_again(Slot& slot, bool is_write) noexcept {
        OperationRecord* operation = slot.waiting(is_write);
        if (operation == nullptr || stays_with_kernel(*operation)) return;
        if (Flight::has(*operation, Flight::cancelled | Flight::closing | Flight::ending))
            ask_for_end(*operation);
    }

    void withdraw(OperationRecord& operation, std::uint16_t flags) noexcept {
        Flight::set(operation, flags);
        ask_for_end(operation);
    }

    // ---- What the kernel has done ----

    void take(const io_uring_cqe& completion) noexcept override {
        switch (Mark::kind_of(completion.user_data)) {
        case Mark::Kind::operation:
            if (!is_ending_)
                take(Mark::owner_of<OperationRecord>(completion.user_data), completion.res, completion.flags);
            return;
        case Mark::Kind::listener:
            if (!is_ending_)
                listeners_.take(Mark::owner_of<Listener>(completion.user_data), completion);
            else if (completion.res >= 0)
                ::close(completion.res);
            return;
        case Mark::Kind::stream:
            if (!is_ending_) streams_.take(Mark::owner_of<Stream>(completion.user_data), completion);
            return;
        case Mark::Kind::own:
            take_own(completion);
            return;
        case Mark::Kind::cancel_read:
        case Mark::Kind::cancel_write:
            if (!is_ending_)
                ask_again(Mark::owner_of<Slot>(completion.user_data),
                          Mark::kind_of(completion.user_data) == Mark::Kind::cancel_write);
            return;
        case Mark::Kind::cancel_listener:
            if (!is_ending_) listeners_.disarm_again(Mark::owner_of<Slot>(completion.user_data));
            return;
        case Mark::Kind::cancel_stream:
            if (!is_ending_) streams_.disarm_again(Mark::owner_of<Slot>(completion.user_data));
            return;
        }
    }

    void take_own(const io_uring_cqe& completion) noexcept {
        if (completion.res < 0 && completion.res != -ECANCELED && completion.res != -EINTR)
            failure_ = -completion.res;
        if (completion.user_data == Mark::interest) {
            is_set_armed_ = false;
            has_more_readiness_ = true;
        } else if (completion.user_data == Mark::wake && (completion.flags & IORING_CQE_F_MORE) == 0) {
            is_wake_armed_ = false;
            // What it counts would end the next request at once.
            std::uint64_t count = 0;
            [[maybe_unused]] ssize_t taken = ::read(wake_.get(), &count, sizeof count);
        }
    }

    void take(OperationRecord& operation, std::int32_t result, std::uint32_t flags) noexcept {
        Slot& slot = Access::slot(operation);
        const Step step = take_result(operation, slot, result, flags);
        if (step != Step::ended) {
            if (!Flight::has(operation, Flight::cancelled | Flight::closing)) {
                submit(operation, slot, step);
                return;
            }
            Access::error(operation) = Flight::has(operation, Flight::closing)
                                           ? -static_cast<std::int32_t>(errc::closed)
                                           : ECANCELED;
        }
        slot.unpark(Access::is_write(operation));
        completions_.push(operation);
    }

    void report_readiness(Harvest& harvest) noexcept {
        const std::size_t wanted = std::min(harvest.room(), events_.size());
        has_more_readiness_ = false;
        if (wanted == 0) return;
        const int count = set_.wait(std::span(events_).first(wanted), Duration::zero());
        if (count <= 0) return;
        EpollSet::report(std::span(events_).first(static_cast<std::size_t>(count)), harvest);
        has_more_readiness_ = static_cast<std::size_t>(count) == wanted;
    }

    // ---- A foreign loop's handle ----

    /// Leaves the handle readable exactly if a wait would find something.
    void answer_watcher() noexcept {
        if (!is_watched()) return;
        std::uint64_t count = 0;
        [[maybe_unused]] ssize_t taken = ::read(bell_->get(), &count, sizeof count);
        if (!ring().has_completions() && !ring().has_put_off() && !has_more_readiness_ &&
            ring().unsubmitted() == 0)
            return;
        increment(bell_->get());
    }

    SlotTable& slots_;
    Completions& completions_;
    const ForkGuard& guard_;
    Requests requests_;
    EpollSet set_;
    Descriptor wake_;
    Listeners listeners_;
    Streams streams_;
    // Of vectored sends, one for each place of the queue: read by the kernel when it takes the request.
    std::unique_ptr<msghdr[]> headers_;

    // Of a request that is always there.
    int failure_ = 0;
    bool is_wake_armed_ = false;
    bool is_set_armed_ = false;
    // The set has events, or has more than there was room for.
    bool has_more_readiness_ = false;
    // Ends that the last wait has brought.
    unsigned batch_ = 0;
    bool is_ending_ = false;
    bool is_the_parents_ = false;
    std::atomic<bool> has_stale_{false};
    // What the kernel counts ends in, once a foreign loop has asked for it.
    std::unique_ptr<Descriptor> bell_;
    std::array<epoll_event, 256> events_;
};

}  // namespace

}  // namespace uring

std::unique_ptr<Selector> make_selector_io_uring(const SelectorContext& context) {
    return std::make_unique<uring::UringSelector>(context, uring::RingOptions::from_environment());
}

}  // namespace leat::detail
