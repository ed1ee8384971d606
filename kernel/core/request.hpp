// SPDX-License-Identifier: GPL-2.0
// An ioctl request: the handle that makes it, the place of the answer, and the region that is
// meant.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/core/registry.hpp"
#include "kernel/core/uapi.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/reference.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

struct Request {
    Registry& registry;
    Handle& handle;
    runtime::u64 argument; // the address of its structure in user memory, or a number
    runtime::u32 given;    // the structure's size in bytes, as the caller knows it
};

// Writes back as much of the structure as the caller knows.
template <typename Structure>
[[nodiscard]] runtime::Status answer(const Request& request, const Structure& structure) noexcept {
    return runtime::status_from_errno(
        stm_linux_copy_out(request.argument, &structure,
                           runtime::min<runtime::u64>(request.given, sizeof(Structure))));
}

// The result of a request that gives no descriptor.
[[nodiscard]] inline runtime::Result<runtime::i32> done(runtime::Status status) noexcept {
    if (!status.ok())
        return status.error();
    return 0;
}

// A name in a structure. Error::invalid, Error::name_too_long.
[[nodiscard]] inline runtime::Result<RegionName>
checked_name(const char (&name)[STM_NAME_SIZE]) noexcept {
    return RegionName::from_field(runtime::Span<const char>(name));
}

// The region that a structure names by exactly one of handle, id and name: STM_BY_*. A request that
// only reports also finds a region that has lost its name.
enum class Purpose { change, tell };
template <typename Structure>
[[nodiscard]] runtime::Result<runtime::Ref<Region>>
named_region(const Request& request, runtime::u32 by, const Structure& structure,
             Purpose purpose) noexcept {
    if (by == STM_BY_HANDLE)
        return runtime::Ref<Region>::share(request.handle.region());
    if (by == STM_BY_ID)
        return purpose == Purpose::tell ? request.registry.find_id_in_use(structure.id)
                                        : request.registry.find_id(structure.id);
    if (by != STM_BY_NAME)
        return runtime::Error::invalid;
    const runtime::Result<RegionName> name = checked_name(structure.name);
    if (!name.ok())
        return name.error();
    return request.registry.find_name(*name);
}

} // namespace stm::kernel
