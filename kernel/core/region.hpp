// SPDX-License-Identifier: GPL-2.0
// A region: a named piece of shared memory.
//
// Lifetime: referenced by its slot in the registry while it has a name, and by every handle. A
// mapping holds its file, the file its handle. When the last reference goes, the region leaves the
// registry's books and its pages are freed.
//
// Invariants: what is marked "registry lock" is only touched under it; name, id, flags and
// identity never change. The size is settled once; pages may be looked at only after size() was
// seen not to be 0.
#pragma once

#include "kernel/core/uapi.hpp"

#include "kernel/core/attachment.hpp"
#include "kernel/core/identity.hpp"
#include "kernel/core/lock.hpp"
#include "kernel/core/page_store.hpp"
#include "kernel/core/places.hpp"
#include "kernel/core/process.hpp"
#include "kernel/core/segment.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/core/user_account.hpp"
#include "kernel/core/versions.hpp"
#include "kernel/interface/settings.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/fixed_string.hpp"
#include "runtime/support/intrusive_hash.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/intrusive_tree.hpp"
#include "runtime/support/reference.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Journals;
class Registry;
class Region;

using RegionName = runtime::FixedString<STM_NAME_SIZE - 1>;

// What a region knows of the registry in whose books it is.
struct Books {
    const stm_settings& settings;
    Registry& registry;
    // The region's last reference is gone, and it is about to be freed.
    void (*forget)(Registry& registry, Region& region) noexcept;
};

class Region : public runtime::RefCounted<Region>,
               public runtime::HashLink<Region>,
               public runtime::ListLink<Region>,
               public runtime::TreeLink<Region> {
public:
    // Makes a region that cannot be found yet, without a size. Allocates everything that its entry
    // in the books needs. Only a segment knows now how many bytes its creator asks for.
    // Error::no_memory.
    [[nodiscard]] static runtime::Result<runtime::Ref<Region>>
    create(const Books& books, const RegionName& name, runtime::u32 flags, const stm_birth& birth,
           runtime::u64 bytes) noexcept;

    ~Region();
    Region(const Books& books, const RegionName& name, runtime::u32 flags) noexcept
        : books_(books), name_(name), flags_(flags), versions_(books.settings),
          contents_lock_(STM_RANK_CONTENTS), created_ns_(stm_linux_realtime_ns()) {}

    [[nodiscard]] const RegionName& name() const noexcept { return name_; }
    // Who has a handle of it may ask without a lock: it is settled before there is one.
    [[nodiscard]] runtime::u64 id() const noexcept {
        return static_cast<runtime::u64>(generation_) << 32 | minor_;
    }
    [[nodiscard]] runtime::u32 flags() const noexcept { return flags_; }
    [[nodiscard]] const stm_settings& settings() const noexcept { return books_.settings; }
    [[nodiscard]] bool plain() const noexcept { return (flags_ & STM_REGION_PLAIN) != 0; }
    // Born by opening a device node: that node's own mode decides who may open it.
    [[nodiscard]] bool born_by_node() const noexcept { return born_by_node_; }
    [[nodiscard]] stm_identity* identity() const noexcept { return identity_.get(); }
    [[nodiscard]] bool direct() const noexcept { return (flags_ & STM_REGION_DIRECT) != 0; }
    // What it has as a direct region; null if it is none.
    [[nodiscard]] Journals* journals() const noexcept { return journals_; }
    // What it has as a segment; null if it is none.
    [[nodiscard]] Segment* segment() const noexcept { return segment_.get(); }
    // Error::access: the caller must not open it with this access, STM_ACCESS_*. No lock may be
    // held, as for the next one.
    [[nodiscard]] runtime::Status permission(runtime::u32 access) const noexcept;
    // Whether the caller may destroy it.
    [[nodiscard]] bool owned_by_caller() const noexcept;

    // Bytes, a multiple of the page size; 0 until the size is settled. From then on pages() is as
    // large.
    [[nodiscard]] runtime::u64 size() const noexcept { return size_.load(runtime::Order::acquire); }
    [[nodiscard]] PageStore& pages() noexcept { return pages_; }
    [[nodiscard]] const PageStore& pages() const noexcept { return pages_; }

    [[nodiscard]] Versions& versions() noexcept { return versions_; }

    // Of a plain region: with it each read and write call sees, or changes, its bytes at once.
    [[nodiscard]] SharedMutex& contents_lock() noexcept { return contents_lock_; }

    struct Counters {
        runtime::Atomic<runtime::u64> reads{0};
        runtime::Atomic<runtime::u64> writes{0};
        runtime::Atomic<runtime::u64> faults{0};
    };
    [[nodiscard]] Counters& counters() noexcept { return counters_; }

    // The last reference is gone: called by Ref.
    static void last_reference_gone(Region* region) noexcept;

private:
    friend class Registry;

    [[nodiscard]] runtime::Status make_direct() noexcept;

    const Books books_;
    const RegionName name_;
    const runtime::u32 flags_;
    bool born_by_node_ = false; // set before it can be found
    Identity identity_;
    runtime::Unique<Segment> segment_; // set before it can be found
    Journals* journals_ = nullptr;     // its own; set before it can be found
    PageStore pages_;
    Versions versions_;
    runtime::Atomic<runtime::u64> size_{0};
    SharedMutex contents_lock_;
    Counters counters_;
    Process creator_;
    const runtime::u64 created_ns_;

    // Registry lock:
    runtime::u32 minor_ = 0;
    runtime::u32 generation_ = 0;
    bool linked_ = false;                        // has its slot and its name
    UserAccount* account_ = nullptr;             // the user that is charged, from admission on
    runtime::Unique<UserAccount> spare_account_; // for a user's first region
    runtime::IntrusiveList<Attachment> users_;   // the handles that use it
    runtime::u32 user_count_ = 0;
    Places places_;
    TransactionCounters past_; // of the handles that were closed
};

} // namespace stm::kernel
