// SPDX-License-Identifier: LGPL-2.1-or-later
#include "control.hpp"

#include "error.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace stm::library {

const char* control_device() {
    const char* path = secure_getenv("STM_DEVICE");
    return path != nullptr && path[0] != '\0' ? path : "/dev/stm";
}

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
    const char* path = control_device();
    // Control requests need no access to the region `default`, which the same node stands for.
    device_ = Descriptor(::open(path, O_RDONLY | O_CLOEXEC));
    if (!device_) {
        // ENOENT would be mistaken for a region that does not exist.
        if (errno == ENOENT || errno == ENXIO || errno == ENOTDIR)
            errno = ENODEV;
        return fail(errno,
                    "%s cannot be opened; is the module loaded (modprobe stm, or insmod stm.ko)?",
                    path);
    }

    struct stm_version version {};
    version.size = sizeof version;
    if (::ioctl(device_.get(), STM_IOC_VERSION, &version) < 0) {
        if (errno == ENOTTY || errno == EINVAL)
            errno = ENODEV;
        return fail(errno, "%s is not the control device of the module stm", path);
    }
    if (version.abi_major != STM_ABI_MAJOR)
        return fail(EPROTO,
                    "the module speaks version %u.%u of the interface, this library %d.%d: "
                    "load the module that belongs to the library",
                    version.abi_major, version.abi_minor, STM_ABI_MAJOR, STM_ABI_MINOR);
    device_major_ = version.device_major;
    return 0;
}

int Control::open(struct stm_open& request) const {
    request.size = sizeof request;
    return ::ioctl(device_.get(), STM_IOC_OPEN, &request);
}

int Control::info(struct stm_info& request) const {
    request.size = sizeof request;
    return ::ioctl(device_.get(), STM_IOC_INFO, &request);
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
    return ::ioctl(device_.get(), STM_IOC_DESTROY, &request);
}

} // namespace stm::library
