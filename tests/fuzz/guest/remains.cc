// SPDX-License-Identifier: GPL-2.0
#include "remains.hpp"

#include "worker.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace stm::fuzz {

bool clean_up(Tell tell) {
    const int control = open("/dev/stm", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return false;
    std::uint32_t minor = 1;
    bool good = true;
    for (;;) {
        stm_info info{};
        info.size = sizeof(info);
        info.flags = STM_BY_NEXT;
        info.minor = minor;
        if (ioctl(control, STM_IOC_INFO, &info) != 0)
            break;
        minor = info.minor + 1;
        if (info.handles != 0 || info.mappings != 0) {
            if (tell == Tell::why)
                std::printf("region %s still has %u handles and %u mappings\n", info.name,
                            info.handles, info.mappings);
            good = false;
        }
        stm_destroy destroy{};
        destroy.size = sizeof(destroy);
        destroy.flags = STM_BY_ID;
        destroy.id = info.id;
        if (ioctl(control, STM_IOC_DESTROY, &destroy) != 0) {
            if (tell == Tell::why)
                std::printf("region %s cannot be destroyed: %s\n", info.name, std::strerror(errno));
            good = false;
        }
    }
    stm_version version{};
    version.size = sizeof(version);
    stm_info info{};
    info.size = sizeof(info);
    info.flags = STM_BY_HANDLE;
    if (ioctl(control, STM_IOC_VERSION, &version) != 0 || ioctl(control, STM_IOC_INFO, &info) != 0)
        good = false;
    if (version.regions != 1 || version.bytes != info.region_size) {
        if (tell == Tell::why)
            std::printf("%u regions of %llu bytes are left, of which default has %llu\n",
                        version.regions, version.bytes, info.region_size);
        good = false;
    }
    if (info.handles != 0) {
        if (tell == Tell::why)
            std::printf("%u handles of default are left\n", info.handles);
        good = false;
    }
    close(control);
    return good;
}

void make_nodes() {
    const int control = open("/dev/stm", O_RDWR | O_CLOEXEC);
    stm_version version{};
    version.size = sizeof(version);
    if (control >= 0 && ioctl(control, STM_IOC_VERSION, &version) == 0) {
        for (unsigned minor = 1; minor <= 4; ++minor) {
            const std::string node = kNode + std::to_string(minor - 1);
            if (mknod(node.c_str(), S_IFCHR | 0666, makedev(version.device_major, minor)) == 0)
                chmod(node.c_str(), 0666);
        }
    }
    close(control);
}

void remove_nodes() {
    for (unsigned number = 0; number < 4; ++number)
        unlink((kNode + std::to_string(number)).c_str());
}

} // namespace stm::fuzz
