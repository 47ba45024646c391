// SPDX-License-Identifier: BSL-1.0
#include "kqueue_shim.hpp"

#include <sys/event.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <utility>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace leat::test::kqueue_shim {

namespace {

[[noreturn]] void misuse(const char* what, long number) noexcept {
    std::fprintf(stderr, "kqueue shim: %s (%ld)\n", what, number);
    std::abort();
}

void demand(bool holds, const char* what, long number) noexcept {
    if (!holds) misuse(what, number);
}

/// A kernel's memory is not the program's: what a test counts, or lets run out, is none of its concern.
template <class T>
struct KernelAllocator {
    using value_type = T;

    KernelAllocator() noexcept = default;
    template <class U>
    KernelAllocator(const KernelAllocator<U>&) noexcept {}

    T* allocate(std::size_t count) {
        void* memory = std::malloc(count * sizeof(T));
        demand(memory != nullptr, "no memory left", 0);
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, std::size_t) noexcept { std::free(memory); }
    template <class U>
    bool operator==(const KernelAllocator<U>&) const noexcept {
        return true;
    }
};
template <class Key, class Value>
using KernelMap = std::map<Key, Value, std::less<>, KernelAllocator<std::pair<const Key, Value>>>;

// The filters of descriptors, each with what epoll calls it.
struct Filter {
    std::int16_t number;
    std::uint32_t mask;
    std::uint32_t ends;
};
constexpr std::array<Filter, 3> filters{{
    {EVFILT_READ, EPOLLIN | EPOLLRDHUP, EPOLLRDHUP | EPOLLHUP | EPOLLERR},
    {EVFILT_WRITE, EPOLLOUT, EPOLLHUP | EPOLLERR},
    {EVFILT_EXCEPT, EPOLLPRI, 0},
}};

std::size_t filter_of(std::int16_t number) noexcept {
    for (std::size_t i = 0; i < filters.size(); ++i) {
        if (filters[i].number == number) return i;
    }
    misuse("a filter that it does not know", number);
}

struct Entry {
    void* udata;
    std::uint32_t notes;
};

struct Queue {
    // The outer set holds the others, and is what `kqueue` gives.
    int outer = -1;
    std::array<int, filters.size()> sets{-1, -1, -1};
    int user = -1;
    std::optional<Entry> user_entry;
    KernelMap<std::pair<std::size_t, int>, Entry> entries;
    // Whose events come first in the next call, so that none waits for ever.
    std::size_t turn = 0;
};

// Everything below is under the lock, but for waiting. A queue is in use by a call while a pointer is held.
std::mutex lock;
KernelMap<int, std::shared_ptr<Queue>> queues;
std::atomic<std::uint32_t> noise_seed{0};
std::minstd_rand noise;
int failing_change = 0;
int failure = 0;

// Called under the lock; the library's own close is not to be asked.
void close_directly(int fd) noexcept { ::syscall(SYS_close, fd); }

void forget_all_in_child() noexcept {
    // A child of fork has no queue. (Its parent's lock may have been held: it is a child's first and only thread.)
    new (&lock) std::mutex;
    for (auto& [outer, queue] : queues) {
        for (int set : queue->sets)
            close_directly(set);
        close_directly(queue->user);
        close_directly(outer);
    }
    queues.clear();
}

bool happens(unsigned in) noexcept {
    return noise_seed.load(std::memory_order_relaxed) != 0 && noise() % in == 0;
}

std::shared_ptr<Queue> find(int queue) noexcept {
    std::lock_guard guard(lock);
    auto found = queues.find(queue);
    return found != queues.end() ? found->second : nullptr;
}

// ---- Changes ----

bool is_socket(int fd) noexcept {
    struct stat status{};
    return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

int add(Queue& queue, int fd, std::size_t filter, const struct kevent& change) {
    if (filters[filter].number == EVFILT_EXCEPT && !is_socket(fd)) return EINVAL;
    auto [entry, is_new] =
        queue.entries.try_emplace(std::pair(filter, fd), Entry{change.udata, change.fflags});
    if (!is_new) {
        demand(entry->second.notes == change.fflags, "notes changed by adding again", fd);
        entry->second.udata = change.udata;
    }
    epoll_event event{};
    event.events = filters[filter].mask | EPOLLET;
    event.data.fd = fd;
    // A change of nothing reports anew what is ready, as adding again does.
    if (::epoll_ctl(queue.sets[filter], is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) == 0) return 0;
    int error = errno;
    demand(is_new || error != ENOENT, "its descriptor was closed under an entry", fd);
    queue.entries.erase(entry);
    return error;
}

int remove(Queue& queue, int fd, std::size_t filter) {
    if (queue.entries.erase(std::pair(filter, fd)) == 0) return ENOENT;
    if (::epoll_ctl(queue.sets[filter], EPOLL_CTL_DEL, fd, nullptr) == 0) return 0;
    misuse("its descriptor was closed under an entry", fd);
}

int change_user(Queue& queue, const struct kevent& change) {
    if ((change.flags & EV_ADD) != 0) {
        demand((change.flags & EV_CLEAR) != 0, "an entry that is not edge-triggered", EVFILT_USER);
        queue.user_entry = Entry{change.udata, 0};
    }
    if (!queue.user_entry) return ENOENT;
    queue.user_entry->udata = change.udata;
    if ((change.fflags & NOTE_TRIGGER) != 0) ::eventfd_write(queue.user, 1);
    return 0;
}

int apply(Queue& queue, const struct kevent& change) {
    if (failing_change > 0 && --failing_change == 0) return failure;
    if (change.filter == EVFILT_USER) return change_user(queue, change);
    std::size_t filter = filter_of(change.filter);
    int fd = static_cast<int>(change.ident);
    int known = EV_ADD | EV_DELETE | EV_CLEAR | EV_RECEIPT;
    demand((change.flags & ~known) == 0, "a flag that it does not know", change.flags);
    if ((change.flags & EV_DELETE) != 0) return remove(queue, fd, filter);
    demand((change.flags & EV_ADD) != 0, "a change that is none", change.flags);
    demand((change.flags & EV_CLEAR) != 0, "an entry that is not edge-triggered", fd);
    return add(queue, fd, filter, change);
}

// ---- Events ----

struct Output {
    bool is_full() const noexcept { return used == room; }
    void put(const struct kevent& event) noexcept { events[used++] = event; }

    struct kevent* events;
    int room;
    int used = 0;
};

void take_from(Queue& queue, std::size_t filter, Output& output) noexcept {
    std::array<epoll_event, 64> ready;
    while (!output.is_full()) {
        int wanted = std::min<int>(output.room - output.used, ready.size());
        int count = ::epoll_wait(queue.sets[filter], ready.data(), wanted, 0);
        for (int i = 0; i < count; ++i) {
            const epoll_event& from = ready[static_cast<std::size_t>(i)];
            auto entry = queue.entries.find(std::pair(filter, static_cast<int>(from.data.fd)));
            if (entry == queue.entries.end()) continue;
            struct kevent event{};
            event.ident = static_cast<std::uintptr_t>(from.data.fd);
            event.filter = filters[filter].number;
            event.fflags = entry->second.notes;
            event.udata = entry->second.udata;
            // What a system says here is not to be relied on.
            event.data = -1;
            bool has_ended = (from.events & filters[filter].ends) != 0;
            if (has_ended || (filters[filter].number == EVFILT_READ && happens(8))) event.flags = EV_EOF;
            if ((from.events & EPOLLERR) != 0) event.fflags = EIO;
            output.put(event);
        }
        if (count < wanted) return;
    }
}

void take_user(Queue& queue, Output& output) noexcept {
    eventfd_t count = 0;
    if (output.is_full() || !queue.user_entry || ::eventfd_read(queue.user, &count) != 0) return;
    struct kevent event{};
    event.filter = EVFILT_USER;
    event.udata = queue.user_entry->udata;
    output.put(event);
}

void add_spurious(Queue& queue, Output& output) noexcept {
    for (auto& [place, entry] : queue.entries) {
        auto [filter, fd] = place;
        if (output.is_full()) return;
        if (filters[filter].number == EVFILT_EXCEPT || !happens(8)) continue;
        struct kevent event{};
        event.ident = static_cast<std::uintptr_t>(fd);
        event.filter = filters[filter].number;
        event.udata = entry.udata;
        output.put(event);
    }
}

int take_events(Queue& queue, struct kevent* events, int room) noexcept {
    if (room > 1 && happens(4)) room = 1;
    Output output{events, room};
    take_user(queue, output);
    for (std::size_t i = 0; i < filters.size(); ++i)
        take_from(queue, (queue.turn + i) % filters.size(), output);
    ++queue.turn;
    if (output.used != 0 && happens(2)) add_spurious(queue, output);
    return output.used;
}

int wait(Queue& queue, const timespec* timeout) noexcept {
    epoll_event ignored;
    if (timeout == nullptr) return ::epoll_wait(queue.outer, &ignored, 1, -1);
    int count = ::epoll_pwait2(queue.outer, &ignored, 1, timeout, nullptr);
    if (count >= 0 || errno != ENOSYS) return count;
    auto milliseconds = timeout->tv_sec * 1000 + (timeout->tv_nsec + 999'999) / 1'000'000;
    return ::epoll_wait(queue.outer, &ignored, 1, static_cast<int>(std::min<long>(milliseconds, 86'400'000)));
}

}  // namespace

void make_noise(std::uint32_t seed) noexcept {
    std::lock_guard guard(lock);
    noise.seed(seed);
    noise_seed = seed;
}

void fail_change(int which, int error) noexcept {
    std::lock_guard guard(lock);
    failing_change = which;
    failure = error;
}

int entries() noexcept {
    std::lock_guard guard(lock);
    std::size_t count = 0;
    for (auto& [outer, queue] : queues)
        count += queue->entries.size();
    return static_cast<int>(count);
}

void before_close(int fd) noexcept {
    std::lock_guard guard(lock);
    if (auto found = queues.find(fd); found != queues.end()) {
        for (int set : found->second->sets)
            close_directly(set);
        close_directly(found->second->user);
        queues.erase(found);
        return;
    }
    for (auto& [outer, queue] : queues) {
        for (std::size_t filter = 0; filter < filters.size(); ++filter)
            demand(!queue->entries.contains(std::pair(filter, fd)),
                   "a descriptor is closed that has an entry", fd);
    }
}

}  // namespace leat::test::kqueue_shim

using namespace leat::test::kqueue_shim;

extern "C" int kqueue() noexcept {
    static const bool is_prepared = [] {
        ::pthread_atfork(nullptr, nullptr, forget_all_in_child);
        const char* seed = std::getenv("LEAT_KQUEUE_NOISE");
        if (seed != nullptr) make_noise(static_cast<std::uint32_t>(std::strtoul(seed, nullptr, 10)));
        return true;
    }();
    static_cast<void>(is_prepared);

    auto queue = std::allocate_shared<Queue>(KernelAllocator<Queue>());
    queue->outer = ::epoll_create1(EPOLL_CLOEXEC);
    queue->user = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool is_complete = queue->outer >= 0 && queue->user >= 0;
    epoll_event event{};
    event.events = EPOLLIN;
    for (int& set : queue->sets) {
        set = ::epoll_create1(EPOLL_CLOEXEC);
        is_complete = is_complete && ::epoll_ctl(queue->outer, EPOLL_CTL_ADD, set, &event) == 0;
    }
    is_complete = is_complete && ::epoll_ctl(queue->outer, EPOLL_CTL_ADD, queue->user, &event) == 0;
    if (!is_complete) {
        int error = errno;
        for (int fd : {queue->outer, queue->user, queue->sets[0], queue->sets[1], queue->sets[2]})
            if (fd >= 0) close_directly(fd);
        errno = error;
        return -1;
    }
    std::lock_guard guard(lock);
    queues[queue->outer] = queue;
    return queue->outer;
}

extern "C" int kevent(int queue_number, const struct kevent* changes, int change_count, struct kevent* events,
                      int event_count, const timespec* timeout) noexcept {
    std::shared_ptr<Queue> queue = find(queue_number);
    if (queue == nullptr) {
        errno = EBADF;
        return -1;
    }
    int answers = 0;
    {
        std::lock_guard guard(lock);
        for (int i = 0; i < change_count; ++i) {
            const struct kevent& change = changes[i];
            int error = apply(*queue, change);
            if (error == 0 && (change.flags & EV_RECEIPT) == 0) continue;
            if (answers == event_count) {
                demand((change.flags & EV_RECEIPT) == 0, "a receipt without room for it", i);
                errno = error;
                return -1;
            }
            struct kevent& answer = events[answers++];
            answer = change;
            answer.flags = EV_ERROR;
            answer.data = error;
        }
    }
    if (answers != 0 || event_count == 0) return answers;

    if (timeout != nullptr) {
        demand(timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < 1'000'000'000,
               "a timeout that is none", timeout->tv_nsec);
    }
    {
        std::lock_guard guard(lock);
        int count = take_events(*queue, events, event_count);
        if (count != 0 || (timeout != nullptr && timeout->tv_sec == 0 && timeout->tv_nsec == 0)) return count;
    }
    // What is found ready and then gives nothing was for an entry that has gone: a spurious return.
    int count = wait(*queue, timeout);
    if (count <= 0) return count;
    std::lock_guard guard(lock);
    return take_events(*queue, events, event_count);
}
