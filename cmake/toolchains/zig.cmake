# SPDX-License-Identifier: BSL-1.0
# Compiles for another system with zig's clang, which brings that system's headers and stubs of its libraries. For checks that
# end with linking: `./dev check-macos`. LEAT_ZIG is the program, LEAT_ZIG_TARGET for instance aarch64-macos.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LEAT_ZIG LEAT_ZIG_TARGET)

if(LEAT_ZIG_TARGET MATCHES "^([a-z0-9_]+)-macos")
    set(CMAKE_SYSTEM_NAME Darwin)
elseif(LEAT_ZIG_TARGET MATCHES "^([a-z0-9_]+)-freebsd")
    set(CMAKE_SYSTEM_NAME FreeBSD)
else()
    message(FATAL_ERROR "LEAT_ZIG_TARGET is \"${LEAT_ZIG_TARGET}\": which system is that?")
endif()
set(CMAKE_SYSTEM_PROCESSOR "${CMAKE_MATCH_1}")

set(CMAKE_CXX_COMPILER "${LEAT_ZIG}" c++)
set(CMAKE_CXX_FLAGS_INIT "-target ${LEAT_ZIG_TARGET}")
set(CMAKE_CXX_COMPILER_TARGET "${LEAT_ZIG_TARGET}")
# A file cannot hold a command of two words.
foreach(tool IN ITEMS ar ranlib)
    set(script "${CMAKE_BINARY_DIR}/zig_${tool}")
    if(NOT EXISTS "${script}")
        file(WRITE "${script}" "#!/bin/sh\nexec '${LEAT_ZIG}' ${tool} \"$@\"\n")
        file(CHMOD "${script}" PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
    endif()
endforeach()
set(CMAKE_AR "${CMAKE_BINARY_DIR}/zig_ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "${CMAKE_BINARY_DIR}/zig_ranlib" CACHE FILEPATH "")

# Nothing of this machine's, but for the headers that the caller links into a folder of the build tree.
set(CMAKE_FIND_ROOT_PATH "${LEAT_PORTABLE_ROOT}")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LEAT_PORTABLE_ROOT)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
