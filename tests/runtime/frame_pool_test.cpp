// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/executor.hpp>
#include <leat/runtime/frame_pool.hpp>
#include <leat/runtime/task.hpp>
#include <leat/runtime/task_group.hpp>

#include "support/allocations.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

using namespace leat;
using namespace leat::test;
using leat::detail::FramePool;

namespace frame_pool_test {

namespace {

Task<int> one() { co_return 1; }

struct EmptyPool {
    EmptyPool() { FramePool::trim(); }
    ~EmptyPool() { FramePool::trim(); }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(frame_pool)

BOOST_FIXTURE_TEST_CASE(freed_block_serves_the_next_request_of_its_size, EmptyPool) {
    void* first = FramePool::allocate(200);
    FramePool::deallocate(first, 200);

    void* second = FramePool::allocate(193);

    BOOST_TEST(second == first);
    FramePool::deallocate(second, 193);
}

BOOST_FIXTURE_TEST_CASE(blocks_of_all_sizes_are_whole_and_aligned, EmptyPool) {
    for (std::size_t size :
         {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, std::size_t{4096},
          FramePool::largest - 1, FramePool::largest, FramePool::largest + 1, std::size_t{1} << 20}) {
        for (int round = 0; round < 2; ++round) {
            void* block = FramePool::allocate(size);
            std::memset(block, 0xa5, size);
            BOOST_TEST(reinterpret_cast<std::uintptr_t>(block) % alignof(std::max_align_t) == 0u);
            FramePool::deallocate(block, size);
        }
    }
}

BOOST_FIXTURE_TEST_CASE(large_blocks_are_not_kept, EmptyPool) {
    std::size_t before = outstanding_allocations();

    FramePool::deallocate(FramePool::allocate(FramePool::largest + 1), FramePool::largest + 1);

    BOOST_TEST(outstanding_allocations() == before);
}

BOOST_FIXTURE_TEST_CASE(kept_blocks_are_bounded, EmptyPool) {
    constexpr std::size_t size = 1024;
    constexpr std::size_t limit = FramePool::bytes_kept_a_size / size;
    std::size_t before = outstanding_allocations();
    std::vector<void*> blocks;
    blocks.reserve(4 * limit);
    for (std::size_t i = 0; i < 4 * limit; ++i)
        blocks.push_back(FramePool::allocate(size));

    for (void* block : blocks)
        FramePool::deallocate(block, size);

    // The vector itself is one.
    BOOST_TEST(outstanding_allocations() <= before + limit + 1);
    BOOST_TEST(outstanding_allocations() > before + 1);
}

BOOST_FIXTURE_TEST_CASE(trim_gives_everything_back, EmptyPool) {
    std::size_t before = outstanding_allocations();
    FramePool::deallocate(FramePool::allocate(100), 100);
    FramePool::deallocate(FramePool::allocate(1000), 1000);
    BOOST_TEST(outstanding_allocations() == before + 2);

    FramePool::trim();

    BOOST_TEST(outstanding_allocations() == before);
}

BOOST_FIXTURE_TEST_CASE(block_freed_on_another_thread_joins_the_lists_there, EmptyPool) {
    void* block = FramePool::allocate(300);
    void* reused = nullptr;

    std::thread([&] {
        FramePool::deallocate(block, 300);
        reused = FramePool::allocate(300);
        FramePool::deallocate(reused, 300);
    }).join();

    BOOST_TEST(reused == block);
}

BOOST_FIXTURE_TEST_CASE(thread_that_ends_gives_its_blocks_back, EmptyPool) {
    std::thread([] {}).join();
    std::size_t before = outstanding_allocations();

    std::thread([] {
        std::vector<void*> blocks;
        for (int i = 0; i < 100; ++i)
            blocks.push_back(FramePool::allocate(128));
        for (void* block : blocks)
            FramePool::deallocate(block, 128);
    }).join();

    BOOST_TEST(outstanding_allocations() == before);
}

BOOST_FIXTURE_TEST_CASE(frame_may_be_freed_on_another_thread, EmptyPool) {
    std::size_t before = outstanding_allocations();
    std::optional<Task<int>> task = one();

    std::thread([&] { task.reset(); }).join();
    FramePool::trim();

    BOOST_TEST(outstanding_allocations() == before);
}

BOOST_FIXTURE_TEST_CASE(task_may_be_run_on_another_thread_than_it_was_made_on, EmptyPool) {
    std::optional<Task<int>> task = one();
    int value = 0;

    std::thread([&] { value = run(std::move(*task)); }).join();

    BOOST_TEST(value == 1);
}

BOOST_FIXTURE_TEST_CASE(frames_are_recycled_without_an_allocation, EmptyPool) {
    run([]() -> Task<> {
        co_await one();
        std::size_t before = allocations_made();

        for (int i = 0; i < 1000; ++i)
            co_await one();

        BOOST_TEST(allocations_made() == before);
    }());
}

BOOST_FIXTURE_TEST_CASE(children_of_a_group_are_recycled_without_an_allocation, EmptyPool) {
    run([]() -> Task<> {
        auto child = []() -> Task<> { co_return; };
        auto body = [&](TaskGroup& group) -> Task<> {
            for (int i = 0; i < 10; ++i)
                group.spawn(child);
            co_return;
        };
        co_await task_group(body);
        std::size_t before = allocations_made();

        for (int i = 0; i < 100; ++i)
            co_await task_group(body);

        BOOST_TEST(allocations_made() == before);
    }());
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace frame_pool_test
