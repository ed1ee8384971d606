// SPDX-License-Identifier: GPL-2.0
#include "module.hpp"

#include "failure.hpp"

#include "text.hpp"
#include "userspace/connection/segment_id.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/ioctl.h>

namespace stm::tools {
int segment_number(const struct stm_info& region) {
    const std::string_view prefix = connection::kSegmentPrefix;
    return std::string_view(region.name).substr(0, prefix.size()) == prefix
               ? std::max(connection::segment_id(region.id), 0)
               : 0;
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

Module::Module() {
    if (connection::connect(connection_) != connection::Connected::yes)
        throw module_failure(errno);
}

struct stm_version Module::version() const {
    struct stm_version request {};
    request.size = sizeof request;
    if (::ioctl(connection_.device.get(), STM_IOC_VERSION, &request) < 0)
        throw module_failure(errno);
    return request;
}

std::vector<struct stm_info> Module::regions() const {
    std::vector<struct stm_info> result;
    struct stm_info request {};
    // A module before version 1.3 tells only of those that have a name.
    std::uint32_t next = STM_BY_NEXT_ID;
    for (;;) {
        const std::uint64_t id = request.id;
        const std::uint32_t minor = request.minor;
        request = {};
        request.size = sizeof request;
        request.flags = next;
        if (next == STM_BY_NEXT_ID)
            request.id = id;
        else
            request.minor = minor;
        if (::ioctl(connection_.device.get(), STM_IOC_INFO, &request) < 0) {
            if (errno == EINVAL && next == STM_BY_NEXT_ID && result.empty()) {
                next = STM_BY_NEXT;
                request = {};
                continue;
            }
            if (errno != ENOENT)
                throw module_failure(errno);
            std::stable_sort(result.begin(), result.end(), [](const auto& one, const auto& other) {
                return one.minor < other.minor;
            });
            return result;
        }
        result.push_back(request);
        ++request.id;
        ++request.minor;
    }
}

Selector Module::find(std::uint64_t id) const {
    // Ids of the module begin at 2^32.
    if (id >> 32 != 0)
        return Selector::by_id(id);
    for (const struct stm_info& region : regions())
        if (id != 0 && segment_number(region) == static_cast<int>(id))
            return Selector::by_id(region.id);
    throw Failure(
        Exit::failed,
        fmt::format("there is no segment {} of shm_create(); 'stmctl ls' lists those there are",
                    id),
        ESTALE);
}

// Why a request failed for the region, with what may be meant instead.
Failure Module::failure(int error, const Selector& region) const {
    if (error == ENOENT && region.is_name())
        for (const struct stm_info& other : regions())
            if ((other.state & STM_STATE_UNLINKED) != 0 && region.text() == other.name)
                return {Exit::failed,
                        fmt::format("there is no region '{}' any more, but one that had this name "
                                    "is still used; "
                                    "'stmctl attachments --id {:#x}' tells by whom",
                                    printable(region.text()), other.id),
                        error};
    return region_failure(error, region.text(), region.argument());
}

struct stm_info Module::info(const Selector& region) const {
    struct stm_info request {};
    request.size = sizeof request;
    region.apply(request);
    if (::ioctl(connection_.device.get(), STM_IOC_INFO, &request) < 0)
        throw failure(errno, region);
    return request;
}

struct stm_info Module::info_of_handle(const Descriptor& handle, const std::string& text) const {
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
        if (::ioctl(connection_.device.get(), STM_IOC_ATTACHMENTS, &request) < 0)
            throw failure(errno, region);
        // More than the interface can tell at once are cut off.
        constexpr std::size_t kMost = 65536;
        if (request.count <= result.size() || result.size() == kMost) {
            result.resize(std::min<std::size_t>(request.count, result.size()));
            return result;
        }
        result.resize(std::min<std::size_t>(request.count + 64, kMost));
    }
}

std::vector<struct stm_place> Module::places(const Selector& region) const {
    std::vector<struct stm_place> list(STM_MAX_PLACES);
    struct stm_places request {};
    request.size = sizeof request;
    region.apply(request);
    request.buffer = reinterpret_cast<std::uintptr_t>(list.data());
    request.capacity = STM_MAX_PLACES;
    if (::ioctl(connection_.device.get(), STM_IOC_PLACES, &request) < 0) {
        if (errno == ENOTTY)
            return {};
        throw failure(errno, region);
    }
    list.resize(std::min<std::size_t>(request.count, list.size()));
    return list;
}

struct stm_statistics Module::statistics(const Selector& region) const {
    struct stm_statistics request {};
    request.size = sizeof request;
    region.apply(request);
    if (::ioctl(connection_.device.get(), STM_IOC_STATISTICS, &request) < 0)
        throw failure(errno, region);
    return request;
}

Descriptor Module::open(const Selector& region, Access access) const {
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
    int fd = ::ioctl(connection_.device.get(), STM_IOC_OPEN, &request);
    const int error = errno;
    if (fd < 0 && error == ESTALE && (info(region).state & STM_STATE_UNLINKED) != 0)
        throw Failure(Exit::failed,
                      fmt::format("region '{}' has been removed; those who use it keep it, and "
                                  "nobody else can open it",
                                  printable(region.text())),
                      error);
    if (fd < 0)
        throw failure(error, region);
    return Descriptor(fd);
}

void Module::destroy(const Selector& region, When when) const {
    struct stm_destroy request {};
    request.size = sizeof request;
    region.apply(request);
    if (when == When::deferred)
        request.flags |= STM_DESTROY_DEFERRED;
    if (::ioctl(connection_.device.get(), STM_IOC_DESTROY, &request) < 0)
        throw failure(errno, region);
}

} // namespace stm::tools
