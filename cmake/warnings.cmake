# SPDX-License-Identifier: GPL-2.0
# One warning level for everything of ours. For developers a warning is a defect: the presets set
# STM_WERROR. Those who install or package it have compilers that are newer than it.
option(STM_WERROR "A warning of the compiler is an error" OFF)
add_compile_options(
    -Wall -Wextra $<$<BOOL:${STM_WERROR}>:-Werror> -Wshadow -Wpointer-arith -Wcast-qual -Wvla
    -Wundef
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
    $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
    $<$<COMPILE_LANGUAGE:CXX>:-Wextra-semi>
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)

# In std::stable_sort and its like the C++ library of gcc 12 calls what it has marked as deprecated.
# Newer clangs warn of that as if the call were ours.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -Werror=deprecated-declarations)
check_cxx_source_compiles("
    #include <algorithm>
    int main(int count, char** words) { std::stable_sort(words, words + count); }"
    STM_SORTS_WITHOUT_WARNING)
unset(CMAKE_REQUIRED_FLAGS)
if(NOT STM_SORTS_WITHOUT_WARNING)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-deprecated-declarations>)
endif()
