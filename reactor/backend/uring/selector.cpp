// SPDX-License-Identifier: BSL-1.0
//
// The Linux backend on io_uring(7).
//
// Operations are submitted to the kernel in batches: one call per loop iteration submits what the tasks have
// asked for and waits. How an operation waits: see transfer.hpp. Nothing is taken from the kernel that no
// operation asked for: no request outlives the operation that it was made for. Sources in interest mode are
// in an epoll set that the ring polls, since a ring belongs to one thread and any thread may register.

#include "src/selector.hpp"

#include "backend/descriptor_posix.hpp"
#include "backend/epoll_set.hpp"
#include "backend/fork_guard.hpp"
#include "backend/readiness.hpp"
#include "backend/uring/buffer_ring.hpp"
#include "backend/uring/requests.hpp"
#include "backend/uring/transfer.hpp"

#include <leat/reactor/buffer_pool.hpp>

#include <algorithm>
#include <array>
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
          buffers_(requests_.ring(), completions_),
          headers_(std::make_unique<msghdr[]>(requests_.ring().entries())) {}

    ~UringSelector() override {
        if (is_the_parents_) return;
        is_ending_ = true;
        // The kernel must have let go of the memory of whoever still waits.
        requests_.end_all();
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
        if (operation.kind() == Kind::receive_lent && !takes_from_ring())
            Flight::set(operation, Flight::polled);
        const Step step = begin(operation, slot);
        if (step == Step::ended) {
            Access::state(operation) = Access::State::ended;
            return true;
        }
        slot.park(is_write, operation);
        completions_.park(operation);
        submit(operation, slot, step);
        return false;
    }

    bool cancel(OperationRecord& operation, Slot&) noexcept override {
        if (!Flight::has(operation, Flight::cancelled)) end_request(operation, Flight::cancelled);
        return false;
    }

    void end_reads(Slot& slot) noexcept override {
        // What comes back then finds what has arrived, or the end.
        if (OperationRecord* operation = slot.waiting(false)) end_request(*operation, Flight::ending);
    }

    void retry(Slot& slot, bool is_write) noexcept override {
        if (OperationRecord* operation = slot.waiting(is_write)) end_request(*operation, Flight::ending);
    }

    void detach(Slot& slot) noexcept override {
        // No request outlives its operation, and another thread closes a source only while nobody waits on
        // it.
        if (!guard_.is_owner()) return;
        for (bool is_write : {false, true})
            if (OperationRecord* operation = slot.waiting(is_write)) end_request(*operation, Flight::closing);
        // A request that is not submitted yet would find another file under the number, and one that is would keep
        // the file open.
        for (bool is_write : {false, true})
            if (OperationRecord* operation = slot.waiting(is_write)) await_end(*operation);
    }

    void await_end(OperationRecord& operation) noexcept override {
        while (Access::state(operation) == Access::State::in_flight) {
            // An operation whose cancel is owed would not end by itself.
            const bool will_end = !owes_cancels_ || ask_for_end(operation);
            if (requests_.advance(will_end ? 1 : 0)) continue;
            // The thread whose ring it was has ended, and all its requests with it.
            Access::slot(operation).unpark(Access::is_write(operation));
            Access::end(operation, errc::closed);
            completions_.push(operation);
        }
    }

    void flush() noexcept override {
        arm();
        buffers_.top_up();
        if (ring().unsubmitted() != 0) give_to_kernel();
        answer_watcher();
    }

    void wait(Harvest& harvest, std::optional<Duration> timeout) override {
        if (harvest.room() == 0) return;
        arm();
        if (owes_cancels_) [[unlikely]]
            cancel_what_is_owed(harvest);
        buffers_.top_up();
        if (has_more_readiness_ || ring().has_completions()) timeout = Duration::zero();
        const bool sleeps = !timeout || *timeout > Duration::zero();
        if (sleeps || ring().unsubmitted() != 0 || ring().needs_enter()) enter(sleeps ? 1 : 0, timeout);
        // A call that does not wait takes a chain one step further: from its poll to its transfer.
        for (int step = 1; !sleeps && step < steps_of_chain && !ring().has_completions(); ++step)
            if (ring().has_put_off()) enter(0, std::nullopt);
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

    NativeHandle native_handle(std::error_code& error) noexcept override {
        if (bell_ != nullptr) return bell_->get();
        try {
            auto bell =
                std::make_unique<Descriptor>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "leat: eventfd");
            const int descriptor = bell->get();
            const int result =
                Ring::call_register(ring().descriptor(), IORING_REGISTER_EVENTFD, &descriptor, 1);
            if (result < 0) {
                error.assign(-result, std::system_category());
                return invalid_handle;
            }
            bell_ = std::move(bell);
            flush();
        } catch (const std::system_error& failure) {
            error = failure.code();
            return invalid_handle;
        } catch (const std::bad_alloc&) {
            error = std::make_error_code(std::errc::not_enough_memory);
            return invalid_handle;
        }
        return bell_->get();
    }

    void leave_to_parent() noexcept override { is_the_parents_ = true; }

private:
    // With fewer completions than this in a loop iteration, what need not wait is cheaper by a call of its
    // own than as a request (docs/adr/0011).
    static constexpr unsigned small_batch = 4;

    // A poll, the transfer that is linked to it, and its completion.
    static constexpr int steps_of_chain = 3;

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
    void enter(unsigned wanted, std::optional<Duration> timeout) {
        const int error = ring().enter(wanted, timeout);
        // Others pass: a signal, no memory, and no room for completions, which are taken next.
        if (error != 0 && error != EINTR && error != EAGAIN && error != EBUSY)
            throw std::system_error(error, std::system_category(), "leat: io_uring_enter");
    }
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

    // ---- Operations ----

    /// Whether the kernel puts what a `receive_lent` brings into a buffer of the ring. Else we try it after a
    /// poll.
    bool takes_from_ring() noexcept { return ring().is_newest() && buffers_.open(); }

    static bool is_carried_out(OperationRecord& operation) noexcept {
        return is_transfer(operation.kind()) && !Flight::has(operation, Flight::polled);
    }

    Step begin(OperationRecord& operation, Slot& slot) noexcept {
        const Step otherwise = is_carried_out(operation) ? Step::transfer : Step::poll;
        if (!begins_at_once(operation, slot)) {
            // With many to do in a loop iteration, all that the kernel can do goes to it together.
            if (otherwise == Step::transfer && batch_ >= small_batch) return otherwise;
            if (operation.kind() == Kind::connect) return otherwise;
            if (!slot.has(Access::is_write(operation) ? Slot::writable : Slot::readable)) return otherwise;
        }
        return attempt(operation, slot) == Attempt::ended ? Step::ended : otherwise;
    }

    void submit(OperationRecord& operation, Slot& slot, Step step) noexcept {
        const bool is_write = Access::is_write(operation);
        const bool waits = step == Step::transfer && operation.kind() != Kind::connect &&
                           !slot.has(is_write ? Slot::writable : Slot::readable);
        // A chain has to be submitted in one piece, which a queue of one has no room for.
        if (waits && ring().entries() < 2) {
            Flight::set(operation, Flight::polled);
            step = Step::poll;
        }
        const bool is_chain = waits && step == Step::transfer;
        if (!requests_.make_room(is_chain ? 2 : 1)) return fail_to_submit(operation, slot);

        const std::uint64_t mark = Mark::of(&operation, Mark::Kind::operation);
        if (step == Step::poll || is_chain) {
            io_uring_sqe& poll = *requests_.demand();
            prepare_poll(poll, operation, slot);
            poll.user_data = mark;
            // A chain has one completion: the transfer's, or that of the poll that failed or was cancelled.
            if (is_chain) poll.flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
        }
        if (step == Step::transfer) {
            io_uring_sqe& transfer = *requests_.demand();
            prepare_transfer(transfer, operation, slot, headers_[ring().index_of(&transfer)],
                             BufferRing::group);
            transfer.user_data = mark;
        }
        requests_.note_held();
    }

    /// The kernel takes no requests.
    void fail_to_submit(OperationRecord& operation, Slot& slot) noexcept {
        Access::error(operation) = requests_.refusal();
        finish(operation, slot);
    }

    void finish(OperationRecord& operation, Slot& slot) noexcept {
        slot.unpark(Access::is_write(operation));
        completions_.push(operation);
    }

    void end_request(OperationRecord& operation, std::uint16_t why) noexcept {
        Flight::set(operation, why);
        if (!ask_for_end(operation)) owes_cancels_ = true;
    }

    /// False: the kernel has no memory for a cancel.
    bool ask_for_end(OperationRecord& operation) noexcept {
        const auto kind = Access::is_write(operation) ? Mark::Kind::cancel_write : Mark::Kind::cancel_read;
        return requests_.cancel(Mark::of(&operation, Mark::Kind::operation),
                                Mark::of(&Access::slot(operation), kind));
    }

    /// A request was not found. If it has not ended meanwhile, it was on its way from one state to the next.
    void end_again(Slot& slot, bool is_write) noexcept {
        constexpr std::uint16_t asked = Flight::cancelled | Flight::closing | Flight::ending | Flight::done;
        OperationRecord* operation = slot.waiting(is_write);
        if (operation != nullptr && Flight::has(*operation, asked)) end_request(*operation, 0);
    }

    /// For cancels that the kernel had no memory for.
    [[gnu::noinline]] void cancel_what_is_owed(Harvest& harvest) noexcept {
        owes_cancels_ = false;
        harvest.begin_readiness();
        slots_.for_each([this](Slot& slot) {
            // If the kernel still has no memory, the rest is asked for next time.
            if (owes_cancels_ || slot.use != Slot::Use::operations) return;
            end_again(slot, false);
            end_again(slot, true);
        });
        harvest.end_readiness();
    }

    // ---- What the kernel has done ----

    void take(const io_uring_cqe& completion) noexcept override {
        switch (Mark::kind_of(completion.user_data)) {
        case Mark::Kind::operation:
            if (!is_ending_)
                take(Mark::owner_of<OperationRecord>(completion.user_data), completion.res, completion.flags);
            return;
        case Mark::Kind::own:
            take_own(completion);
            return;
        case Mark::Kind::cancel_read:
        case Mark::Kind::cancel_write:
            if (!is_ending_)
                end_again(Mark::owner_of<Slot>(completion.user_data),
                          Mark::kind_of(completion.user_data) == Mark::Kind::cancel_write);
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
        const bool is_polled_on = (flags & IORING_CQE_F_MORE) != 0;
        if (Flight::has(operation, Flight::done)) {
            if (!is_polled_on) finish(operation, slot);
            return;
        }
        if ((flags & IORING_CQE_F_BUFFER) != 0) take_buffer(operation, result, flags);
        const Step step = take_result(operation, slot, result, flags);
        if (is_polled_on) {
            if (step == Step::ended) end_request(operation, Flight::done);
            return;
        }
        if (step != Step::ended) {
            if (!Flight::has(operation, Flight::cancelled | Flight::closing)) {
                submit(operation, slot, step);
                return;
            }
            Access::error(operation) = Flight::has(operation, Flight::closing)
                                           ? -static_cast<std::int32_t>(errc::closed)
                                           : ECANCELED;
        }
        finish(operation, slot);
    }

    void take_buffer(OperationRecord& operation, std::int32_t result, std::uint32_t flags) noexcept {
        std::byte* buffer = buffers_.take(flags);
        if (result > 0)
            Access::lent(operation) = buffer;
        else
            BufferPool::of(buffer).give_back(buffer);
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
    BufferRing buffers_;
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
    // The kernel had no memory for a cancel.
    bool owes_cancels_ = false;
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
