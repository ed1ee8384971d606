// SPDX-License-Identifier: LGPL-2.1-or-later
// A hash map in a region.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stm/detail/counter.hpp>
#include <stm/detail/range.hpp>
#include <stm/transaction.hpp>
#include <stm/var.hpp>
#include <type_traits>
#include <vector>

namespace stm {

/** The same in every process, other than std::hash; of types whose equal values have equal bytes.
 */
template <typename Key>
struct hash {
    static_assert(std::has_unique_object_representations_v<Key>,
                  "stm::hash: equal values may have different bytes; give a hash of your own");
    [[nodiscard]] std::uint64_t operator()(const Key& key) const noexcept {
        std::uint64_t result = sizeof(Key);
        for (std::size_t done = 0; done < sizeof(Key); done += 8) {
            std::uint64_t word = 0;
            std::memcpy(&word, reinterpret_cast<const char*>(std::addressof(key)) + done,
                        std::min<std::size_t>(8, sizeof(Key) - done));
            result = detail::mix(result ^ word);
        }
        return result;
    }
};

/**
 * Keys with values. It lies in a region; zero bytes are an empty one. Every function takes the
 * transaction. Hash must give the same number in every process, and well mixed bits.
 *
 * The table grows bucket by bucket (linear hashing, Litwin 1980), so that no insertion is a long
 * transaction. Its buckets lie in segments, each as long as all before it.
 */
template <shareable Key, shareable T, typename Hash = hash<Key>>
class unordered_map {
public:
    using key_type = Key;
    using mapped_type = T;
    using size_type = std::uint64_t;
    using value_type = detail::entry<Key, T>;

    unordered_map() = default;

    [[nodiscard]] std::optional<T> find(const read_transaction& tx, const Key& key) const {
        const ptr<node> found = node_of(tx, key);
        return found == nullptr ? std::nullopt
                                : std::optional<T>(tx.load(tx.in(*this)[found].value));
    }
    [[nodiscard]] bool contains(const read_transaction& tx, const Key& key) const {
        return node_of(tx, key) != nullptr;
    }
    /** The variable of a key: tx[m.at(tx, key)] += 1. Throws std::out_of_range if it is missing. */
    [[nodiscard]] var<T>& at(const read_transaction& tx, const Key& key) {
        return tx.in(*this)[existing(tx, key)].value;
    }
    [[nodiscard]] const var<T>& at(const read_transaction& tx, const Key& key) const {
        return tx.in(*this)[existing(tx, key)].value;
    }

    /** Whether it was inserted: not if the key is there already. */
    bool insert(const transaction& tx, const Key& key, const T& value) {
        if (contains(tx, key))
            return false;
        add(tx.in(*this), key, value);
        return true;
    }
    /** Whether it was inserted, and not assigned. */
    bool insert_or_assign(const transaction& tx, const Key& key, const T& value) {
        const transaction at = tx.in(*this);
        const ptr<node> found = node_of(tx, key);
        if (found == nullptr)
            add(at, key, value);
        else
            tx[at[found].value] = value;
        return found == nullptr;
    }
    /** Whether the key was there. */
    bool erase(const transaction& tx, const Key& key) {
        const transaction at = tx.in(*this);
        const size_type buckets = tx[buckets_];
        if (buckets == 0)
            return false;
        var<ptr<node>>* place = &bucket(at, bucket_of(Hash()(key), buckets));
        ptr<node> found = tx[*place];
        while (found != nullptr) {
            const step now = at.template load<step>(found.offset());
            if (now.key == key) {
                tx[*place] = now.next;
                at.destroy(found);
                count_.add(at, -std::uint64_t{1});
                return true;
            }
            place = &at[found].next;
            found = now.next;
        }
        return false;
    }
    void clear(const transaction& tx) {
        const transaction at = tx.in(*this);
        const size_type buckets = tx[buckets_];
        for (size_type index = 0; index < buckets; ++index) {
            ptr<node> next = tx[bucket(at, index)];
            while (next != nullptr) {
                const ptr<node> gone = next;
                next = tx[at[gone].next];
                at.destroy(gone);
            }
        }
        for (var<segment>& one : segments_)
            if (const segment gone = tx[one]; gone != nullptr) {
                at.destroy(gone);
                tx[one] = nullptr;
            }
        tx[buckets_] = 0;
        count_.clear(at);
    }
    /** Makes as many buckets as that: for a map whose size is known, and is not to grow. */
    void reserve(const transaction& tx, size_type entries) { grow(tx.in(*this), entries); }

    /** Conflicts with all who insert or erase. */
    [[nodiscard]] size_type size(const read_transaction& tx) const {
        return count_.sum(tx.in(*this));
    }
    [[nodiscard]] bool empty(const read_transaction& tx) const { return size(tx) == 0; }
    [[nodiscard]] size_type bucket_count(const read_transaction& tx) const { return tx[buckets_]; }

    /**
     * for (auto [key, value] : m.in(tx)): all entries. The body may change the map. What is there
     * all the time comes once; what it inserts may come or not.
     */
    [[nodiscard]] auto in(const read_transaction& tx) const {
        return detail::range<cursor, value_type>(cursor{tx, this, tx[buckets_], 0, {}});
    }

private:
    struct node {
        node(ptr<node> n, const Key& k, const T& v) : next(n), key(k), value(v) {}
        var<ptr<node>> next;
        var<Key> key;
        var<T> value;
    };
    // The beginning of a node: what a search needs of it, in one load.
    struct step {
        ptr<node> next;
        Key key;
    };
    using segment = ptr<var<ptr<node>>>;

    static constexpr size_type kFirst = 16; // buckets of the first segment
    static constexpr unsigned kSegments = 40;
    // Every so many insertions of a thread it looks whether the table is too small.
    static constexpr size_type kLook = 8;

    struct cursor {
        bool advance(value_type& entry) {
            for (;;) {
                while (!keys.empty()) {
                    const Key key = keys.back();
                    keys.pop_back();
                    if (const std::optional<T> value = all->find(tx, key)) {
                        entry = {key, *value};
                        return true;
                    }
                }
                if (next == buckets)
                    return false;
                all->collect(tx, next++, buckets, keys);
            }
        }
        read_transaction tx;
        const unordered_map* all;
        size_type buckets; // that there were in the beginning
        size_type next;
        std::vector<Key> keys;
    };

    // Of N buckets, those that have been divided already are known by one bit more.
    static size_type bucket_of(std::uint64_t hash, size_type buckets) {
        const size_type mask = std::bit_ceil(buckets) - 1;
        const size_type index = hash & mask;
        return index < buckets ? index : hash & mask >> 1;
    }
    static unsigned segment_of(size_type index) {
        return index < kFirst ? 0 : static_cast<unsigned>(std::bit_width(index / kFirst));
    }
    static size_type first_of(unsigned segment) {
        return segment == 0 ? 0 : kFirst << (segment - 1);
    }

    [[nodiscard]] var<ptr<node>>& bucket(const read_transaction& at, size_type index) const {
        const unsigned number = segment_of(index);
        return at[at.load(segments_[number]) + (index - first_of(number))];
    }

    [[nodiscard]] ptr<node> node_of(const read_transaction& tx, const Key& key) const {
        const read_transaction at = tx.in(*this);
        const size_type buckets = tx[buckets_];
        if (buckets == 0)
            return nullptr;
        ptr<node> found = at.load(bucket(at, bucket_of(Hash()(key), buckets)));
        while (found != nullptr) {
            const step now = at.template load<step>(found.offset());
            if (now.key == key)
                break;
            found = now.next;
        }
        return found;
    }
    [[nodiscard]] ptr<node> existing(const read_transaction& tx, const Key& key) const {
        const ptr<node> found = node_of(tx, key);
        if (found == nullptr)
            throw std::out_of_range("stm::unordered_map");
        return found;
    }

    /** The key is not there. */
    void add(const transaction& at, const Key& key, const T& value) {
        if (at[buckets_] == 0)
            grow(at, kFirst);
        const size_type buckets = at[buckets_];
        var<ptr<node>>& place = bucket(at, bucket_of(Hash()(key), buckets));
        const ptr<node> first = at[place];
        at[place] = at.template make<node>(first, key, value);
        // It grows by at least as many buckets as there may be insertions until the next look.
        if (count_.add(at, 1) % kLook == 0 && count_.sum(at) > buckets)
            grow(at, buckets + 2 * kLook);
    }

    void grow(const transaction& at, size_type wanted) {
        for (size_type index = at[buckets_]; index < wanted; ++index) {
            const unsigned number = segment_of(index);
            if (index == first_of(number))
                at[segments_[number]] = at.template make_array<ptr<node>>(std::max(index, kFirst));
            if (index > 0)
                divide(at, index);
            at[buckets_] = index + 1;
        }
    }

    /** Moves what belongs into a new bucket from the one where it was. */
    void divide(const transaction& at, size_type added) {
        var<ptr<node>>* place = &bucket(at, bucket_of(added, added));
        var<ptr<node>>& to = bucket(at, added);
        ptr<node> next = at[*place];
        while (next != nullptr) {
            const ptr<node> now = next;
            const step here = at.template load<step>(now.offset());
            next = here.next;
            if (bucket_of(Hash()(here.key), added + 1) == added) {
                at[*place] = next;
                at[at[now].next] = at[to];
                at[to] = now;
            } else {
                place = &at[now].next;
            }
        }
    }

    /** The keys that were in a bucket when there were so many, wherever they are now. */
    void collect(const read_transaction& tx, size_type index, size_type buckets,
                 std::vector<Key>& keys) const {
        const read_transaction at = tx.in(*this);
        const size_type now = tx[buckets_];
        for (size_type other = index; other < now; other = std::max(other + 1, buckets)) {
            if (other != index && bucket_of(other, buckets) != index)
                continue;
            ptr<node> next = at.load(bucket(at, other));
            while (next != nullptr) {
                const step here = at.template load<step>(next.offset());
                keys.push_back(here.key);
                next = here.next;
            }
        }
    }

    var<size_type> buckets_;
    var<segment> segments_[kSegments];
    alignas(64) detail::lazy_counter count_;
};

} // namespace stm
