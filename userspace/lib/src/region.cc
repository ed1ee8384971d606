// SPDX-License-Identifier: LGPL-2.1-or-later
// stm_open, stm_unlink, stm_size: regions by name.
#include "control.hpp"
#include "error.hpp"
#include "open_flags.hpp"

#include <cstring>
#include <sys/ioctl.h>

namespace stm::library {
namespace {

int unlink_region(const char* name, std::uint32_t flags) {
    struct stm_destroy request {};
    request.flags = STM_BY_NAME | flags;
    if (copy_name(request.name, name) < 0)
        return -1;
    Control control;
    if (control.connect() < 0)
        return -1;
    if (control.destroy(request) < 0)
        return fail(errno, "region '%s' cannot be destroyed", name);
    return 0;
}

} // namespace
} // namespace stm::library

using namespace stm::library;

int stm_open(const char* name, size_t size, int flags, mode_t mode) {
    std::optional<OpenFlags> translated = translate_flags(flags);
    if (!translated)
        return fail(EINVAL, "stm_open: flags 0x%x do not go together",
                    static_cast<unsigned>(flags));
    struct stm_open request {};
    if (copy_name(request.name, name) < 0)
        return -1;
    request.flags = translated->open;
    request.region_size = size;
    if ((flags & STM_CREATE) != 0) {
        if ((mode & ~static_cast<mode_t>(0777)) != 0)
            return fail(EINVAL, "stm_open: mode 0%o has more than permission bits", mode);
        request.region_flags = translated->region;
        request.mode = mode;
    }

    Control control;
    if (control.connect() < 0)
        return -1;
    Descriptor handle(control.open(request));
    if (!handle)
        return fail(errno, "region '%s' cannot be opened", name);
    if (!kind_suits(*translated, request.region_flags))
        return fail(EINVAL, "region '%s' exists and is of another kind (flags 0x%x)", name,
                    request.region_flags);
    return handle.release();
}

int stm_unlink(const char* name) {
    return unlink_region(name, 0);
}

int stm_unlink_deferred(const char* name) {
    return unlink_region(name, STM_DESTROY_DEFERRED);
}

ssize_t stm_size(int fd) {
    struct stm_info request {};
    request.size = sizeof request;
    request.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_INFO, &request) < 0)
        return fail(errno, "descriptor %d is not a handle", fd);
    return static_cast<ssize_t>(request.region_size);
}

int stm_name(int fd, size_t offset, size_t size, const char* name) {
    struct stm_place request {};
    request.size = sizeof request;
    request.offset = offset;
    request.length = size;
    const std::size_t length = name == nullptr ? 0 : std::strlen(name);
    if (length >= sizeof request.name)
        return fail(ENAMETOOLONG, "stm_name: '%s' has more than %zu bytes", name,
                    sizeof request.name - 1);
    if (length != 0)
        std::memcpy(request.name, name, length);
    if (::ioctl(fd, STM_IOC_NAME_PLACE, &request) < 0)
        return fail(errno, "stm_name: '%s' is no name for bytes %zu to %zu",
                    name == nullptr ? "" : name, offset, offset + size);
    return 0;
}

const char* stm_version() {
    return STM_VERSION_STRING;
}
