// SPDX-License-Identifier: LGPL-2.1-or-later
// The version is asked for only after a refusal, because asking costs a system call. A module that
// does not know cells refuses them, too; then each start makes a system call.
#include "module_version.hpp"

#include <atomic>
#include <cerrno>
#include <stm/ioctl.h>
#include <sys/ioctl.h>

namespace stm::library {
namespace {

constexpr int kMinorOfSites = 1;

constinit std::atomic<bool> met_one_before_sites = false;

} // namespace

bool module_knows_sites() {
    return !met_one_before_sites.load(std::memory_order_relaxed);
}

bool module_is_before_sites(int fd) {
    const int minor = older_minor(fd);
    if (minor < 0 || minor >= kMinorOfSites)
        return false;
    met_one_before_sites.store(true, std::memory_order_relaxed);
    return true;
}

int older_minor(int fd) {
    const int error = errno;
    struct stm_version version {};
    version.size = sizeof version;
    const bool told = ::ioctl(fd, STM_IOC_VERSION, &version) == 0;
    errno = error;
    if (!told || version.abi_major != STM_ABI_MAJOR || version.abi_minor >= STM_ABI_MINOR)
        return -1;
    return static_cast<int>(version.abi_minor);
}

} // namespace stm::library
