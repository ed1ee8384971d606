// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/given_sets.hpp"

#include "kernel/core/settings.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using protocol::StripeWrite;
using protocol::WritePlace;
using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Result;
using runtime::Span;
using runtime::Status;
using runtime::u32;
using runtime::u64;

static_assert(sizeof(StripeWrite) == sizeof(stm_stripe_write));
static_assert(__builtin_offsetof(StripeWrite, stripe) ==
              __builtin_offsetof(stm_stripe_write, stripe));
static_assert(__builtin_offsetof(StripeWrite, mask) == __builtin_offsetof(stm_stripe_write, mask));
static_assert(__builtin_offsetof(StripeWrite, bytes) ==
              __builtin_offsetof(stm_stripe_write, bytes));
static_assert(protocol::ReadRun::from_word(STM_READ_RUN(5, 3)).count == 3);

[[gnu::always_inline]] inline Status GivenSets::check_rights(u32 access,
                                                             const stm_sets& sets) noexcept {
    if (sets.write_count != 0 && (access & STM_ACCESS_WRITE) == 0)
        return Error::bad_descriptor;
    if (sets.read_count != 0 && (access & STM_ACCESS_READ) == 0)
        return Error::access;
    return kSuccess;
}

// What was copied in, of a region in use.
[[gnu::always_inline]] inline Status GivenSets::check(Handle& handle, Region& region,
                                                      const stm_sets& sets, const u64* reads,
                                                      const StripeWrite* writes,
                                                      u64 limit) noexcept {
    handle_ = &handle;
    runtime::construct_at<RegionStripes>(&stripes_, region);
    // A number that no other commit gets.
    const u64 owner = region.versions().next_owner.fetch_add(1, Order::relaxed);
    runtime::construct_at<Commit>(&commit_, stripes_, owner, sets.snapshot,
                                  Span<const u64>(reads, sets.read_count),
                                  Span<const StripeWrite>(writes, sets.write_count), nullptr);
    if (!commit_.is_well_formed())
        return Error::invalid;
    return commit_.stripes_read() + sets.write_count > limit ? Status(Error::too_big)
                                                             : Status(kSuccess);
}

// Where there is no room for all of it.
[[gnu::noinline]] Status GivenSets::take_many(Handle& handle, Region& region, const stm_sets& sets,
                                              SmallSets& room, u64 limit) noexcept {
    auto large = runtime::make<Large>();
    if (!large.ok())
        return large.error();
    large_ = runtime::move(*large);
    u64* reads = nullptr;
    if (room.fits(sets.read_count, 0)) {
        reads = room.take_reads(sets.read_count);
    } else {
        auto made = runtime::make_array<u64>(sets.read_count);
        if (!made.ok())
            return made.error();
        large_->reads = runtime::move(*made);
        reads = large_->reads.data();
    }
    StripeWrite* writes = nullptr;
    if (room.fits(0, sets.write_count)) {
        writes = room.take_writes(sets.write_count);
    } else {
        auto made = runtime::make_array<StripeWrite>(sets.write_count);
        if (!made.ok())
            return made.error();
        large_->writes = runtime::move(*made);
        writes = large_->writes.data();
    }
    int error = sets.read_count == 0
                    ? 0
                    : stm_linux_copy_in(reads, sets.reads, sets.read_count * sizeof(*reads));
    if (error == 0 && sets.write_count != 0)
        error = stm_linux_copy_in(writes, sets.writes, sets.write_count * sizeof(*writes));
    const Status copied = runtime::status_from_errno(error);
    return copied.ok() ? check(handle, region, sets, reads, writes, limit) : copied;
}

Status GivenSets::take(Registry& registry, Handle& handle, const stm_sets& sets,
                       SmallSets& room) noexcept {
    Region& region = handle.region();
    if (sets.reserved != 0)
        return Error::invalid;
    if (region.plain())
        return Error::not_supported;
    if (const Status permitted = check_rights(handle.access(), sets); !permitted.ok())
        return permitted;
    if (const Status prepared = registry.prepare_use(handle); !prepared.ok())
        return prepared;
    const u64 limit = current(region.settings().max_stripes);
    if (u64{sets.read_count} + sets.write_count > limit)
        return Error::too_big;
    if (!room.fits(sets.read_count, sets.write_count)) [[unlikely]]
        return take_many(handle, region, sets, room, limit);
    // Few come in one step, without the bytes that are not to be written.
    u64* const reads = room.take_reads(sets.read_count);
    StripeWrite* const writes = room.take_writes(sets.write_count);
    const Status copied = runtime::status_from_errno(stm_linux_copy_sets_in(
        reinterpret_cast<__u64*>(reads), reinterpret_cast<stm_stripe_write*>(writes), &sets));
    return copied.ok() ? check(handle, region, sets, reads, writes, limit) : copied;
}

[[gnu::noinline]] Status GivenSets::make_places() noexcept {
    if (!large_) {
        auto large = runtime::make<Large>();
        if (!large.ok())
            return large.error();
        large_ = runtime::move(*large);
    }
    auto made = runtime::make_array<WritePlace>(commit_.stripes_written());
    if (!made.ok())
        return made.error();
    large_->places = runtime::move(*made);
    commit_.use(large_->places.data());
    return kSuccess;
}

Status GivenSets::take_named(Registry& registry, const stm_sets& sets, SmallSets& room) noexcept {
    stm_handle* const found = stm_linux_descriptor_handle(sets.handle, &file_);
    if (found == nullptr)
        return Error::bad_descriptor;
    return take(registry, *reinterpret_cast<Handle*>(found), sets, room);
}

} // namespace stm::kernel
