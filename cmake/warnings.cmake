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
