// SPDX-License-Identifier: BSL-1.0
// The test framework itself, where no library of it is installed.
#include <boost/test/included/unit_test.hpp>
