# SPDX-License-Identifier: BSL-1.0
# The table of backends, best first. A row names a backend and the files in reactor/backend/ that make it; the rows
# that this system has become backend_table.inc (one LEAT_BACKEND(name) a line), and each test runs once for each.
# kqueue has no kernel of its own on Linux. For the tests of its backend, `shim` takes ours (tests/support/kqueue_shim),
# `libkqueue` an installation of that library. Nobody would use either for anything else, so the row comes last.
set(LEAT_KQUEUE_ON_LINUX "" CACHE STRING "Where kqueue comes from on Linux: nothing, shim, or libkqueue")
set_property(CACHE LEAT_KQUEUE_ON_LINUX PROPERTY STRINGS "" shim libkqueue)

set(LEAT_BACKENDS "")
# Those that this system has, and all there are.
set(LEAT_ALL_BACKENDS "")
set(LEAT_BACKEND_SOURCES "")

function(leat_backend name)
    cmake_parse_arguments(arg "" "" "SYSTEMS;SOURCES" ${ARGN})
    set(LEAT_ALL_BACKENDS ${LEAT_ALL_BACKENDS} ${name} PARENT_SCOPE)
    if(NOT CMAKE_SYSTEM_NAME IN_LIST arg_SYSTEMS)
        return()
    endif()
    list(TRANSFORM arg_SOURCES PREPEND "backend/")
    set(LEAT_BACKENDS ${LEAT_BACKENDS} ${name} PARENT_SCOPE)
    set(LEAT_BACKEND_SOURCES ${LEAT_BACKEND_SOURCES} ${arg_SOURCES} PARENT_SCOPE)
endfunction()

# Where liburing is installed, unless it is not wanted.
set(io_uring_systems "")
set(LEAT_HAS_IO_URING 0)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    find_package(LibUring QUIET)
    option(LEAT_WITH_IO_URING "Build the backend on io_uring, with liburing" ${LibUring_FOUND})
    if(LEAT_WITH_IO_URING)
        find_package(LibUring REQUIRED)
        set(io_uring_systems Linux)
        set(LEAT_HAS_IO_URING 1)
    endif()
endif()
leat_backend(
    io_uring
    SYSTEMS ${io_uring_systems}
    SOURCES
        close_posix.cpp
        epoll_set.cpp
        error_posix.cpp
        fork_guard_linux.cpp
        readiness_posix.cpp
        uring/buffer_ring.cpp
        uring/requests.cpp
        uring/ring.cpp
        uring/selector.cpp
        uring/transfer.cpp)

leat_backend(
    epoll
    SYSTEMS Linux
    SOURCES
        close_posix.cpp
        epoll.cpp
        epoll_set.cpp
        error_posix.cpp
        fork_guard_linux.cpp
        readiness_posix.cpp
        readiness_selector.cpp)

set(kqueue_systems Darwin FreeBSD NetBSD OpenBSD DragonFly)
if(LEAT_KQUEUE_ON_LINUX)
    list(APPEND kqueue_systems Linux)
endif()
set(kqueue_fork_guard fork_guard_bsd.cpp)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(kqueue_fork_guard fork_guard_linux.cpp)
endif()
leat_backend(
    kqueue
    SYSTEMS ${kqueue_systems}
    SOURCES
        close_posix.cpp
        error_posix.cpp
        ${kqueue_fork_guard}
        kqueue.cpp
        readiness_posix.cpp
        readiness_selector.cpp)

leat_backend(
    iocp
    SYSTEMS Windows
    SOURCES
        close_windows.cpp
        error_windows.cpp
        fork_guard_windows.cpp
        iocp/afd.cpp
        iocp/entry.cpp
        iocp/selector.cpp
        iocp/transfer.cpp
        message_windows.cpp)

# Which of two files in a `backend` folder is compiled, where only that matters.
set(LEAT_SYSTEM_FAMILY posix)
set(LEAT_THREAD_LOCALS_DIE_EARLY 0)
if(CMAKE_SYSTEM_NAME STREQUAL "Windows")
    set(LEAT_SYSTEM_FAMILY windows)
    set(LEAT_THREAD_LOCALS_DIE_EARLY 1)
elseif(CMAKE_SYSTEM_NAME STREQUAL "Darwin")
    # There they are data of a key of the system's, and the destructor of ours may come after that one's.
    set(LEAT_THREAD_LOCALS_DIE_EARLY 1)
endif()

if(NOT LEAT_BACKENDS)
    message(FATAL_ERROR "leat has no backend for ${CMAKE_SYSTEM_NAME} yet")
endif()
# Several rows may share a file.
list(REMOVE_DUPLICATES LEAT_BACKEND_SOURCES)
