// SPDX-License-Identifier: LGPL-2.1-or-later
// The connection to the module, for the library and the tools.
#pragma once

#include "userspace/connection/descriptor.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <stm/ioctl.h>
#include <sys/ioctl.h>

namespace stm::connection {

/** Path of the control device: the environment variable STM_DEVICE, or /dev/stm. */
[[nodiscard]] inline const char* control_device() {
    const char* path = secure_getenv("STM_DEVICE");
    return path != nullptr && path[0] != '\0' ? path : "/dev/stm";
}

enum class Connected { yes, cannot_open, no_module, other_version };

struct Connection {
    Descriptor device;
    struct stm_version version;
};

/**
 * Opens the control device, and checks that both sides speak the same interface. `version` is what
 * the module said of itself. Otherwise sets errno to what stm/stm.h lists for such a module.
 */
[[nodiscard]] inline Connected connect(Connection& result) {
    // Control requests need no access to the region `default`, which the same node stands for.
    result.device = Descriptor(::open(control_device(), O_RDONLY | O_CLOEXEC));
    if (!result.device) {
        // ENOENT would be mistaken for a region that does not exist.
        if (errno == ENOENT || errno == ENXIO || errno == ENOTDIR)
            errno = ENODEV;
        return Connected::cannot_open;
    }
    result.version = {};
    result.version.size = sizeof result.version;
    if (::ioctl(result.device.get(), STM_IOC_VERSION, &result.version) < 0) {
        if (errno == ENOTTY || errno == EINVAL)
            errno = ENODEV;
        return Connected::no_module;
    }
    if (result.version.abi_major != STM_ABI_MAJOR) {
        errno = EPROTO;
        return Connected::other_version;
    }
    return Connected::yes;
}

} // namespace stm::connection
