// SPDX-License-Identifier: LGPL-2.1-or-later
#include "error.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stm::library {

int fail(int error, const char* format, ...) {
    const char* debug = std::getenv("STM_DEBUG");
    if (debug != nullptr && debug[0] != '\0' && std::strcmp(debug, "0") != 0) {
        char message[512];
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
        std::fprintf(stderr, "stm: %s: %s\n", message, strerrordesc_np(error));
    }
    errno = error;
    return -1;
}

} // namespace stm::library
