// SPDX-License-Identifier: GPL-2.0
#include "tests/fuzz/input.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace stm::fuzz {

void found(const char* what, const char* file, int line) {
    std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    std::abort();
}

void trace(const char* format, ...) {
    static const bool wanted = std::getenv("STM_FUZZ_TRACE") != nullptr;
    if (!wanted)
        return;
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
}

} // namespace stm::fuzz
