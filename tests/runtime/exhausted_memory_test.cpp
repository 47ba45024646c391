// SPDX-License-Identifier: BSL-1.0
//
// The C library's memory runs out, and not only what `operator new` gives: in a forked child, whose address
// space may grow no more. What the C library does then to a call that cannot fail is to abort the process.
#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/runtime.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/child.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

using namespace leat;
using namespace leat::test;
using leat::detail::FramePool;

namespace exhausted_memory_test {

namespace {

/// While it lives, not one block of memory can be had on the thread that made it.
class Exhaustion {
public:
    Exhaustion() noexcept {
        ::getrlimit(RLIMIT_AS, &before_);
        rlimit nothing = before_;
        nothing.rlim_cur = 0;
        ::setrlimit(RLIMIT_AS, &nothing);
        for (std::size_t size = std::size_t{1} << 22; size >= sizeof(Block); size /= 2) {
            while (void* memory = std::malloc(size))
                taken_ = ::new (memory) Block{taken_};
        }
        // Odd ones: what lies between others, or was freed a moment ago.
        for (std::size_t size = sizeof(Block); size <= 4096; size += 8) {
            while (void* memory = std::malloc(size))
                taken_ = ::new (memory) Block{taken_};
        }
    }
    Exhaustion(const Exhaustion&) = delete;
    ~Exhaustion() {
        ::setrlimit(RLIMIT_AS, &before_);
        while (Block* block = taken_) {
            taken_ = block->next;
            std::free(block);
        }
    }

private:
    struct Block {
        Block* next;
    };
    Block* taken_ = nullptr;
    rlimit before_{};
};

/// For a child: says what did not hold, as no test framework does there.
void require(bool holds, const char* sentence) {
    if (holds) return;
    ::write(STDERR_FILENO, sentence, std::char_traits<char>::length(sentence));
    ::_exit(1);
}

/// Without the thread that watches for stalls, which is made when the executor begins to run.
ExecutorOptions unwatched() {
    ExecutorOptions options;
    options.stall_threshold = Duration::zero();
    return options;
}

// clang keeps the frame of a call that it inlines on the stack, where it needs no memory.
[[gnu::noinline]] Task<int> one() { co_return 1; }

}  // namespace

BOOST_AUTO_TEST_SUITE(exhausted_memory)

BOOST_AUTO_TEST_CASE(first_block_that_a_thread_frees_needs_no_memory) {
    ChildEnd end = end_of_child([] {
        void* block = FramePool::allocate(200);
        std::thread([block] {
            Exhaustion exhaustion;
            FramePool::deallocate(block, 200);
        }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(executor_runs_a_task_that_is_there_on_a_thread_without_memory) {
    ChildEnd end = end_of_child([] {
        std::thread([] {
            Executor executor(unwatched());
            Task<int> task = one();
            Exhaustion exhaustion;
            require(executor.run_until(std::move(task)) == 1, "another result");
        }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(task_executor_and_runtime_that_cannot_be_made_are_errors) {
    ChildEnd end = end_of_child([] {
        std::thread([] {
            Exhaustion exhaustion;
            auto fails = [](auto make) {
                try {
                    make();
                    return false;
                } catch (const std::bad_alloc&) {
                    return true;
                } catch (const std::system_error&) {
                    return true;
                }
            };
            require(fails([] { Executor executor; }), "an executor was made");
            require(fails([] { Runtime runtime(2); }), "a runtime was made");
            require(fails([] { [[maybe_unused]] Task<int> task = one(); }), "a task was made");
        }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(failure_of_a_task_reaches_who_awaits_it_without_memory) {
    ChildEnd end = end_of_child([] {
        std::thread([] {
            Executor executor(unwatched());
            auto fail = []() -> Task<int> {
                // The C++ runtime keeps memory in reserve for an exception of this size.
                throw 17;
                co_return 0;
            };
            auto catch_it = [&]() -> Task<int> {
                int caught = 0;
                Task<int> failing = fail();
                std::optional<Exhaustion> exhaustion(std::in_place);
                try {
                    co_await std::move(failing);
                } catch (int value) {
                    caught = value;
                }
                co_return caught;
            };
            require(executor.run_until(catch_it()) == 17, "another failure");
        }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_CASE(runtime_ends_its_threads_without_memory) {
    ChildEnd end = end_of_child([] {
        std::thread([] {
            RuntimeOptions options(2);
            options.executor = unwatched();
            std::optional<Runtime> runtime(std::in_place, options);
            Exhaustion exhaustion;
            runtime.reset();
        }).join();
    });

    BOOST_TEST(end.signal == 0);
    BOOST_TEST(end.text == "");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace exhausted_memory_test
