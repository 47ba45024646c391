# SPDX-License-Identifier: BSL-1.0
# What a layer is: a library leat_<name>, used as leat::<name>, with its own include root, which sees the layers that it
# knows and no other. An include of a layer above therefore does not compile. It is static, or shared with
# BUILD_SHARED_LIBS; then it exports what its public headers declare, and nothing else.
#
#   leat_add_layer(<name> [KNOWS <layer>...] HEADERS <file>... [GENERATED_HEADERS <file>...]
#                  SOURCES <file>... BACKEND_SOURCES <file>... [HIDES <class>...])
#
# HEADERS are relative to include/leat/<name>/, GENERATED_HEADERS to generated/leat/<name>/ in the build tree,
# SOURCES to src/; BACKEND_SOURCES are what the operating system decides, relative to the layer. HIDES names the classes of
# leat::detail that a public header names and does not define.
function(leat_add_layer name)
    cmake_parse_arguments(arg "" "" "KNOWS;HEADERS;GENERATED_HEADERS;SOURCES;BACKEND_SOURCES;HIDES" ${ARGN})
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "leat_add_layer(${name}): what is ${arg_UNPARSED_ARGUMENTS}?")
    endif()
    list(TRANSFORM arg_HEADERS PREPEND "include/leat/${name}/")
    list(TRANSFORM arg_GENERATED_HEADERS PREPEND "${CMAKE_CURRENT_BINARY_DIR}/generated/leat/${name}/")
    list(TRANSFORM arg_SOURCES PREPEND "src/")

    set(target leat_${name})
    add_library(${target} ${arg_SOURCES} ${arg_BACKEND_SOURCES})
    add_library(leat::${name} ALIAS ${target})

    set(include_roots include)
    if(arg_GENERATED_HEADERS)
        list(APPEND include_roots "${CMAKE_CURRENT_BINARY_DIR}/generated")
    endif()
    target_sources(
        ${target}
        PUBLIC FILE_SET HEADERS
               BASE_DIRS ${include_roots}
               FILES ${arg_HEADERS} ${arg_GENERATED_HEADERS})
    # Private headers are included as "src/…" and "backend/…", the generated ones by their name.
    target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}" "${CMAKE_CURRENT_BINARY_DIR}/private")

    target_compile_features(${target} PUBLIC ${LEAT_CXX_FEATURE})
    foreach(known IN LISTS arg_KNOWS)
        target_link_libraries(${target} PUBLIC leat::${known})
    endforeach()
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:leat_warnings>)
    if(WIN32)
        # Windows 10 1703; headers without what nobody asked for.
        target_compile_definitions(
            ${target} PRIVATE _WIN32_WINNT=0x0A00 NTDDI_VERSION=0x0A000003 WIN32_LEAN_AND_MEAN NOMINMAX)
    endif()
    # The C library's calls go through the table of addresses itself: one jump less for each of a message's two.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU,Clang>:-fno-plt>)

    set_target_properties(
        ${target}
        PROPERTIES EXPORT_NAME ${name}
                   VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL}
                   POSITION_INDEPENDENT_CODE ON)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL "SHARED_LIBRARY" AND NOT WIN32)
        leat_export_public_headers(${name} HIDES ${arg_HIDES} HEADERS ${arg_HEADERS} ${arg_GENERATED_HEADERS})
    endif()
    set_property(GLOBAL APPEND PROPERTY LEAT_LAYERS ${name})
endfunction()

# leat_export_public_headers(<layer> HIDES <class>... HEADERS <header>...): the shared library shows what these headers
# declare and hides the rest. A class is what its first declaration says: those that are hidden are named before.
#
# The headers say nothing about it: all of them are included before each source, as visible. Whoever uses the library needs no
# marks, since a declaration of something that is defined elsewhere is visible by itself.
function(leat_export_public_headers name)
    cmake_parse_arguments(arg "" "" "HIDES;HEADERS" ${ARGN})
    set(target leat_${name})
    set(text "#pragma once\nnamespace leat::detail {\n")
    foreach(class IN LISTS arg_HIDES)
        string(APPEND text "class ${class};\n")
    endforeach()
    string(APPEND text "}\n#pragma GCC visibility push(default)\n")
    foreach(header IN LISTS arg_HEADERS)
        string(REGEX REPLACE "^.*(leat/${name}/[^/]+)$" "\\1" header "${header}")
        string(APPEND text "#include <${header}>\n")
    endforeach()
    string(APPEND text "#pragma GCC visibility pop\n")
    set(visible "${CMAKE_CURRENT_BINARY_DIR}/private/visible_${name}.hpp")
    file(CONFIGURE OUTPUT "${visible}" CONTENT "${text}" @ONLY)

    target_compile_options(${target} PRIVATE "SHELL:-include \"${visible}\"")
    # A library may lie anywhere, beside those that it needs.
    set(origin "$ORIGIN")
    if(APPLE)
        set(origin "@loader_path")
    endif()
    set_target_properties(
        ${target}
        PROPERTIES CXX_VISIBILITY_PRESET hidden
                   VISIBILITY_INLINES_HIDDEN ON
                   # No promise of a stable binary interface before 1.0.
                   VERSION ${PROJECT_VERSION}
                   SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                   INSTALL_RPATH "${origin}")
endfunction()
