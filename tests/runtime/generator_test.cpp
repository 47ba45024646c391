// SPDX-License-Identifier: BSL-1.0
#include <leat/runtime/generator.hpp>
#include <leat/runtime/sleep.hpp>
#include <leat/runtime/task.hpp>

#include "support/allocations.hpp"
#include "support/counted.hpp"
#include "support/log.hpp"
#include "support/virtual_time.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <concepts>
#include <coroutine>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace leat;
using namespace leat::test;
using namespace std::chrono_literals;

namespace generator_test {

namespace {

Generator<int> up_to(int last) {
    for (int i = 1; i <= last; ++i)
        co_yield i;
}

Generator<int> naturals() {
    for (int i = 0;; ++i)
        co_yield i;
}

Generator<int> fail_after_two() {
    co_yield 1;
    co_yield 2;
    throw std::runtime_error("it failed");
}

Generator<std::string> words(Log& log) {
    Guard guard(log, "end");
    co_yield "converted";
    std::string variable = "variable";
    co_yield variable;
    log.note(variable);
    co_yield std::move(variable);
    log.note(variable.empty() ? "empty" : variable);
}

Generator<int&> slots(std::vector<int>& values) {
    for (int& value : values)
        co_yield value;
}

Generator<const std::string&> names(const std::vector<std::string>& known) {
    for (const std::string& name : known)
        co_yield name;
    co_yield std::string("temporary");
}

Generator<std::unique_ptr<int>> boxes(int count) {
    for (int i = 0; i < count; ++i)
        co_yield std::make_unique<int>(i);
}

Generator<Counted> counted_items(Counted argument) {
    Counted local(100);
    co_yield Counted(argument.value());
    co_yield local;
    co_yield Counted(argument.value() + 1);
}

template <class G, class A>
concept CanAwait = requires(typename G::promise_type& promise, A&& awaitable) {
    promise.await_transform(std::move(awaitable));
};

}  // namespace

BOOST_AUTO_TEST_SUITE(generator)

BOOST_AUTO_TEST_CASE(range_for_goes_through_the_items_in_their_order) {
    std::vector<int> seen;

    for (int i : up_to(4))
        seen.push_back(i);

    BOOST_TEST(seen == (std::vector<int>{1, 2, 3, 4}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(empty_and_moved_from_generators_have_no_items) {
    Generator<int> none = up_to(0);
    Generator<int> source = up_to(3);
    Generator<int> target = std::move(source);

    BOOST_TEST((none.begin() == none.end()));
    BOOST_TEST((source.begin() == source.end()));
    BOOST_TEST(*target.begin() == 1);
}

BOOST_AUTO_TEST_CASE(nothing_is_computed_before_it_is_asked_for) {
    Log log;
    auto noting = [](Log& to) -> Generator<int> {
        to.note("first");
        co_yield 1;
        to.note("second");
        co_yield 2;
    };
    Generator<int> items = noting(log);
    BOOST_TEST(log.text() == "");

    auto at = items.begin();
    BOOST_TEST(log.text() == "first");
    BOOST_TEST(*at == 1);
    ++at;

    BOOST_TEST(log.text() == "first second");
    BOOST_TEST(*at == 2);
}

BOOST_AUTO_TEST_CASE(it_is_a_view_that_can_be_gone_through_once) {
    static_assert(std::ranges::input_range<Generator<int>>);
    static_assert(std::ranges::view<Generator<int>>);
    static_assert(!std::ranges::forward_range<Generator<int>>);
    static_assert(!std::copyable<Generator<int>> && std::movable<Generator<int>>);
    static_assert(std::same_as<std::ranges::range_reference_t<Generator<int>>, int&>);
    static_assert(std::same_as<std::ranges::range_reference_t<Generator<const int&>>, const int&>);
    std::vector<int> seen;

    auto squares_of_even = naturals() | std::views::filter([](int i) { return i % 2 == 0; }) |
                           std::views::transform([](int i) { return i * i; }) | std::views::take(4);
    for (int square : squares_of_even)
        seen.push_back(square);

    BOOST_TEST(seen == (std::vector<int>{0, 4, 16, 36}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(exception_comes_out_after_the_items_before_it_and_is_the_end) {
    std::vector<int> seen;
    std::string caught;
    Generator<int> items = fail_after_two();

    try {
        for (int i : items)
            seen.push_back(i);
    } catch (const std::runtime_error& error) {
        caught = error.what();
    }

    BOOST_TEST(seen == (std::vector<int>{1, 2}), boost::test_tools::per_element());
    BOOST_TEST(caught == "it failed");
    BOOST_TEST((items.begin() == items.end()));
}

BOOST_AUTO_TEST_CASE(exception_before_the_first_item_comes_out_of_begin) {
    auto failing = [](bool fails) -> Generator<int> {
        if (fails) throw std::runtime_error("at once");
        co_yield 1;
    };
    Generator<int> items = failing(true);

    BOOST_CHECK_THROW(items.begin(), std::runtime_error);
}

BOOST_AUTO_TEST_CASE(consumer_may_take_an_item_and_the_generator_keeps_its_variable) {
    Log log;
    std::vector<std::string> taken;

    for (std::string& word : words(log))
        taken.push_back(std::move(word));

    BOOST_TEST(taken == (std::vector<std::string>{"converted", "variable", "variable"}),
               boost::test_tools::per_element());
    BOOST_TEST(log.text() == "variable empty end");
}

BOOST_AUTO_TEST_CASE(items_of_a_generator_of_references_are_the_objects_themselves) {
    std::vector<int> values{1, 2, 3};
    std::vector<std::string> known{"a", "b"};
    std::vector<const std::string*> places;

    for (int& value : slots(values))
        value *= 10;
    for (const std::string& name : names(known)) {
        if (name != "temporary") places.push_back(&name);
    }

    BOOST_TEST(values == (std::vector<int>{10, 20, 30}), boost::test_tools::per_element());
    BOOST_TEST_REQUIRE(places.size() == 2u);
    BOOST_TEST(places[0] == &known[0]);
    BOOST_TEST(places[1] == &known[1]);
}

BOOST_AUTO_TEST_CASE(items_may_be_such_as_can_only_be_moved) {
    std::vector<std::unique_ptr<int>> taken;

    for (std::unique_ptr<int>& box : boxes(3))
        taken.push_back(std::move(box));

    BOOST_TEST_REQUIRE(taken.size() == 3u);
    BOOST_TEST(*taken[2] == 2);
}

BOOST_AUTO_TEST_CASE(destroying_it_destroys_its_variables_wherever_it_stands) {
    const int before = Counted::live();
    const int misused = Counted::misused();

    for (int stop = 0; stop <= 4; ++stop) {
        std::optional<Generator<Counted>> items(counted_items(Counted(stop)));
        auto at = std::optional<Generator<Counted>::iterator>();
        for (int i = 0; i < stop; ++i) {
            if (at)
                ++*at;
            else
                at.emplace(items->begin());
        }
        BOOST_TEST(Counted::live() > before);
        items.reset();
        BOOST_TEST(Counted::live() == before);
    }

    BOOST_TEST(Counted::misused() == misused);
}

BOOST_AUTO_TEST_CASE(assigning_to_it_destroys_what_it_held) {
    Log log;
    Generator<std::string> items = words(log);
    items.begin();

    items = words(log);
    BOOST_TEST(log.text() == "end");
    Generator<std::string>& same = items;
    items = std::move(same);

    BOOST_TEST((*items.begin() == "converted"));
}

BOOST_AUTO_TEST_CASE(items_and_further_generators_cost_no_allocation) {
    for (int i : up_to(1))
        BOOST_TEST(i == 1);
    std::size_t before = allocations_made();
    long sum = 0;

    for (int round = 0; round < 10; ++round)
        for (int i : up_to(1000))
            sum += i;

    BOOST_TEST(allocations_made() == before);
    BOOST_TEST(sum == 10 * 500'500);
}

BOOST_AUTO_TEST_CASE(it_cannot_wait) {
    static_assert(!CanAwait<Generator<int>, SleepOperation>);
    static_assert(!CanAwait<Generator<int>, Task<int>>);
    static_assert(!CanAwait<Generator<int>, std::suspend_always>);
}

BOOST_FIXTURE_TEST_CASE(task_may_wait_between_the_items_of_one, VirtualTime) {
    int sum = 0;
    run([&]() -> Task<> {
        for (int i : up_to(5)) {
            co_await sleep_for(1s);
            sum += i;
        }
    });

    BOOST_TEST(sum == 15);
    BOOST_TEST((elapsed() == Duration(5s)));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace generator_test
