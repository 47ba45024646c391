// SPDX-License-Identifier: BSL-1.0
#include "backend/fork_guard.hpp"

#include <cerrno>
#include <new>
#include <system_error>

#include <sys/mman.h>
#include <unistd.h>

// FreeBSD's and OpenBSD's name, and NetBSD's.
#if defined(INHERIT_ZERO)
#define LEAT_INHERIT_ZERO INHERIT_ZERO
#elif defined(MAP_INHERIT_ZERO)
#define LEAT_INHERIT_ZERO MAP_INHERIT_ZERO
#endif

#if !defined(LEAT_INHERIT_ZERO)
#include <memory>
#include <mutex>
#include <vector>

#include <pthread.h>
#endif

namespace leat::detail {

#if defined(LEAT_INHERIT_ZERO)

namespace {

std::size_t page_size() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

ForkGuard::ForkGuard() {
    void* page = ::mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (page == MAP_FAILED) throw std::system_error(errno, std::system_category(), "leat: mmap");
    // A kernel that refuses: a child then takes itself for the parent, as it would without this guard.
    ::minherit(page, page_size(), LEAT_INHERIT_ZERO);
    word_ = ::new (page) std::atomic<std::uintptr_t>(unowned);
}

ForkGuard::~ForkGuard() { ::munmap(word_, page_size()); }

#else

// macOS and DragonFly have no page that a child finds empty: the child empties the words itself, before fork(2) returns in
// it.

namespace {

struct Words {
    std::mutex lock;
    std::vector<std::atomic<std::uintptr_t>*> all;
};

// Never destroyed: a child may be forked while the parent's statics are.
Words& words() {
    static auto& words = *new Words;
    return words;
}

void lock_words() noexcept { words().lock.lock(); }
void unlock_words() noexcept { words().lock.unlock(); }
void wipe_words() noexcept {
    for (std::atomic<std::uintptr_t>* word : words().all)
        word->store(0, std::memory_order_relaxed);
    words().lock.unlock();
}

}  // namespace

ForkGuard::ForkGuard() {
    static const int refusal = ::pthread_atfork(lock_words, unlock_words, wipe_words);
    if (refusal != 0) throw std::system_error(refusal, std::system_category(), "leat: pthread_atfork");
    auto word = std::make_unique<std::atomic<std::uintptr_t>>(unowned);
    std::lock_guard guard(words().lock);
    words().all.push_back(word.get());
    word_ = word.release();
}

ForkGuard::~ForkGuard() {
    {
        std::lock_guard guard(words().lock);
        std::erase(words().all, word_);
    }
    delete word_;
}

#endif

}  // namespace leat::detail
