# SPDX-License-Identifier: BSL-1.0
# The table of backends, best first. A row names a backend and the files in reactor/backend/ that make it; the rows
# that this system has become backend_table.inc (one LEAT_BACKEND(name) a line), and each test runs once for each.
set(LEAT_BACKENDS "")
set(LEAT_BACKEND_SOURCES "")

function(leat_backend name)
    cmake_parse_arguments(arg "" "" "SYSTEMS;SOURCES" ${ARGN})
    if(NOT CMAKE_SYSTEM_NAME IN_LIST arg_SYSTEMS)
        return()
    endif()
    list(TRANSFORM arg_SOURCES PREPEND "backend/")
    set(LEAT_BACKENDS ${LEAT_BACKENDS} ${name} PARENT_SCOPE)
    set(LEAT_BACKEND_SOURCES ${LEAT_BACKEND_SOURCES} ${arg_SOURCES} PARENT_SCOPE)
endfunction()

leat_backend(
    epoll
    SYSTEMS Linux
    SOURCES
        close_posix.cpp
        epoll.cpp
        fork_guard_linux.cpp
        readiness_posix.cpp
        readiness_selector.cpp)

if(NOT LEAT_BACKENDS)
    message(FATAL_ERROR "leat has no backend for ${CMAKE_SYSTEM_NAME} yet")
endif()
# Several rows may share a file.
list(REMOVE_DUPLICATES LEAT_BACKEND_SOURCES)
