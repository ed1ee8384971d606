// SPDX-License-Identifier: GPL-2.0
// All regions: their names, their slots (one for each device minor), their users and the limits.
//
// One mutex, the registry lock, protects the books and every region's list of handles. It is taken
// when something is opened, closed, created, destroyed or listed, never on a path that touches a
// region's contents.
//
// Invariants: memory is allocated, rights are checked and the last reference to a region is dropped
// outside the lock. What was found under the lock is checked again after it was released.
#pragma once

#include "kernel/core/uapi.hpp"

#include "kernel/core/handle.hpp"
#include "kernel/core/lock.hpp"
#include "kernel/core/region.hpp"
#include "kernel/core/user_account.hpp"
#include "kernel/interface/counters.h"
#include "kernel/interface/services.h"
#include "kernel/interface/settings.h"
#include "runtime/support/fixed_string.hpp"
#include "runtime/support/hash.hpp"
#include "runtime/support/intrusive_hash.hpp"
#include "runtime/support/intrusive_tree.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

// What STM_IOC_OPEN asks for, checked.
struct OpenRequest {
    RegionName name;
    runtime::u64 bytes;        // 0: whatever there is, or the default
    runtime::u32 open_flags;   // STM_OPEN_*
    runtime::u32 region_flags; // STM_REGION_*
    runtime::u32 mode;
    runtime::u32 access; // STM_ACCESS_*
};

enum class Destroy { unless_used, deferred };

// Which handles keep a region from being destroyed.
enum class Users { any, others_than_one };

// Whether a segment has the mark of SHM_LOCK.
enum class Locked { no, yes };

class Registry : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    template <typename T>
    using Result = runtime::Result<T>;
    using Status = runtime::Status;
    using RegionRef = runtime::Ref<Region>;
    using HandleResult = Result<runtime::Unique<Handle>>;

public:
    // With the region `default` in slot 0. The settings outlive it. Error::invalid: a setting is
    // out of its range.
    [[nodiscard]] static Result<runtime::Unique<Registry>>
    create(const stm_settings& settings) noexcept;

    explicit Registry(const stm_settings& settings, runtime::HashSeed seed) noexcept
        : settings_(settings), lock_(STM_RANK_REGISTRY), names_(ByName{seed}), by_id_(ById{seed}) {}
    // No handle is left.
    ~Registry();

    // -- Handles --

    struct Opened {
        runtime::Unique<Handle> handle;
        bool created;
    };
    // Errors: STM_IOC_OPEN in <stm/ioctl.h>. A region that exists and has no size is left without:
    // settle_size() is for the caller, as its last step.
    [[nodiscard]] Result<Opened> open_name(const OpenRequest& request) noexcept;
    [[nodiscard]] HandleResult open_id(u64 id, u64 bytes, u32 access) noexcept;
    // Error::no_address: there is no such region, and the access is not for writing.
    [[nodiscard]] HandleResult open_minor(u32 minor, u32 access, const stm_node* node) noexcept;
    void close(runtime::Unique<Handle> handle) noexcept;

    // Called at every use of the contents. Counts the handle as a user of its region if it is not
    // counted yet, and settles the region's size if it has none. Error::access: it is a handle of
    // minor 0, and the caller has no rights to `default`.
    [[nodiscard]] Status prepare_use(Handle& handle) noexcept {
        if (handle.attached() && handle.region().size() != 0) [[likely]]
            return runtime::kSuccess;
        return prepare_first_use(handle);
    }

    // -- Regions --

    // Gives the region its size in bytes. Nothing changes if it already has that much. Errors:
    // STM_IOC_SET_SIZE.
    [[nodiscard]] Status settle_size(Region& region, u64 bytes) noexcept;
    // The size() after that, if it succeeds and no other call gives the region another size first.
    [[nodiscard]] Result<u64> expected_size(const Region& region, u64 bytes) const noexcept;

    // Errors: STM_IOC_DESTROY. The rights were checked.
    [[nodiscard]] Status destroy(Region& region, Destroy when, Users users) noexcept;

    // Error::not_found, and Error::stale for an id whose region is gone.
    [[nodiscard]] Result<RegionRef> find_name(const RegionName& name) noexcept;
    [[nodiscard]] Result<RegionRef> find_id(u64 id) noexcept;
    // The same for an id, and also if the region has lost its name but is used.
    [[nodiscard]] Result<RegionRef> find_id_in_use(u64 id) noexcept;
    // The first region whose minor is at least this; Error::not_found if there is none.
    [[nodiscard]] Result<RegionRef> find_next(u32 minor) noexcept;
    // The region with the smallest id that is at least this, among those that have a name or are in
    // use. Error::not_found.
    [[nodiscard]] Result<RegionRef> find_next_id(u64 id) noexcept;

    // -- Segments; the region is one, and the rights were checked --

    void note_attach(Region& region, AttachEvent event) noexcept;
    // Error::invalid: an id stands for nobody.
    [[nodiscard]] Status change_owner(Region& region, const stm_owner& owner) noexcept;
    void mark_locked(Region& region, Locked locked) noexcept;

    [[nodiscard]] u64 id_of(const Region& region) noexcept;
    void describe(Region& region, stm_info& info) noexcept;
    // Fills the list with as many of the region's handles and their mappings as fit. Returns how
    // many there are.
    [[nodiscard]] u32 list_attachments(Region& region, runtime::Span<stm_attachment> list) noexcept;
    // A part of the region gets a name, or loses it; it lies in the region. Error::no_memory, and
    // what Places::name() has.
    [[nodiscard]] Status name_place(Region& region, const stm_place& place) noexcept;
    // Fills the list with as many of the region's names as fit. Returns how many there are.
    [[nodiscard]] u32 list_places(Region& region, runtime::Span<stm_place> list) noexcept;
    void describe_limits(stm_version& version) noexcept;
    // Sums up all regions that there are and were. Not what programs commit by themselves: the
    // locks that protect their journals are held for long.
    void describe_all(stm_counters& counters) noexcept;
    // Sums up all handles that the region has and had.
    void describe_transactions(Region& region, stm_statistics& statistics) noexcept;

    [[nodiscard]] const stm_settings& settings() const noexcept { return settings_; }

private:
    using Guard = runtime::LockGuard<Mutex>;

    struct ByName {
        using Key = runtime::StringView;
        static Key key(const Region& region) noexcept { return region.name().view(); }
        [[nodiscard]] u64 hash(Key key) const noexcept {
            return runtime::hash_bytes(key.bytes(), seed);
        }
        static bool equal(Key left, Key right) noexcept { return left == right; }
        runtime::HashSeed seed;
    };

    // Of a region that has been admitted: from then on its id is what it is.
    struct ById {
        using Key = u64;
        static Key key(const Region& region) noexcept { return region.id(); }
        [[nodiscard]] u64 priority(Key id) const noexcept { return runtime::hash_number(id, seed); }
        runtime::HashSeed seed;
    };

    struct Slot {
        Region* region; // a reference, or null
        u32 generation; // of the region that is or was here; never 0 for one that was
        u32 removed;    // nonzero: a segment that has lost its name still has the minor
    };

    // Called before another thread can have the registry.
    [[nodiscard]] Status allocate_tables() noexcept STM_NO_LOCK_ANALYSIS;
    [[nodiscard]] Books books() noexcept;
    void forget(Region& region) noexcept STM_EXCLUDES(lock_);
    [[nodiscard]] Status prepare_first_use(Handle& handle) noexcept;
    // Error::stale: the region lost its name after it was found; look again.
    enum class Rights { to_be_checked, given };
    [[nodiscard]] HandleResult open_existing(const RegionRef& region, u64 bytes, u32 access,
                                             Rights rights) noexcept;
    [[nodiscard]] Result<Opened> create_region(const OpenRequest& request, u32 minor,
                                               const stm_birth& birth) noexcept;
    [[nodiscard]] Result<RegionRef> prepare(const RegionName& name, u32 flags,
                                            const stm_birth& birth, u64 bytes) noexcept;

    void attach_locked(Handle& handle) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] RegionRef find_name_locked(const RegionName& name) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] u64 id_locked(const Region& region) const noexcept STM_REQUIRES(lock_) {
        return static_cast<u64>(region.generation_) << 32 | region.minor_;
    }
    [[nodiscard]] RegionRef at_minor_locked(u32 minor) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] Status admit_locked(Region& region, u64 bytes, u32 minor) noexcept
        STM_REQUIRES(lock_);
    [[nodiscard]] Status charge_locked(UserAccount& account, u32 regions, u64 bytes) noexcept
        STM_REQUIRES(lock_);
    [[nodiscard]] RegionRef unlink_locked(Region& region) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] bool is_free_locked(u32 minor) const noexcept STM_REQUIRES(lock_);
    [[nodiscard]] u32 free_minor_locked() noexcept STM_REQUIRES(lock_);

    const stm_settings& settings_;
    Mutex lock_;
    runtime::UniqueArray<Slot> slots_; // as many forever; what is in them: under the lock
    runtime::IntrusiveHash<Region, ByName> names_ STM_GUARDED_BY(lock_);
    runtime::IntrusiveHash<UserAccount, UserAccount::ByUser> accounts_ STM_GUARDED_BY(lock_);
    // With or without a name; from admission until they are freed.
    runtime::IntrusiveList<Region> admitted_ STM_GUARDED_BY(lock_);
    // The same ones, for listings: each asks for one after the other.
    runtime::IntrusiveTree<Region, ById> by_id_ STM_GUARDED_BY(lock_);
    u64 total_bytes_ STM_GUARDED_BY(lock_) = 0; // of all admitted regions
    u32 linked_ STM_GUARDED_BY(lock_) = 0;      // how many slots are taken
    // Of the regions that are gone.
    TransactionCounters past_ STM_GUARDED_BY(lock_);
    stm_counters past_accesses_ STM_GUARDED_BY(lock_) = {};
};

} // namespace stm::kernel
