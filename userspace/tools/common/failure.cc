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
        return {Exit::no_module, "there is no stm device; load the module: insmod stm.ko"};
    case EPROTO:
        return {Exit::no_module, "the loaded module speaks another version of the interface; load "
                                 "the stm.ko that belongs to these tools"};
    case EACCES:
        return {Exit::failed,
                "the stm device may not be opened by this user; see 'ls -l /dev/stm'"};
    default:
        return {Exit::failed, fmt::format("the stm device: {}", std::strerror(error))};
    }
}

Failure region_failure(int error, const std::string& region) {
    std::string name = printable(region);
    auto failed = [](const std::string& message) { return Failure(Exit::failed, message); };
    switch (error) {
    case ENODEV:
    case EPROTO:
        return module_failure(error);
    case ENOENT:
        return failed(
            fmt::format("there is no region '{}'; 'stmctl ls' lists those there are", name));
    case ESTALE:
        return failed(fmt::format("region '{}' was destroyed meanwhile", name));
    case EEXIST:
        return failed(fmt::format(
            "region '{}' exists already; leave out --excl to use it, or remove it first: stmctl rm",
            name));
    case EBUSY:
        return failed(fmt::format("region '{0}' is in use; 'stmctl attachments {0}' tells by whom, "
                                  "'stmctl rm --deferred {0}' removes it when they are done",
                                  name));
    case EACCES:
        return failed(
            fmt::format("the mode of region '{0}' forbids it; 'stmctl info {0}' shows owner "
                        "and mode, and its owner can change them: stmctl chmod",
                        name));
    case EPERM:
        return failed(fmt::format(
            "only the owner of region '{0}' or root may do this; 'stmctl info {0}' shows the owner",
            name));
    case EINVAL:
        return failed(
            fmt::format("region '{0}' exists and is smaller or of another kind than asked "
                        "for, or the arguments do not go together; see 'stmctl info {0}'",
                        name));
    case EFBIG:
        return failed(
            fmt::format("region '{}' would be larger than one region may be; 'stmctl limits' "
                        "shows max_region_bytes, a parameter of the module",
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
