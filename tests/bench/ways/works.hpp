// SPDX-License-Identifier: GPL-2.0
// The work of the benchmark: each is one transaction over an array of words, written once for all
// ways of access.
//
// A Words has load(index) and store(index, value), and sum(first, count) for words one behind the
// other. One that can do several at once has load_all(places, values) and store_all(places,
// values) as well.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stm::bench {

// Where everything is, in words of 8 bytes. A node has a stripe of its own: key, and links to other
// nodes. The node of a key is always the same, so nothing needs to be allocated.
inline constexpr std::size_t kAccounts = 1024;
inline constexpr std::size_t kHot = kAccounts + 8;
inline constexpr std::size_t kKeys = 512; // half of them are present
inline constexpr std::size_t kNode = 8;   // words
inline constexpr std::size_t kBuckets = 128;
inline constexpr std::size_t kList = 2048;
inline constexpr std::size_t kListNodes = kList + kNode;
inline constexpr std::size_t kHash = kListNodes + kKeys * kNode;
inline constexpr std::size_t kHashNodes = kHash + kBuckets;
inline constexpr std::size_t kMap = kHashNodes + kKeys * kNode;
inline constexpr std::size_t kMapNodes = kMap + kNode;
inline constexpr std::size_t kWords = kMapNodes + kKeys * kNode;
inline constexpr std::size_t kBytes = (kWords * 8 + 4095) / 4096 * 4096;

// xorshift64 (Marsaglia 2003).
struct Random {
    std::uint64_t state = 88172645463325252ull;
    std::uint64_t operator()() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    }
};

enum class Work {
    read_only_8,
    bank_2r2w,
    hot_counter,
    sum_1024,
    list_20,
    hash_set_20,
    ordered_map_20,
};

enum class Change { look_up, insert, remove };

// One operation on a set: 80 % look-ups, the rest inserts and removals alike.
struct Operation {
    Change change;
    std::size_t key;
};
inline Operation next_operation(Random& random) {
    const std::uint64_t draw = random();
    const std::uint64_t dice = draw % 10;
    return {dice < 8 ? Change::look_up : (dice == 8 ? Change::insert : Change::remove),
            (draw >> 32) % kKeys};
}

template <typename Words>
concept HasVectors = requires(Words words, const std::size_t (&places)[2], long (&values)[2]) {
    words.load_all(places, values);
    words.store_all(places, values);
};

template <typename Words>
long read_8(Words& words, const std::size_t (&places)[8]) {
    long sum = 0;
    if constexpr (HasVectors<Words>) {
        long values[8];
        words.load_all(places, values);
        for (const long value : values)
            sum += value;
        return sum;
    }
    for (const std::size_t place : places)
        sum += words.load(place);
    return sum;
}

template <typename Words>
void transfer(Words& words, std::size_t from, std::size_t to) {
    if constexpr (HasVectors<Words>) {
        const std::size_t places[2] = {from, to};
        long values[2];
        words.load_all(places, values);
        if (from != to) {
            --values[0];
            ++values[1];
        }
        words.store_all(places, values);
        return;
    }
    words.store(from, words.load(from) - 1);
    words.store(to, words.load(to) + 1);
}

// A sorted list, whose head is the link at `head`. Links are the numbers of nodes plus 1; 0 ends.
template <typename Words>
long change_list(Words& words, std::size_t head, std::size_t nodes, Operation operation) {
    const auto link_of = [&](long link) {
        return nodes + static_cast<std::size_t>(link - 1) * kNode + 1;
    };
    const long wanted = static_cast<long>(operation.key) + 1;
    std::size_t place = head;
    long link = words.load(place);
    while (link != 0 && words.load(link_of(link) - 1) < wanted) {
        place = link_of(link);
        link = words.load(place);
    }
    const bool found = link == wanted;
    if (operation.change == Change::insert && !found) {
        words.store(link_of(wanted) - 1, wanted);
        words.store(link_of(wanted), link);
        words.store(place, wanted);
    } else if (operation.change == Change::remove && found) {
        words.store(place, words.load(link_of(link)));
    }
    return found;
}

// A treap (Seidel and Aragon, "Randomized Search Trees", Algorithmica 16, 1996) whose priorities
// are hashes of the keys: node words are key, left, right.
template <typename Words>
struct Treap {
    Words& words;

    static constexpr std::size_t node(long link) {
        return kMapNodes + static_cast<std::size_t>(link - 1) * kNode;
    }
    static std::uint64_t priority(long link) {
        return static_cast<std::uint64_t>(link) * 0x9e3779b97f4a7c15ull;
    }

    // The place of the link at which a search for the node ends, or which it would take.
    std::size_t place_of(long wanted, bool& found) {
        std::size_t place = kMap;
        for (;;) {
            const long link = words.load(place);
            found = link == wanted;
            if (link == 0 || found || priority(link) < priority(wanted))
                return place;
            place = node(link) + (wanted < words.load(node(link)) ? 1 : 2);
        }
    }
    bool contains(long wanted) {
        bool found = false;
        place_of(wanted, found);
        return found;
    }
    // Divides the tree at `link` into what is below and above the key.
    void insert(long wanted) {
        bool found = false;
        const std::size_t place = place_of(wanted, found);
        if (found)
            return;
        long rest = words.load(place);
        std::size_t below = node(wanted) + 1;
        std::size_t above = node(wanted) + 2;
        words.store(node(wanted), wanted);
        while (rest != 0) {
            if (words.load(node(rest)) < wanted) {
                words.store(below, rest);
                below = node(rest) + 2;
                rest = words.load(below);
            } else {
                words.store(above, rest);
                above = node(rest) + 1;
                rest = words.load(above);
            }
        }
        words.store(below, 0);
        words.store(above, 0);
        words.store(place, wanted);
    }
    void remove(long wanted) {
        bool found = false;
        std::size_t place = place_of(wanted, found);
        if (!found)
            return;
        long left = words.load(node(wanted) + 1);
        long right = words.load(node(wanted) + 2);
        while (left != 0 && right != 0) {
            if (priority(left) > priority(right)) {
                words.store(place, left);
                place = node(left) + 2;
                left = words.load(place);
            } else {
                words.store(place, right);
                place = node(right) + 1;
                right = words.load(place);
            }
        }
        words.store(place, left != 0 ? left : right);
    }
};

template <typename Words>
long change_map(Words& words, Operation operation) {
    Treap<Words> tree{words};
    const long wanted = static_cast<long>(operation.key) + 1;
    if (operation.change == Change::look_up)
        return tree.contains(wanted);
    if (operation.change == Change::insert)
        tree.insert(wanted);
    else
        tree.remove(wanted);
    return 0;
}

// A transaction that reads everything by one access.
template <typename Way, typename Body>
long read_at_once(Way& way, Body body) {
    if constexpr (requires { way.read_at_once(body); })
        return way.read_at_once(body);
    else
        return way.read_only(body);
}

// Does the work once. way.atomically(body) calls body(words) in a transaction, perhaps again;
// way.read_only(body) the same for one that stores nothing, and way.read_at_once(body), if there is
// such a function, for one that makes a single access. The random numbers are drawn before, so
// that all ways do the same.
template <typename Way>
long do_work(Way& way, Work work, Random& random) {
    switch (work) {
    case Work::read_only_8: {
        std::size_t places[8];
#pragma GCC unroll 8
        for (std::size_t& place : places)
            place = random() % kAccounts;
        return read_at_once(way, [&](auto& words) { return read_8(words, places); });
    }
    case Work::bank_2r2w: {
        const std::size_t from = random() % kAccounts;
        const std::size_t to = random() % kAccounts;
        return way.atomically([&](auto& words) {
            transfer(words, from, to);
            return 0L;
        });
    }
    case Work::hot_counter:
        return way.atomically([&](auto& words) {
            words.store(kHot, words.load(kHot) + 1);
            return 0L;
        });
    case Work::sum_1024:
        return read_at_once(way, [&](auto& words) { return words.sum(0, kAccounts); });
    case Work::list_20: {
        const Operation operation = next_operation(random);
        const auto body = [&](auto& words) {
            return change_list(words, kList, kListNodes, operation);
        };
        return operation.change == Change::look_up ? way.read_only(body) : way.atomically(body);
    }
    case Work::hash_set_20: {
        const Operation operation = next_operation(random);
        const std::size_t head = kHash + operation.key % kBuckets;
        const auto body = [&](auto& words) {
            return change_list(words, head, kHashNodes, operation);
        };
        return operation.change == Change::look_up ? way.read_only(body) : way.atomically(body);
    }
    case Work::ordered_map_20: {
        const Operation operation = next_operation(random);
        const auto body = [&](auto& words) { return change_map(words, operation); };
        return operation.change == Change::look_up ? way.read_only(body) : way.atomically(body);
    }
    }
    __builtin_unreachable();
}

// Every other key is present in each of the structures; each account holds 100.
template <typename Way>
void set_up(Way& way) {
    for (std::size_t account = 0; account < kAccounts; ++account)
        way.atomically([&](auto& words) {
            words.store(account, 100);
            return 0L;
        });
    for (std::size_t key = 0; key < kKeys; key += 2)
        way.atomically([&](auto& words) {
            const Operation insert{Change::insert, key};
            change_list(words, kList, kListNodes, insert);
            change_list(words, kHash + key % kBuckets, kHashNodes, insert);
            return change_map(words, insert);
        });
}

} // namespace stm::bench
