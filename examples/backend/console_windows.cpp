// SPDX-License-Identifier: BSL-1.0
#include "../console.hpp"

#include <windows.h>

namespace console {
namespace {

// Here a reader of a pipe who has stopped reading does stop us: Windows has no documented question for that. A server that cannot
// have it writes from a thread of its own.
void write_line(DWORD which, const std::string& line) {
    HANDLE output = ::GetStdHandle(which);
    if (output == nullptr || output == INVALID_HANDLE_VALUE) return;
    std::string text = line + '\n';
    DWORD written = 0;
    // What cannot be written has nobody to be told to.
    ::WriteFile(output, text.data(), static_cast<DWORD>(text.size()), &written, nullptr);
}

}  // namespace

// A process without a console has no numbers that a connection could be given, and no signal ends a writer.
void prepare() {}

void print(const std::string& line) { write_line(STD_OUTPUT_HANDLE, line); }

void complain(const std::string& line) { write_line(STD_ERROR_HANDLE, line); }

// Each that Windows knows ends a program.
int dump_signal() { return 0; }

}  // namespace console
