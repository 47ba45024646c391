// SPDX-License-Identifier: BSL-1.0
#include <leat/reactor/interest.hpp>

#include <boost/test/unit_test.hpp>

#include <sstream>

namespace leat::test::interest_test {

BOOST_AUTO_TEST_SUITE(interest)

BOOST_AUTO_TEST_CASE(default_interest_is_empty) {
    const Interest none;

    BOOST_TEST(none.is_empty());
    BOOST_TEST(!none.is_readable());
    BOOST_TEST(!none.is_writable());
    BOOST_TEST(!none.is_priority());
}

BOOST_AUTO_TEST_CASE(each_constant_holds_itself_only) {
    BOOST_TEST((Interest::readable.is_readable() && !Interest::readable.is_writable() &&
                !Interest::readable.is_priority()));
    BOOST_TEST((!Interest::writable.is_readable() && Interest::writable.is_writable() &&
                !Interest::writable.is_priority()));
    BOOST_TEST((!Interest::priority.is_readable() && !Interest::priority.is_writable() &&
                Interest::priority.is_priority()));
}

BOOST_AUTO_TEST_CASE(union_holds_both_in_any_order) {
    constexpr Interest both = Interest::readable | Interest::writable;

    static_assert(both == (Interest::writable | Interest::readable));
    BOOST_TEST(both.is_readable());
    BOOST_TEST(both.is_writable());
    BOOST_TEST(!both.is_priority());
}

BOOST_AUTO_TEST_CASE(union_in_place_is_the_union) {
    Interest interest = Interest::readable;

    interest |= Interest::priority;

    BOOST_TEST((interest == (Interest::readable | Interest::priority)));
}

BOOST_AUTO_TEST_CASE(without_takes_away_what_is_there_and_ignores_the_rest) {
    const Interest both = Interest::readable | Interest::writable;

    BOOST_TEST((both.without(Interest::writable) == Interest::readable));
    BOOST_TEST((both.without(Interest::priority) == both));
    BOOST_TEST(both.without(both).is_empty());
}

BOOST_AUTO_TEST_CASE(text_names_the_parts) {
    BOOST_TEST(to_string(Interest()) == "none");
    BOOST_TEST(to_string(Interest::readable) == "readable");
    BOOST_TEST(to_string(Interest::priority) == "priority");
    BOOST_TEST(to_string(Interest::readable | Interest::writable) == "readable|writable");
}

BOOST_AUTO_TEST_CASE(streamed_interest_is_its_text) {
    std::ostringstream out;

    out << (Interest::writable | Interest::priority);

    BOOST_TEST(out.str() == to_string(Interest::writable | Interest::priority));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace leat::test::interest_test
