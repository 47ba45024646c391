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

# leat_compile_quickly_if_sanitized(): for the programs of this folder and those below. GCC needs twice as long to
# optimize sanitized code, and as long again for the checks of each access: the address sanitizer sees what such a
# pointer is used for. The libraries are optimized and have all checks.
macro(leat_compile_quickly_if_sanitized)
    leat_is_sanitized(sanitized)
    if(sanitized)
        add_compile_options(-O0 -fno-sanitize=null,alignment,object-size,pointer-overflow)
    endif()
endmacro()
