// SPDX-License-Identifier: BSL-1.0
#pragma once

namespace leat::test {

/// Lets every call of io_uring fail with `error` from here on, as a container's filter does: for this thread, for good, and
/// for the programs that it becomes.
void refuse_io_uring(int error);

}  // namespace leat::test
