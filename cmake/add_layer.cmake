# SPDX-License-Identifier: BSL-1.0
# What a layer is: a static library leat_<name>, used as leat::<name>, with its own include root, which sees the
# layers that it knows and no other. An include of a layer above therefore does not compile.
#
#   leat_add_layer(<name> [KNOWS <layer>...] HEADERS <file>... [GENERATED_HEADERS <file>...]
#                  SOURCES <file>... BACKEND_SOURCES <file>...)
#
# HEADERS are relative to include/leat/<name>/, GENERATED_HEADERS to generated/leat/<name>/ in the build tree,
# SOURCES to src/; BACKEND_SOURCES are what the operating system decides, relative to the layer.
function(leat_add_layer name)
    cmake_parse_arguments(arg "" "" "KNOWS;HEADERS;GENERATED_HEADERS;SOURCES;BACKEND_SOURCES" ${ARGN})
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "leat_add_layer(${name}): what is ${arg_UNPARSED_ARGUMENTS}?")
    endif()
    list(TRANSFORM arg_HEADERS PREPEND "include/leat/${name}/")
    list(TRANSFORM arg_GENERATED_HEADERS PREPEND "${CMAKE_CURRENT_BINARY_DIR}/generated/leat/${name}/")
    list(TRANSFORM arg_SOURCES PREPEND "src/")

    set(target leat_${name})
    add_library(${target} STATIC ${arg_SOURCES} ${arg_BACKEND_SOURCES})
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
    set_property(GLOBAL APPEND PROPERTY LEAT_LAYERS ${name})
endfunction()
