# SPDX-License-Identifier: BSL-1.0
# cmake --install: the headers and the library of each layer, leat-config.cmake with a component a layer, and a
# pkg-config file. Everything is found relative to the installed files, so that the tree may be moved.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(LEAT_INSTALL_CMAKEDIR "${CMAKE_INSTALL_LIBDIR}/cmake/leat" CACHE STRING "Where leat-config.cmake is installed")
mark_as_advanced(LEAT_INSTALL_CMAKEDIR)

get_property(LEAT_LAYERS GLOBAL PROPERTY LEAT_LAYERS)
list(TRANSFORM LEAT_LAYERS PREPEND leat_ OUTPUT_VARIABLE targets)
list(JOIN LEAT_LAYERS ", " LEAT_LAYERS_TEXT)
install(TARGETS ${targets} EXPORT leat-targets FILE_SET HEADERS)
install(EXPORT leat-targets NAMESPACE leat:: DESTINATION "${LEAT_INSTALL_CMAKEDIR}")

get_target_property(type leat_reactor TYPE)
set(LEAT_IS_SHARED FALSE)
if(type STREQUAL "SHARED_LIBRARY")
    set(LEAT_IS_SHARED TRUE)
endif()

configure_package_config_file(cmake/leat-config.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/leat-config.cmake"
                              INSTALL_DESTINATION "${LEAT_INSTALL_CMAKEDIR}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/leat-config-version.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(
    FILES "${CMAKE_CURRENT_BINARY_DIR}/leat-config.cmake"
          "${CMAKE_CURRENT_BINARY_DIR}/leat-config-version.cmake"
          cmake/FindLibUring.cmake
          cmake/FindTlExpected.cmake
          cmake/probe_coroutines.cmake
    DESTINATION "${LEAT_INSTALL_CMAKEDIR}")
install(DIRECTORY cmake/probes DESTINATION "${LEAT_INSTALL_CMAKEDIR}")

# A static library's users link against the layers from the top down, and against what these need.
set(LEAT_PC_LIBS "")
set(LEAT_PC_PRIVATE_LIBS "")
foreach(layer IN LISTS LEAT_LAYERS)
    string(PREPEND LEAT_PC_LIBS " -lleat_${layer}")
endforeach()
if(LEAT_HAS_IO_URING)
    if(LEAT_IS_SHARED)
        string(APPEND LEAT_PC_PRIVATE_LIBS " -luring")
    else()
        string(APPEND LEAT_PC_LIBS " -luring")
    endif()
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(LEAT_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
    set(LEAT_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
else()
    file(RELATIVE_PATH LEAT_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" LEAT_PC_PREFIX "\${pcfiledir}/${LEAT_PC_PREFIX}")
    set(LEAT_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(LEAT_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
else()
    set(LEAT_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/leat.pc.in leat.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/leat.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
