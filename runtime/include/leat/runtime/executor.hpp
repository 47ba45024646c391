// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <leat/reactor/config.hpp>
#include <leat/reactor/poll.hpp>
#include <leat/runtime/timer_wheel.hpp>
#include <leat/runtime/wait.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// See wait.hpp.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace leat {

template <class T = void>
class Task;
template <class T>
class Running;
class Remote;
class IoOperation;
class BlockingPool;
struct TaskInfo;
enum class DumpFormat : std::uint8_t;

namespace detail {
class Root;
template <class T>
class TypedRoot;
class Inbox;
class StallWatch;
}  // namespace detail

/// How an Executor is made. Every member has a default that fits a server.
struct ExecutorOptions {
    ExecutorOptions() : backend(Backend::best()) {}

    Backend backend;
    /// Where all time is read. A virtual clock is moved by the executor when it is idle.
    const Clock* clock = &steady_clock();
    /// Where diagnostic messages go; it must not block. Called on the executor's thread, and with a
    /// `stall_threshold` on another one too.
    ///
    /// By default they go to standard error, and a message that this does not take at once is dropped. If
    /// descriptor 2 is not what it was when the program started, a message goes there only if the change
    /// looks like a redirection (dup2, freopen, daemon): the descriptor is not close-on-exec and no socket,
    /// and it is open for writing only, appends, or is the terminal of the session. So no message goes to a
    /// connection that got the number after somebody had closed standard error. A file that the program opens
    /// for writing only, without O_CLOEXEC and after such a close, cannot be told from a redirection: leave
    /// descriptor 2 open, or set this. On Windows standard error is what GetStdHandle gives, unless that is a
    /// socket.
    std::function<void(std::string_view)> diagnostic;
    /// Notices that may be given within a second; what exceeds it is counted and told with the next one. Failures that have
    /// no caller to go to are given all the same.
    unsigned notices_per_second = 10;
    /// A task gives way to others at its n-th operation in a row that completes at once; 1, or less: at each.
    ///
    /// It gives way sooner if they have taken 50 µs (not measured if this is 16 or less), and with reads after
    /// one of 4 KiB or more, or 5 µs of smaller ones; then it is resumed after the next poll for I/O. With a
    /// virtual clock it gives way after a fixed number of operations, and of reads. At most 500 000.
    int inline_budget = 64;
    /// Events fetched from the kernel at once.
    std::size_t batch = 256;
    /// How long the destructor lets cancelled tasks finish what cannot be cut short, before it names them and
    /// aborts. In real time.
    Duration shutdown_deadline = std::chrono::seconds(10);
    /// Where the executor's random stream begins; by default at a place that the system chooses.
    std::optional<std::uint64_t> seed;
    /// Whose threads `offload` takes, to be shared with other executors. Without one the executor makes its own when it is first
    /// wanted.
    std::shared_ptr<BlockingPool> blocking_pool;
    /// A task, a posted function or a timer that keeps the executor's thread for longer than this is a stall: it is told to
    /// `diagnostic` while it lasts, at most five times a minute, with the task's name and line and, where the system can
    /// look at a thread, its stack. In real time. Zero: nobody watches, and nothing is paid.
    ///
    /// Watching takes a thread, which calls `diagnostic` too then, and on POSIX the signal SIGURG, unless somebody handles that:
    /// a call such as poll(2) in the middle of a stall then ends with EINTR.
    Duration stall_threshold = std::chrono::milliseconds(LEAT_STALL_THRESHOLD);
};

/// What an Executor has done so far.
struct ExecutorStats {
    std::uint64_t resumes = 0;
    std::uint64_t unwound_frames = 0;
    std::uint64_t polls = 0;
    std::uint64_t events = 0;
    std::uint64_t timers_fired = 0;
    std::uint64_t posted = 0;
    std::uint64_t notices = 0;
    std::uint64_t notices_suppressed = 0;
};

/// One thread's loop: a Poll, a queue of ready tasks and a wheel of timers.
///
/// The first thread that runs it owns it. Its tasks never leave that thread; only `remote()` is for others.
///
///     leat::Executor executor;
///     executor.run_until(serve());
///
/// In another event loop: `start` a task, then call `turn` whenever `poll_handle()` is readable or
/// `next_timeout()` has passed.
///
///     for (;;) {
///         pollfd handle{executor.poll_handle(), POLLIN, 0};
///         ::poll(&handle, 1, executor.poll_timeout());
///         executor.turn();
///     }
///
/// After a `fork` the child has a copy that never runs: running it, and posting to it, fails with `leat::errc::forked`.
/// Destroying it unwinds the copies of its tasks, calls nothing that was posted, and leaves the parent's queue alone. A
/// child that goes on in leat makes an executor of its own; one that was forked inside a task must end with `_exit` or
/// `exec`.
///
/// Thread-safety: the owner's thread, for `remote()` and `dump_tasks()` too. What `remote()` gave is for any.
/// Lifetime:      outlives its tasks and timers. Destroying it cancels the tasks that still run and turns until
///                they have unwound: on the owner's thread, and while nothing runs it. With tasks left on another
///                thread, or inside one of its own tasks (by `exit` too), it names the tasks and aborts. Without
///                tasks any thread may destroy it. Sources bound to it may outlive it.
class Executor {
public:
    /// Errors: those of `Poll`'s constructor.
    Executor();
    explicit Executor(ExecutorOptions options);
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;
    ~Executor();

    /// Runs `task`, and whatever else is on the executor, until `task` has ended; gives its result or throws
    /// its exception.
    ///
    /// Errors: `forked`; `leat::errc::deadlock` if the clock is virtual and nothing can ever run again (the message is a dump
    ///         of the tasks; `task` is cancelled first); `busy` inside a task of this executor or on another thread
    ///         than the owner's; `cancelled` if the task was cancelled.
    template <class T>
    T run_until(Task<T> task, std::source_location caller = std::source_location::current());

    /// Starts `task` and returns; it runs while the executor does. A name is what it is called in dumps and reports.
    template <class T>
    Running<T> start(Task<T> task, std::source_location caller = std::source_location::current());
    template <class T>
    Running<T> start(Task<T> task, std::string name,
                     std::source_location caller = std::source_location::current());

    /// Runs until all started tasks have ended.
    void run();

    /// For a foreign loop: takes what is posted, due or ready, resumes at most `budget` tasks, and submits what they
    /// asked for. Never blocks.
    ///
    /// True if there is more to do at once. Otherwise the executor counts as asleep: whatever becomes ready,
    /// also through calls of this thread, makes `poll_handle()` readable.
    ///
    /// Errors: those of `run_until`, but for `deadlock`; the kernel's.
    bool turn(std::size_t budget = 256);

    /// Turns until there is nothing more to do at once, or until `limit` of real time has passed: for a loop
    /// that has other work to do. At least one turn; the last one may pass the limit by its own length. True
    /// if there is more to do at once.
    bool turn_for(Duration limit);

    /// For another event loop: readable when `turn` has something to do, timers apart; may be readable for
    /// nothing, once. It stays the same as long as the executor lives.
    ///
    /// From the first call on this holds between any two calls of the owner's thread, after `run` and
    /// `run_until` too.
    ///
    /// Errors: `std::errc::operation_not_supported` where the backend has no such handle (IOCP); `busy` on
    ///         another thread than the owner's, `forked`; the system's, such as `too_many_files_open`.
    NativeHandle poll_handle();

    /// Until when a foreign loop may sleep before it calls `turn`, in the executor's time: no later than now
    /// if there is work, nothing if only an event of `poll_handle()` can bring any.
    std::optional<TimePoint> next_deadline();
    /// The same as a duration from now on, zero if there is work.
    std::optional<Duration> next_timeout();
    /// The same for poll(2) and epoll_wait(2): in milliseconds, rounded up and at most `INT_MAX`; -1 for
    /// nothing.
    int poll_timeout();

    /// Whether one of its tasks, timers or posted functions runs now, so that it must not be run again.
    bool is_running() const noexcept { return running_; }

    /// For other threads: see `Remote`.
    Remote remote();

    /// The threads that `offload` takes: those of the options, or else its own, made by the first call.
    ///
    /// Errors: those of the pool's constructor.
    BlockingPool& blocking_pool();

    const Clock& clock() const noexcept { return *options_.clock; }
    TimePoint now() const noexcept { return options_.clock->now(); }
    Backend backend() const noexcept { return poll_.backend(); }
    const ExecutorStats& stats() const noexcept { return stats_; }

    /// The next number of the executor's random stream: for jitter and the like, not for secrets.
    std::uint64_t random() noexcept;

    /// Gives a notice to `ExecutorOptions::diagnostic`, within the rate limit. Never throws.
    void notice(std::string_view text) noexcept;
    /// The same for what nobody would hear of otherwise, such as a failure that has no caller: it is never left out.
    void notice_always(std::string_view text) noexcept;

    /// Whether notices go to a function of the application's rather than to standard error.
    bool has_diagnostic() const noexcept { return has_diagnostic_; }

    /// The tree of tasks, as text: for each its definition, its name, its age, the line that it waits at, and what it waits
    /// for; and which tasks wait for each other in a circle. docs/debugging.md tells how to read it.
    ///
    /// A task or a destructor that calls it is in it as one that runs.
    ///
    /// Complexity: O(tasks), and a system call for each that waits on a socket; no recursion.
    std::string dump_tasks() const;
    std::string dump_tasks(DumpFormat format) const;
    /// The same as values: see <leat/runtime/dump.hpp>.
    std::vector<TaskInfo> tasks() const;

    // ---- For waits and combinators; a program needs none of these. ----

    /// Queues the task that `wait` suspended; it is resumed from the loop.
    void make_ready(Wait& wait) noexcept {
        wait.next_ = nullptr;
        *ready_tail_ = &wait;
        ready_tail_ = &wait.next_;
        if (asleep_) [[unlikely]]
            wake_host();
    }

    /// Destroys the frame that waits in `wait` from the loop, and tells whoever ran it.
    void unwind(Wait& wait) noexcept;

    /// The task to resume after the current one has suspended.
    void run_next(TaskFrame& task) noexcept { after_ = reinterpret_cast<std::uintptr_t>(&task); }

    /// Whether a task may run its child on top of itself. So the stack grows by a bounded depth, however long a chain of
    /// awaits is.
    bool may_nest() const noexcept {
        return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) >= stack_limit_;
    }

    /// Resumes the task of `wait` next, or from the queue if the current chain of tasks has run for long enough.
    void run_next_or_later(Wait& wait) noexcept {
        if (consume_budget())
            run_next(*wait.frame_);
        else
            give_way(wait);
    }

    void task_ended(TaskFrame& task) noexcept {
        after_ = reinterpret_cast<std::uintptr_t>(&task) + has_ended;
    }

    /// The time as this round of the loop has read it, for what need not be exact: read at most once a round.
    TimePoint round_time() noexcept {
        if (round_of_time_ != stats_.polls) [[unlikely]]
            read_round_time();
        return round_time_;
    }

    /// Whether one more operation may complete without giving way.
    bool consume_budget() noexcept { return poll_.completions().consume_budget() || renew_budget(); }

    /// Whether the running task may go on after a read that has brought `bytes` at once. If false, suspend
    /// its wait and call `make_ready_after_io`, so that others have their turn.
    bool may_read_on(std::size_t bytes) noexcept;
    /// Resumes the wait's task after the next poll for I/O.
    void make_ready_after_io(Wait& wait) noexcept;

    /// For a task that has used up its budget and is suspended in `wait`: queues it behind the others, or, if it
    /// has used up its time, for after the next poll for I/O.
    void give_way(Wait& wait) noexcept;

    /// Around a call that one of its tasks waits for and that runs on another thread: a virtual clock
    /// stands meanwhile, even one of a single thread.
    void call_elsewhere_begins() noexcept { ++calls_elsewhere_; }
    void call_elsewhere_ended() noexcept { --calls_elsewhere_; }

    /// Whether its destructor runs: a task that starts now is cancelled at once.
    bool is_ending() const noexcept { return is_ending_; }

    Poll& poll() noexcept { return poll_; }
    TimerWheel& timers() noexcept { return timers_; }

private:
    friend class detail::Root;

    void add_root(detail::Root& root) noexcept;
    void end_root(detail::Root& root) noexcept;
    void forget_root(detail::Root& root) noexcept;
    static void link(detail::Root*& first, detail::Root& root) noexcept;
    static void unlink(detail::Root*& first, detail::Root& root) noexcept;
    void let_go_of_ended_roots() noexcept;
    /// Turns until `root` has ended, or until nothing is left if it is null.
    void run_until_ended(detail::Root* root);
    /// Whether that is so.
    bool is_done(const detail::Root* root) const noexcept;
    [[noreturn]] void report_deadlock(detail::Root* root);
    [[noreturn]] void abort_with_tasks(const char* why) noexcept;
    /// Nothing is ready: waits, or moves a virtual clock. False if nothing can ever come.
    bool wait_for_work();

    /// Errors: `busy` on another thread than the owner's.
    void own_thread();
    bool renew_budget() noexcept;
    void note_stack() noexcept;
    /// Errors: the same, and inside a task.
    void begin_running();
    class Run;
    void watch_for_stalls() noexcept;

    // With and without somebody who watches for stalls: whoever does not have it watched pays nothing for it.
    template <bool is_watched>
    void run_until_ended_as(detail::Root* root);
    template <bool is_watched>
    void run_round() noexcept;
    template <bool is_watched>
    void run_turn_as(std::size_t budget) noexcept;
    template <bool is_watched>
    void take_posted() noexcept;
    template <bool is_watched>
    void fire_timers() noexcept;
    // Both give what is left of the budget.
    template <bool is_watched>
    std::size_t deliver_completions(std::size_t budget) noexcept;
    template <bool is_watched>
    std::size_t run_ready(std::size_t budget) noexcept;
    template <bool is_watched>
    std::size_t run_some(std::size_t limit) noexcept;
    template <bool is_watched>
    [[gnu::always_inline]] inline void resume(TaskFrame& task, detail::Completions& completions,
                                              detail::InlineBudget::Word budget) noexcept;
    template <bool is_watched>
    void resume_what_follows() noexcept;
    template <bool is_watched>
    void destroy_next_frame() noexcept;
    // Around what may take long.
    template <bool is_watched, class... What>
    [[gnu::always_inline]] inline void begin_step(What&... what) noexcept;
    template <bool is_watched>
    [[gnu::always_inline]] inline void end_step() noexcept;

    void look_at_io(bool may_block);
    void take_those_after_io() noexcept;
    void read_round_time() noexcept;
    bool is_idle() const noexcept {
        return ready_ == nullptr && unwinding_ == nullptr && after_io_ == nullptr &&
               poll_.completions().is_empty();
    }
    bool can_jump() const noexcept;
    /// Whoever has something from now on makes the handle readable. False: there is something to do already.
    bool fall_asleep() noexcept;
    /// The same; then the handle is readable at once.
    void sleep_in_host() noexcept;
    void wake_host() noexcept;
    void shut_down() noexcept;
    void cancel_roots() noexcept;

    // The hot part, together.
    Wait* ready_ = nullptr;
    Wait** ready_tail_ = &ready_;
    Wait* unwinding_ = nullptr;
    Wait** unwinding_tail_ = &unwinding_;
    // Ready tasks that have had their share of I/O: resumed after the next poll for I/O.
    Wait* after_io_ = nullptr;
    Wait** after_io_tail_ = &after_io_;
    // When the running task first used up its budget, and when it first read on.
    TimePoint slice_began_{};
    TimePoint reading_began_{};
    // What follows the task that runs now, if anything: the next task to resume, or with `has_ended` the one that runs,
    // since that has come to its end. One word, looked at once a resume.
    std::uintptr_t after_ = 0;
    static constexpr std::uintptr_t has_ended = 1;
    const unsigned inline_budget_;
    // What a resume begins with.
    const detail::InlineBudget::Word first_budget_;
    // Below this address no task runs a child on top of itself.
    std::uintptr_t stack_limit_ = 0;
    bool running_ = false;
    // The running task has used up its budget by the time that it took.
    bool has_run_long_ = false;
    // Some ready tasks have given way to I/O.
    bool has_long_tasks_ = false;
    // A foreign loop has the handle.
    bool is_embedded_ = false;
    // In the sense of `turn`: a foreign loop sleeps for us.
    bool asleep_ = false;
    bool is_ending_ = false;
    bool completions_come_first_ = false;

    ExecutorOptions options_;
    bool has_diagnostic_;
    Poll poll_;
    Events events_;
    TimerWheel timers_;
    ExecutorStats stats_;
    std::uint64_t posted_at_look_ = 0;
    // `round_time_` was read when `stats_.polls` had this value.
    TimePoint round_time_{};
    std::uint64_t round_of_time_ = ~std::uint64_t{0};
    std::shared_ptr<detail::Inbox> inbox_;
    detail::Root* roots_ = nullptr;
    // Whose tasks have ended, and whose owners have not let go of them.
    detail::Root* ended_roots_ = nullptr;
    TimePoint notice_window_{};
    unsigned notices_in_window_ = 0;
    std::uint64_t notices_since_told_ = 0;
    std::uint64_t random_state_;
    std::size_t calls_elsewhere_ = 0;
    // Null while nobody watches.
    std::unique_ptr<detail::StallWatch> stalls_;
};

inline Environment::Environment(Executor& executor) noexcept
    : queue_(&executor.poll().completions()), executor_(&executor) {}

inline void Environment::stand_apart(const Environment& other) noexcept {
    executor_ = other.executor_;
    outer_ = nullptr;
    queue_ = &executor_->poll().completions();
    deadline_ = TimePoint::max();
    context_ = other.context_;
}

inline void Wait::resume_later() noexcept { executor().make_ready(*this); }

inline bool Wait::go_on() noexcept {
    if (executor().consume_budget()) [[likely]]
        return true;
    suspend();
    executor().give_way(*this);
    return false;
}

/// Runs `task` on an Executor of its own, on this thread, and gives its result or throws its exception.
///
///     int main() { leat::run(serve()); }
template <class T>
T run(Task<T> task, std::source_location caller = std::source_location::current());
template <class T>
T run(Task<T> task, ExecutorOptions options, std::source_location caller = std::source_location::current());

}  // namespace leat

#pragma GCC diagnostic pop

#include <leat/runtime/root.hpp>
