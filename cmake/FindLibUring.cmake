# SPDX-License-Identifier: BSL-1.0
# Finds liburing 2.3 or newer and gives the target LibUring::LibUring.
find_path(LibUring_INCLUDE_DIR liburing.h)
find_library(LibUring_LIBRARY uring)
mark_as_advanced(LibUring_INCLUDE_DIR LibUring_LIBRARY)

# The header has no version of its own before 2.4; this name came with 2.3.
set(LibUring_IS_NEW_ENOUGH FALSE)
if(LibUring_INCLUDE_DIR)
    file(STRINGS "${LibUring_INCLUDE_DIR}/liburing.h" submits REGEX "io_uring_submit_and_get_events")
    if(submits)
        set(LibUring_IS_NEW_ENOUGH TRUE)
    endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    LibUring
    REQUIRED_VARS LibUring_LIBRARY LibUring_INCLUDE_DIR LibUring_IS_NEW_ENOUGH
    REASON_FAILURE_MESSAGE "liburing 2.3 or newer is missing (Debian: liburing-dev)")

if(LibUring_FOUND AND NOT TARGET LibUring::LibUring)
    add_library(LibUring::LibUring UNKNOWN IMPORTED)
    set_target_properties(LibUring::LibUring PROPERTIES IMPORTED_LOCATION "${LibUring_LIBRARY}"
                                                        INTERFACE_INCLUDE_DIRECTORIES "${LibUring_INCLUDE_DIR}")
endif()
