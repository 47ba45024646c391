// SPDX-License-Identifier: BSL-1.0
//
// Random trees of tasks, in which every means of synchronisation is used, and tasks fail, are cancelled
// from inside and outside, and run out of memory. After each: everything has ended and was given back,
// exclusion and the order of queues held, and nothing waits for ever. A tree is a function of its seed.
#include <leat/reactor/error.hpp>
#include <leat/runtime/barrier.hpp>
#include <leat/runtime/broadcast.hpp>
#include <leat/runtime/callback.hpp>
#include <leat/runtime/cancel_scope.hpp>
#include <leat/runtime/catch_cancelled.hpp>
#include <leat/runtime/channel.hpp>
#include <leat/runtime/condition.hpp>
#include <leat/runtime/dump.hpp>
#include <leat/runtime/executor.hpp>
#include <leat/runtime/finally.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/latch.hpp>
#include <leat/runtime/manual_reset_event.hpp>
#include <leat/runtime/mutex.hpp>
#include <leat/runtime/oneshot.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/remote_call.hpp>
#include <leat/runtime/result.hpp>
#include <leat/runtime/semaphore.hpp>
#include <leat/runtime/shared_mutex.hpp>
#include <leat/runtime/shield.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/stop_token.hpp>
#include <leat/runtime/task_group.hpp>
#include <leat/runtime/timeout.hpp>
#include <leat/runtime/watch.hpp>
#include <leat/runtime/when_all.hpp>
#include <leat/runtime/when_any.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/sanitizer.hpp"
#include "support/stress.hpp"
#include "support/tree_parts.hpp"
#include "support/watchdog.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace random_trees_test {

namespace {

class Failure : public std::exception {};

/// A value in a channel, and which one it is of all that were sent there.
struct Item {
    explicit Item(std::uint64_t n) noexcept : number(n) {}

    std::uint64_t number;
    Counted counted;
};

/// A channel, and what must be so for what goes through it.
struct Pipe {
    explicit Pipe(std::size_t capacity) : channel(capacity) {}

    Channel<Item> channel;
    std::uint64_t next = 0;
    std::size_t sent = 0;
    std::size_t received = 0;
    // The last one that came to a receiver at once, and to one that had to wait: each sees its own in order.
    std::array<std::uint64_t, 2> last{};
};

/// What tasks wait for, by its number in `Tree::use`.
using Uses = std::array<std::size_t, 21>;

/// How the executor is run, and whether something happens from outside.
enum class Host { waits, turns, disturbs, destroys };

class Tree {
public:
    explicit Tree(std::uint64_t seed) : random_(seed), host_(static_cast<Host>(random_.below(4))) {
        senders_.reserve(most_kept);
        callbacks_.reserve(most_kept);
    }

    /// Counts in `uses` what came to its end. Empty, or what went wrong.
    std::string_view run(Uses& uses) {
        uses_ = &uses;
        std::optional<Running<void>> root(executor_->start(this->root()));
        std::optional<FailingAllocation> shortage;
        if (random_.once_in(2)) shortage.emplace(1 + random_.below(random_.once_in(2) ? 30 : 400));
        try {
            host_ == Host::waits ? executor_->run() : turn(*root);
        } catch (const std::exception&) {
            check(false, "a deadlock, or the executor itself has failed");
        }
        shortage.reset();
        if (host_ != Host::destroys) {
            if (root->has_ended()) check_result(*root);
            root.reset();
            senders_.clear();
            callbacks_.clear();
            if (what_is_wrong_.empty()) executor_->run();
            check(executor_->tasks().empty(), "a task is left");
        }
        root.reset();
        executor_.reset();
        check(targets_ == nullptr, "a scope is left");
        check(!mutex_.is_locked() && writers_ + readers_ + in_mutex_ == 0, "a lock is left");
        check(!shared_mutex_.is_locked() && shared_mutex_.shares() == 0, "a shared lock is left");
        check(semaphore_.available() == permits && !semaphore_.has_waiters(), "a permit is missing");
        check(broadcast_.subscribers() == 0 && watch_.receivers() == 0, "a subscriber is left");
        check(barrier_.arrived() == 0 && !event_.has_waiters() && !condition_.has_waiters(),
              "a waiter is left");
        for (const Pipe& pipe : pipes_)
            check(pipe.sent == pipe.received + pipe.channel.size(), "a value was lost or doubled");
        return what_is_wrong_;
    }

private:
    static constexpr std::size_t most_kept = 64;
    static constexpr std::size_t permits = 3;
    // What one wants of a shared mutex; a reader wants one.
    static constexpr std::size_t writer = 2;

    ExecutorOptions options() {
        ExecutorOptions options;
        options.clock = &clock_;
        options.seed = 1;
        options.inline_budget = 1 + static_cast<int>(random_.below(8));
        options.diagnostic = [](std::string_view) {};
        return options;
    }

    void turn(Running<void>& root) {
        const std::uint64_t end = host_ == Host::destroys ? random_.below(500) : 1'000'000;
        for (std::uint64_t turns = 0; !root.has_ended(); ++turns) {
            if (turns == end) return check(host_ == Host::destroys, "it never ends");
            if (host_ == Host::disturbs && random_.once_in(30)) disturb(root);
            if (executor_->turn(1 + random_.below(3))) continue;
            check_those_who_wait();
            const std::optional<TimePoint> next = executor_->next_deadline();
            if (!next) return check(root.has_ended(), "nothing will ever wake it");
            clock_.advance_to(*next);
        }
    }

    /// When nothing is ready: whoever waits waits for something that is not there.
    void check_those_who_wait() {
        check(mutex_line_.wanted() == 0 || mutex_.is_locked(),
              "somebody waits for a mutex that nobody holds");
        const std::size_t wanted = shared_line_.wanted();
        check(wanted == 0 || shared_mutex_.is_locked() || (wanted == writer && shared_mutex_.shares() != 0),
              "somebody waits for a shared mutex that could be had");
        check(semaphore_line_.wanted() == 0 || semaphore_line_.wanted() > semaphore_.available(),
              "somebody waits for permits that are there");
    }

    void disturb(Running<void>& root) {
        if (random_.once_in(3)) return cancel_some();
        if (random_.once_in(3)) return clock_.advance(random_time());
        if (random_.once_in(20)) return root.cancel();
        executor_->remote().post_surely([this]() noexcept { cancel_some(); });
    }

    void cancel_some() noexcept {
        Target* chosen = nullptr;
        std::size_t seen = 0;
        for (Target* target = targets_; target != nullptr; target = target->next())
            if (random_.once_in(++seen)) chosen = target;
        if (chosen != nullptr) chosen->cancel();
    }

    void check_result(Running<void>& root) {
        try {
            root.get();
        } catch (...) {
            check_failure();
        }
    }

    void check(bool is_so, std::string_view otherwise) noexcept {
        if (!is_so && what_is_wrong_.empty()) what_is_wrong_ = otherwise;
    }
    /// In a handler: only what belongs there.
    void check_failure() {
        try {
            throw;
        } catch (const Failure&) {
        } catch (const std::bad_alloc&) {
        } catch (const std::system_error& error) {
            check(error.code() == errc::deadline_exceeded || error.code() == errc::cancelled ||
                      error.code() == errc::closed,
                  "an error that nothing here gives");
        } catch (...) {
            check(false, "an exception that nobody here throws");
        }
    }

    Duration random_time() { return Duration(1us) * static_cast<Duration::rep>(random_.below(2000)); }

    Task<> root() {
        auto body = [this](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 6; ++i)
                group.spawn([this] { return grow(); });
            co_return;
        };
        co_await try_timeout(500ms, task_group(body));
    }

    Task<> grow() {
        while (tasks_left_ != 0)
            co_await catch_failures(act(5));
    }

    /// A task that does a few things, and may catch what goes wrong in them.
    Task<> act(int depth) {
        Counted counted;
        if (tasks_left_ == 0) co_return;
        --tasks_left_;
        const bool catches = !random_.once_in(3);
        for (std::size_t steps = 1 + random_.below(3); steps != 0; --steps) {
            ++moments_;
            if (random_.once_in(25)) throw Failure();
            if (random_.once_in(25)) cancel_some();
            Task<> step = depth > 0 && !random_.once_in(3) ? nest(depth - 1)
                          : random_.once_in(4)             ? use()
                                                           : use_in_time();
            if (catches)
                co_await catch_failures(std::move(step));
            else
                co_await std::move(step);
        }
    }

    Task<> catch_failures(Task<> task) {
        try {
            co_await std::move(task);
        } catch (...) {
            check_failure();
        }
    }

    Task<Counted> give(int depth) {
        co_await act(depth);
        co_return Counted(depth);
    }

    Task<> nest(int depth) {
        const std::size_t kind = random_.below(15);
        if (kind < 3) return group(depth);
        if (kind == 3) return scope(depth);
        if (kind == 4) return stop(depth);
        if (kind == 5) return clean_up(depth);
        if (kind == 6) return call(depth);
        if (kind == 7) return all_of_some(depth);
        return wrap(depth);
    }

    Task<> group(int depth) {
        auto starter = [this, depth](Ready<void>& ready) -> Task<> {
            co_await act(depth);
            ready();
            co_await act(depth);
        };
        auto child = [this](int rest) { return act(rest); };
        auto body = [&](TaskGroup& group) -> Task<> {
            Target target(targets_, &group, [](void* what) { static_cast<TaskGroup*>(what)->cancel(); });
            Counted counted;
            if (random_.once_in(2)) group.set_limit(1 + random_.below(3));
            for (std::size_t children = random_.below(5); children != 0; --children) {
                switch (random_.below(5)) {
                case 0:
                    co_await group.spawn_when_free(child, depth);
                    break;
                case 1:
                    if (random_.once_in(2)) {
                        co_await try_timeout(random_time(), group.start(starter));
                    } else {
                        co_await group.start(starter);
                    }
                    break;
                case 2:
                    if (!group.handle().try_spawn(child, depth)) co_await yield();
                    break;
                default:
                    group.spawn(child, depth);
                }
            }
            if (random_.once_in(3)) co_await group.join();
            if (random_.once_in(3)) co_await act(depth);
        };
        co_await task_group(body);
    }

    Task<> scope(int depth) {
        auto body = [this, depth](CancelScope& scope) -> Task<> {
            Target target(targets_, &scope, [](void* what) { static_cast<CancelScope*>(what)->cancel(); });
            co_await act(depth);
        };
        co_await cancel_scope(body);
    }

    Task<> stop(int depth) {
        std::optional<std::stop_source> source(std::in_place);
        Target target(targets_, &*source,
                      [](void* what) { static_cast<std::stop_source*>(what)->request_stop(); });
        auto body = [this, depth](std::stop_token token) -> Task<> {
            co_await cancel_on(std::move(token), act(depth));
        };
        if (random_.once_in(2))
            co_await cancel_on(source->get_token(), act(depth));
        else
            co_await with_stop_token(body);
    }

    Task<> clean_up(int depth) {
        auto clean = [this]() -> Task<> {
            Counted counted;
            co_await use();
        };
        co_await leat::finally(act(depth), 2ms, clean);
    }

    Task<> call(int depth) {
        // The tree's own way to it is gone while it is destroyed.
        Environment& here = co_await detail::CurrentEnvironment();
        auto callee = [this](int rest) { return give(rest); };
        if (random_.once_in(2)) {
            Counted counted = co_await here.executor().remote().call(callee, depth);
            ++moments_;
        } else {
            // Cancelled, unless it ends in time.
            Running<void> running = here.executor().start(act(depth));
            co_await use();
            if (running.has_ended()) check_result(running);
        }
    }

    Task<> all_of_some(int depth) {
        std::vector<Task<Counted>> tasks;
        for (std::size_t count = random_.below(4); count != 0; --count)
            tasks.push_back(give(depth));
        const std::size_t count = tasks.size();
        if (random_.once_in(2)) {
            std::vector<Counted> values = co_await when_all(std::move(tasks));
            check(values.size() == count, "when_all has lost a value");
        } else if (count != 0) {
            std::vector<std::optional<Counted>> values = co_await when_any(std::move(tasks));
            check(std::ranges::any_of(values, [](const auto& value) { return value.has_value(); }),
                  "when_any without a value");
        }
    }

    /// What needs no lambda.
    Task<> wrap(int depth) {
        switch (random_.below(7)) {
        case 0: {
            auto both = co_await when_all(give(depth), give(depth));
            check(std::get<0>(both).value() == depth, "when_all gives another value");
            break;
        }
        case 1: {
            auto one = co_await when_any(give(depth), give(depth));
            check(std::get<0>(one) || std::get<1>(one), "when_any without a value");
            break;
        }
        case 2:
            co_await timeout(random_time(), act(depth));
            break;
        case 3:
            co_await try_timeout(random_time(), give(depth));
            break;
        case 4:
            co_await shield(try_timeout(random_time(), act(depth)));
            break;
        case 5:
            co_await catch_cancelled(act(depth));
            break;
        default:
            co_await as_outcome(act(depth));
        }
    }

    Task<> use_in_time() { co_await try_timeout(random_time(), use()); }

    Task<> use() {
        Counted counted;
        Environment& here = co_await detail::CurrentEnvironment();
        const std::uint64_t began = ++moments_;
        const std::size_t which = random_.below(Uses().size());
        switch (which) {
        case 0:
            co_await sleep_for(random_time());
            break;
        case 1:
            co_await yield();
            break;
        case 2: {
            Line::Place place(mutex_line_, here);
            MutexGuard guard = co_await mutex_.lock();
            check(place.served() || !waited(began), "a mutex is not first come, first served");
            Inside inside(in_mutex_);
            check(in_mutex_ == 1, "two hold a mutex");
            co_await sleep_for(random_time() / 16);
            break;
        }
        case 4: {
            Line::Place place(shared_line_, here);
            SharedGuard guard = co_await shared_mutex_.lock_shared();
            check(place.served() || !waited(began), "a shared mutex is not first come, first served");
            Inside inside(readers_);
            check(writers_ == 0, "one reads while another writes");
            co_await sleep_for(random_time() / 16);
            break;
        }
        case 5: {
            Line::Place place(shared_line_, here, writer);
            ExclusiveGuard guard = co_await shared_mutex_.lock();
            check(place.served() || !waited(began), "a shared mutex is not first come, first served");
            Inside inside(writers_);
            check(writers_ == 1 && readers_ == 0, "one writes beside another");
            co_await sleep_for(random_time() / 16);
            break;
        }
        case 6: {
            const std::size_t wanted = 1 + random_.below(permits);
            Line::Place place(semaphore_line_, here, wanted);
            Permit permit = co_await semaphore_.acquire(wanted);
            check(place.served() || !waited(began), "a semaphore is not first come, first served");
            check(semaphore_.available() <= permits - wanted, "there are too many permits");
            co_await sleep_for(random_time() / 16);
            break;
        }
        case 7:
            co_await send(pipes_[random_.below(pipes_.size())]);
            break;
        case 8:
        case 9:
            co_await receive(pipes_[random_.below(pipes_.size())]);
            break;
        case 10: {
            BroadcastSubscriber<std::uint64_t> subscriber = broadcast_.subscribe();
            std::uint64_t last = broadcasts_;
            for (std::size_t count = 1 + random_.below(3); count != 0; --count) {
                std::optional<BroadcastItem<std::uint64_t>> item = co_await subscriber.receive();
                if (!item) break;
                check(item->value == last + 1 + item->missed, "a broadcast has lost or doubled a value");
                last = item->value;
                ++moments_;
            }
            break;
        }
        case 11:
            broadcast_.send(++broadcasts_);
            break;
        case 12: {
            WatchReceiver<std::uint64_t> receiver = watch_.subscribe();
            const std::uint64_t before = receiver.value();
            bool is_open = co_await receiver.changed();
            check(is_open && receiver.value() > before, "a watch tells of no change");
            break;
        }
        case 13:
            watch_.set(watch_.value() + 1);
            break;
        case 14: {
            Oneshot<Counted> ends = oneshot<Counted>();
            if (senders_.size() == most_kept) break;
            senders_.push_back(std::move(ends.sender));
            Result<Counted> value = co_await as_result(ends.receiver.receive());
            check(!value || value->value() == 14, "a oneshot gives another value");
            break;
        }
        case 15:
            co_await use_what_others_left();
            break;
        case 16:
            co_await event_.wait();
            break;
        case 17: {
            Latch& latch = latches_[random_.below(latches_.size())];
            if (latch.is_open())
                co_await latch.wait();
            else
                co_await latch.arrive_and_wait();
            check(latch.is_open(), "a latch lets pass before it is open");
            break;
        }
        case 18: {
            const std::uint64_t phase = barrier_.phase();
            co_await barrier_.arrive_and_wait();
            check(barrier_.phase() > phase, "a barrier lets pass before the phase ends");
            break;
        }
        case 19: {
            MutexGuard guard = co_await mutex_.lock();
            check(in_mutex_ == 0, "two hold a mutex");
            if (random_.once_in(2)) {
                co_await condition_.wait(guard);
            } else {
                co_await try_timeout(random_time(), condition_.wait(guard));
            }
            Inside inside(in_mutex_);
            check(guard.is_locked() && in_mutex_ == 1, "a condition goes on without its mutex");
            co_await yield();
            break;
        }
        case 3: {
            auto start = [this](Callback<Counted> done) {
                if (callbacks_.size() < most_kept) callbacks_.push_back(std::move(done));
            };
            Counted value = co_await callback<Counted>(start);
            check(value.value() == 3, "a callback gives another value");
            break;
        }
        default:
            ++(*uses_)[which];
            throw Failure();
        }
        ++moments_;
        ++(*uses_)[which];
    }

    Task<> send(Pipe& pipe) {
        Item item(++pipe.next);
        if (random_.once_in(3)) {
            bool sent = co_await try_timeout(random_time(), pipe.channel.send(std::move(item)));
            pipe.sent += sent;
        } else {
            co_await pipe.channel.send(std::move(item));
            ++pipe.sent;
        }
        ++moments_;
    }

    Task<> receive(Pipe& pipe) {
        const std::uint64_t began = ++moments_;
        std::optional<Item> item;
        if (random_.once_in(3)) {
            std::optional<std::optional<Item>> maybe =
                co_await try_timeout(random_time(), pipe.channel.receive());
            if (maybe) item = std::move(*maybe);
        } else {
            item = co_await pipe.channel.receive();
        }
        if (item) {
            std::uint64_t& last = pipe.last[waited(began) ? 1 : 0];
            check(item->number > last, "a channel has changed the order");
            last = item->number;
            ++pipe.received;
        }
        ++moments_;
    }

    /// Answers, sets, notifies: what some others wait for.
    Task<> use_what_others_left() {
        if (!senders_.empty()) {
            OneshotSender<Counted> sender = std::move(senders_.back());
            senders_.pop_back();
            if (random_.once_in(3)) co_await sender.receiver_gone();
            if (!random_.once_in(4)) static_cast<void>(sender.send(Counted(14)));
        }
        if (!callbacks_.empty()) {
            Callback<Counted> done = std::move(callbacks_.back());
            callbacks_.pop_back();
            done(Counted(3));
        }
        if (random_.once_in(2))
            condition_.notify_all();
        else
            condition_.notify_one();
        event_.set();
        co_await yield();
        event_.reset();
    }

    /// Whether other tasks have run since then, so that it had to wait, perhaps.
    bool waited(std::uint64_t since) const noexcept { return moments_ != since; }

    Random random_;
    const Host host_;
    std::size_t tasks_left_ = 1000;
    std::uint64_t moments_ = 0;
    std::string_view what_is_wrong_;
    Target* targets_ = nullptr;
    Uses* uses_ = nullptr;

    Mutex mutex_;
    Line mutex_line_;
    int in_mutex_ = 0;
    SharedMutex shared_mutex_;
    Line shared_line_;
    int readers_ = 0;
    int writers_ = 0;
    Semaphore semaphore_{permits};
    Line semaphore_line_;
    std::array<Pipe, 2> pipes_{Pipe(0), Pipe(2)};
    Broadcast<std::uint64_t> broadcast_{3};
    std::uint64_t broadcasts_ = 0;
    Watch<std::uint64_t> watch_{0};
    ManualResetEvent event_;
    std::array<Latch, 3> latches_{Latch(2), Latch(3), Latch(4)};
    Barrier barrier_{2};
    Condition condition_;
    std::vector<OneshotSender<Counted>> senders_;
    std::vector<Callback<Counted>> callbacks_;
    VirtualClock clock_{VirtualClock::Remotes::of_one_thread};
    // Last: its tasks use everything else.
    std::optional<Executor> executor_{std::in_place, options()};
};

}  // namespace

BOOST_AUTO_TEST_SUITE(random_trees)

BOOST_AUTO_TEST_CASE(everything_ends_and_comes_back_whatever_fails_or_is_cancelled) {
    // What is made once in a process.
    Uses uses{};
    Tree(0).run(uses);
    detail::FramePool::trim();
    std::atomic<std::uint64_t> seed = first_seed(1);
    Watchdog watchdog([&seed] { return "seed " + std::to_string(seed.load()); });
    const std::size_t seeds = stress_iterations(is_sanitized ? 60 : 300);
    for (std::size_t left = seeds; left != 0; --left, ++seed) {
        watchdog.feed();
        // Told also where the process ends.
        BOOST_TEST_CONTEXT("seed " << seed) {
            const std::size_t before = outstanding_allocations();
            std::string_view wrong = Tree(seed).run(uses);
            detail::FramePool::trim();
            if (wrong.empty() && Counted::live() + Counted::misused() != 0)
                wrong = "an object is left, or ended twice";
            if (wrong.empty() && outstanding_allocations() != before) wrong = "memory is left";
            BOOST_REQUIRE_MESSAGE(wrong.empty(), wrong);
        }
    }
    // Trees that end at once would show nothing.
    for (std::size_t which = 0; seeds >= 60 && which != uses.size(); ++which)
        BOOST_TEST(uses[which] > 100u, "use " << which << " has come to its end " << uses[which] << " times");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace random_trees_test
