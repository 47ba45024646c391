# SPDX-License-Identifier: BSL-1.0
# Tries the coroutine shapes that some compilers get wrong (GCC 12 above all) and that a user of leat may well write,
# and gives one warning with those that this compiler gets wrong and what to write instead. leat itself uses none of
# them. Tried once for a build tree; LEAT_PROBE_COMPILER=OFF leaves it out.

set(LEAT_PROBES_DIR "${CMAKE_CURRENT_LIST_DIR}/probes")

function(leat_probe_coroutines)
    if(CMAKE_CROSSCOMPILING OR DEFINED CACHE{LEAT_MISCOMPILED_SHAPES})
        return()
    endif()

    set(wrong "")
    set(CMAKE_TRY_COMPILE_CONFIGURATION Release)
    set(standard CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON)
    set(scratch "${CMAKE_BINARY_DIR}/CMakeFiles/leat_probes")

    try_run(exit_code compiled "${scratch}/miscompiled" "${LEAT_PROBES_DIR}/miscompiled.cpp"
            ${standard}
            RUN_OUTPUT_VARIABLE wrong)
    if(NOT compiled OR NOT exit_code EQUAL 0)
        set(wrong "coroutines")
    endif()
    string(REGEX MATCHALL "[a-z_]+" wrong "${wrong}")
    foreach(shape IN ITEMS braced_list statement_expression)
        try_compile(compiles "${scratch}/${shape}" "${LEAT_PROBES_DIR}/${shape}.cpp" ${standard})
        if(NOT compiles)
            list(APPEND wrong ${shape})
        endif()
        unset(compiles CACHE)
    endforeach()
    unset(exit_code CACHE)
    unset(compiled CACHE)
    set(LEAT_MISCOMPILED_SHAPES "${wrong}" CACHE INTERNAL "Coroutine shapes that this compiler gets wrong")

    leat_describe_shapes(text "${wrong}")
    if(text)
        message(WARNING "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} gets these coroutine shapes wrong:\n"
                        "${text}"
                        "One await an expression, bound to a named local, is always safe.")
    endif()
endfunction()

# One line a shape: what it looks like, what happens, what to write instead.
function(leat_describe_shapes result shapes)
    string(CONCAT coroutines "  any coroutine: the probe does not build or run; leat needs C++20 coroutines\n")
    string(CONCAT condition
        "  if (co_await f()) in a coroutine without local variables: the body never runs\n"
        "    instead: bool ok = co_await f(); if (ok)\n")
    string(CONCAT lambda
        "  co_await f([captured] { … }): the captures are destroyed twice\n"
        "    instead: auto action = [captured] { … }; co_await f(action)\n")
    string(CONCAT aggregate
        "  co_await f(Options{name}) with an aggregate that owns something: destroyed twice\n"
        "    instead: Options options{name}; co_await f(options)\n")
    string(CONCAT conditional
        "  choose ? co_await f() : T(): the result is destroyed twice\n"
        "    instead: if and else\n")
    string(CONCAT braced_list
        "  co_await f({1, 2, 3}): does not compile\n"
        "    instead: std::vector values{1, 2, 3}; co_await f(values)\n")
    string(CONCAT statement_expression
        "  ({ auto value = co_await f(); … }): the compiler crashes, so no TRY macro\n"
        "    instead: statements of their own\n")

    set(text "")
    foreach(shape IN LISTS shapes)
        string(APPEND text "${${shape}}")
    endforeach()
    set(${result} "${text}" PARENT_SCOPE)
endfunction()
