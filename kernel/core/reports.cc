// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/reports.hpp"

#include "kernel/core/context.hpp"
#include "kernel/core/journals.hpp"
#include "runtime/support/allocate.hpp"
#include "runtime/support/checked.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::i32;
using runtime::Ref;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::Untrusted;

namespace {

constexpr u64 kMaxAttachments = 65536;

void describe(Handle& handle, stm_transaction& transaction) noexcept {
    Context* const context = handle.settled_context();
    if (context == nullptr)
        return;
    const Context::Guard held(context->lock());
    const Context::Transaction& own = context->transaction();
    u32 read = 0;
    own.for_each_read([&](u64, u64) { ++read; });
    transaction.depth = context->depth();
    transaction.doom = static_cast<u32>(context->failure());
    transaction.last_reason = static_cast<u32>(context->last_reason());
    transaction.serial = context->runs_alone() ? 1 : 0;
    transaction.stripes_read = read;
    transaction.stripes_written = own.stripes_written();
    transaction.conflicts = own.conflicts_in_row();
    transaction.longest_streak = own.longest_streak();
    if (context->depth() != 0) {
        transaction.snapshot = own.snapshot();
        transaction.fixed = own.is_fixed() ? 1 : 0;
    }
    // One that the watchdog has doomed does not know.
    u64 stripe =
        protocol::is_conflict(context->failure()) ? own.first_changed() : protocol::kNoStripe;
    if (stripe == protocol::kNoStripe)
        stripe = own.in_the_way();
    if (stripe != protocol::kNoStripe) {
        transaction.has_place = 1;
        transaction.place = stripe * protocol::kStripeBytes;
    }
}

} // namespace

Result<i32> tell_version(const Request& request, stm_version& argument) noexcept {
    if (argument.flags != 0 || argument.reserved != 0)
        return Error::invalid;
    argument = stm_version{};
    argument.size = sizeof(argument);
    argument.abi_major = STM_ABI_MAJOR;
    argument.abi_minor = STM_ABI_MINOR;
    argument.device_major = request.registry.settings().device_major;
    argument.page_size = kPageBytes;
    request.registry.describe_limits(argument);
    return done(answer(request, argument));
}

Result<i32> tell_info(const Request& request, stm_info& argument) noexcept {
    if ((argument.flags & ~u32{STM_BY_FLAGS}) != 0 || argument.reserved != 0 ||
        argument.reserved_too != 0)
        return Error::invalid;
    const Result<Ref<Region>> region =
        argument.flags == STM_BY_NEXT ? request.registry.find_next(argument.minor)
        : argument.flags == STM_BY_NEXT_ID
            ? request.registry.find_next_id(argument.id)
            : named_region(request, argument.flags, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    const u32 flags = argument.flags;
    argument = stm_info{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    request.registry.describe(**region, argument);
    return done(answer(request, argument));
}

namespace {

// A list of a region's, of which the caller has room for at most `most` entries.
// list(region, entries) fills what there is room for, and returns how many there are.
template <typename Entry, typename Structure, typename List>
Result<i32> tell_list(const Request& request, Structure& argument, u32 most, List list) noexcept {
    if ((argument.flags & ~u32{STM_BY_FLAGS}) != 0)
        return Error::invalid;
    const Result<u32> capacity = Untrusted<u32>(argument.capacity).checked(0, most);
    if (!capacity.ok())
        return capacity.error();
    const Result<Ref<Region>> region =
        named_region(request, argument.flags, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    auto entries = runtime::make_array<Entry>(*capacity);
    if (!entries.ok())
        return entries.error();
    const u32 count = list(**region, entries->span());
    const u64 stored = runtime::min<u64>(count, *capacity) * sizeof(Entry);
    const Status copied = runtime::status_from_errno(
        stored == 0 ? 0 : stm_linux_copy_out(argument.buffer, entries->data(), stored));
    if (!copied.ok())
        return copied.error();
    argument.count = count;
    argument.id = request.registry.id_of(**region);
    return done(answer(request, argument));
}

} // namespace

Result<i32> tell_attachments(const Request& request, stm_attachments& argument) noexcept {
    return tell_list<stm_attachment>(request, argument, kMaxAttachments,
                                     [&](Region& region, auto entries) noexcept {
                                         return request.registry.list_attachments(region, entries);
                                     });
}

Result<i32> tell_places(const Request& request, stm_places& argument) noexcept {
    return tell_list<stm_place>(request, argument, STM_MAX_PLACES,
                                [&](Region& region, auto entries) noexcept {
                                    return request.registry.list_places(region, entries);
                                });
}

Result<i32> tell_transaction(const Request& request, stm_transaction& argument) noexcept {
    if (argument.flags != 0)
        return Error::invalid;
    argument = stm_transaction{};
    argument.size = sizeof(argument);
    describe(request.handle, argument);
    return done(answer(request, argument));
}

Result<i32> tell_statistics(const Request& request, stm_statistics& argument) noexcept {
    const u32 flags = argument.flags;
    const u32 by = flags & ~u32{STM_STATISTICS_OF_HANDLE};
    const bool of_handle = by != flags;
    if ((by & ~u32{STM_BY_FLAGS}) != 0 || (of_handle && by != STM_BY_HANDLE))
        return Error::invalid;
    const Result<Ref<Region>> region = named_region(request, by, argument, Purpose::tell);
    if (!region.ok())
        return region.error();
    argument = stm_statistics{};
    argument.size = sizeof(argument);
    argument.flags = flags;
    argument.id = request.registry.id_of(**region);
    (void)
        request.handle.settled_context(); // a transaction that the caller began by an offer counts
    request.registry.describe_transactions(**region, argument);
    if (of_handle) {
        TransactionCounters own;
        request.handle.add_counters(own);
        if (Journals* const journals = request.handle.region().journals())
            journals->counts_of(request.handle).add_to(own);
        fill(argument, own);
    }
    return done(answer(request, argument));
}

} // namespace stm::kernel
