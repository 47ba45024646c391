# SPDX-License-Identifier: BSL-1.0
# Compiles for Windows with Debian's mingw-w64 (POSIX threads) and runs what it has made with Wine. Headers that all systems
# share come from the folder LEAT_PORTABLE_ROOT, which holds links to them and nothing else: never from this machine's
# own. Programs are linked statically: they need nothing that Wine, or a Windows machine, has not.
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_VERSION 10.0)
set(CMAKE_SYSTEM_PROCESSOR x86_64)

set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static")

# Debian's wine64 stands in no folder of PATH.
find_program(LEAT_WINE NAMES wine64 wine PATHS /usr/lib/wine)
mark_as_advanced(LEAT_WINE)
if(LEAT_WINE)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${LEAT_WINE}")
endif()

set(CMAKE_FIND_ROOT_PATH "${LEAT_PORTABLE_ROOT}" /usr/x86_64-w64-mingw32)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LEAT_PORTABLE_ROOT)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
