# SPDX-License-Identifier: BSL-1.0

# leat_is_sanitized(<result> [<sanitizer>]): whether this build's own flags ask for a sanitizer, or for this
# one.
function(leat_is_sanitized result)
    string(TOUPPER "CMAKE_CXX_FLAGS_${CMAKE_BUILD_TYPE}" build_type_flags)
    set(${result} FALSE PARENT_SCOPE)
    if("${CMAKE_CXX_FLAGS} ${${build_type_flags}}" MATCHES "-fsanitize=[a-z,]*${ARGN}")
        set(${result} TRUE PARENT_SCOPE)
    endif()
endfunction()

# leat_compile_quickly_if_sanitized(): for the programs of this folder and those below. GCC needs twice as long
# to optimize sanitized code, and half as long again for the arguments of the functions that report undefined
# behaviour. So a failed check is a trap here. On x86 that is SIGILL, which the address sanitizer reports with
# the stack (handle_sigill in the preset). GCC cannot trap for a wrong dynamic type (vptr): only the libraries
# check that. The libraries are optimized, and report in words.
macro(leat_compile_quickly_if_sanitized)
    leat_is_sanitized(sanitized)
    if(sanitized)
        add_compile_options(-O0)
    endif()
    leat_is_sanitized(reports_traps address)
    leat_is_sanitized(checks_behaviour undefined)
    if(reports_traps AND checks_behaviour AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        add_compile_options(-fsanitize-undefined-trap-on-error)
    endif()
endmacro()
