# SPDX-License-Identifier: BSL-1.0
# How tests are stated. A file <unit>_test.cpp holds the suite <unit>; CTest runs each suite once for each row of the
# backend table, as <layer>/<unit>@<backend>, with LEAT_BACKEND set to the row.

set(LEAT_SKIPPED 77)
set(LEAT_TESTS all CACHE STRING "The suites to build: `all`, or those that use `threads`")
set_property(CACHE LEAT_TESTS PROPERTY STRINGS all threads)
set(LEAT_TEST_BATCH 4 CACHE STRING
    "How many test files the compiler takes at once: together they cost a third less; 1 suits work on one file")
set(LEAT_TEST_ENVIRONMENT "" CACHE STRING "Environment variables of every test, such as a sanitizer's options")

# leat_compile_in_batches(<target> [<file that is compiled alone>...])
#
# What test files instantiate is mostly the same, so the compiler takes several at once. The content of each stands in a
# namespace of the file's name: suites are namespaces too, and helpers of two files may have the same name.
function(leat_compile_in_batches target)
    if(LEAT_TEST_BATCH GREATER 1)
        set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${LEAT_TEST_BATCH})
        # GCC warns of types in unnamed namespaces of included files, and a batch includes its sources.
        target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
        if(ARGN)
            set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
        endif()
    endif()
endfunction()

# leat_add_test_executable(<name> LAYER <layer> FILES <file>... [SUPPORT <file>...])
function(leat_add_test_executable name)
    cmake_parse_arguments(arg "" "LAYER" "FILES;SUPPORT" ${ARGN})
    add_executable(${name} ${arg_FILES} ${arg_SUPPORT})
    leat_compile_in_batches(${name} ${arg_SUPPORT})
    target_link_libraries(${name} PRIVATE leat_test_support leat::${arg_LAYER} leat_warnings)
    # The tests of a layer may look at its private headers, as its own sources do.
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/${arg_LAYER}")
    target_precompile_headers(${name} REUSE_FROM leat_test_support)
endfunction()

# leat_add_tests(<layer> FILES <unit>_test.cpp... [SUPPORT <file>...] [THREADS <unit>...] [NOISY <unit>...]
#                [RINGS <unit>...] [ONCE <unit>...] [POSIX <unit>...])
#
# THREADS names the suites that use threads: the label which the thread sanitizer's run selects. A unit that
# has the name of a backend is about that one alone, and there only if this build has it. NOISY names the
# suites that must hold on the shim of kqueue while it makes noise, too: spurious events and false ends
# (tests/support/kqueue_shim); and on io_uring with queues of eight. RINGS names those that must hold on
# rings of every size and kind. ONCE names those that run over every backend by themselves, or to which it
# makes no difference. POSIX names those about what only such systems have; a case of another suite that is
# so has the label `posix`, and one about backends that learn of readiness and make the calls themselves
# `readiness`. A case with the label `one_batch` hangs on two events that come in one batch, which noise
# does not promise.
function(leat_add_tests layer)
    cmake_parse_arguments(arg "" "" "FILES;SUPPORT;THREADS;NOISY;RINGS;ONCE;POSIX" ${ARGN})
    set(executable ${layer}_tests)
    leat_drop_private_tests()
    leat_demand_units("leat_add_tests(${layer})" "${arg_FILES}"
                      ${arg_NOISY} ${arg_RINGS} ${arg_ONCE} ${arg_POSIX})
    if(LEAT_TESTS STREQUAL "threads")
        set(arg_FILES ${arg_THREADS})
        list(TRANSFORM arg_FILES APPEND _test.cpp)
    endif()
    set(selection "")
    if(NOT LEAT_SYSTEM_FAMILY STREQUAL "posix")
        foreach(unit IN LISTS arg_POSIX)
            list(REMOVE_ITEM arg_FILES ${unit}_test.cpp)
            list(REMOVE_ITEM arg_THREADS ${unit})
            list(REMOVE_ITEM arg_ONCE ${unit})
        endforeach()
        set(selection --run_test=!@posix)
    endif()
    # The kernel carries operations out there.
    set(io_uring_selection --run_test=!@readiness)
    set(iocp_selection --run_test=!@readiness)
    foreach(backend IN LISTS LEAT_ALL_BACKENDS)
        if(NOT backend IN_LIST LEAT_BACKENDS)
            list(REMOVE_ITEM arg_FILES ${backend}_test.cpp)
        endif()
    endforeach()
    leat_add_test_executable(${executable} LAYER ${layer} FILES ${arg_FILES} SUPPORT ${arg_SUPPORT})

    set(units ${arg_FILES})
    list(TRANSFORM units REPLACE "_test\\.cpp$" "")
    foreach(unit IN LISTS units)
        set(labels ${layer})
        if(unit IN_LIST arg_THREADS)
            list(APPEND labels threads)
            list(REMOVE_ITEM arg_THREADS ${unit})
        endif()
        set(rows ${LEAT_BACKENDS})
        if(unit IN_LIST LEAT_ALL_BACKENDS)
            set(rows ${unit})
        endif()
        if(unit IN_LIST arg_ONCE)
            add_test(NAME ${layer}/${unit} COMMAND ${executable} --run_test=${unit})
            set_tests_properties(${layer}/${unit} PROPERTIES LABELS "${labels}" ENVIRONMENT "${LEAT_TEST_ENVIRONMENT}" TIMEOUT 180)
            set(rows "")
        endif()
        if(unit IN_LIST arg_NOISY AND LEAT_KQUEUE_ON_LINUX STREQUAL "shim")
            set(test ${layer}/${unit}@kqueue_noise)
            add_test(NAME ${test} COMMAND ${executable} --run_test=${unit} --run_test=!@one_batch)
            set_tests_properties(
                ${test}
                PROPERTIES LABELS "${labels}"
                           ENVIRONMENT "LEAT_BACKEND=kqueue;LEAT_KQUEUE_NOISE=1;${LEAT_TEST_ENVIRONMENT}"
                           SKIP_RETURN_CODE ${LEAT_SKIPPED}
                           TIMEOUT 180)
        endif()
        set(rings "")
        if(unit IN_LIST arg_NOISY)
            # Rings so small that they are always full.
            list(APPEND rings "small LEAT_IO_URING_ENTRIES=8")
        endif()
        if(unit IN_LIST arg_RINGS)
            foreach(entries IN ITEMS 1 2 4 256)
                list(APPEND rings "of_${entries} LEAT_IO_URING_ENTRIES=${entries}")
            endforeach()
            list(APPEND rings "plain LEAT_IO_URING_SETUP=plain"
                 "plain_of_2 LEAT_IO_URING_SETUP=plain LEAT_IO_URING_ENTRIES=2")
        endif()
        if(NOT LEAT_HAS_IO_URING)
            set(rings "")
        endif()
        foreach(ring IN LISTS rings)
            separate_arguments(ring)
            list(POP_FRONT ring name)
            set(test ${layer}/${unit}@io_uring_${name})
            add_test(NAME ${test} COMMAND ${executable} --run_test=${unit} ${io_uring_selection})
            set_tests_properties(
                ${test}
                PROPERTIES LABELS "${labels}"
                           ENVIRONMENT "LEAT_BACKEND=io_uring;${ring};${LEAT_TEST_ENVIRONMENT}"
                           SKIP_RETURN_CODE ${LEAT_SKIPPED}
                           TIMEOUT 180)
        endforeach()
        foreach(backend IN LISTS rows)
            set(test ${layer}/${unit}@${backend})
            add_test(NAME ${test} COMMAND ${executable} --run_test=${unit} ${selection} ${${backend}_selection})
            set_tests_properties(
                ${test}
                PROPERTIES LABELS "${labels}"
                           ENVIRONMENT "LEAT_BACKEND=${backend};${LEAT_TEST_ENVIRONMENT}"
                           SKIP_RETURN_CODE ${LEAT_SKIPPED}
                           TIMEOUT 180)
            leat_set_common_properties(${test})
        endforeach()
    endforeach()
    if(arg_THREADS)
        message(FATAL_ERROR "leat_add_tests(${layer}): THREADS names ${arg_THREADS}, but there is no such file")
    endif()
    leat_add_completeness_test(${layer} ${executable} 1 "${units}")
endfunction()

# leat_add_system_tests(PROGRAMS <target>... FILES <unit>_test.cpp... [SUPPORT <file>...] [HELPERS <file>...]
#                       [SLOW <unit>...] [TRACED <unit>...] [<BACKEND> <unit>...]...)
#
# Tests of whole programs: the examples among PROGRAMS, and the helpers, a program each, which the tests find under the
# name LEAT_<NAME> in the environment. One CTest entry a case, so that a case which the machine cannot run is a skip with
# its own name. SLOW names the suites that load the machine: label `slow`; each case counts as two of CTest's
# jobs. TRACED names those that meddle with the system calls of a program: label `traced`, not to be run under a sanitizer, since the leak checker cannot work in a
# process that is traced. A backend's name in capitals precedes those that are about that one alone, such as those that
# meddle with its own calls; a build without it has no such suite. A case about backends that make the calls themselves has
# the label `readiness`, as in leat_add_tests.
function(leat_add_system_tests)
    string(TOUPPER "${LEAT_ALL_BACKENDS}" only)
    cmake_parse_arguments(arg "" "" "PROGRAMS;FILES;SUPPORT;HELPERS;SLOW;TRACED;${only}" ${ARGN})
    leat_demand_units(leat_add_system_tests "${arg_FILES}" ${arg_SLOW} ${arg_TRACED})
    foreach(backend IN LISTS LEAT_ALL_BACKENDS)
        string(TOUPPER ${backend} name)
        leat_demand_units(leat_add_system_tests "${arg_FILES}" ${arg_${name}})
        foreach(unit IN LISTS arg_${name})
            set(rows_of_${unit} ${backend})
            if(NOT backend IN_LIST LEAT_BACKENDS)
                list(REMOVE_ITEM arg_FILES ${unit}_test.cpp)
            endif()
        endforeach()
    endforeach()
    leat_add_test_executable(system_tests LAYER net FILES ${arg_FILES} SUPPORT ${arg_SUPPORT})
    set(environment "LEAT_GDB_SCRIPT=${PROJECT_SOURCE_DIR}/tools/leat_gdb.py")
    foreach(program IN LISTS arg_PROGRAMS)
        add_dependencies(system_tests ${program})
        string(TOUPPER ${program} name)
        list(APPEND environment "LEAT_${name}=$<TARGET_FILE:${program}>")
    endforeach()
    foreach(file IN LISTS arg_HELPERS)
        string(REGEX REPLACE "\\.cpp$" "" helper ${file})
        add_executable(${helper} ${file})
        target_link_libraries(${helper} PRIVATE leat::net leat_warnings)
        add_dependencies(system_tests ${helper})
        string(TOUPPER ${helper} name)
        list(APPEND environment "LEAT_${name}=$<TARGET_FILE:${helper}>")
    endforeach()
    leat_is_sanitized(sanitized)
    if(sanitized)
        list(APPEND environment LEAT_SANITIZED=1)
    endif()
    set(cases "")
    foreach(file IN LISTS arg_FILES)
        string(REGEX REPLACE "_test\\.cpp$" "" unit ${file})
        set(labels system)
        set(timeout 120)
        set(processors 1)
        if(unit IN_LIST arg_SLOW)
            list(APPEND labels slow)
            if(unit IN_LIST arg_TRACED)
                list(APPEND labels traced)
            endif()
            set(timeout 300)
            set(processors 2)
        endif()
        # CTest must know the cases before they are compiled; a new case therefore configures anew.
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
        file(STRINGS ${file} lines REGEX "^[ \t]*BOOST_(AUTO|FIXTURE|DATA)_TEST_CASE\\(")
        foreach(line IN LISTS lines)
            string(REGEX REPLACE "^[^(]*\\([ \t]*([A-Za-z0-9_]+).*" "\\1" case "${line}")
            list(APPEND cases ${unit}/${case})
            set(rows ${LEAT_BACKENDS})
            if(DEFINED rows_of_${unit})
                set(rows ${rows_of_${unit}})
            endif()
            if(line MATCHES "label\\(\"readiness\"\\)")
                list(REMOVE_ITEM rows io_uring)
            endif()
            foreach(backend IN LISTS rows)
                set(test system/${unit}/${case}@${backend})
                add_test(NAME ${test} COMMAND system_tests --run_test=${unit}/${case})
                set_tests_properties(
                    ${test}
                    PROPERTIES LABELS "${labels}"
                               ENVIRONMENT "LEAT_BACKEND=${backend};${environment};${LEAT_TEST_ENVIRONMENT}"
                               SKIP_RETURN_CODE ${LEAT_SKIPPED}
                               PROCESSORS ${processors}
                               TIMEOUT ${timeout})
            endforeach()
        endforeach()
    endforeach()
    leat_add_completeness_test(system system_tests 2 "${cases}")
endfunction()

# Programs of another system need its emulator, one at a time.
function(leat_set_common_properties test)
    if(LEAT_WINE)
        set_tests_properties(${test} PROPERTIES FIXTURES_REQUIRED wine RUN_SERIAL ON)
    endif()
endfunction()

# A shared library hides what private headers declare: tests that look at those are left out of such a build.
macro(leat_drop_private_tests)
    if(BUILD_SHARED_LIBS)
        foreach(file IN LISTS arg_FILES)
            file(STRINGS ${file} private_includes REGEX "^#include \"(src|backend)/")
            if(private_includes)
                list(REMOVE_ITEM arg_FILES ${file})
                string(REGEX REPLACE "_test\\.cpp$" "" unit ${file})
                foreach(units IN ITEMS THREADS NOISY RINGS ONCE POSIX)
                    list(REMOVE_ITEM arg_${units} ${unit})
                endforeach()
            endif()
        endforeach()
    endif()
endmacro()

# Each of the units must be one of the files.
function(leat_demand_units caller files)
    foreach(unit IN LISTS ARGN)
        if(NOT ${unit}_test.cpp IN_LIST files)
            message(FATAL_ERROR "${caller}: there is no ${unit}_test.cpp")
        endif()
    endforeach()
endfunction()

# Fails when the executable holds a suite (depth 1) or case (depth 2) that no CTest entry runs.
function(leat_add_completeness_test layer executable depth names)
    add_test(NAME ${layer}/every_suite_has_an_entry
             COMMAND "${CMAKE_COMMAND}" -DEMULATOR=${CMAKE_CROSSCOMPILING_EMULATOR} -DEXECUTABLE=$<TARGET_FILE:${executable}> -DDEPTH=${depth} "-DNAMES=${names}"
                     -P "${PROJECT_SOURCE_DIR}/cmake/check_test_entries.cmake")
    set_tests_properties(
        ${layer}/every_suite_has_an_entry PROPERTIES LABELS ${layer} ENVIRONMENT "${LEAT_TEST_ENVIRONMENT}" TIMEOUT 60)
    leat_set_common_properties(${layer}/every_suite_has_an_entry)
endfunction()

# Wine has a folder with its registry, and a server that all its programs talk to: made before the first test and ended after
# the last one.
function(leat_add_wine_fixture)
    get_filename_component(wine_folder "${LEAT_WINE}" DIRECTORY)
    find_program(LEAT_WINESERVER NAMES wineserver64 wineserver HINTS "${wine_folder}" REQUIRED)
    mark_as_advanced(LEAT_WINESERVER)
    foreach(step IN ITEMS begin end)
        add_test(NAME wine/${step}
                 COMMAND "${CMAKE_COMMAND}" -DSTEP=${step} "-DWINE=${LEAT_WINE}" "-DWINESERVER=${LEAT_WINESERVER}"
                         -P "${PROJECT_SOURCE_DIR}/cmake/wine.cmake")
        set_tests_properties(wine/${step} PROPERTIES ENVIRONMENT "${LEAT_TEST_ENVIRONMENT}" TIMEOUT 180)
    endforeach()
    set_tests_properties(wine/begin PROPERTIES FIXTURES_SETUP wine)
    set_tests_properties(wine/end PROPERTIES FIXTURES_CLEANUP wine)
endfunction()
