// SPDX-License-Identifier: LGPL-2.1-or-later
#include "give_up.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace stm::library {

namespace {

// This cannot rely on memory or on the locks of stdio: the transaction may have been interrupted
// anywhere.
[[gnu::format(printf, 1, 0)]] void print(const char* format, std::va_list arguments) {
    char message[512];
    const int length = std::vsnprintf(message, sizeof message, format, arguments);
    if (length > 0) [[maybe_unused]]
        ssize_t written = ::write(STDERR_FILENO, message, std::strlen(message));
}

} // namespace

void say(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
}

void give_up(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
    std::abort();
}

const char* why_not(int error) {
    switch (error) {
    case EBADF:
        return "it is not an open descriptor";
    case ENOTTY:
    case EINVAL:
        return "it is not a handle of a region, or the loaded module knows no transactions";
    case EOPNOTSUPP:
        return "its region is plain memory (STM_PLAIN), which has no transactions";
    case E2BIG:
        return "nested too deeply; was a transaction left without stm_commit or stm_cancel?";
    case ENOMEM:
        return "no memory left";
    case EDEADLK:
        return "another transaction of this thread on the same region is in its way; use one "
               "handle "
               "for both";
    case EBUSY:
        return "another thread of this process has a transaction on it, and it is mapped: each "
               "thread needs a handle of its own, by stm_open, with a mapping of its own";
    case ENOSPC:
        return "more threads than the module allows have used this handle";
    default:
        return strerrordesc_np(error);
    }
}

const char* why_never(int error) {
    switch (error) {
    case EBADF:
        return "it is not an open descriptor";
    case ENOTTY:
        return "it is not a handle of a region";
    case EINVAL:
        return "there is no transaction (after stm_cancel its loop must be left)";
    case E2BIG:
        return "it is larger than the module's limits allow (max_stripes)";
    case ENOMEM:
        return "no memory left";
    case ECANCELED:
        return "it was over before, by a stm_wait that returned or with its descriptor";
    case EDEADLK:
        return "another transaction of this thread on the same region is in its way";
    case ENOSPC:
        return "a write in it began behind the end of the region";
    default:
        return strerrordesc_np(error);
    }
}

const char* why_over(int error) {
    switch (error) {
    case E2BIG:
        return "it touched more pages than the module's max_stripes allows";
    case ENOMEM:
        return "there is no memory for the pages it touched";
    case ECANCELED:
        return "its descriptor was closed";
    default:
        return strerrordesc_np(error);
    }
}

} // namespace stm::library
