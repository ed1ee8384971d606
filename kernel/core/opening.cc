// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/opening.hpp"

#include "runtime/support/scope_exit.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::i32;
using runtime::kSuccess;
using runtime::Ref;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::Unique;

namespace {

bool has_reserved_name(const char (&name)[STM_NAME_SIZE]) noexcept {
    return __builtin_memcmp(name, "minor:", 6) == 0;
}

Result<OpenRequest> checked_open(const stm_open& argument) noexcept {
    const bool by_id = (argument.flags & STM_OPEN_BY_ID) != 0;
    const bool create = (argument.flags & STM_OPEN_CREATE) != 0;
    const u32 access = ((argument.flags & STM_OPEN_READ) != 0 ? STM_ACCESS_READ : 0u) |
                       ((argument.flags & STM_OPEN_WRITE) != 0 ? STM_ACCESS_WRITE : 0u);
    if ((argument.flags & ~u32{STM_OPEN_FLAGS}) != 0 || argument.reserved != 0 || access == 0 ||
        (by_id && create) || (!create && (argument.flags & STM_OPEN_EXCL) != 0))
        return Error::invalid;
    const u32 kind = argument.region_flags;
    const bool plain = (kind & STM_REGION_PLAIN) != 0;
    const bool segment = (kind & STM_REGION_SEGMENT) != 0;
    if ((kind & ~u32{STM_REGION_FLAGS}) != 0 ||
        (!plain && (kind & (STM_REGION_EXEC | STM_REGION_SEGMENT)) != 0) ||
        (segment && (kind & (STM_REGION_EXEC | STM_REGION_EPHEMERAL)) != 0) ||
        (plain && (kind & STM_REGION_MUTEX) != 0) ||
        ((kind & STM_REGION_DIRECT) != 0 && (kind & (STM_REGION_PLAIN | STM_REGION_MUTEX)) != 0) ||
        argument.mode > 0777)
        return Error::invalid;
    // Regions that are born by opening a device node have these names.
    if (create && has_reserved_name(argument.name))
        return Error::invalid;
    if (by_id) // the name is not looked at; any will do
        return OpenRequest{RegionName::from_bytes("-").value(),
                           argument.region_size,
                           argument.flags,
                           kind,
                           argument.mode,
                           access};
    const Result<RegionName> name = checked_name(argument.name);
    if (!name.ok())
        return name.error();
    return OpenRequest{*name, argument.region_size, argument.flags, kind, argument.mode, access};
}

// Gives the region its size, and corrects an answer that foretold another one: somebody else was
// first.
template <typename Argument>
Status settle_and_tell(const Request& request, Region& region, u64 bytes,
                       Argument& argument) noexcept {
    const Status settled = request.registry.settle_size(region, bytes);
    if (!settled.ok())
        return settled;
    if (region.size() == argument.region_size)
        return kSuccess;
    argument.region_size = region.size();
    return answer(request, argument);
}

} // namespace

// In this order, so that a failure leaves nothing behind: descriptor, region, answer, file, and the
// size of a region that has none; then nothing can fail.
Result<i32> open_region(const Request& request, stm_open& argument) noexcept {
    const Result<OpenRequest> wanted = checked_open(argument);
    if (!wanted.ok())
        return wanted.error();
    const int descriptor = stm_linux_descriptor_reserve((argument.flags & STM_OPEN_CLOEXEC) != 0);
    if (descriptor < 0)
        return runtime::from_errno(descriptor);
    runtime::ScopeExit release_descriptor([&] { stm_linux_descriptor_release(descriptor); });

    Unique<Handle> handle;
    bool created = false;
    if ((argument.flags & STM_OPEN_BY_ID) != 0) {
        auto opened = request.registry.open_id(argument.id, wanted->bytes, wanted->access);
        if (!opened.ok())
            return opened.error();
        handle = runtime::move(*opened);
    } else {
        auto opened = request.registry.open_name(*wanted);
        if (!opened.ok())
            return opened.error();
        handle = runtime::move(opened->handle);
        created = opened->created;
    }
    const Ref<Region> region = Ref<Region>::share(handle->region());
    // Another process may have opened it already; then it stays.
    runtime::ScopeExit undo_creation([&] {
        if (created)
            (void)request.registry.destroy(*region, Destroy::unless_used, Users::any);
    });
    runtime::ScopeExit close_handle([&] { request.registry.close(runtime::move(handle)); });

    const bool gets_size = wanted->bytes != 0 && region->size() == 0;
    const Result<u64> size = wanted->bytes == 0
                                 ? Result<u64>(region->size())
                                 : request.registry.expected_size(*region, wanted->bytes);
    if (!size.ok())
        return size.error() == Error::busy ? Error::invalid : size.error();

    stm_owner owner;
    stm_linux_identity_owner(region->identity(), &owner);
    argument.region_size = *size;
    argument.id = request.registry.id_of(*region);
    argument.minor = static_cast<u32>(argument.id);
    argument.region_flags = region->flags();
    argument.mode = owner.mode;
    const Status answered = answer(request, argument);
    if (!answered.ok())
        return answered.error();

    stm_file* file = nullptr;
    const Status filed = runtime::status_from_errno(
        stm_linux_file_create(reinterpret_cast<stm_handle*>(handle.get()), region->identity(),
                              handle->view().get(), region->name().c_str(), wanted->access, &file));
    if (!filed.ok())
        return filed.error();
    (void)handle.release(); // the file owns it now
    close_handle.dismiss();
    if (gets_size) {
        const Status settled = settle_and_tell(request, *region, wanted->bytes, argument);
        if (!settled.ok()) {
            stm_linux_file_drop(file);
            return settled.error() == Error::busy ? Error::invalid : settled.error();
        }
    }
    undo_creation.dismiss();
    release_descriptor.dismiss();
    stm_linux_file_install(descriptor, file);
    return descriptor;
}

Result<i32> name_place(const Request& request, stm_place& argument) noexcept {
    if (argument.flags != 0 || argument.length == 0)
        return Error::invalid;
    const bool empty = argument.name[0] == '\0';
    for (u32 i = 0; empty && i < sizeof(argument.name); ++i) {
        if (argument.name[i] != '\0')
            return Error::invalid;
    }
    if (!empty) {
        const auto name = PlaceName::from_field(runtime::Span<const char>(argument.name));
        if (!name.ok())
            return name.error();
    }
    // A handle of minor 0 was opened without a question for the rights to `default`.
    if ((request.handle.access() & STM_ACCESS_WRITE) == 0)
        return Error::bad_descriptor;
    const Status prepared = request.registry.prepare_use(request.handle);
    if (!prepared.ok())
        return prepared.error();
    Region& region = request.handle.region();
    if (argument.offset > region.size() || argument.length > region.size() - argument.offset)
        return Error::invalid;
    argument.size = sizeof(argument); // as a list shows it
    return done(request.registry.name_place(region, argument));
}

Result<i32> set_size(const Request& request, stm_set_size& argument) noexcept {
    if (argument.flags != 0)
        return Error::invalid;
    if ((request.handle.access() & STM_ACCESS_WRITE) == 0)
        return Error::bad_descriptor;
    Region& region = request.handle.region();
    // A handle of minor 0 was opened without a question for the rights to `default`.
    const Status permitted =
        request.handle.attached() ? Status(kSuccess) : region.permission(STM_ACCESS_WRITE);
    if (!permitted.ok())
        return permitted.error();
    const u64 bytes = argument.region_size;
    const Result<u64> expected = request.registry.expected_size(region, bytes);
    if (!expected.ok())
        return expected.error();
    // A size is given for good: what can fail comes before.
    argument.region_size = *expected;
    const Status answered = answer(request, argument);
    if (!answered.ok())
        return answered.error();
    return done(settle_and_tell(request, region, bytes, argument));
}

Result<i32> destroy_region(const Request& request, stm_destroy& argument) noexcept {
    if ((argument.flags & ~u32{STM_DESTROY_FLAGS}) != 0)
        return Error::invalid;
    const u32 by = argument.flags & ~u32{STM_DESTROY_DEFERRED};
    const Result<Ref<Region>> region = named_region(request, by, argument, Purpose::change);
    if (!region.ok())
        return region.error();
    if (!(*region)->owned_by_caller())
        return Error::perm;
    const Status destroyed = request.registry.destroy(
        **region,
        (argument.flags & STM_DESTROY_DEFERRED) != 0 ? Destroy::deferred : Destroy::unless_used,
        by == STM_BY_HANDLE ? Users::others_than_one : Users::any);
    return done(destroyed);
}

Result<i32> change_segment(const Request& request, stm_change_segment& argument) noexcept {
    const u32 change = argument.flags;
    if ((change != STM_SEGMENT_OWNER && change != STM_SEGMENT_LOCK &&
         change != STM_SEGMENT_UNLOCK) ||
        argument.reserved != 0 || argument.mode > 0777)
        return Error::invalid;
    const Result<Ref<Region>> region = request.registry.find_id_in_use(argument.id);
    if (!region.ok())
        return region.error();
    const Segment* const segment = (*region)->segment();
    if (segment == nullptr)
        return Error::invalid;
    if (!(change == STM_SEGMENT_OWNER ? segment->owned_by_caller()
                                      : segment->may_be_locked_by_caller()))
        return Error::perm;
    if (change == STM_SEGMENT_OWNER)
        return done(request.registry.change_owner(
            **region, stm_owner{argument.uid, argument.gid, argument.mode}));
    request.registry.mark_locked(**region, change == STM_SEGMENT_LOCK ? Locked::yes : Locked::no);
    return 0;
}

Result<i32> detach_segment(const Request& /*request*/, stm_detach_segment& argument) noexcept {
    if (argument.flags != 0)
        return Error::invalid;
    return done(runtime::status_from_errno(stm_linux_segment_detach(argument.address)));
}

} // namespace stm::kernel
