// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <string>

/// Standard output and error as a server wants them: whatever is at their other end never stops or ends it.
namespace console {

/// Takes what was closed for /dev/null, so that no connection is given the number of standard output, and lets a write
/// to a reader who has gone be an error instead of a signal. Call it first.
void prepare();

/// Writes a line to standard output at once; drops it, or the rest of it, if that would have to be waited
/// for: a pipe or a terminal that nobody reads. On Windows it waits.
void print(const std::string& line);

/// The same to standard error.
void complain(const std::string& line);

/// The signal that asks for a dump of the tasks, or zero where there is none to spare.
int dump_signal();

}  // namespace console
