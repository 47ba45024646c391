// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string_view>

namespace leat::test {

/// Says that the running case needs a capability which this machine does not give; the case then returns.
///
/// Prints one line, `leat-skip: <suite>/<case>: <capability>: <reason>`, that `./dev` and `.ci/run` count. The
/// executable exits with 77 if something was skipped and nothing failed.
///
///     if (!can_trace()) return leat::test::skip("ptrace", "strace may not attach");
void skip(std::string_view capability, std::string_view reason);

/// Whether any case was skipped so far.
bool anything_was_skipped();

}  // namespace leat::test
