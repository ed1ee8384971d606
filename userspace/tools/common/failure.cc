// SPDX-License-Identifier: GPL-2.0
#include "failure.hpp"

#include "text.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace stm::tools {

Failure module_failure(int error) {
    switch (error) {
    case ENODEV:
        return {Exit::no_module,
                "there is no stm device; load the module: modprobe stm, or insmod stm.ko "
                "where it was built",
                error};
    case EPROTO:
        return {Exit::no_module,
                "the loaded module speaks another version of the interface; load "
                "the stm.ko that belongs to these tools",
                error};
    case EACCES:
        return {Exit::failed, "the stm device may not be opened by this user; see 'ls -l /dev/stm'",
                error};
    default:
        return {Exit::failed, fmt::format("the stm device: {}", std::strerror(error)), error};
    }
}

Failure region_failure(int error, const std::string& name) {
    return region_failure(error, name, command_word(name));
}

Failure region_failure(int error, const std::string& region, const std::string& argument) {
    const std::string name = printable(region);
    const auto failed = [error](const std::string& message) {
        return Failure(Exit::failed, message, error);
    };
    switch (error) {
    case ENODEV:
    case EPROTO:
        return module_failure(error);
    case ENOENT:
        return failed(
            fmt::format("there is no region '{}'; 'stmctl ls' lists those there are", name));
    case ESTALE:
        return failed(fmt::format(
            "there is no region '{}' any more; 'stmctl ls' lists those there are", name));
    case EEXIST:
        return failed(fmt::format("region '{}' exists already; leave out --excl to use it, or "
                                  "remove it first: stmctl rm {}",
                                  name, argument));
    case EBUSY:
        if (region == "default")
            return failed("the region 'default' belongs to the module and is always there");
        return failed(fmt::format("region '{0}' is in use; 'stmctl attachments {1}' tells by whom, "
                                  "'stmctl rm --deferred {1}' removes it when they are done",
                                  name, argument));
    case EACCES:
        return failed(
            fmt::format("the mode of region '{}' forbids it; 'stmctl info {}' shows owner "
                        "and mode, and its owner can change them: stmctl chmod",
                        name, argument));
    case EPERM:
        return failed(fmt::format(
            "only the owner of region '{}' or root may do this; 'stmctl info {}' shows the owner",
            name, argument));
    case EINVAL:
        return failed(fmt::format("region '{}': the module does not know such a request; 'stmctl "
                                  "limits' shows the version of its interface",
                                  name));
    case E2BIG:
        return failed(fmt::format(
            "region '{}': more than one transaction may touch; the module's parameter max_stripes "
            "(/sys/module/stm/parameters/max_stripes) is the limit",
            name));
    case ENOMEM:
        return failed(fmt::format("region '{}': there is not enough memory, or the memory control "
                                  "group of this process has reached its limit",
                                  name));
    case EFBIG:
        return failed(
            fmt::format("region '{}' would be larger than one region may be; 'stmctl limits' "
                        "shows the limit, a parameter of the module: max_region_bytes",
                        name));
    case ENOSPC:
        return failed(
            fmt::format("a limit on the number or the bytes of regions is reached; 'stmctl "
                        "limits' shows them, 'stmctl ls' what could be removed"));
    case ENAMETOOLONG:
        return failed("a region's name has at most 255 bytes");
    default:
        return failed(fmt::format("region '{}': {}", name, std::strerror(error)));
    }
}

} // namespace stm::tools
