// SPDX-License-Identifier: BSL-1.0
#include "support/allocations.hpp"

#include <leat/reactor/buffer_pool.hpp>

#include <boost/test/unit_test.hpp>

#include <cstdint>
#include <cstring>
#include <set>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace leat::test::buffer_pool_test {
namespace {

using detail::BufferPool;

// More than a slab has.
constexpr std::size_t many = 200;

struct Fixture {
    ~Fixture() {
        give_all_back();
        if (pool != nullptr) pool->retire();
    }

    void take(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            taken.push_back(pool->take());
    }
    void give_all_back() {
        for (std::byte* buffer : taken)
            BufferPool::of(buffer).give_back(buffer);
        taken.clear();
    }

    // Before the pool is made.
    std::size_t allocations = outstanding_allocations();
    BufferPool* pool = BufferPool::make();
    std::vector<std::byte*> taken;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(buffer_pool, Fixture)

BOOST_AUTO_TEST_CASE(buffers_stand_at_pages_and_share_no_byte) {
    take(many);

    for (std::size_t i = 0; i < many; ++i) {
        BOOST_TEST(reinterpret_cast<std::uintptr_t>(taken[i]) % BufferPool::buffer_size == 0u);
        std::memset(taken[i], static_cast<int>(i % 251), BufferPool::buffer_size);
    }
    for (std::size_t i = 0; i < many; ++i) {
        const std::vector<std::byte> expected(BufferPool::buffer_size, static_cast<std::byte>(i % 251));
        BOOST_TEST(std::memcmp(taken[i], expected.data(), expected.size()) == 0);
    }
}

BOOST_AUTO_TEST_CASE(buffer_that_came_back_last_goes_out_first) {
    take(3);
    const std::vector<std::byte*> before = taken;

    give_all_back();
    take(3);

    const std::vector<std::byte*> expected(before.rbegin(), before.rend());
    BOOST_TEST(taken == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(pool_counts_what_is_lent) {
    BOOST_TEST(pool->lent() == 0u);

    take(many);
    BOOST_TEST(pool->lent() == many);

    give_all_back();
    BOOST_TEST(pool->lent() == 0u);
}

BOOST_AUTO_TEST_CASE(buffer_tells_its_pool) {
    BufferPool* other = BufferPool::make();
    std::byte* of_other = other->take();
    take(many);

    for (std::byte* buffer : taken)
        BOOST_TEST(&BufferPool::of(buffer) == pool);
    BOOST_TEST(&BufferPool::of(of_other) == other);
    BOOST_TEST(&BufferPool::of(of_other + 1) == other);

    other->give_back(of_other);
    other->retire();
}

BOOST_AUTO_TEST_CASE(warm_pool_allocates_nothing) {
    take(many);
    give_all_back();
    taken.reserve(many);
    const std::size_t before = allocations_made();

    take(many);
    const std::set<std::byte*> different(taken.begin(), taken.end());
    BOOST_TEST(different.size() == many);
    give_all_back();

    // Those of the set.
    BOOST_TEST(allocations_made() - before == many);
}

BOOST_AUTO_TEST_CASE(memory_of_a_flood_goes_back_but_for_a_reserve) {
    constexpr std::size_t flood = 10'000;
    take(flood);
    const std::size_t at_the_most = pool->slabs();
    const std::size_t allocations_at_the_most = outstanding_allocations();

    give_all_back();

    BOOST_TEST(at_the_most >= flood / 64);
    BOOST_TEST(pool->slabs() == BufferPool::slabs_in_reserve);
    BOOST_TEST(outstanding_allocations() <= allocations_at_the_most - (at_the_most - pool->slabs()));
    take(1);
    BOOST_TEST(pool->slabs() == BufferPool::slabs_in_reserve);
}

BOOST_AUTO_TEST_CASE(slab_that_is_nearly_full_is_filled_before_an_unused_one) {
    take(many);
    std::byte* first = taken.front();
    taken.erase(taken.begin());
    const std::size_t slabs = pool->slabs();

    BufferPool::of(first).give_back(first);
    taken.push_back(pool->take());

    BOOST_TEST(taken.back() == first);
    BOOST_TEST(pool->slabs() == slabs);
}

BOOST_AUTO_TEST_CASE(many_buffers_come_with_one_allocation) {
    taken.reserve(60);
    const std::size_t before = allocations_made();

    take(60);

    BOOST_TEST(allocations_made() - before == 1u);
}

BOOST_AUTO_TEST_CASE(pool_without_memory_gives_none_and_later_one) {
    std::byte* buffer = nullptr;
    {
        FailingAllocation failing(1);
        buffer = pool->take();
    }
    BOOST_TEST(buffer == nullptr);
    BOOST_TEST(pool->lent() == 0u);

    take(1);

    BOOST_TEST(taken[0] != nullptr);
}

BOOST_AUTO_TEST_CASE(pool_itself_may_find_no_memory) {
    FailingAllocation failing(1);

    BOOST_TEST(BufferPool::make() == nullptr);
}

BOOST_AUTO_TEST_CASE(retired_pool_ends_with_the_last_buffer_that_comes_back) {
    taken.reserve(2);
    const std::size_t of_list = outstanding_allocations() - allocations;
    take(2);
    pool->retire();
    pool = nullptr;

    std::byte* last = taken.back();
    BufferPool::of(taken.front()).give_back(taken.front());
    taken.clear();
    std::memset(last, 1, BufferPool::buffer_size);
    BufferPool::of(last).give_back(last);

    // The pool was one of them.
    BOOST_TEST(outstanding_allocations() == allocations + of_list - 1);
}

BOOST_AUTO_TEST_CASE(retired_pool_of_which_nothing_is_lent_ends_at_once) {
    std::byte* buffer = pool->take();
    pool->give_back(buffer);

    pool->retire();
    pool = nullptr;

    BOOST_TEST(outstanding_allocations() == allocations);
}

#if defined(__SANITIZE_ADDRESS__)
BOOST_AUTO_TEST_CASE(sanitizer_knows_what_nobody_has) {
    std::byte* buffer = pool->take();
    BOOST_TEST(__asan_region_is_poisoned(buffer, BufferPool::buffer_size) == nullptr);
    BOOST_TEST(__asan_address_is_poisoned(buffer + BufferPool::buffer_size));

    pool->give_back(buffer);

    BOOST_TEST(__asan_address_is_poisoned(buffer));
    BOOST_TEST(__asan_address_is_poisoned(buffer + BufferPool::buffer_size - 1));
}
#endif

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::buffer_pool_test
