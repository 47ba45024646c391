# SPDX-License-Identifier: BSL-1.0
# One step of the install test, in the folder WORK:
#
#   STEP=install            installs the build tree LEAT_BINARY_DIR, then moves it: nothing may remember where it was
#   STEP=package_<layer>    the stranger's project finds this component of the package, builds and runs
#   STEP=subdirectory       the same with leat's sources as a part of its build
#   STEP=fetch_content      the same by FetchContent, and all of it as C++23
#   STEP=pkg_config         the same program from one compiler command
#   STEP=shared             leat's shared libraries, installed and moved: the stranger finds them, they export what public
#                           headers declare, and no class of a private one
#   STEP=unknown_component  a component that does not exist is refused by its name
set(prefix "${WORK}/installed")
set(project "${CMAKE_CURRENT_LIST_DIR}")
set(build "${WORK}/${STEP}")
# The compiler takes many files at once.
set(quickly -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=12)

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

# The libraries below `installed` export functions, and none of a class that no public header defines.
function(check_exports installed)
    file(GLOB_RECURSE shared "${installed}/*.so.*.*.*")
    set(symbols "")
    foreach(library IN LISTS shared)
        execute_process(COMMAND nm --dynamic --defined-only --demangle "${library}" OUTPUT_VARIABLE of_library
                        COMMAND_ERROR_IS_FATAL ANY)
        string(APPEND symbols "${of_library}")
    endforeach()
    foreach(expected IN ITEMS leat::Poll::poll leat::Executor::turn leat::TcpStream::shutdown "vtable for leat::Wait")
        if(NOT symbols MATCHES "${expected}")
            message(FATAL_ERROR "not exported: ${expected}")
        endif()
    endforeach()

    file(GLOB_RECURSE headers "${installed}/include/leat/*.hpp")
    set(text "")
    foreach(header IN LISTS headers)
        file(READ "${header}" of_header)
        string(APPEND text "${of_header}")
    endforeach()
    # Without what makes lists of a text.
    string(REGEX REPLACE "[][;]+" " " text "${text}")
    string(REGEX REPLACE "[][;]+" " " symbols "${symbols}")
    string(REGEX MATCHALL "[0-9a-f]+ [A-Za-z] (vtable for |typeinfo for |typeinfo name for )?leat::(detail::)?[A-Z][A-Za-z]*"
           exported "${symbols}")
    list(TRANSFORM exported REPLACE ".* " "")
    list(REMOVE_DUPLICATES exported)
    list(LENGTH exported count)
    if(count LESS 50)
        message(FATAL_ERROR "only ${count} classes are exported")
    endif()
    foreach(name IN LISTS exported)
        string(REGEX REPLACE ".*::" "" class "${name}")
        if(NOT text MATCHES "(class|struct|union) +(nodiscard[^\n]* )?${class}( [^\n]*)?{")
            string(REGEX MATCH "[^\n]*${name}[^\n]*" symbol "${symbols}")
            message(SEND_ERROR "exported, but no public header defines it: ${symbol}")
        endif()
    endforeach()
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
    configure("-DLEAT_SOURCE_DIR=${LEAT_SOURCE_DIR}" -DLEAT_PROBE_COMPILER=OFF ${quickly})
    run("${CMAKE_COMMAND}" --build "${build}")
    run("${build}/stranger")
elseif(STEP STREQUAL "fetch_content")
    configure("-DLEAT_SOURCE_DIR=${LEAT_SOURCE_DIR}" -DLEAT_PROBE_COMPILER=OFF -DLEAT_FETCH=ON
              -DCMAKE_CXX_STANDARD=23 ${quickly})
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
    run("${COMPILER}" -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Werror
        "${project}/net_stranger.cpp" -o "${build}/stranger" ${flags})
    # pkg-config tells the linker where shared libraries are, and not the program.
    set(ENV{LD_LIBRARY_PATH} "${folder}/..")
    run("${build}/stranger")
elseif(STEP STREQUAL "shared")
    set(libraries "${WORK}/shared_libraries")
    file(REMOVE_RECURSE "${libraries}" "${WORK}/shared_moved" "${WORK}/shared_installed")
    run("${CMAKE_COMMAND}" -S "${LEAT_SOURCE_DIR}" -B "${libraries}" -G "${GENERATOR}"
        "-DCMAKE_CXX_COMPILER=${COMPILER}" -DBUILD_SHARED_LIBS=ON -DLEAT_BUILD_TESTS=OFF -DLEAT_BUILD_BENCHMARKS=OFF
        -DLEAT_BUILD_EXAMPLES=OFF -DLEAT_PROBE_COMPILER=OFF ${quickly})
    run("${CMAKE_COMMAND}" --build "${libraries}")
    run("${CMAKE_COMMAND}" --install "${libraries}" --prefix "${WORK}/shared_moved")
    file(RENAME "${WORK}/shared_moved" "${WORK}/shared_installed")
    configure("-DCMAKE_PREFIX_PATH=${WORK}/shared_installed" -DLEAT_COMPONENT=net -DLEAT_PROBE_COMPILER=OFF
              -DCMAKE_CXX_VISIBILITY_PRESET=hidden)
    run("${CMAKE_COMMAND}" --build "${build}")
    run("${build}/stranger")
    if(NOT CMAKE_HOST_APPLE)
        check_exports("${WORK}/shared_installed")
    endif()
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
