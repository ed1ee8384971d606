// SPDX-License-Identifier: GPL-2.0
#include "module.hpp"

#include "failure.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace stm::tools {
namespace {

int open_device() {
    const char* path = std::getenv("STM_DEVICE");
    if (path == nullptr || path[0] == '\0')
        path = "/dev/stm";
    int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        throw module_failure(errno == ENOENT || errno == ENXIO ? ENODEV : errno);
    return fd;
}

} // namespace

File::~File() {
    if (fd_ >= 0)
        ::close(fd_);
}

Selector Selector::by_name(const std::string& name) {
    if (name.empty())
        throw Failure(Exit::usage, "a region's name must not be empty");
    if (name.size() >= STM_NAME_SIZE)
        throw region_failure(ENAMETOOLONG, name);
    return {name, std::nullopt};
}

Selector Selector::by_id(std::uint64_t id) {
    return {fmt::format("id {:#x}", id), id};
}

Module::Module() : device_(open_device()) {
    struct stm_version version {};
    version.size = sizeof version;
    if (::ioctl(device_.get(), STM_IOC_VERSION, &version) < 0)
        throw module_failure(errno == ENOTTY || errno == EINVAL ? ENODEV : errno);
    if (version.abi_major != STM_ABI_MAJOR)
        throw module_failure(EPROTO);
}

struct stm_version Module::version() const {
    struct stm_version request {};
    request.size = sizeof request;
    if (::ioctl(device_.get(), STM_IOC_VERSION, &request) < 0)
        throw module_failure(errno);
    return request;
}

std::vector<struct stm_info> Module::regions() const {
    std::vector<struct stm_info> result;
    for (std::uint32_t minor = 0;;) {
        struct stm_info request {};
        request.size = sizeof request;
        request.flags = STM_BY_NEXT;
        request.minor = minor;
        if (::ioctl(device_.get(), STM_IOC_INFO, &request) < 0) {
            if (errno == ENOENT)
                return result;
            throw module_failure(errno);
        }
        result.push_back(request);
        minor = request.minor + 1;
    }
}

struct stm_info Module::info(const Selector& region) const {
    struct stm_info request {};
    request.size = sizeof request;
    region.apply(request);
    if (::ioctl(device_.get(), STM_IOC_INFO, &request) < 0)
        throw region_failure(errno, region.text());
    return request;
}

struct stm_info Module::info_of_handle(const File& handle, const std::string& text) const {
    struct stm_info request {};
    request.size = sizeof request;
    request.flags = STM_BY_HANDLE;
    if (::ioctl(handle.get(), STM_IOC_INFO, &request) < 0)
        throw region_failure(errno, text);
    return request;
}

std::vector<struct stm_attachment> Module::attachments(const Selector& region) const {
    std::vector<struct stm_attachment> result(64);
    for (;;) {
        struct stm_attachments request {};
        request.size = sizeof request;
        region.apply(request);
        request.buffer = reinterpret_cast<std::uintptr_t>(result.data());
        request.capacity = static_cast<std::uint32_t>(result.size());
        if (::ioctl(device_.get(), STM_IOC_ATTACHMENTS, &request) < 0)
            throw region_failure(errno, region.text());
        // More than the interface can tell at once are cut off.
        constexpr std::size_t kMost = 65536;
        if (request.count <= result.size() || result.size() == kMost) {
            result.resize(std::min<std::size_t>(request.count, result.size()));
            return result;
        }
        result.resize(std::min<std::size_t>(request.count + 64, kMost));
    }
}

struct stm_statistics Module::statistics(const Selector& region) const {
    struct stm_statistics request {};
    request.size = sizeof request;
    region.apply(request);
    if (::ioctl(device_.get(), STM_IOC_STATISTICS, &request) < 0)
        throw region_failure(errno, region.text());
    return request;
}

File Module::open(const Selector& region, Access access) const {
    struct stm_open request {};
    request.size = sizeof request;
    request.flags = STM_OPEN_READ | STM_OPEN_CLOEXEC;
    if (access == Access::read_write)
        request.flags |= STM_OPEN_WRITE;
    // Its flag for an id is not that of the other requests.
    struct stm_info named {};
    region.apply(named);
    if ((named.flags & STM_BY_ID) != 0) {
        request.flags |= STM_OPEN_BY_ID;
        request.id = named.id;
    } else {
        region.text().copy(request.name, sizeof request.name - 1);
    }
    int fd = ::ioctl(device_.get(), STM_IOC_OPEN, &request);
    if (fd < 0)
        throw region_failure(errno, region.text());
    return File(fd);
}

void Module::destroy(const Selector& region, When when) const {
    struct stm_destroy request {};
    request.size = sizeof request;
    region.apply(request);
    if (when == When::deferred)
        request.flags |= STM_DESTROY_DEFERRED;
    if (::ioctl(device_.get(), STM_IOC_DESTROY, &request) < 0)
        throw region_failure(errno, region.text());
}

} // namespace stm::tools
