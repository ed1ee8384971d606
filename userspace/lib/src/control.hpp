// SPDX-License-Identifier: LGPL-2.1-or-later
// Control requests to the module, on a connection for one call of the library.
#pragma once

#include "userspace/connection/connection.hpp"

#include <stm/ioctl.h>

namespace stm::library {

using connection::Descriptor;

// Each request returns 0 (open: a descriptor), or -1 with errno as stm/ioctl.h lists.
class Control {
public:
    /**
     * Opens the control device and checks that both sides speak the same interface. It must succeed
     * before any other call. Returns 0, or -1 with errno as listed at the top of stm/stm.h.
     */
    [[nodiscard]] int connect();

    /** Major number of the driver's device nodes. */
    [[nodiscard]] unsigned device_major() const { return connection_.version.device_major; }

    /** STM_IOC_OPEN. Like the other requests, it fills in `request.size` itself. */
    [[nodiscard]] int open(struct stm_open& request) const;
    /** STM_IOC_INFO of the region that `request` names. */
    [[nodiscard]] int info(struct stm_info& request) const;
    /** STM_IOC_INFO of the region with exactly this minor; ENOENT if the minor is free. */
    [[nodiscard]] int info_of_minor(unsigned minor, struct stm_info& result) const;
    /** STM_IOC_DESTROY. */
    [[nodiscard]] int destroy(struct stm_destroy& request) const;

private:
    connection::Connection connection_{};
};

/**
 * Copies a region's name into the `STM_NAME_SIZE` bytes of a request. Returns 0, or -1 with errno
 * EINVAL if it is null or empty, ENAMETOOLONG if it does not fit.
 */
[[nodiscard]] int copy_name(char (&to)[STM_NAME_SIZE], const char* name);

} // namespace stm::library
