// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/control.hpp"

#include "kernel/core/transactions.hpp"

#include "kernel/core/uapi.hpp"

#include "kernel/interface/entry.h"
#include "runtime/support/allocate.hpp"
#include "runtime/support/checked.hpp"
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
using runtime::Untrusted;

namespace {

constexpr u64 kMaxAttachments = 65536;

// Who asks, and where the answer goes.
struct Call {
    Registry& registry;
    Handle& handle;
    u64 address; // of the structure in user memory
    u32 given;   // its size for the caller
};

// Writes back as much of the structure as the caller knows.
template <typename Argument>
Status answer(const Call& call, const Argument& argument) noexcept {
    return runtime::status_from_errno(stm_linux_copy_out(
        call.address, &argument, runtime::min<u64>(call.given, sizeof(Argument))));
}

// The result of a request that gives no descriptor.
Result<i32> done(Status status) noexcept {
    if (!status.ok())
        return status.error();
    return 0;
}

Result<RegionName> checked_name(const char (&name)[STM_NAME_SIZE]) noexcept {
    return RegionName::from_field(runtime::Span<const char>(name));
}

// The region that a structure names by exactly one of handle, id and name. What only tells, tells
// also of one that has lost its name.
enum class Purpose { change, tell };
template <typename Argument>
Result<Ref<Region>> named_region(const Call& call, u32 by, const Argument& argument,
                                 Purpose purpose) noexcept {
    if (by == STM_BY_HANDLE)
        return Ref<Region>::share(call.handle.region());
    if (by == STM_BY_ID)
        return purpose == Purpose::tell ? call.registry.find_id_in_use(argument.id)
                                        : call.registry.find_id(argument.id);
    if (by != STM_BY_NAME)
        return Error::invalid;
    const Result<RegionName> name = checked_name(argument.name);
    if (!name.ok())
        return name.error();
    return call.registry.find_name(*name);
}

Result<i32> tell_version(const Call& call, stm_version& argument) noexcept {
    if (argument.flags != 0 || argument.reserved != 0)
        return Error::invalid;
    argument = stm_version{};
    argument.size = sizeof(argument);
    argument.abi_major = STM_ABI_MAJOR;
    argument.abi_minor = STM_ABI_MINOR;
    argument.device_major = call.registry.settings().device_major;
    argument.page_size = kPageBytes;
    call.registry.describe_limits(argument);
    return done(answer(call, argument));
}

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
    if ((kind & ~u32{STM_REGION_FLAGS}) != 0 || (!plain && (kind & STM_REGION_EXEC) != 0) ||
        (plain && (kind & STM_REGION_MUTEX) != 0) || argument.mode > 0777)
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
Status settle_and_tell(const Call& call, Region& region, u64 bytes, Argument& argument) noexcept {
    const Status settled = call.registry.settle_size(region, bytes);
    if (!settled.ok())
        return settled;
    if (region.size() == argument.region_size)
        return kSuccess;
    argument.region_size = region.size();
    return answer(call, argument);
}

// In this order, so that a failure leaves nothing behind: descriptor, region, answer, file, and the
// size of a region that has none; then nothing can fail.
Result<i32> open_region(const Call& call, stm_open& argument) noexcept {
    const Result<OpenRequest> request = checked_open(argument);
    if (!request.ok())
        return request.error();
    const int descriptor = stm_linux_descriptor_reserve((argument.flags & STM_OPEN_CLOEXEC) != 0);
    if (descriptor < 0)
        return runtime::from_errno(descriptor);
    runtime::ScopeExit release_descriptor([&] { stm_linux_descriptor_release(descriptor); });

    Unique<Handle> handle;
    bool created = false;
    if ((argument.flags & STM_OPEN_BY_ID) != 0) {
        auto opened = call.registry.open_id(argument.id, request->bytes, request->access);
        if (!opened.ok())
            return opened.error();
        handle = runtime::move(*opened);
    } else {
        auto opened = call.registry.open_name(*request);
        if (!opened.ok())
            return opened.error();
        handle = runtime::move(opened->handle);
        created = opened->created;
    }
    const Ref<Region> region = Ref<Region>::share(handle->region());
    // Somebody else may have opened it already; then it is theirs now.
    runtime::ScopeExit undo_creation([&] {
        if (created)
            (void)call.registry.destroy(*region, Destroy::unless_used, Users::any);
    });
    runtime::ScopeExit close_handle([&] { call.registry.close(runtime::move(handle)); });

    const bool gets_size = request->bytes != 0 && region->size() == 0;
    const Result<u64> size = request->bytes == 0
                                 ? Result<u64>(region->size())
                                 : call.registry.expected_size(*region, request->bytes);
    if (!size.ok())
        return size.error() == Error::busy ? Error::invalid : size.error();

    stm_owner owner;
    stm_linux_identity_owner(region->identity(), &owner);
    argument.region_size = *size;
    argument.id = call.registry.id_of(*region);
    argument.minor = static_cast<u32>(argument.id);
    argument.region_flags = region->flags();
    argument.mode = owner.mode;
    const Status answered = answer(call, argument);
    if (!answered.ok())
        return answered.error();

    stm_file* file = nullptr;
    const Status filed = runtime::status_from_errno(
        stm_linux_file_create(reinterpret_cast<stm_handle*>(handle.get()), region->identity(),
                              handle->view(), region->name().c_str(), request->access, &file));
    if (!filed.ok())
        return filed.error();
    (void)handle.release(); // the file owns it now
    close_handle.dismiss();
    if (gets_size) {
        const Status settled = settle_and_tell(call, *region, request->bytes, argument);
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

Result<i32> set_size(const Call& call, stm_set_size& argument) noexcept {
    if (argument.flags != 0)
        return Error::invalid;
    if ((call.handle.access() & STM_ACCESS_WRITE) == 0)
        return Error::bad_descriptor;
    Region& region = call.handle.region();
    // A handle of minor 0 was opened without a question for the rights to `default`.
    const Status permitted = runtime::status_from_errno(
        call.handle.attached()
            ? 0
            : stm_linux_identity_permission(region.identity(), STM_ACCESS_WRITE));
    if (!permitted.ok())
        return permitted.error();
    const u64 bytes = argument.region_size;
    const Result<u64> expected = call.registry.expected_size(region, bytes);
    if (!expected.ok())
        return expected.error();
    // A size is given for good: what can fail comes before.
    argument.region_size = *expected;
    const Status answered = answer(call, argument);
    if (!answered.ok())
        return answered.error();
    return done(settle_and_tell(call, region, bytes, argument));
}

Result<i32> tell_info(const Call& call, stm_info& argument) noexcept {
    if ((argument.flags & ~u32{STM_BY_FLAGS}) != 0 || argument.reserved != 0)
        return Error::invalid;
    const Result<Ref<Region>> region =
        argument.flags == STM_BY_NEXT ? call.registry.find_next(argument.minor)
        : argument.flags == STM_BY_NEXT_ID
            ? call.registry.find_next_id(argument.id)
            : named_region(call, argument.flags, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    const u32 flags = argument.flags;
    argument = stm_info{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    call.registry.describe(**region, argument);
    return done(answer(call, argument));
}

Result<i32> tell_attachments(const Call& call, stm_attachments& argument) noexcept {
    if ((argument.flags & ~u32{STM_BY_FLAGS}) != 0)
        return Error::invalid;
    const Result<u32> capacity = Untrusted<u32>(argument.capacity).checked(0, kMaxAttachments);
    if (!capacity.ok())
        return capacity.error();
    const Result<Ref<Region>> region = named_region(call, argument.flags, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    auto entries = runtime::make_array<stm_attachment>(*capacity);
    if (!entries.ok())
        return entries.error();

    const u32 count = call.registry.list_attachments(**region, entries->span());
    const u64 stored = runtime::min<u64>(count, *capacity) * sizeof(stm_attachment);
    const Status copied = runtime::status_from_errno(
        stored == 0 ? 0 : stm_linux_copy_out(argument.buffer, entries->data(), stored));
    if (!copied.ok())
        return copied.error();
    argument.count = count;
    argument.id = call.registry.id_of(**region);
    return done(answer(call, argument));
}

Result<i32> destroy_region(const Call& call, stm_destroy& argument) noexcept {
    if ((argument.flags & ~u32{STM_DESTROY_FLAGS}) != 0)
        return Error::invalid;
    const u32 by = argument.flags & ~u32{STM_DESTROY_DEFERRED};
    const Result<Ref<Region>> region = named_region(call, by, argument, Purpose::change);
    if (!region.ok())
        return region.error();
    if (stm_linux_identity_owned_by_caller((*region)->identity()) == 0)
        return Error::perm;
    const Status destroyed = call.registry.destroy(
        **region,
        (argument.flags & STM_DESTROY_DEFERRED) != 0 ? Destroy::deferred : Destroy::unless_used,
        by == STM_BY_HANDLE ? Users::others_than_one : Users::any);
    return done(destroyed);
}

Result<i32> wait_for_change(const Call& call, stm_wait& argument) noexcept {
    if ((argument.flags & ~u32{STM_WAIT_FLAGS}) != 0)
        return Error::invalid;
    return done(wait(call.handle, argument.timeout_ns, argument.flags));
}

Result<i32> tell_transaction(const Call& call, stm_transaction& argument) noexcept {
    if (argument.flags != 0)
        return Error::invalid;
    argument = stm_transaction{};
    argument.size = sizeof(argument);
    describe_transaction(call.handle, argument);
    return done(answer(call, argument));
}

Result<i32> attach_cell(const Call& call, stm_cell& argument) noexcept {
    if (argument.flags != 0 || argument.reserved != 0 || argument.signal > kMaxSignal ||
        argument.address % sizeof(stm_start_cell) != 0)
        return Error::invalid;
    return done(call.handle.attach_cell(argument.address, static_cast<int>(argument.signal)));
}

Result<i32> tell_statistics(const Call& call, stm_statistics& argument) noexcept {
    const u32 flags = argument.flags;
    const u32 by = flags & ~u32{STM_STATISTICS_OF_HANDLE};
    const bool of_handle = by != flags;
    if ((by & ~u32{STM_BY_FLAGS}) != 0 || (of_handle && by != STM_BY_HANDLE))
        return Error::invalid;
    const Result<Ref<Region>> region = named_region(call, by, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    argument = stm_statistics{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    argument.id = call.registry.id_of(**region);
    (void)call.handle.find_context(); // a transaction that the caller began by an offer counts
    call.registry.describe_transactions(**region, argument);
    if (of_handle) {
        TransactionCounters own;
        call.handle.add_counters(own);
        fill(argument, own);
    }
    return done(answer(call, argument));
}

Result<i32> start_transaction(Registry& registry, Handle& handle, u64 argument) noexcept {
    const Status prepared = registry.prepare_use(handle);
    if (!prepared.ok())
        return prepared.error();
    return start(handle, argument);
}

// The size in bytes that a structure had in its first version.
template <typename Argument>
constexpr u32 kFirstSize = sizeof(Argument);
template <>
constexpr u32 kFirstSize<stm_statistics> = __builtin_offsetof(stm_statistics, load_faults);

// Reads a structure whose first member is its size, as the caller knows it, and runs the request.
template <typename Argument>
Result<i32> run(Registry& registry, Handle& handle, u64 address,
                Result<i32> (*request)(const Call&, Argument&) noexcept) noexcept {
    u32 given = 0;
    Status copied = runtime::status_from_errno(stm_linux_copy_in(&given, address, sizeof(given)));
    if (!copied.ok())
        return copied.error();
    // Larger than a page is refused: it is no structure of ours, of any version.
    if (given < kFirstSize<Argument>)
        return Error::invalid;
    if (given > kPageBytes)
        return Error::too_big;
    Argument argument;
    copied = runtime::status_from_errno(
        stm_linux_copy_struct_in(&argument, sizeof(argument), address, given));
    if (!copied.ok())
        return copied.error();
    return request(Call{registry, handle, address, given}, argument);
}

} // namespace

Result<i32> control(Registry& registry, Handle& handle, u32 request, u64 argument) noexcept {
    switch (request) {
    case STM_IOC_VERSION:
        return run(registry, handle, argument, tell_version);
    case STM_IOC_OPEN:
        return run(registry, handle, argument, open_region);
    case STM_IOC_SET_SIZE:
        return run(registry, handle, argument, set_size);
    case STM_IOC_INFO:
        return run(registry, handle, argument, tell_info);
    case STM_IOC_ATTACHMENTS:
        return run(registry, handle, argument, tell_attachments);
    case STM_IOC_DESTROY:
        return run(registry, handle, argument, destroy_region);
    case STM_IOC_START:
        return start_transaction(registry, handle, argument);
    case STM_IOC_COMMIT:
        return done(argument != 0 ? Status(Error::invalid) : commit(handle));
    case STM_IOC_CANCEL:
        return done(cancel(handle, argument));
    case STM_IOC_VALIDATE:
        return done(validate(handle, argument));
    case STM_IOC_WAIT:
        return run(registry, handle, argument, wait_for_change);
    case STM_IOC_TRANSACTION:
        return run(registry, handle, argument, tell_transaction);
    case STM_IOC_CELL:
        return run(registry, handle, argument, attach_cell);
    case STM_IOC_STATISTICS:
        return run(registry, handle, argument, tell_statistics);
    default:
        return Error::no_tty;
    }
}

} // namespace stm::kernel
