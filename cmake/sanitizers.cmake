# SPDX-License-Identifier: GPL-2.0
if(STM_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(STM_SANITIZE STREQUAL "thread")
    # The compiler warns of each fence, which this sanitizer does not model; the data between fences
    # are atomic here, so nothing is reported that is no race.
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
    add_link_options(-fsanitize=thread)
elseif(STM_SANITIZE STREQUAL "fuzz")
    # clang: what libFuzzer needs to see where an input leads (tests/fuzz links the fuzzer itself).
    add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
        -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
elseif(STM_SANITIZE STREQUAL "coverage")
    # clang: which lines are run, told by ci/coverage.
    add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
    add_link_options(-fprofile-instr-generate)
elseif(NOT STM_SANITIZE STREQUAL "")
    message(FATAL_ERROR
        "STM_SANITIZE is '${STM_SANITIZE}'; "
        "it must be empty, 'address', 'thread', 'fuzz' or 'coverage'")
endif()
