# SPDX-License-Identifier: BSL-1.0
# Decides once, for everyone who will use this build, what leat::Result<T> is: std::expected if leat itself is
# configured as C++23, else tl::expected. The consumer's own standard must not change the layout of a public type,
# hence the answer is written to config.hpp rather than asked of the compiler there.
include(CheckCXXSourceCompiles)

set(LEAT_RESULT_IS_STD_EXPECTED 0)
set(LEAT_CXX_FEATURE cxx_std_20)

if(CMAKE_CXX_STANDARD AND CMAKE_CXX_STANDARD GREATER_EQUAL 23)
    check_cxx_source_compiles(
        "#include <version>
         #if !defined(__cpp_lib_expected)
         #error
         #endif
         int main() {}"
        LEAT_HAS_STD_EXPECTED)
    if(LEAT_HAS_STD_EXPECTED)
        set(LEAT_RESULT_IS_STD_EXPECTED 1)
        set(LEAT_CXX_FEATURE cxx_std_23)
    endif()
endif()

if(NOT LEAT_RESULT_IS_STD_EXPECTED)
    find_package(TlExpected REQUIRED)
endif()
