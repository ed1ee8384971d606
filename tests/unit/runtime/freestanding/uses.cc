// SPDX-License-Identifier: GPL-2.0
// Instantiates every template of the runtime with the flags of the kernel: a header that is only
// included would hide what its templates need. It is compiled, never run.
#include "runtime/support/allocate.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/bits.hpp"
#include "runtime/support/checked.hpp"
#include "runtime/support/fixed_string.hpp"
#include "runtime/support/hash.hpp"
#include "runtime/support/intrusive_hash.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/intrusive_tree.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/reference.hpp"
#include "runtime/support/scope_exit.hpp"

namespace stm::runtime::uses {

class Mutex {
public:
    void lock() noexcept { held_.fetch_or(1, Order::acquire); }
    void unlock() noexcept { held_.store(0, Order::release); }
    bool try_lock() noexcept { return held_.exchange(1, Order::acquire) == 0; }
    Status lock_killable() noexcept { return try_lock() ? Status(kSuccess) : Error::interrupted; }
    void lock_shared() noexcept { held_.fetch_add(2, Order::acquire); }
    void unlock_shared() noexcept { held_.fetch_sub(2, Order::release); }
    bool try_lock_shared() noexcept { return (held_.fetch_or(2, Order::acq_rel) & 1) == 0; }
    Status lock_shared_killable() noexcept { return kSuccess; }

private:
    Atomic<u32> held_;
};

class Shape {
public:
    virtual ~Shape() = default;
    [[nodiscard]] virtual u64 area() const = 0;
};

class Square final : public Shape {
public:
    explicit Square(u64 side) : side_(side) {}
    [[nodiscard]] u64 area() const override { return side_ * side_; }

private:
    u64 side_;
};

using Name = FixedString<63>;

class Region : public RefCounted<Region>,
               public ListLink<Region>,
               public HashLink<Region>,
               public TreeLink<Region> {
public:
    explicit Region(const Name& name) : name_(name) {}
    [[nodiscard]] StringView name() const { return name_.view(); }

private:
    Name name_;
};

struct ByName {
    using Key = StringView;
    static Key key(const Region& region) { return region.name(); }
    [[nodiscard]] u64 hash(Key key) const { return hash_bytes(key.bytes(), seed); }
    static bool equal(Key left, Key right) { return left == right; }
    HashSeed seed;
};

struct ByLength {
    using Key = u64;
    static Key key(const Region& region) { return region.name().size(); }
    [[nodiscard]] u64 priority(Key key) const { return hash_number(key, seed); }
    HashSeed seed;
};

struct Registry {
    explicit Registry(HashSeed seed) : regions(ByName{seed}), sorted(ByLength{seed}) {}
    Mutex mutex;
    IntrusiveHash<Region, ByName> regions;
    IntrusiveTree<Region, ByLength> sorted;
    IntrusiveList<Region> order;
};

Result<u64> use_shape(u64 side) {
    const Result<Unique<Square>> square = make<Square>(side);
    if (!square.ok())
        return square.error();
    const Shape& shape = **square;
    return shape.area();
}

Result<u64> use_registry(HashSeed seed, Span<const char> field) {
    const Result<Name> name = Name::from_field(field);
    if (!name.ok() || !name->view().is_graphic())
        return Error::invalid;
    Result<Unique<Registry>> registry = make<Registry>(seed);
    if (!registry.ok())
        return registry.error();
    Registry& all = **registry;
    const Status buckets = all.regions.allocate_buckets(4);
    if (!buckets.ok())
        return buckets.error();
    Result<Ref<Region>> region = make_ref<Region>(*name);
    if (!region.ok())
        return region.error();
    Result<LockGuard<Mutex>> held = lock_killable(all.mutex);
    if (!held.ok())
        return held.error();
    const Status inserted = all.regions.insert(**region);
    if (!inserted.ok())
        return inserted.error();
    all.order.push_back(**region);
    all.sorted.insert(**region);
    ScopeExit undo([&] {
        all.sorted.remove(**region);
        all.order.remove(**region);
        all.regions.remove(**region);
    });
    held->expects_holds(all.mutex);
    Region* found = all.regions.find(name->view());
    if (found == nullptr)
        return Error::not_found;
    const Result<Ref<Region>> another = Ref<Region>::try_share(*found);
    if (!another.ok())
        return another.error();
    const Ref<Region> third = *another;
    u64 count = third->references().count();
    for (Region& each : all.order)
        count += each.name().size();
    if (const Region* longer = all.sorted.find_from(count))
        count += longer->name().size();
    all.regions.for_each([&](Region& each) { count += mix(each.name().size()); });
    return count + hash_number(count, seed);
}

Status use_locks(Mutex& mutex) {
    { const LockGuard held(mutex); }
    { const SharedLockGuard held(mutex); }
    const Result<LockGuard<Mutex>> exclusive = try_lock(mutex);
    const Result<SharedLockGuard<Mutex>> shared = try_lock_shared(mutex);
    const Result<SharedLockGuard<Mutex>> killable = lock_shared_killable(mutex);
    return killable.ok() && (exclusive.ok() || shared.ok()) ? Status(kSuccess) : Error::busy;
}

Result<u64> use_numbers(Untrusted<u64> offset, Untrusted<u64> length, Untrusted<u32> flags) {
    const Result<Range> range = within(offset, length, u64{1} << 40);
    if (!range.ok())
        return range.error();
    const Result<u32> known = flags.checked_flags(7);
    if (!known.ok())
        return known.error();
    const Result<u64> aligned = checked_align_up(range->end(), u64{4096});
    if (!aligned.ok())
        return aligned.error();
    const Result<u32> narrowed = narrow<u32>(*aligned);
    if (!narrowed.ok())
        return narrowed.error();
    const Result<UniqueArray<Atomic<u64>>> array = make_array<Atomic<u64>>(*narrowed);
    if (!array.ok())
        return array.error();
    fence(Order::seq_cst);
    spin_hint();
    return (*array)[0].load(Order::acquire) + popcount(range->end()) + log2_ceil(*aligned);
}

u64 use_copies(void* shared, void* own) {
    copy_from_shared(own, shared, 4096);
    copy_to_shared(shared, own, 4096);
    u64 word;
    copy_from_shared(&word, shared, sizeof(word));
    return word;
}

} // namespace stm::runtime::uses
