// SPDX-License-Identifier: BSL-1.0
//
// What it costs to have a function called on an executor's thread, posted from another: beside an intrusive stack of
// nodes that the target takes whole, with an eventfd for when it sleeps. The floor's caller owns the node; leat's
// `post` takes any callable and forgets it.
//
// Both post in rounds: the poster begins a round when told, the target runs until all of it has been called. At the
// beginning of a round the target may sleep, so that waking is part of the price. What is measured is the processor
// time of both threads together.
#include <benchmark/benchmark.h>

#include <leat/runtime/executor.hpp>
#include <leat/runtime/remote.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/wait.hpp>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::int64_t posts_a_round = 10'000;

// Counted by the system calls' own names, below, so that it holds for whatever leat does.
std::atomic<std::uint64_t> wakes;
std::atomic<std::uint64_t> sleeps;

}  // namespace

// These stand before the C library's in this program. A write of another thread than the main one is a wake; a wait
// with a timeout other than zero is a sleep.
extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
    if (gettid() != getpid()) wakes.fetch_add(1, std::memory_order_relaxed);
    return syscall(SYS_write, fd, data, size);
}

int epoll_pwait2(int epoll, epoll_event* events, int capacity, const timespec* timeout,
                 const sigset_t* mask) {
    if (timeout == nullptr || timeout->tv_sec != 0 || timeout->tv_nsec != 0) {
        sleeps.fetch_add(1, std::memory_order_relaxed);
    }
    return static_cast<int>(syscall(SYS_epoll_pwait2, epoll, events, capacity, timeout, mask, size_t(8)));
}

int epoll_pwait(int epoll, epoll_event* events, int capacity, int timeout, const sigset_t* mask) {
    if (timeout != 0) sleeps.fetch_add(1, std::memory_order_relaxed);
    return static_cast<int>(syscall(SYS_epoll_pwait, epoll, events, capacity, timeout, mask, size_t(8)));
}

int epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) {
    return epoll_pwait(epoll, events, capacity, timeout, nullptr);
}
}

namespace {

/// A thread that posts a round each time it is told to.
template <class PostRound>
class Poster {
public:
    explicit Poster(PostRound post_round) : post_round_(post_round), thread_([this] { run(); }) {}
    Poster(const Poster&) = delete;
    Poster& operator=(const Poster&) = delete;

    ~Poster() {
        wanted_.store(-1);
        wanted_.notify_one();
        thread_.join();
    }

    void begin_round() {
        wanted_.fetch_add(1);
        wanted_.notify_one();
    }

private:
    void run() {
        for (std::int64_t done = 0;; ++done) {
            wanted_.wait(done);
            if (wanted_.load() < 0) return;
            post_round_();
        }
    }

    PostRound post_round_;
    std::atomic<std::int64_t> wanted_{0};
    std::thread thread_;
};

class RoundEnd;

/// What the posted functions of a round have done so far; the executor's thread alone.
struct Round {
    std::int64_t called = 0;
    RoundEnd* waiter = nullptr;

    inline void count() noexcept;
};

/// Waits until a whole round has been called, which cannot be before it waits: posts are called from the loop.
class RoundEnd final : public leat::Wait {
public:
    explicit RoundEnd(Round& round) noexcept : round_(round) {}

    bool await_ready() noexcept {
        round_.waiter = this;
        suspend();
        return false;
    }
    void await_suspend(leat::TaskHandle) const noexcept {}
    void await_resume() const noexcept {}
    void cancel() noexcept override {}
    std::string describe() const override { return "the end of a round"; }
    void end() noexcept { resume_later(); }

private:
    Round& round_;
};

void Round::count() noexcept {
    if (++called == posts_a_round) waiter->end();
}

leat::Task<> post_rounds(benchmark::State& state, leat::Executor& executor) {
    Round round;
    Poster poster([remote = executor.remote(), &round]() mutable {
        for (std::int64_t i = 0; i < posts_a_round; ++i) {
            remote.post([&round] { round.count(); });
        }
    });
    while (state.KeepRunningBatch(posts_a_round)) {
        round.called = 0;
        poster.begin_round();
        co_await RoundEnd(round);
    }
}

void post(benchmark::State& state) {
    leat::Executor executor;
    wakes = 0;
    sleeps = 0;
    executor.run_until(post_rounds(state, executor));
    state.SetItemsProcessed(state.iterations());
    state.counters["wakes_per_sleep"] =
        static_cast<double>(wakes.load()) / static_cast<double>(std::max<std::uint64_t>(sleeps.load(), 1));
    state.counters["sleeps_per_round"] =
        static_cast<double>(sleeps.load() * posts_a_round) / static_cast<double>(state.iterations());
}
BENCHMARK(post)->Name("post/leat")->MeasureProcessCPUTime();

// ---- The floor ----

struct BarePost {
    BarePost* next = nullptr;
    void (*call)(BarePost&) = nullptr;
    std::uint64_t* called = nullptr;
};

/// Many push, one takes all. The head says "asleep" while the target sleeps: who replaces that word wakes it, once.
class BareInbox {
public:
    BareInbox() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
    BareInbox(const BareInbox&) = delete;
    BareInbox& operator=(const BareInbox&) = delete;
    ~BareInbox() { close(wake_); }

    void push(BarePost& post) noexcept {
        BarePost* head = head_.load(std::memory_order_relaxed);
        do {
            post.next = head == &asleep_ ? nullptr : head;
        } while (
            !head_.compare_exchange_weak(head, &post, std::memory_order_release, std::memory_order_relaxed));
        if (head == &asleep_) eventfd_write(wake_, 1);
    }

    /// Calls what is there, oldest first; sleeps before if there is nothing.
    void turn() noexcept {
        BarePost* head = head_.exchange(nullptr, std::memory_order_acquire);
        if (head == nullptr) {
            if (head_.compare_exchange_strong(head, &asleep_, std::memory_order_acquire)) sleep();
            head = head_.exchange(nullptr, std::memory_order_acquire);
        }
        BarePost* oldest = nullptr;
        while (head != nullptr) {
            BarePost* next = head->next;
            head->next = oldest;
            oldest = head;
            head = next;
        }
        while (oldest != nullptr) {
            BarePost* next = oldest->next;
            oldest->call(*oldest);
            oldest = next;
        }
    }

private:
    void sleep() noexcept {
        pollfd waited{.fd = wake_, .events = POLLIN, .revents = 0};
        while (::poll(&waited, 1, -1) < 0) {
        }
        eventfd_t count = 0;
        eventfd_read(wake_, &count);
    }

    std::atomic<BarePost*> head_{nullptr};
    BarePost asleep_;
    int wake_;
};

void bare_post(benchmark::State& state) {
    BareInbox inbox;
    std::uint64_t called = 0;
    std::vector<BarePost> posts(static_cast<std::size_t>(posts_a_round));
    Poster poster([&] {
        for (BarePost& post : posts) {
            post.call = [](BarePost& self) { ++*self.called; };
            post.called = &called;
            inbox.push(post);
        }
    });
    while (state.KeepRunningBatch(posts_a_round)) {
        called = 0;
        poster.begin_round();
        while (called < static_cast<std::uint64_t>(posts_a_round)) {
            inbox.turn();
        }
    }
    state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bare_post)->Name("post/floor")->MeasureProcessCPUTime();

}  // namespace
