# SPDX-License-Identifier: GPL-2.0
# One warning level for everything of ours: a warning is a defect.
add_compile_options(
    -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wcast-qual -Wvla -Wundef
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor>
    $<$<COMPILE_LANGUAGE:CXX>:-Woverloaded-virtual>
    $<$<COMPILE_LANGUAGE:CXX>:-Wextra-semi>
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
