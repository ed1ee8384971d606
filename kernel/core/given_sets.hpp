// SPDX-License-Identifier: GPL-2.0
// What a program says that its transaction has read and wants to write in one region: copied in and
// checked, so that nobody changes it while it is committed.
#pragma once

#include "kernel/core/uapi.hpp"

#include "kernel/core/handle.hpp"
#include "kernel/core/region_stripes.hpp"
#include "kernel/core/registry.hpp"
#include "kernel/interface/services.h"
#include "runtime/protocol/set_commit.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// Room for the sets of a small transaction, in all of its regions together. It has some 1.4 KiB and
// is on the stack, so that such a transaction needs no allocation.
class SmallSets : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    static constexpr u32 kReads = 16;
    static constexpr u32 kWrites = 16;

    SmallSets() noexcept {}

    // Whether there is room for so many more, and that room.
    [[nodiscard]] bool fits(u32 reads, u32 writes) const noexcept {
        return reads <= kReads - reads_used_ && writes <= kWrites - writes_used_;
    }
    [[nodiscard]] u64* take_reads(u32 count) noexcept {
        return runtime::not_null(reads_ + runtime::exchange(reads_used_, reads_used_ + count));
    }
    [[nodiscard]] protocol::StripeWrite* take_writes(u32 count) noexcept {
        return runtime::not_null(writes_ + runtime::exchange(writes_used_, writes_used_ + count));
    }

private:
    u32 reads_used_ = 0;
    u32 writes_used_ = 0;
    u64 reads_[kReads];
    protocol::StripeWrite writes_[kWrites];
};

// The same for the places of what it writes, while it is committed. Not among the sets, because all
// of it together would be too much for one stack frame.
class SmallPlaces : runtime::NonCopyable {
    using u32 = runtime::u32;

public:
    SmallPlaces() noexcept {}

    [[nodiscard]] bool fits(u32 count) const noexcept {
        return count <= SmallSets::kWrites - used_;
    }
    [[nodiscard]] protocol::WritePlace* take(u32 count) noexcept {
        return places_ + runtime::exchange(used_, used_ + count);
    }

private:
    u32 used_ = 0;
    protocol::WritePlace places_[SmallSets::kWrites];
};

class GivenSets : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    using Commit = protocol::SetCommit<RegionStripes>;

    GivenSets() noexcept {}
    ~GivenSets() {
        if (file_ != nullptr)
            stm_linux_file_drop(file_);
    }

    // Takes the sets of that handle, into `room` if they fit, which outlives this. Once.
    // Error::bad_descriptor, Error::access: the handle may not do that. Error::not_supported: the
    // region is plain. Error::invalid, Error::too_big, Error::no_memory, Error::fault.
    [[nodiscard]] runtime::Status take(Registry& registry, Handle& handle, const stm_sets& sets,
                                       SmallSets& room) noexcept;
    // The same for the handle that the sets name. Error::bad_descriptor: there is none.
    [[nodiscard]] runtime::Status take_named(Registry& registry, const stm_sets& sets,
                                             SmallSets& room) noexcept;

    // Before the commit: what it writes is there. Notes the places in `room` if they fit; it lives
    // as long as the commit. Error::no_memory and what else allocating a page can give.
    [[nodiscard, gnu::always_inline]] runtime::Status prepare(SmallPlaces& room) noexcept {
        if (room.fits(commit_.stripes_written())) [[likely]] {
            commit_.use(room.take(commit_.stripes_written()));
        } else if (const runtime::Status made = make_places(); !made.ok()) {
            return made;
        }
        return commit_.materialise();
    }
    // After the commit, since the room is about to go.
    void forget_places() noexcept { commit_.use(nullptr); }

    [[nodiscard]] Handle& handle() noexcept { return *handle_; }
    [[nodiscard]] Region& region() noexcept { return handle_->region(); }
    [[nodiscard]] Commit& commit() noexcept { return commit_; }
    [[nodiscard]] bool writes() const noexcept { return commit_.stripes_written() != 0; }

private:
    [[nodiscard]] static runtime::Status check_rights(u32 access, const stm_sets& sets) noexcept;
    // `limit`: how many stripes a transaction may have here.
    [[nodiscard]] runtime::Status take_many(Handle& handle, Region& region, const stm_sets& sets,
                                            SmallSets& room, u64 limit) noexcept;
    [[nodiscard]] runtime::Status check(Handle& handle, Region& region, const stm_sets& sets,
                                        const u64* reads, const protocol::StripeWrite* writes,
                                        u64 limit) noexcept;
    [[nodiscard]] runtime::Status make_places() noexcept;

    Handle* handle_ = nullptr;
    stm_file* file_ = nullptr; // of a handle that the sets name
    // What found no room that others have made.
    struct Large {
        runtime::UniqueArray<u64> reads;
        runtime::UniqueArray<protocol::StripeWrite> writes;
        runtime::UniqueArray<protocol::WritePlace> places;
    };
    runtime::Unique<Large> large_;
    // Both exist from take() on, and need no destructor.
    union {
        RegionStripes stripes_;
    };
    union {
        Commit commit_;
    };
};

} // namespace stm::kernel
