// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control.hpp"

#include "dump.hpp"
#include "error.hpp"

#include <cerrno>
#include <cstring>
#include <sys/ioctl.h>

namespace stm::library {

int copy_name(char (&to)[STM_NAME_SIZE], const char* name) {
    if (name == nullptr || name[0] == '\0')
        return fail(EINVAL, "a region's name must not be empty");
    std::size_t length = strnlen(name, STM_NAME_SIZE);
    if (length == STM_NAME_SIZE)
        return fail(ENAMETOOLONG, "a region's name has at most %d bytes", STM_NAME_SIZE - 1);
    std::memcpy(to, name, length);
    std::memset(to + length, 0, STM_NAME_SIZE - length);
    return 0;
}

int Control::connect() {
    switch (connection::connect(connection_)) {
    case connection::Connected::yes:
        return 0;
    case connection::Connected::cannot_open:
        return fail(errno,
                    "%s cannot be opened; is the module loaded (modprobe stm, or insmod stm.ko)?",
                    connection::control_device());
    case connection::Connected::no_module:
        return fail(errno, "%s is not the control device of the module stm",
                    connection::control_device());
    case connection::Connected::other_version:
        break;
    }
    return fail(errno,
                "the module speaks version %u.%u of the interface, this library %d.%d: "
                "load the module that belongs to the library",
                connection_.version.abi_major, connection_.version.abi_minor, STM_ABI_MAJOR,
                STM_ABI_MINOR);
}

int Control::open(struct stm_open& request) const {
    request.size = sizeof request;
    const int handle = ::ioctl(connection_.device.get(), STM_IOC_OPEN, &request);
    dump_if_wanted(handle);
    return handle;
}

int Control::info(struct stm_info& request) const {
    request.size = sizeof request;
    return ::ioctl(connection_.device.get(), STM_IOC_INFO, &request);
}

int Control::info_of_minor(unsigned minor, struct stm_info& result) const {
    result = {};
    result.flags = STM_BY_NEXT;
    result.minor = minor;
    if (info(result) < 0)
        return -1;
    if (result.minor != minor) {
        errno = ENOENT;
        return -1;
    }
    return 0;
}

int Control::destroy(struct stm_destroy& request) const {
    request.size = sizeof request;
    return ::ioctl(connection_.device.get(), STM_IOC_DESTROY, &request);
}

} // namespace stm::library
