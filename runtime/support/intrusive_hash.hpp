// SPDX-License-Identifier: LGPL-2.1-or-later
// A hash table of objects that contain their own link. The number of buckets is a power of two and
// does not change. Elements with the same bucket form a chain.
//
//     struct ByName {
//         using Key = StringView;
//         static Key key(const Region& region) { return region.name(); }
//         u64 hash(Key key) const { return hash_bytes(key.bytes(), seed); }
//         static bool equal(Key left, Key right) { return left == right; }
//         HashSeed seed;
//     };
//     IntrusiveHash<Region, ByName> regions(ByName{seed});
//
// Invariants: the table does not own its elements. No two have equal keys, and a key does not
// change while its element is in the table. An element is in no table when it is destroyed, and a
// table is empty when it is destroyed; a violation panics. One lock of the caller protects the
// table and its elements' links.
#pragma once

#include "runtime/support/allocate.hpp"
#include "runtime/support/assert.hpp"
#include "runtime/support/bits.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename T, typename Traits, typename Tag>
class IntrusiveHash;

template <typename Tag>
class HashLink : NonCopyable {
protected:
    constexpr HashLink() noexcept = default;
    ~HashLink() { expects(next_ == this, "HashLink: destroyed while in a table"); }

private:
    template <typename T, typename Traits, typename TableTag>
    friend class IntrusiveHash;

    // Points to itself: in no table. Null: the last of its chain.
    HashLink* next_ = this;
};

template <typename T, typename Traits, typename Tag = T>
class IntrusiveHash : NonCopyable {
    using Link = HashLink<Tag>;

public:
    using Key = typename Traits::Key;

    // The head of a chain; all zeros is an empty one.
    struct Bucket {
        Link* first;
    };

    // A table without buckets. It finds nothing, and nothing can be inserted yet.
    constexpr explicit IntrusiveHash(Traits traits = Traits()) noexcept
        : traits_(runtime::move(traits)) {}
    ~IntrusiveHash() { expects(empty(), "IntrusiveHash: destroyed with elements"); }

    // Gives the table 2^order buckets. Error::no_memory, or Error::overflow for an absurd order.
    // The table must not have any yet.
    Status allocate_buckets(u32 order) noexcept {
        expects(buckets_.empty(), "IntrusiveHash: has buckets already");
        if (order >= 48)
            return Error::overflow;
        Result<UniqueArray<Bucket>> buckets = make_array<Bucket>(usize{1} << order);
        if (!buckets.ok())
            return buckets.error();
        owned_ = runtime::move(*buckets);
        buckets_ = owned_.span();
        return kSuccess;
    }

    // The same with buckets of the caller: empty ones, a power of two of them, that outlive it.
    void use_buckets(Span<Bucket> buckets) noexcept {
        expects(buckets_.empty(), "IntrusiveHash: has buckets already");
        expects(is_power_of_two(buckets.size()), "IntrusiveHash: buckets are no power of two");
        buckets_ = buckets;
    }

    [[nodiscard]] static bool is_linked(const T& element) noexcept {
        const Link& link = element;
        return link.next_ != &link;
    }

    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] usize size() const noexcept { return size_; }

    // Error::exists if there is an element with that key already. The element must not be in a
    // table of this tag, and the table must have buckets.
    Status insert(T& element) noexcept {
        Link& link = element;
        expects(!is_linked(element), "IntrusiveHash: inserted what is in a table already");
        const Key key = traits_.key(element);
        Bucket& bucket = bucket_of(key);
        if (find_in(bucket, key) != nullptr)
            return Error::exists;
        link.next_ = bucket.first;
        bucket.first = &link;
        ++size_;
        return kSuccess;
    }

    // The element with that key, or null.
    [[nodiscard]] T* find(const Key& key) const noexcept {
        return empty() ? nullptr : find_in(bucket_of(key), key);
    }

    // The element must be in this table.
    void remove(T& element) noexcept {
        Link* const link = &element;
        expects(is_linked(element), "IntrusiveHash: removed what is in no table");
        Link** place = &bucket_of(traits_.key(element)).first;
        while (*place != link) {
            expects(*place != nullptr, "IntrusiveHash: removed what is in another table");
            place = &(*place)->next_;
        }
        *place = link->next_;
        link->next_ = link;
        --size_;
    }

    // Calls visit(T&) for each element, in no particular order. visit may remove its own element,
    // but no other one, and must not insert any.
    template <typename Visit>
    void for_each(Visit visit) const noexcept {
        for (Bucket& bucket : buckets_) {
            Link* next = nullptr;
            for (Link* link = bucket.first; link != nullptr; link = next) {
                next = link->next_;
                visit(static_cast<T&>(*link));
            }
        }
    }

private:
    [[nodiscard]] Bucket& bucket_of(const Key& key) const noexcept {
        expects(!buckets_.empty(), "IntrusiveHash: has no buckets");
        return buckets_[traits_.hash(key) & (buckets_.size() - 1)];
    }

    [[nodiscard]] T* find_in(const Bucket& bucket, const Key& key) const noexcept {
        for (Link* link = bucket.first; link != nullptr; link = link->next_) {
            T& element = static_cast<T&>(*link);
            if (traits_.equal(traits_.key(element), key))
                return &element;
        }
        return nullptr;
    }

    Traits traits_;
    UniqueArray<Bucket> owned_;
    Span<Bucket> buckets_;
    usize size_ = 0;
};

} // namespace stm::runtime
