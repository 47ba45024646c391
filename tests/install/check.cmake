# SPDX-License-Identifier: BSL-1.0
# One step of the install test, in the folder WORK:
#
#   STEP=install            installs the build tree LEAT_BINARY_DIR, then moves it: nothing may remember where it was
#   STEP=package_<layer>    the stranger's project finds this component of the package, builds and runs
#   STEP=subdirectory       the same with leat's sources as a part of its build
#   STEP=fetch_content      the same by FetchContent, and all of it as C++23
#   STEP=pkg_config         the same program from one compiler command
#   STEP=unknown_component  a component that does not exist is refused by its name
set(prefix "${WORK}/installed")
set(project "${CMAKE_CURRENT_LIST_DIR}")
set(build "${WORK}/${STEP}")

function(run)
    execute_process(COMMAND ${ARGV} RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        list(JOIN ARGV " " command)
        message(FATAL_ERROR "${command}: ${result}")
    endif()
endfunction()

function(configure)
    file(REMOVE_RECURSE "${build}")
    run("${CMAKE_COMMAND}" -S "${project}" -B "${build}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
        ${ARGV})
endfunction()

if(STEP STREQUAL "install")
    file(REMOVE_RECURSE "${prefix}" "${build}")
    run("${CMAKE_COMMAND}" --install "${LEAT_BINARY_DIR}" --prefix "${build}")
    file(RENAME "${build}" "${prefix}")
elseif(STEP MATCHES "^package_(.+)$")
    configure("-DCMAKE_PREFIX_PATH=${prefix}" "-DLEAT_COMPONENT=${CMAKE_MATCH_1}")
    run("${CMAKE_COMMAND}" --build "${build}")
    run("${build}/stranger")
elseif(STEP STREQUAL "subdirectory")
    configure("-DLEAT_SOURCE_DIR=${LEAT_SOURCE_DIR}" -DLEAT_PROBE_COMPILER=OFF)
    run("${CMAKE_COMMAND}" --build "${build}")
    run("${build}/stranger")
elseif(STEP STREQUAL "fetch_content")
    configure("-DLEAT_SOURCE_DIR=${LEAT_SOURCE_DIR}" -DLEAT_PROBE_COMPILER=OFF -DLEAT_FETCH=ON
              -DCMAKE_CXX_STANDARD=23)
    run("${CMAKE_COMMAND}" --build "${build}")
    run("${build}/stranger")
elseif(STEP STREQUAL "pkg_config")
    file(GLOB_RECURSE description "${prefix}/*/leat.pc")
    cmake_path(GET description PARENT_PATH folder)
    set(ENV{PKG_CONFIG_PATH} "${folder}")
    execute_process(COMMAND pkg-config --cflags --libs leat OUTPUT_VARIABLE flags RESULT_VARIABLE result
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT result EQUAL 0)
        message(FATAL_ERROR "pkg-config: ${result}")
    endif()
    separate_arguments(flags UNIX_COMMAND "${flags}")
    file(MAKE_DIRECTORY "${build}")
    run("${COMPILER}" -std=c++20 "${project}/net_stranger.cpp" -o "${build}/stranger" ${flags})
    run("${build}/stranger")
elseif(STEP STREQUAL "unknown_component")
    file(REMOVE_RECURSE "${build}")
    execute_process(
        COMMAND "${CMAKE_COMMAND}" -S "${project}" -B "${build}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
                "-DCMAKE_PREFIX_PATH=${prefix}" -DLEAT_COMPONENT=gardening
        RESULT_VARIABLE result
        OUTPUT_QUIET
        ERROR_VARIABLE complaint)
    string(REGEX REPLACE "[ \n]+" " " complaint "${complaint}")
    if(result EQUAL 0 OR NOT complaint MATCHES "leat has no component \"gardening\"; its components are reactor, runtime, net")
        message(FATAL_ERROR "no clear refusal, but: ${complaint}")
    endif()
else()
    message(FATAL_ERROR "no step ${STEP}")
endif()
