// SPDX-License-Identifier: BSL-1.0
#include "support/skip.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <iostream>
#include <sstream>

namespace leat::test {
namespace {

std::atomic<bool> skipped{false};

}  // namespace

void skip(std::string_view capability, std::string_view reason) {
    skipped = true;
    // One write, so that the line stays whole beside other output.
    std::ostringstream line;
    line << "leat-skip: " << boost::unit_test::framework::current_test_unit().full_name() << ": "
         << capability << ": " << reason << '\n';
    std::cout << line.str() << std::flush;
}

bool anything_was_skipped() { return skipped; }

}  // namespace leat::test
