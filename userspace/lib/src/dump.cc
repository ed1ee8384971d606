// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dump.hpp"

#include "error.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <sys/ioctl.h>

void stm::library::dump_if_wanted(int fd) {
    const char* const value = secure_getenv("STM_DUMP");
    if (value == nullptr || std::strcmp(value, "1") != 0 || fd < 0)
        return;
    const int error = errno;
    ::ioctl(fd, STM_IOC_DUMP, 1);
    errno = error;
}

int stm_set_dump(int fd, int dump) {
    if (::ioctl(fd, STM_IOC_DUMP, dump != 0 ? 1 : 0) == 0)
        return 0;
    return stm::library::fail(errno, "core files cannot have the region of descriptor %d", fd);
}
