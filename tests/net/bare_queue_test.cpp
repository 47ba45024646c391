// SPDX-License-Identifier: BSL-1.0
#include <boost/test/unit_test.hpp>
BOOST_AUTO_TEST_SUITE(bare_queue)
BOOST_AUTO_TEST_SUITE_END()
