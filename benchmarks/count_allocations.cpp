// SPDX-License-Identifier: BSL-1.0
//
// A library for LD_PRELOAD which counts heap allocations of an unchanged program. The counters stand in a file that
// is mapped shared, named by LEAT_ALLOCATION_COUNTERS, so that another process reads them at any moment and the
// program is neither stopped nor signalled: four native 64-bit numbers, allocations (malloc, calloc, realloc,
// aligned forms; operator new comes through malloc), frees, bytes asked for, and the number of the process.
//
// It stands before glibc's allocator and calls that by its internal names: no dlsym, which would allocate itself.
#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* block, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
void __libc_free(void* block);
}

namespace {

struct Counters {
    std::atomic<std::uint64_t> allocations;
    std::atomic<std::uint64_t> frees;
    std::atomic<std::uint64_t> bytes;
    std::atomic<std::uint64_t> process;
};

Counters before_start;  // what is counted until the file is mapped, and for a program without one
std::atomic<Counters*> counters = &before_start;

// A program that is started through a shell or a tracer loads this library several times: the last one stays in the file.
[[gnu::constructor]] void map_counters() {
    const char* path = std::getenv("LEAT_ALLOCATION_COUNTERS");
    if (path == nullptr) return;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return;
    if (ftruncate(fd, sizeof(Counters)) == 0) {
        void* mapped = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped != MAP_FAILED) {
            auto* shared = static_cast<Counters*>(mapped);
            shared->allocations = before_start.allocations.load();
            shared->frees = before_start.frees.load();
            shared->bytes = before_start.bytes.load();
            shared->process = static_cast<std::uint64_t>(getpid());
            counters = shared;
        }
    }
    close(fd);
}

void count_allocation(std::size_t size) {
    Counters* now = counters.load(std::memory_order_relaxed);
    now->allocations.fetch_add(1, std::memory_order_relaxed);
    now->bytes.fetch_add(size, std::memory_order_relaxed);
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) noexcept {
    count_allocation(size);
    return __libc_malloc(size);
}

void* calloc(std::size_t count, std::size_t size) noexcept {
    count_allocation(count * size);
    return __libc_calloc(count, size);
}

void* realloc(void* block, std::size_t size) noexcept {
    count_allocation(size);
    return __libc_realloc(block, size);
}

void* memalign(std::size_t alignment, std::size_t size) noexcept {
    count_allocation(size);
    return __libc_memalign(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }

int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
    *block = memalign(alignment, size);
    return *block == nullptr ? ENOMEM : 0;
}

void free(void* block) noexcept {
    if (block != nullptr)
        counters.load(std::memory_order_relaxed)->frees.fetch_add(1, std::memory_order_relaxed);
    __libc_free(block);
}
}
