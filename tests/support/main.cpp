// SPDX-License-Identifier: BSL-1.0
#include "support/skip.hpp"

#include <boost/test/unit_test.hpp>

namespace {

// What CTest knows as SKIP_RETURN_CODE.
constexpr int exit_skipped = 77;

bool nothing_to_initialise() { return true; }

}  // namespace

int main(int argc, char* argv[]) {
    int result = boost::unit_test::unit_test_main(&nothing_to_initialise, argc, argv);
    if (result == 0 && leat::test::anything_was_skipped()) return exit_skipped;
    return result;
}
