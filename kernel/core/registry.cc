// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/registry.hpp"

#include "kernel/core/journals.hpp"
#include "kernel/core/settings.hpp"
#include "runtime/support/allocate.hpp"
#include "runtime/support/checked.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::Unique;
using runtime::usize;

namespace {

constexpr u32 kNameTableOrder = 10;
constexpr u32 kAccountTableOrder = 6;

// "minor:" and the number (nobody else may create such a name): the name of a region that was born
// by opening its device node.
RegionName name_of_minor(u32 minor) noexcept {
    char text[16] = {'m', 'i', 'n', 'o', 'r', ':'};
    char digits[10];
    usize count = 0;
    do {
        digits[count++] = static_cast<char>('0' + minor % 10);
        minor /= 10;
    } while (minor != 0);
    usize length = 6;
    while (count != 0)
        text[length++] = digits[--count];
    return RegionName::from_bytes(runtime::StringView(text, length)).value();
}

// The size in whole pages of a region that shall have so many bytes.
Result<u64> rounded_size(u64 bytes, u64 limit) noexcept {
    if (bytes == 0)
        return Error::invalid;
    const Result<u64> size = runtime::checked_align_up(bytes, kPageBytes);
    if (!size.ok() || *size > limit)
        return Error::file_too_big;
    return *size;
}

// What a file with this access must be allowed. One that can neither be read nor written, open(2)
// with the access mode 3, needs both: so it is with a file's own permissions.
u32 rights_for(u32 access) noexcept {
    return access != 0 ? access : STM_ACCESS_READ | STM_ACCESS_WRITE;
}

void add_accesses(stm_counters& counters, Region& region) noexcept {
    const Region::Counters& counted = region.counters();
    counters.faults += counted.faults.load(Order::relaxed);
    counters.reads += counted.reads.load(Order::relaxed);
    counters.writes += counted.writes.load(Order::relaxed);
}

// Every user of a region is a handle.
Handle& handle_of(Attachment& user) noexcept {
    return static_cast<Handle&>(user);
}

// Tables for the pages of a region of this size and for their ownership records.
struct Stores {
    PageStore data;
    PageStore orecs;
};

Result<Stores> create_stores(u64 size) noexcept {
    const u64 pages = size / kPageBytes;
    Result<PageStore> data = PageStore::create(pages);
    if (!data.ok())
        return data.error();
    Result<PageStore> orecs = PageStore::create(pages / Versions::kPagesPerOrecPage + 1);
    if (!orecs.ok())
        return orecs.error();
    return Stores{runtime::move(*data), runtime::move(*orecs)};
}

} // namespace

// -- Birth and end --

Result<Unique<Registry>> Registry::create(const stm_settings& settings) noexcept {
    if (!are_valid(settings))
        return Error::invalid;

    runtime::HashSeed seed;
    stm_linux_random(&seed, sizeof(seed));
    auto registry = runtime::make<Registry>(settings, seed);
    if (!registry.ok())
        return registry;
    const Status allocated = (*registry)->allocate_tables();
    if (!allocated.ok())
        return allocated.error();

    auto region = (*registry)->prepare(RegionName::from_bytes("default").value(), 0,
                                       stm_birth{nullptr, settings.default_mode, 0}, 0);
    if (!region.ok())
        return region.error();
    const Guard held((*registry)->lock_);
    const Status admitted = (*registry)->admit_locked(**region, 0, 0);
    runtime::expects(admitted.ok(), "Registry: the first region exceeds a limit");
    return registry;
}

Status Registry::allocate_tables() noexcept {
    auto slots = runtime::make_array<Slot>(settings_.max_regions);
    if (!slots.ok())
        return slots.error();
    slots_ = runtime::move(*slots);
    const Status allocated = names_.allocate_buckets(kNameTableOrder);
    return allocated.ok() ? accounts_.allocate_buckets(kAccountTableOrder) : allocated;
}

Registry::~Registry() {
    for (u32 minor = 0; minor < slots_.size(); ++minor) {
        RegionRef last;
        const Guard held(lock_);
        if (slots_[minor].region != nullptr)
            last = unlink_locked(*slots_[minor].region);
    }
}

Books Registry::books() noexcept {
    return {settings_, *this,
            [](Registry& registry, Region& region) noexcept { registry.forget(region); }};
}

void Registry::forget(Region& region) noexcept {
    const Guard held(lock_);
    if (region.account_ == nullptr)
        return; // never admitted
    UserAccount& account = *region.account_;
    total_bytes_ -= region.size();
    account.bytes -= region.size();
    if (--account.regions == 0) {
        accounts_.remove(account);
        runtime::destroy(&account);
    }
    admitted_.remove(region);
    by_id_.remove(region);
    past_.add(region.past_);
    add_accesses(past_accesses_, region);
    if (region.segment() != nullptr)
        slots_[region.minor_].removed = 0;
}

// -- The books; all under the registry lock --

Registry::RegionRef Registry::find_name_locked(const RegionName& name) noexcept {
    Region* region = names_.find(name.view());
    return region == nullptr ? RegionRef() : RegionRef::share(*region);
}

Registry::RegionRef Registry::at_minor_locked(u32 minor) noexcept {
    if (minor >= slots_.size() || slots_[minor].region == nullptr)
        return RegionRef();
    return RegionRef::share(*slots_[minor].region);
}

// A segment keeps its minor to its end, because that is the index by which listings find it.
bool Registry::is_free_locked(u32 minor) const noexcept {
    return slots_[minor].region == nullptr && slots_[minor].removed == 0;
}

// The highest one that is free: low ones are for nodes that people make by hand. 0 if there is
// none.
u32 Registry::free_minor_locked() noexcept {
    u32 minor = static_cast<u32>(slots_.size()) - 1;
    while (minor != 0 && !is_free_locked(minor))
        --minor;
    return minor;
}

// Error::no_space if a limit would be exceeded; otherwise the account and the total grow.
Status Registry::charge_locked(UserAccount& account, u32 regions, u64 bytes) noexcept {
    const u64 max_bytes = current(settings_.max_bytes);
    if (bytes > max_bytes || total_bytes_ > max_bytes - bytes)
        return Error::no_space;
    const u64 max_user_bytes = current(settings_.max_user_bytes);
    const bool over_limit = account.regions + regions > current(settings_.max_user_regions) ||
                            bytes > max_user_bytes || account.bytes > max_user_bytes - bytes;
    if (over_limit && stm_linux_may_exceed_limits() == 0)
        return Error::no_space;
    account.regions += regions;
    account.bytes += bytes;
    total_bytes_ += bytes;
    return kSuccess;
}

// Enters a prepared region, whose size is `bytes`, at a minor that is free.
Status Registry::admit_locked(Region& region, u64 bytes, u32 minor) noexcept {
    UserAccount* account = accounts_.find(region.spare_account_->user);
    const bool first = account == nullptr;
    if (first)
        account = region.spare_account_.get();
    const Status charged = charge_locked(*account, 1, bytes);
    if (!charged.ok())
        return charged;
    if (first) {
        const Status inserted = accounts_.insert(*region.spare_account_.release());
        runtime::expects(inserted.ok(), "Registry: two accounts of one user");
    }
    const Status inserted = names_.insert(region);
    runtime::expects(inserted.ok(), "Registry: two regions of one name");
    Slot& slot = slots_[minor];
    region.account_ = account;
    region.versions().snapshots.set_user(account->old_stripes);
    region.minor_ = minor;
    region.generation_ = ++slot.generation;
    region.linked_ = true;
    slot.region = RegionRef::share(region).leak();
    admitted_.push_back(region);
    by_id_.insert(region);
    ++linked_;
    return kSuccess;
}

// Takes the name and the slot away. Returns the slot's reference, to be dropped outside of the
// lock.
Registry::RegionRef Registry::unlink_locked(Region& region) noexcept {
    names_.remove(region);
    region.linked_ = false;
    --linked_;
    if (region.segment() != nullptr)
        slots_[region.minor_].removed = 1;
    return RegionRef::adopt(runtime::exchange(slots_[region.minor_].region, nullptr));
}

void Registry::attach_locked(Handle& handle) noexcept {
    Region& region = handle.region();
    region.users_.push_back(handle);
    ++region.user_count_;
    handle.set_attached();
}

// -- Sizes --

Result<u64> Registry::expected_size(const Region& region, u64 bytes) const noexcept {
    const u64 size = region.size();
    if (size == 0)
        return rounded_size(bytes, current(settings_.max_region_bytes));
    if (bytes == 0)
        return Error::invalid;
    return bytes <= size ? Result<u64>(size) : Error::busy;
}

Status Registry::settle_size(Region& region, u64 bytes) noexcept {
    const Result<u64> size = rounded_size(bytes, current(settings_.max_region_bytes));
    if (!size.ok())
        return size.error();
    Stores stores;
    if (region.size() == 0) {
        Result<Stores> created = create_stores(*size);
        if (!created.ok())
            return created.error();
        stores = runtime::move(*created);
    }

    const Guard held(lock_);
    if (region.size() != 0)
        return *size <= region.size() ? Status(kSuccess) : Status(Error::busy);
    const Status charged = charge_locked(*region.account_, 0, *size);
    if (!charged.ok())
        return charged;
    region.pages_ = runtime::move(stores.data);
    region.versions_.orecs = runtime::move(stores.orecs);
    region.versions_.clock_page.set_region_size(*size);
    stm_linux_identity_set_size(region.identity(), *size);
    region.size_.store(*size, Order::release);
    return kSuccess;
}

// A use that fails has not happened: the handle becomes a user when nothing can fail any more.
Status Registry::prepare_first_use(Handle& handle) noexcept {
    Region& region = handle.region();
    if (!handle.attached()) {
        const Status permitted = region.permission(rights_for(handle.access()));
        if (!permitted.ok())
            return permitted;
    }
    if (region.size() == 0) {
        const Status settled = settle_size(region, current(settings_.default_size));
        // Another thread gave it a smaller size meanwhile, which will do.
        if (region.size() == 0)
            return settled;
    }
    if (!handle.attached()) {
        const Guard held(lock_);
        if (!handle.attached())
            attach_locked(handle);
    }
    return kSuccess;
}

// -- Opening --

// A region that nobody can find yet. With `bytes` it has a size, which is charged when it is
// admitted.
Result<Registry::RegionRef> Registry::prepare(const RegionName& name, u32 flags,
                                              const stm_birth& birth, u64 bytes) noexcept {
    Result<RegionRef> region = Region::create(books(), name, flags, birth, bytes);
    if (!region.ok() || bytes == 0)
        return region;
    const Result<u64> size = rounded_size(bytes, current(settings_.max_region_bytes));
    if (!size.ok())
        return size.error();
    Result<Stores> stores = create_stores(*size);
    if (!stores.ok())
        return stores.error();
    (*region)->pages_ = runtime::move(stores->data);
    (*region)->versions_.orecs = runtime::move(stores->orecs);
    (*region)->versions_.clock_page.set_region_size(*size);
    stm_linux_identity_set_size((*region)->identity(), *size);
    (*region)->size_.store(*size, Order::release);
    return region;
}

Registry::HandleResult Registry::open_existing(const RegionRef& region, u64 bytes, u32 access,
                                               Rights rights) noexcept {
    if (rights == Rights::to_be_checked) {
        const Status permitted = region->permission(rights_for(access));
        if (!permitted.ok())
            return permitted.error();
    }
    auto handle = Handle::create(region, access);
    if (!handle.ok())
        return handle.error();
    if (region->size() == 0) {
        if (bytes != 0 && (access & STM_ACCESS_WRITE) == 0)
            return Error::access;
    } else if (bytes > region->size()) {
        return Error::invalid;
    }
    const Guard held(lock_);
    // A segment without a name can be used as long as it is used.
    if (!region->linked_ && (region->segment() == nullptr || region->user_count_ == 0))
        return Error::stale;
    attach_locked(**handle);
    return handle;
}

// Creates a region at this minor, or at a free one if the minor is 0. Error::exists: the name, or
// the minor, was taken meanwhile.
Result<Registry::Opened> Registry::create_region(const OpenRequest& request, u32 minor,
                                                 const stm_birth& birth) noexcept {
    const Result<RegionRef> region =
        prepare(request.name, request.region_flags, birth, request.bytes);
    if (!region.ok())
        return region.error();
    auto handle = Handle::create(*region, request.access);
    if (!handle.ok())
        return handle.error();

    const Guard held(lock_);
    if (names_.find(request.name.view()) != nullptr)
        return Error::exists;
    const u32 place = minor == 0 ? free_minor_locked() : minor;
    if (place == 0)
        return Error::no_space;
    if (!is_free_locked(place))
        return slots_[place].region != nullptr ? Error::exists : Error::no_space;
    const Status admitted = admit_locked(**region, (*region)->size(), place);
    if (!admitted.ok())
        return admitted.error();
    attach_locked(**handle);
    return Opened{runtime::move(*handle), true};
}

Result<Registry::Opened> Registry::open_name(const OpenRequest& request) noexcept {
    const bool create = (request.open_flags & STM_OPEN_CREATE) != 0;
    const bool exclusive = (request.open_flags & STM_OPEN_EXCL) != 0;
    // Again and again only while others create and destroy a region of that name between our steps.
    for (;;) {
        const Result<RegionRef> region = find_name(request.name);
        if (region.ok()) {
            if (exclusive)
                return Error::exists;
            HandleResult handle =
                open_existing(*region, request.bytes, request.access, Rights::to_be_checked);
            if (handle.ok())
                return Opened{runtime::move(*handle), false};
            if (handle.error() != Error::stale)
                return handle.error();
        } else {
            if (!create)
                return Error::not_found;
            OpenRequest sized = request;
            if (sized.bytes == 0)
                sized.bytes = current(settings_.default_size);
            const bool segment = (request.region_flags & STM_REGION_SEGMENT) != 0;
            Result<Opened> created =
                create_region(sized, 0, stm_birth{nullptr, request.mode, segment ? 0 : 1});
            if (created.ok() || created.error() != Error::exists)
                return created;
        }
        stm_linux_breathe();
    }
}

Registry::HandleResult Registry::open_id(u64 id, u64 bytes, u32 access) noexcept {
    // Only a segment can be opened when it has lost its name, which open_existing() checks.
    const Result<RegionRef> region = find_id_in_use(id);
    if (!region.ok())
        return region.error();
    return open_existing(*region, bytes, access, Rights::to_be_checked);
}

Registry::HandleResult Registry::open_minor(u32 minor, u32 access, const stm_node* node) noexcept {
    if (minor == 0) {
        // The control device: no user of its region, whose rights are asked, before its first use.
        Result<RegionRef> region = find_next(0);
        if (!region.ok())
            return region.error();
        return Handle::create(runtime::move(*region), access);
    }
    if (minor >= slots_.size())
        return Error::no_address;
    for (;;) {
        RegionRef region;
        {
            const Guard held(lock_);
            region = at_minor_locked(minor);
        }
        if (region) {
            HandleResult handle = open_existing(
                region, 0, access, region->born_by_node() ? Rights::given : Rights::to_be_checked);
            if (handle.ok() || handle.error() != Error::stale)
                return handle;
        } else {
            if ((access & STM_ACCESS_WRITE) == 0)
                return Error::no_address;
            const OpenRequest request{name_of_minor(minor), 0, 0, 0, 0, access};
            Result<Opened> created = create_region(request, minor, stm_birth{node, 0, 0});
            if (created.ok())
                return runtime::move(created->handle);
            if (created.error() != Error::exists)
                return created.error();
        }
        stm_linux_breathe();
    }
}

void Registry::close(Unique<Handle> handle) noexcept {
    handle->discard_all();
    if (Journals* const journals = handle->region().journals())
        journals->forget(*handle, nullptr);
    // Declared before the guard: dropped after the lock is given up.
    RegionRef last;
    const Guard held(lock_);
    if (!handle->attached())
        return;
    Region& region = handle->region();
    handle->add_counters(region.past_);
    region.users_.remove(*handle);
    if (--region.user_count_ == 0 && region.linked_ && (region.flags() & STM_REGION_EPHEMERAL) != 0)
        last = unlink_locked(region);
}

// -- Finding and destroying --

Result<Registry::RegionRef> Registry::find_name(const RegionName& name) noexcept {
    const Guard held(lock_);
    RegionRef region = find_name_locked(name);
    if (!region)
        return Error::not_found;
    return region;
}

Result<Registry::RegionRef> Registry::find_id(u64 id) noexcept {
    const u32 minor = static_cast<u32>(id);
    const u32 generation = static_cast<u32>(id >> 32);
    const Guard held(lock_);
    RegionRef region = at_minor_locked(minor);
    if (!region || region->generation_ != generation)
        return Error::stale;
    return region;
}

Result<Registry::RegionRef> Registry::find_next(u32 minor) noexcept {
    const Guard held(lock_);
    for (; minor < slots_.size(); ++minor) {
        if (RegionRef region = at_minor_locked(minor))
            return region;
    }
    return Error::not_found;
}

Result<Registry::RegionRef> Registry::find_id_in_use(u64 id) noexcept {
    Result<RegionRef> named = find_id(id);
    if (named.ok())
        return named;
    Result<RegionRef> next = find_next_id(id);
    return next.ok() && id_of(**next) == id ? runtime::move(next) : Result<RegionRef>(Error::stale);
}

Result<Registry::RegionRef> Registry::find_next_id(u64 id) noexcept {
    const Guard held(lock_);
    Region* found = by_id_.find_from(id);
    // Its last reference is gone, or about to go. Few are so at a time.
    while (found != nullptr && !found->linked_ && found->user_count_ == 0)
        found = by_id_.find_from(found->id() + 1);
    // Its slot, or a handle, has a reference.
    return found == nullptr ? Result<RegionRef>(Error::not_found)
                            : Result<RegionRef>(RegionRef::share(*found));
}

Status Registry::destroy(Region& region, Destroy when, Users users) noexcept {
    RegionRef last;
    const Guard held(lock_);
    if (!region.linked_)
        return Error::not_found;
    const u32 allowed = users == Users::others_than_one ? 1 : 0;
    const bool used = region.user_count_ > allowed;
    if (region.minor_ == 0 || (used && when == Destroy::unless_used))
        return Error::busy;
    last = unlink_locked(region);
    return kSuccess;
}

// -- Segments --

void Registry::note_attach(Region& region, AttachEvent event) noexcept {
    stm_process* process = stm_linux_process_current();
    const u64 now = stm_linux_realtime_ns();
    {
        const Guard held(lock_);
        process = region.segment()->note(event, process, now);
    }
    if (process != nullptr)
        stm_linux_process_put(process);
}

Status Registry::change_owner(Region& region, const stm_owner& owner) noexcept {
    const Status changed =
        runtime::status_from_errno(stm_linux_identity_change(region.identity(), &owner));
    if (!changed.ok())
        return changed;
    const u64 now = stm_linux_realtime_ns();
    const Guard held(lock_);
    region.segment()->note_change(now);
    return kSuccess;
}

void Registry::mark_locked(Region& region, Locked locked) noexcept {
    const Guard held(lock_);
    region.segment()->set_locked(locked == Locked::yes);
}

// -- Telling --

u64 Registry::id_of(const Region& region) noexcept {
    const Guard held(lock_);
    return id_locked(region);
}

void Registry::describe(Region& region, stm_info& info) noexcept {
    stm_owner owner;
    char command[16];
    stm_linux_identity_owner(region.identity(), &owner);
    info.id = id_of(region);
    info.region_flags = region.flags();
    info.mode = owner.mode;
    info.uid = owner.uid;
    info.gid = owner.gid;
    // In this order: a region has a size before it has pages.
    info.resident_bytes = region.pages().resident() * kPageBytes;
    info.region_size = region.size();
    info.creator_pid = stm_linux_process_describe(region.creator_.get(), command);
    info.created_ns = region.created_ns_;
    info.reads = region.counters().reads.load(Order::relaxed);
    info.writes = region.counters().writes.load(Order::relaxed);
    info.faults = region.counters().faults.load(Order::relaxed);
    const runtime::StringView name = region.name().view();
    __builtin_memset(info.name, 0, sizeof(info.name));
    __builtin_memcpy(info.name, name.data(), name.size());

    const Guard held(lock_);
    info.mappings = 0;
    for (Attachment& user : region.users_)
        info.mappings += stm_linux_view_mappings(handle_of(user).view().get(), nullptr, nullptr);
    info.minor = region.minor_;
    info.handles = region.user_count_;
    info.state =
        (region.linked_ ? 0u : STM_STATE_UNLINKED) | (info.region_size != 0 ? STM_STATE_SIZED : 0u);
    if (region.segment() != nullptr)
        region.segment()->describe(info);
}

namespace {

// What fits of a list, and how long it is.
struct AttachmentList {
    runtime::Span<stm_attachment> entries;
    u32 count;

    stm_attachment* next() noexcept {
        const u32 place = count++;
        return place < entries.size() ? &entries[place] : nullptr;
    }

    static void add_mapping(void* context, const stm_mapping* mapping) noexcept {
        if (stm_attachment* entry = static_cast<AttachmentList*>(context)->next()) {
            entry->kind = STM_ATTACHMENT_MAPPING;
            entry->pid = mapping->pid;
            entry->address = mapping->address;
            entry->length = mapping->length;
            entry->offset = mapping->offset;
            entry->protection = mapping->protection;
            __builtin_memcpy(entry->command, mapping->command, sizeof(entry->command));
        }
    }
};

} // namespace

u32 Registry::list_attachments(Region& region, runtime::Span<stm_attachment> entries) noexcept {
    AttachmentList list{entries, 0};
    const Guard held(lock_);
    for (Attachment& user : region.users_) {
        const Handle& handle = handle_of(user);
        stm_linux_breathe();
        if (stm_attachment* entry = list.next()) {
            entry->kind = STM_ATTACHMENT_HANDLE;
            entry->pid = stm_linux_process_describe(handle.opener(), entry->command);
            entry->protection = handle.access();
        }
    }
    for (Attachment& user : region.users_)
        (void)stm_linux_view_mappings(handle_of(user).view().get(), AttachmentList::add_mapping,
                                      &list);
    return list.count;
}

Status Registry::name_place(Region& region, const stm_place& place) noexcept {
    {
        const Guard held(lock_);
        if (region.places_.has_list() || place.name[0] == '\0')
            return region.places_.name(place);
    }
    auto list = Places::make_list();
    if (!list.ok())
        return list.error();
    // What is not used is freed without the lock.
    Places::List spare = runtime::move(*list);
    const Guard held(lock_);
    if (!region.places_.has_list())
        region.places_.use(runtime::move(spare));
    return region.places_.name(place);
}

u32 Registry::list_places(Region& region, runtime::Span<stm_place> list) noexcept {
    const Guard held(lock_);
    return region.places_.list(list);
}

void Registry::describe_limits(stm_version& version) noexcept {
    version.max_region_bytes = current(settings_.max_region_bytes);
    version.max_bytes = current(settings_.max_bytes);
    version.max_user_regions = current(settings_.max_user_regions);
    version.max_user_bytes = current(settings_.max_user_bytes);
    version.max_regions = static_cast<u32>(slots_.size());

    const Guard held(lock_);
    version.regions = linked_;
    version.bytes = total_bytes_;
    version.resident_bytes = 0;
    for (const Region& region : admitted_)
        version.resident_bytes += region.pages().resident() * kPageBytes;
}

void Registry::describe_all(stm_counters& counters) noexcept {
    TransactionCounters sum;
    {
        const Guard held(lock_);
        counters = past_accesses_;
        sum.add(past_);
        counters.regions = linked_;
        counters.bytes = total_bytes_;
        for (Region& region : admitted_) {
            sum.add(region.past_);
            add_accesses(counters, region);
            counters.resident_bytes += region.pages().resident() * kPageBytes;
            counters.handles += region.user_count_;
            for (Attachment& user : region.users_)
                handle_of(user).add_counters(sum);
        }
    }
    counters.starts = sum.starts.get();
    counters.commits = sum.commits.get();
    counters.read_only_commits = sum.read_only.get();
    counters.calls = sum.calls.get();
    counters.serial = sum.serial.get();
    counters.waits = sum.waits.get();
    for (u32 reason = 0; reason < STM_REASONS; ++reason) {
        const bool conflict = protocol::is_conflict(static_cast<protocol::AbortReason>(reason));
        (conflict ? counters.conflicts : counters.other_aborts) += sum.aborts[reason].get();
    }
}

void Registry::describe_transactions(Region& region, stm_statistics& statistics) noexcept {
    TransactionCounters sum;
    u64 version = 0;
    {
        const Guard held(lock_);
        sum.add(region.past_);
        version = region.past_.last_version.get();
        for (Attachment& user : region.users_) {
            ContextTable& contexts = handle_of(user).contexts();
            handle_of(user).add_counters(sum);
            if (const runtime::i32 pid = contexts.last_committer(version); pid != 0)
                statistics.last_committer_pid = pid;
        }
    }
    if (Journals* const journals = region.journals())
        journals->counts().add_to(sum);
    fill(statistics, sum);
    statistics.waiting = region.versions().wait_filter.waiting();
    const runtime::StringView name = region.name().view();
    __builtin_memcpy(statistics.name, name.data(), name.size());
}

} // namespace stm::kernel
