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

// It has some 2 KiB. Small sets need no allocation.
class GivenSets : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    using Commit = protocol::SetCommit<RegionStripes>;
    static constexpr u32 kInlineReads = 16;
    static constexpr u32 kInlineWrites = 16;

    GivenSets() noexcept {}
    ~GivenSets() {
        if (file_ != nullptr)
            stm_linux_file_drop(file_);
    }

    // Takes the sets of that handle. Error::bad_descriptor, Error::access: the handle may not do
    // that. Error::not_supported: the region is plain. Error::invalid, Error::too_big,
    // Error::no_memory, Error::fault.
    [[nodiscard]] runtime::Status take(Registry& registry, Handle& handle,
                                       const stm_sets& sets) noexcept;
    // The same for the handle that the sets name. Error::bad_descriptor: there is none.
    [[nodiscard]] runtime::Status take_named(Registry& registry, const stm_sets& sets) noexcept;

    // Before the commit: what it writes is there. Notes the places in `small`, which has
    // kInlineWrites of them and lives as long as the commit, or none. Error::no_memory and what
    // else allocating a page can give.
    [[nodiscard]] runtime::Status prepare(protocol::WritePlace* small) noexcept;

    [[nodiscard]] Handle& handle() noexcept { return *handle_; }
    [[nodiscard]] Region& region() noexcept { return handle_->region(); }
    [[nodiscard]] Commit& commit() noexcept { return commit_; }
    [[nodiscard]] bool writes() const noexcept { return commit_.stripes_written() != 0; }

private:
    [[nodiscard]] static runtime::Status check_rights(const Handle& handle,
                                                      const stm_sets& sets) noexcept;
    [[nodiscard]] runtime::Status make_room(const stm_sets& sets, u64*& reads,
                                            protocol::StripeWrite*& writes) noexcept;
    [[nodiscard]] runtime::Status make_places() noexcept;

    Handle* handle_ = nullptr;
    stm_file* file_ = nullptr; // of a handle that the sets name
    // Room for what is too large for the rest of this object.
    struct Large {
        runtime::UniqueArray<u64> reads;
        runtime::UniqueArray<protocol::StripeWrite> writes;
        runtime::UniqueArray<protocol::WritePlace> places;
    };
    runtime::Unique<Large> large_;
    u64 reads_[kInlineReads];
    protocol::StripeWrite writes_[kInlineWrites];
    // Both exist from take() on, and need no destructor.
    union {
        RegionStripes stripes_;
    };
    union {
        Commit commit_;
    };
};

} // namespace stm::kernel
