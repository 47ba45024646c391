# SPDX-License-Identifier: BSL-1.0
# Finds <tl/expected.hpp> and gives the target tl::expected: from the package's own CMake files where it ships them,
# else from the header alone. Installed beside leat-config.cmake, which needs the same search.
find_package(tl-expected CONFIG QUIET)

if(TARGET tl::expected)
    get_target_property(TlExpected_INCLUDE_DIR tl::expected INTERFACE_INCLUDE_DIRECTORIES)
    list(REMOVE_DUPLICATES TlExpected_INCLUDE_DIR)
else()
    find_path(TlExpected_INCLUDE_DIR tl/expected.hpp)
    mark_as_advanced(TlExpected_INCLUDE_DIR)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    TlExpected
    REQUIRED_VARS TlExpected_INCLUDE_DIR
    REASON_FAILURE_MESSAGE "tl/expected.hpp is missing (Debian: libexpected-dev)")

if(TlExpected_FOUND AND NOT TARGET tl::expected)
    add_library(tl::expected INTERFACE IMPORTED)
    target_include_directories(tl::expected INTERFACE "${TlExpected_INCLUDE_DIR}")
endif()
