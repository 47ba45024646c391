# SPDX-License-Identifier: BSL-1.0
# The warnings that our own sources are compiled with. They are attached as PRIVATE $<BUILD_INTERFACE:leat_warnings>:
# an exported static library must not drag them along. Not among them: -Wnon-virtual-dtor, since waits are polymorphic
# and yet never deleted through a base; -Wall's -Wdelete-non-virtual-dtor finds the mistake itself.
add_library(leat_warnings INTERFACE)

target_compile_options(
    leat_warnings
    INTERFACE -Wall
              -Wextra
              -Wpedantic
              -Wcast-align
              -Wcast-qual
              -Wconversion
              -Wextra-semi
              -Wformat=2
              -Wimplicit-fallthrough
              -Wmissing-declarations
              -Wold-style-cast
              -Woverloaded-virtual
              -Wshadow
              -Wsign-conversion
              -Wundef
              -Wunused
              $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-branches>
              $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond>
              $<$<BOOL:${LEAT_WERROR}>:-Werror>)
if(CMAKE_UNITY_BUILD)
    # GCC warns of types in unnamed namespaces of included files, and a batch includes its sources.
    target_compile_options(leat_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
