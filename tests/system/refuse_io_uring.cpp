// SPDX-License-Identifier: BSL-1.0
// refuse_io_uring ERROR COMMAND...: runs the command where every call of io_uring fails with that error, as in a container
// whose filter knows nothing of it.
#include "support/io_uring_filter.hpp"

#include <unistd.h>

#include <cerrno>
#include <exception>
#include <iostream>
#include <map>
#include <string>

int main(int argc, char* argv[]) {
    const std::map<std::string, int> errors = {{"EPERM", EPERM}, {"ENOSYS", ENOSYS}, {"ENOMEM", ENOMEM}};
    if (argc < 3 || !errors.contains(argv[1])) {
        std::cerr << "usage: refuse_io_uring EPERM|ENOSYS|ENOMEM COMMAND...\n";
        return 2;
    }
    try {
        leat::test::refuse_io_uring(errors.at(argv[1]));
    } catch (const std::exception& error) {
        std::cerr << "refuse_io_uring: " << error.what() << '\n';
        return 3;
    }
    ::execvp(argv[2], argv + 2);
    std::cerr << "refuse_io_uring: cannot run " << argv[2] << '\n';
    return 127;
}
