# SPDX-License-Identifier: BSL-1.0
# Finds <CLI/CLI.hpp> and gives the target CLI11::CLI11: from the package's own CMake files, else, as when compiling for
# another system, from the header alone.
find_package(CLI11 CONFIG QUIET)

if(TARGET CLI11::CLI11)
    get_target_property(CLI11_INCLUDE_DIR CLI11::CLI11 INTERFACE_INCLUDE_DIRECTORIES)
else()
    find_path(CLI11_INCLUDE_DIR CLI/CLI.hpp)
    mark_as_advanced(CLI11_INCLUDE_DIR)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    CLI11
    REQUIRED_VARS CLI11_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "CLI/CLI.hpp is missing (Debian: libcli11-dev)")

if(CLI11_FOUND AND NOT TARGET CLI11::CLI11)
    add_library(CLI11::CLI11 INTERFACE IMPORTED)
    target_include_directories(CLI11::CLI11 INTERFACE "${CLI11_INCLUDE_DIR}")
endif()
