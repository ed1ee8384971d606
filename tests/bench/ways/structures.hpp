// SPDX-License-Identifier: GPL-2.0
// The structures of the benchmark in an array of words, written once for all ways of access.
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
inline constexpr std::size_t kQueue = kMapNodes + kKeys * kNode; // how many were taken, and put
inline constexpr std::size_t kQueuePlaces = kQueue + 2 * kNode;
inline constexpr std::size_t kQueueMost = 256;
// Each worker's own counter has a page of its own.
inline constexpr std::size_t kPageWords = 512;
inline constexpr std::size_t kMostWorkers = 8;
inline constexpr std::size_t kOwn =
    (kQueuePlaces + kQueueMost + kPageWords - 1) / kPageWords * kPageWords;
// A table of many pages: 64 records in each of them, which begin at 0. A record has a stripe of its
// own, and its first word is what is used of it.
inline constexpr std::size_t kTable = kOwn + kMostWorkers * kPageWords;
inline constexpr std::size_t kTablePages = 64;
inline constexpr std::size_t kRecordWords = 8;
inline constexpr std::size_t kPageRecords = kPageWords / kRecordWords;
inline constexpr std::size_t kRecords = kTablePages * kPageRecords;
inline constexpr std::size_t kWords = kTable + kTablePages * kPageWords;
inline constexpr std::size_t kBytes = kWords * 8;

template <typename Words>
concept LoadsAll = requires(Words words, const std::size_t (&places)[2], long (&values)[2]) {
    words.load_all(places, values);
};

template <typename Words>
[[gnu::always_inline]] inline long read_8(Words& words, const std::size_t (&places)[8]) {
    long sum = 0;
    if constexpr (LoadsAll<Words>) {
        long values[8];
        words.load_all(places, values);
        for (const long value : values)
            sum += value;
    } else {
#pragma GCC unroll 8
        for (const std::size_t place : places)
            sum += words.load(place);
    }
    return sum;
}

// Where a record of the table is, of all of them from 0.
constexpr std::size_t place_of_record(std::size_t record) {
    return kTable + record * kRecordWords;
}

// The record that a look at the whole table reads in a page. It is another one in each page,
// because those at the same place of all pages would share few lines of the processor's cache.
constexpr std::size_t record_in_page(std::size_t page, std::size_t shift) {
    return page * kPageRecords + (page + shift) % kPageRecords;
}

// Two of these records, at random, each in another page.
struct TwoRecords {
    std::size_t first;
    std::size_t second;
};
constexpr TwoRecords two_records_of(std::size_t random) {
    const std::size_t page = random % kTablePages;
    const std::size_t distance = 1 + random / kTablePages % (kTablePages - 1);
    return {record_in_page(page, 0), record_in_page((page + distance) % kTablePages, 0)};
}

// One word in each of the pages.
template <typename Words>
long read_table(Words& words, std::size_t shift) {
    long sum = 0;
    if constexpr (LoadsAll<Words>) {
        std::size_t places[kTablePages];
        long values[kTablePages];
        for (std::size_t page = 0; page < kTablePages; ++page)
            places[page] = place_of_record(record_in_page(page, shift));
        words.load_all(places, values);
        for (const long value : values)
            sum += value;
    } else {
        for (std::size_t page = 0; page < kTablePages; ++page)
            sum += words.load(place_of_record(record_in_page(page, shift)));
    }
    return sum;
}

template <typename Words>
void add_to_both(Words& words, std::size_t first, std::size_t second) {
    if constexpr (LoadsAll<Words>) {
        const std::size_t places[2] = {first, second};
        long values[2];
        words.load_all(places, values);
        for (long& value : values)
            ++value;
        words.store_all(places, values);
    } else {
        words.store(first, words.load(first) + 1);
        words.store(second, words.load(second) + 1);
    }
}

// As many pages as a transaction of STAMP's vacation reads and writes on average: it looks at what
// could be reserved, and takes some of it.
inline constexpr std::size_t kLooked = 35;
inline constexpr std::size_t kTaken = 3;
// What is added to the records that it takes: nothing to their sum.
inline constexpr long kTakenChanges[kTaken] = {-2, 1, 1};

// The records that a reservation looks at, each in another page, which no order of pages predicts.
// Those that it takes are the first ones. `step` is odd, so no page comes twice.
struct Reservation {
    std::size_t page;
    std::size_t step;
    std::size_t record;

    [[nodiscard]] constexpr std::size_t looked_at(std::size_t i) const {
        return (page + i * step) % kTablePages * kPageRecords + (record + 7 * i) % kPageRecords;
    }
};

constexpr Reservation reservation_of(std::size_t random) {
    return {random % kTablePages, random / kTablePages % kTablePages | 1,
            random / kTablePages / kTablePages % kPageRecords};
}

// Returns the sum of what it has looked at.
template <typename Words>
long reserve(Words& words, const Reservation& reservation) {
    long sum = 0;
    if constexpr (LoadsAll<Words>) {
        std::size_t places[kLooked];
        long values[kLooked];
        for (std::size_t i = 0; i < kLooked; ++i)
            places[i] = place_of_record(reservation.looked_at(i));
        words.load_all(places, values);
        for (const long value : values)
            sum += value;
        for (std::size_t i = 0; i < kTaken; ++i)
            words.store(places[i], values[i] + kTakenChanges[i]);
    } else {
        long taken[kTaken];
        for (std::size_t i = 0; i < kLooked; ++i) {
            const long value = words.load(place_of_record(reservation.looked_at(i)));
            sum += value;
            if (i < kTaken)
                taken[i] = value;
        }
        for (std::size_t i = 0; i < kTaken; ++i)
            words.store(place_of_record(reservation.looked_at(i)), taken[i] + kTakenChanges[i]);
    }
    return sum;
}

template <typename Words>
[[gnu::always_inline]] inline void transfer(Words& words, std::size_t from, std::size_t to) {
    if constexpr (LoadsAll<Words>) {
        const std::size_t places[2] = {from, to};
        long values[2];
        words.load_all(places, values);
        if (from != to) {
            --values[0];
            ++values[1];
        }
        words.store_all(places, values);
    } else {
        words.store(from, words.load(from) - 1);
        words.store(to, words.load(to) + 1);
    }
}

// What happens to a key, or in a queue, where a look-up tells how long it is.
enum class Change { look_up, insert, remove };
struct Operation {
    Change change;
    std::size_t key;
};

// Each of the following returns 1 if it has inserted something, -1 if it has removed something, and
// 0 if nothing was to be done. A look-up returns kPresent if it is.
inline constexpr long kPresent = 2;

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
        return 1;
    }
    if (operation.change == Change::remove && found) {
        words.store(place, words.load(link_of(link)));
        return -1;
    }
    return operation.change == Change::look_up && found ? kPresent : 0;
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
    long insert(long wanted) {
        bool found = false;
        const std::size_t place = place_of(wanted, found);
        if (found)
            return 0;
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
        return 1;
    }
    long remove(long wanted) {
        bool found = false;
        std::size_t place = place_of(wanted, found);
        if (!found)
            return 0;
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
        return -1;
    }
};

template <typename Words>
long change_map(Words& words, Operation operation) {
    Treap<Words> tree{words};
    const long wanted = static_cast<long>(operation.key) + 1;
    if (operation.change == Change::look_up)
        return tree.contains(wanted) ? kPresent : 0;
    return operation.change == Change::insert ? tree.insert(wanted) : tree.remove(wanted);
}

// A ring. What is put there is the key, which is looked at when it is taken.
template <typename Words>
long change_queue(Words& words, Operation operation) {
    const auto place_of = [](long count) {
        return kQueuePlaces + static_cast<std::size_t>(count) % kQueueMost;
    };
    const long taken = words.load(kQueue);
    const long put = words.load(kQueue + kNode);
    const long length = put - taken;
    if (operation.change == Change::insert && length < static_cast<long>(kQueueMost)) {
        words.store(place_of(put), static_cast<long>(operation.key));
        words.store(kQueue + kNode, put + 1);
        return 1;
    }
    if (operation.change == Change::remove && length > 0) {
        words.store(kQueue, taken + (words.load(place_of(taken)) < 0 ? 0 : 1));
        return -1;
    }
    return operation.change == Change::look_up ? length : 0;
}

} // namespace stm::bench
