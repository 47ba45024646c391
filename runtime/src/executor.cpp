// SPDX-License-Identifier: BSL-1.0
//
// The loop. One round takes what other threads left, fires timers, resumes what is ready, and looks at I/O: without
// waiting while anything is ready, else until the next deadline.
//
// Tasks are resumed here: a task that goes on after a wait, or that awaits another when the stack is in use already, is
// named as the next to resume; and a cancelled wait queues its frame for destruction, which happens here and nowhere
// else. A task runs the child that it awaits on top of itself only within a bound (docs/adr/0002). So neither a long
// chain of awaits nor a deep tree grows the stack, however the program was built.

#include <leat/runtime/executor.hpp>

#include "backend/diagnostic.hpp"
#include "src/failure.hpp"
#include "src/inbox.hpp"
#include "src/joined_text.hpp"
#include "src/stall_watch.hpp"
#include "src/unwinding.hpp"

#include <leat/runtime/blocking_pool.hpp>
#include <leat/runtime/io_operation.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/root.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace leat {

namespace {

constinit thread_local bool is_unwinding = false;

// I/O is looked at after this many resumes, or after this time, whichever comes first.
constexpr std::size_t resumes_between_looks = 256;
constexpr std::size_t resumes_between_clock_reads = 32;
constexpr Duration time_between_looks = std::chrono::microseconds(50);
// After this many operations of a task the clock is read; the task is quick if as many more take no longer
// than this.
constexpr unsigned operations_between_clock_reads = 8;
constexpr Duration time_of_quick_operations = time_between_looks / 8;
// What a quick task is granted without another look at the clock: at that pace, less than
// `time_between_looks`.
constexpr unsigned operations_of_quick_task = 48;
// So that the count of renewals, of 16 bits, never overflows.
constexpr int largest_budget = 500'000;
// How long a task may read on what has arrived already: then I/O is polled for, so that a neighbour's burst
// holds nobody up. Enough for the parts of a small message.
constexpr Duration time_of_reads = std::chrono::microseconds(5);
constexpr std::uint16_t reads_of_slice = 4;
// A read of this many bytes is enough work by itself.
constexpr std::size_t large_read = 4096;
// How much of the stack tasks may take that run on top of those that await them.
constexpr std::size_t nesting_stack = 16 * 1024;
constexpr std::size_t whole_batch = detail::Completions::unlimited;
// Short enough that a string holds it without an allocation.
constexpr const char* no_dump = "(no memory)\n";

std::uint64_t seed_from_system() {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace

bool unwinding() noexcept { return is_unwinding; }

detail::UnwindingScope::UnwindingScope(bool unwinds) noexcept
    : before_(std::exchange(is_unwinding, unwinds)) {}

detail::UnwindingScope::~UnwindingScope() { is_unwinding = before_; }

Executor::Executor() : Executor(ExecutorOptions()) {}

Executor::Executor(ExecutorOptions options)
    : inline_budget_(static_cast<unsigned>(std::clamp(options.inline_budget, 1, largest_budget))),
      first_budget_(
          detail::InlineBudget{.left = std::min(inline_budget_, operations_between_clock_reads)}.word()),
      options_(std::move(options)),
      has_diagnostic_(static_cast<bool>(options_.diagnostic)),
      poll_(options_.backend, *options_.clock),
      events_(options_.batch),
      timers_(options_.clock->now()),
      inbox_(std::make_shared<detail::Inbox>(*this, poll_.registrator(), options_.clock->is_virtual())),
      random_state_(options_.seed ? *options_.seed : seed_from_system()) {
    if (!has_diagnostic_) options_.diagnostic = detail::write_notice;
    if (!poll_.passed_over().empty())
        notice_always(poll_.passed_over() + "; " + std::string(poll_.backend().name()) + " is used instead");
}

Executor::~Executor() {
    shut_down();
    let_go_of_ended_roots();
    // The thread that watches is the parent's.
    if (inbox_->is_forked()) {
        [[maybe_unused]] detail::StallWatch* of_parent = stalls_.release();
    }
}

// ---- Running ----

template <bool is_watched, class... What>
void Executor::begin_step(What&... what) noexcept {
    if constexpr (is_watched) stalls_->begin(what...);
}

template <bool is_watched>
void Executor::end_step() noexcept {
    if constexpr (is_watched) stalls_->end();
}

// Who calls this counts the first resume itself.
template <bool is_watched>
void Executor::resume(TaskFrame& task, detail::Completions& completions,
                      detail::InlineBudget::Word budget) noexcept {
    completions.budget.begin(budget);
    task.wait_ = nullptr;
    begin_step<is_watched>(task);
    task.handle().resume();
    end_step<is_watched>();
    if (after_ != 0) [[unlikely]]
        resume_what_follows<is_watched>();
}

/// A task has named the next to resume, or has said that it ended.
template <bool is_watched>
void Executor::resume_what_follows() noexcept {
    while (std::uintptr_t after = std::exchange(after_, 0)) {
        if ((after & has_ended) != 0) {
            TaskFrame& ended = *reinterpret_cast<TaskFrame*>(after - has_ended);
            begin_step<is_watched>();
            ended.parent().child_finished(ended);
        } else {
            TaskFrame& next = *reinterpret_cast<TaskFrame*>(after);
            ++stats_.resumes;
            next.wait_ = nullptr;
            begin_step<is_watched>(next);
            next.handle().resume();
        }
        end_step<is_watched>();
    }
}

void Executor::own_thread() {
    if (std::error_code error = poll_.own()) throw std::system_error(error, "leat: executor");
}

/// Whoever calls, tasks run on top of it; stacks grow downwards wherever leat runs.
[[gnu::always_inline]] inline void Executor::note_stack() noexcept {
    stack_limit_ = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - nesting_stack;
}

/// Without a thread to spare it goes on unwatched, and says so, once.
void Executor::watch_for_stalls() noexcept {
    try {
        stalls_ = std::make_unique<detail::StallWatch>(options_.stall_threshold, options_.diagnostic);
    } catch (...) {
        options_.stall_threshold = Duration::zero();
        detail::notice_failure(*this, "nobody watches for stalls", std::current_exception());
    }
}

void Executor::begin_running() {
    own_thread();
    if (running_) throw std::system_error(make_error_code(errc::busy), "leat: the executor runs already");
    if (options_.stall_threshold > Duration::zero() && stalls_ == nullptr) watch_for_stalls();
}

/// Lasts from the beginning of a run to its end, however it ends.
class Executor::Run {
public:
    explicit Run(Executor& executor) noexcept : executor_(executor) {
        executor_.running_ = true;
        executor_.asleep_ = false;
        executor_.inbox_->wake_up();
    }
    Run(const Run&) = delete;
    ~Run() { executor_.running_ = false; }

private:
    Executor& executor_;
    // A destructor may run an executor.
    detail::UnwindingScope unwinding_{false};
};

void Executor::run() {
    begin_running();
    run_until_ended(nullptr);
}

void Executor::run_until_ended(detail::Root* root) {
    // What else is on the executor goes on in the foreign loop, even if this one fails.
    struct BackToHost {
        Executor& executor;
        ~BackToHost() {
            if (executor.is_embedded_) executor.sleep_in_host();
        }
    };
    BackToHost back{*this};
    Run run(*this);
    note_stack();
    if (stalls_ != nullptr)
        run_until_ended_as<true>(root);
    else
        run_until_ended_as<false>(root);
}

template <bool is_watched>
void Executor::run_until_ended_as(detail::Root* root) {
    for (;;) {
        run_round<is_watched>();
        if (is_done(root)) break;
        if (!is_idle())
            look_at_io(false);
        else if (!wait_for_work())
            report_deadlock(root);
    }
}

template <bool is_watched>
void Executor::run_round() noexcept {
    take_posted<is_watched>();
    fire_timers<is_watched>();
    deliver_completions<is_watched>(whole_batch);
    run_ready<is_watched>(resumes_between_looks);
}

bool Executor::is_done(const detail::Root* root) const noexcept {
    return root != nullptr ? root->has_ended() : roots_ == nullptr;
}

bool Executor::wait_for_work() {
    bool may_jump = options_.clock->is_virtual() && can_jump();
    if (inbox_->has_mail()) {
        if (stats_.posted - posted_at_look_ >= resumes_between_looks) look_at_io(false);
        return true;
    }
    if (may_jump) {
        std::optional<TimePoint> deadline = timers_.next_deadline();
        if (!deadline) return false;
        options_.clock->jump_to(*deadline);
        return true;
    }
    if (!inbox_->fall_asleep()) return true;
    look_at_io(true);
    inbox_->wake_up();
    return true;
}

/// A virtual clock stands while anybody outside may still bring something.
bool Executor::can_jump() const noexcept {
    return poll_.in_flight() == 0 && poll_.completions().is_empty() && calls_elsewhere_ == 0 &&
           (options_.clock->is_of_one_thread() || !inbox_->is_held());
}

void Executor::report_deadlock(detail::Root* root) {
    std::string text;
    try {
        text = "leat: nothing can ever run again; the tasks that wait:\n" + dump_tasks();
    } catch (const std::bad_alloc&) {
        // Reported without the tasks, which are cancelled all the same.
        text = no_dump;
    }
    if (root == nullptr) {
        for (detail::Root* each = roots_; each != nullptr; each = each->next_root)
            each->cancel();
    } else {
        root->cancel();
    }
    for (;;) {
        run_round<false>();
        take_those_after_io();
        if (is_done(root)) break;
        if (is_idle() && !wait_for_work()) abort_with_tasks("tasks that cannot be cancelled wait for ever");
    }
    throw std::system_error(make_error_code(errc::deadlock), text);
}

bool Executor::turn(std::size_t budget) {
    begin_running();
    Run run(*this);
    note_stack();
    look_at_io(false);
    if (stalls_ != nullptr)
        run_turn_as<true>(budget);
    else
        run_turn_as<false>(budget);
    return !fall_asleep();
}

bool Executor::turn_for(Duration limit) {
    const TimePoint end = saturating_add(steady_clock().now(), limit);
    while (turn())
        if (steady_clock().now() >= end) return true;
    return false;
}

bool Executor::fall_asleep() noexcept {
    if (!is_idle()) return false;
    asleep_ = true;
    poll_.set_asleep();
    // What came before this line is still to be seen.
    return inbox_->fall_asleep();
}

NativeHandle Executor::poll_handle() {
    const NativeHandle handle = poll_.native_handle();
    if (is_embedded_) return handle;
    is_embedded_ = true;
    // Its host may sleep before it runs anything.
    if (!running_) sleep_in_host();
    return handle;
}

void Executor::sleep_in_host() noexcept {
    if (!fall_asleep()) wake_host();
}

template <bool is_watched>
void Executor::run_turn_as(std::size_t budget) noexcept {
    take_posted<is_watched>();
    fire_timers<is_watched>();
    // Neither kind of task keeps the other out for ever, however small the budget is.
    completions_come_first_ = !completions_come_first_;
    if (completions_come_first_)
        run_ready<is_watched>(deliver_completions<is_watched>(budget));
    else
        deliver_completions<is_watched>(run_ready<is_watched>(budget));
}

std::optional<TimePoint> Executor::next_deadline() {
    if (!is_idle() || inbox_->has_mail()) return now();
    return timers_.next_deadline();
}

std::optional<Duration> Executor::next_timeout() {
    if (!is_idle() || inbox_->has_mail()) return Duration::zero();
    std::optional<TimePoint> deadline = timers_.next_deadline();
    if (!deadline) return std::nullopt;
    return time_left(*deadline, now());
}

int Executor::poll_timeout() {
    const std::optional<Duration> timeout = next_timeout();
    if (!timeout) return -1;
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*timeout).count();
    return static_cast<int>(std::min<std::int64_t>(milliseconds, std::numeric_limits<int>::max()));
}

void Executor::wake_host() noexcept {
    asleep_ = false;
    poll_.wake();
}

Remote Executor::remote() { return Remote(inbox_); }

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
std::uint64_t Executor::random() noexcept {
    random_state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = random_state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

BlockingPool& Executor::blocking_pool() {
    if (options_.blocking_pool == nullptr) {
        BlockingPoolOptions options;
        options.diagnostic = options_.diagnostic;
        options_.blocking_pool = std::make_shared<BlockingPool>(std::move(options));
    }
    return *options_.blocking_pool;
}

// ---- One round ----

template <bool is_watched>
void Executor::take_posted() noexcept {
    if (!inbox_->has_mail()) return;
    inbox_->take(resumes_between_looks, [this](detail::PostedFunction& function) {
        ++stats_.posted;
        begin_step<is_watched>();
        try {
            function();
        } catch (...) {
            detail::notice_failure(*this, "a posted function has failed", std::current_exception());
        }
        end_step<is_watched>();
    });
}

template <bool is_watched>
void Executor::fire_timers() noexcept {
    if (!timers_.may_hold_timers()) return;
    begin_step<is_watched>();
    stats_.timers_fired += timers_.expire(now());
    end_step<is_watched>();
}

/// The results of a batch are all there before the first of them is looked at: whatever one task does to another's
/// stream meets a result that has been delivered already.
template <bool is_watched>
std::size_t Executor::deliver_completions(std::size_t budget) noexcept {
    detail::Completions& completions = poll_.completions();
    std::size_t delivered = completions.deliver(
        budget, [this, &completions, inline_budget = first_budget_](detail::OperationRecord& operation) {
            IoOperation& io = IoOperation::from(operation);
            if (!io.has_failed() || !io.end_if_withdrawn()) [[likely]]
                resume<is_watched>(io.task(), completions, inline_budget);
        });
    stats_.events += delivered;
    stats_.resumes += delivered;
    return budget - delivered;
}

template <bool is_watched>
std::size_t Executor::run_ready(std::size_t budget) noexcept {
    std::optional<TimePoint> started;
    std::size_t stride = resumes_between_clock_reads;
    // One such task may take as long as all are meant to take together.
    const bool reads_clock_each_time = std::exchange(has_long_tasks_, false) && !options_.clock->is_virtual();
    if (reads_clock_each_time) {
        started = steady_clock().now();
        stride = 1;
    }
    while (budget != 0) {
        std::size_t wanted = std::min(budget, stride);
        std::size_t run = run_some<is_watched>(wanted);
        budget -= run;
        if (run != wanted) break;
        // A program in virtual time does not depend on how fast it runs.
        if (options_.clock->is_virtual()) continue;
        TimePoint time = steady_clock().now();
        if (!started) {
            started = time;
            continue;
        }
        Duration passed = time - *started;
        if (passed >= time_between_looks) {
            // Those that are left may take as long.
            has_long_tasks_ = reads_clock_each_time && ready_ != nullptr;
            break;
        }
        if (reads_clock_each_time) continue;
        // The clock costs as much as ten short resumes: where they are short, it may be read half as often.
        stride =
            passed < time_between_looks / 4 ? 2 * resumes_between_clock_reads : resumes_between_clock_reads;
    }
    return budget;
}

/// Gives how many it has resumed or destroyed: less than `limit` if there were no more.
template <bool is_watched>
std::size_t Executor::run_some(std::size_t limit) noexcept {
    detail::Completions& completions = poll_.completions();
    const detail::InlineBudget::Word inline_budget = first_budget_;
    std::size_t destroyed = 0;
    std::size_t left = limit;
    for (; left != 0; --left) {
        if (unwinding_ != nullptr) [[unlikely]] {
            destroy_next_frame<is_watched>();
            ++destroyed;
        } else if (Wait* wait = ready_; wait != nullptr) {
            ready_ = wait->next_;
            if (ready_ == nullptr) ready_tail_ = &ready_;
            resume<is_watched>(*wait->frame_, completions, inline_budget);
        } else {
            break;
        }
    }
    stats_.resumes += limit - left - destroyed;
    return limit - left;
}

void Executor::unwind(Wait& wait) noexcept {
    wait.next_ = nullptr;
    *unwinding_tail_ = &wait;
    unwinding_tail_ = &wait.next_;
    if (asleep_) wake_host();
}

template <bool is_watched>
void Executor::destroy_next_frame() noexcept {
    Wait* wait = unwinding_;
    unwinding_ = wait->next_;
    if (unwinding_ == nullptr) unwinding_tail_ = &unwinding_;

    TaskFrame& task = *wait->frame_;
    Wait& parent = task.parent();
    // The wait goes before the locals do, whose destructors may dump the tasks.
    task.wait_ = nullptr;
    begin_step<is_watched>();
    {
        detail::UnwindingScope unwinding(true);
        task.handle().destroy();
    }
    ++stats_.unwound_frames;
    parent.child_unwound();
    end_step<is_watched>();
}

/// The budget that a task has used up is renewed while it is quick: the clock is read once in a while, and
/// more rarely for one whose operations cost next to nothing.
bool Executor::renew_budget() noexcept {
    detail::InlineBudget& budget = poll_.completions().budget;
    const unsigned granted = operations_between_clock_reads * ++budget.renewals;
    if (granted >= inline_budget_) return false;
    unsigned more = std::min(operations_between_clock_reads, inline_budget_ - granted);
    // A program in virtual time does not depend on how fast it runs.
    if (!options_.clock->is_virtual()) {
        const TimePoint time = steady_clock().now();
        if (budget.renewals == 1) slice_began_ = time;
        const Duration passed = time - slice_began_;
        if (passed >= time_between_looks) {
            has_run_long_ = true;
            return false;
        }
        if (budget.renewals == 2 && passed < time_of_quick_operations) {
            more = std::min(operations_of_quick_task, inline_budget_ - granted);
            budget.renewals += operations_of_quick_task / operations_between_clock_reads - 1;
        }
    }
    // This one included.
    budget.left = more;
    return true;
}

bool Executor::may_read_on(std::size_t bytes) noexcept {
    if (bytes >= large_read || !consume_budget()) return false;
    std::uint16_t& reads = poll_.completions().budget.reads_at_once;
    ++reads;
    if (options_.clock->is_virtual()) return reads < reads_of_slice;
    const TimePoint time = steady_clock().now();
    if (reads == 1) {
        reading_began_ = time;
        return true;
    }
    return time - reading_began_ < time_of_reads;
}

void Executor::make_ready_after_io(Wait& wait) noexcept {
    has_run_long_ = false;
    wait.next_ = nullptr;
    *after_io_tail_ = &wait;
    after_io_tail_ = &wait.next_;
}

void Executor::give_way(Wait& wait) noexcept {
    if (has_run_long_)
        make_ready_after_io(wait);
    else
        make_ready(wait);
}

/// Appends them to the ready tasks.
void Executor::take_those_after_io() noexcept {
    if (after_io_ == nullptr) return;
    has_long_tasks_ = true;
    *ready_tail_ = std::exchange(after_io_, nullptr);
    ready_tail_ = std::exchange(after_io_tail_, &after_io_);
}

void Executor::look_at_io(bool may_block) {
    take_those_after_io();
    ++stats_.polls;
    posted_at_look_ = stats_.posted;
    if (may_block)
        poll_.wait(events_, timers_.next_deadline());
    else
        poll_.look(events_);
}

void Executor::read_round_time() noexcept {
    round_time_ = now();
    // A virtual clock is moved at any time: it is read each time.
    if (!options_.clock->is_virtual()) round_of_time_ = stats_.polls;
}

// ---- Roots, and the end ----

void Executor::link(detail::Root*& first, detail::Root& root) noexcept {
    root.previous_root = nullptr;
    root.next_root = first;
    if (first != nullptr) first->previous_root = &root;
    first = &root;
}

void Executor::unlink(detail::Root*& first, detail::Root& root) noexcept {
    if (root.previous_root != nullptr)
        root.previous_root->next_root = root.next_root;
    else
        first = root.next_root;
    if (root.next_root != nullptr) root.next_root->previous_root = root.previous_root;
}

void Executor::add_root(detail::Root& root) noexcept { link(roots_, root); }

void Executor::end_root(detail::Root& root) noexcept {
    unlink(roots_, root);
    link(ended_roots_, root);
}

void Executor::forget_root(detail::Root& root) noexcept { unlink(ended_roots_, root); }

/// Their tasks are gone, or have ended; what is left is harmless, and yet a mistake: it may be one that hides another.
void Executor::let_go_of_ended_roots() noexcept {
    while (ended_roots_ != nullptr) {
        detail::Root& root = *ended_roots_;
        unlink(ended_roots_, root);
        root.outlive_executor();
    }
}

void Executor::shut_down() noexcept {
    detail::UnwindingScope unwinding(false);
    if (!inbox_->is_forked()) {
        if (running_)
            abort_with_tasks("it still runs: one of its own tasks destroys it, calls exit(), or another "
                             "thread does");
        if (roots_ != nullptr && poll_.has_other_owner())
            abort_with_tasks("on another thread than its tasks belong to");
    }
    running_ = true;
    is_ending_ = true;
    note_stack();
    TimePoint give_up = saturating_add(steady_clock().now(), options_.shutdown_deadline);
    // A forked child has a copy: what was posted is the parent's to call, and the kernel's queue the parent's to ask.
    const bool is_copy = inbox_->is_forked();
    bool takes_mail = !is_copy;
    while (takes_mail || roots_ != nullptr) {
        if (roots_ == nullptr) {
            // What was posted before this is still called, and may start tasks.
            inbox_->close();
            takes_mail = false;
        }
        if (!is_copy) {
            do
                take_posted<false>();
            while (!takes_mail && inbox_->has_mail());
            if (!takes_mail && roots_ != nullptr) {
                // What was posted has started tasks, and other threads may have to tell them something.
                inbox_->reopen();
                takes_mail = true;
            }
        }
        cancel_roots();
        fire_timers<false>();
        deliver_completions<false>(whole_batch);
        run_ready<false>(resumes_between_looks);
        if (roots_ == nullptr) continue;
        // Not only when idle: a task that cannot be cancelled may be ready again and again. What unwinds does end.
        if (unwinding_ == nullptr && steady_clock().now() >= give_up)
            abort_with_tasks("tasks did not end in time");
        if (is_idle()) {
            if (options_.clock->is_virtual() && can_jump() && !wait_for_work())
                abort_with_tasks("tasks that cannot be cancelled wait for ever");
            // What is waited for now comes from outside, rarely and soon.
            if (is_idle()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        if (is_copy)
            take_those_after_io();
        else
            look_at_io(false);
    }
    running_ = false;
}

/// Those too that a destructor or a posted function has started meanwhile.
void Executor::cancel_roots() noexcept {
    for (detail::Root* root = roots_; root != nullptr;) {
        detail::Root* next = root->next_root;
        root->cancel();
        root = next;
    }
}

void Executor::abort_with_tasks(const char* why) noexcept {
    std::string tasks;
    try {
        tasks = dump_tasks();
    } catch (const std::bad_alloc&) {
        tasks = no_dump;
    }
    detail::write_notice(detail::JoinedText({"leat: an executor ends, but ", why, ":\n", tasks}).text());
    std::abort();
}

// ---- Seen from outside ----

void Executor::notice(std::string_view text) noexcept {
    TimePoint time = now();
    if (notices_in_window_ == 0 || time - notice_window_ >= std::chrono::seconds(1)) {
        notice_window_ = time;
        notices_in_window_ = 0;
    }
    if (notices_in_window_ >= options_.notices_per_second) {
        ++stats_.notices_suppressed;
        ++notices_since_told_;
        return;
    }
    ++notices_in_window_;
    notice_always(text);
}

void Executor::notice_always(std::string_view text) noexcept {
    ++stats_.notices;
    std::array<char, 64> left_out{};
    if (notices_since_told_ != 0)
        std::snprintf(left_out.data(), left_out.size(), " (%ju notices before were left out)",
                      static_cast<std::uintmax_t>(std::exchange(notices_since_told_, 0)));
    const detail::JoinedText line({"leat: ", text, left_out.data()});
    try {
        options_.diagnostic(line.text());
    } catch (...) {
        // A diagnostic that fails has nobody else to tell.
        ++stats_.notices_suppressed;
    }
}

}  // namespace leat
