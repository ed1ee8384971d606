// SPDX-License-Identifier: GPL-2.0
// The work of the benchmark, written once for all ways of access. A Work is what is to be done
// again and again; a Task is one transaction of it, with the random numbers drawn, so that all ways
// do the same.
#pragma once

#include "structures.hpp"

namespace stm::bench {

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

enum class Kind {
    read_only_8, // accounts
    bank,        // a transfer
    sum_1024,    // of all accounts
    hot_counter, // of all workers
    own_counter, // of each worker
    list,
    hash_set,
    ordered_map,
    queue,
    // The last ones are on the table:
    table,       // read, a word in each of its 64 pages
    two_records, // of those words are changed
    reservation, // reads 35 pages of the table, and writes 3 of them
};

constexpr bool is_on_table(Kind kind) {
    return kind >= Kind::table;
}

struct Work {
    const char* name;
    Kind kind;
    // In ten transactions: of a structure those that insert or remove; of the bank those that sum.
    unsigned share = 0;
    // What somebody else does before each transaction, if anything.
    const Work* meanwhile = nullptr;
};
inline constexpr Work kReadOnly8{"read-only-8", Kind::read_only_8};
inline constexpr Work kBank{"bank-2r2w", Kind::bank};
inline constexpr Work kBankWithSums{"bank-sum-20", Kind::bank, 2};
inline constexpr Work kHotCounter{"hot-counter", Kind::hot_counter};
inline constexpr Work kDisjoint{"disjoint-counters", Kind::own_counter};
inline constexpr Work kSum{"sum-1024", Kind::sum_1024};
inline constexpr Work kQueueWork{"work-queue", Kind::queue};
inline constexpr Work kTwoRecords{"two-records", Kind::two_records};
inline constexpr Work kChangingTable{"64-pages-2-changed", Kind::table, 0, &kTwoRecords};
inline constexpr Work kVacation{"vacation-35r3w", Kind::reservation};

struct Task {
    Kind kind;
    Change change;
    // Words; a structure has its key in the first one, and what is done on the table has there what
    // it takes its records from.
    std::size_t places[8];
};

// Inserts and removals alike.
[[gnu::always_inline]] inline Task draw_operation(const Work& work, Random& random) {
    const std::uint64_t draw = random();
    const std::uint64_t dice = draw % 10;
    Task task;
    task.kind = work.kind;
    task.change = dice < 10 - work.share ? Change::look_up
                                         : (dice % 2 == 0 ? Change::insert : Change::remove);
    task.places[0] = (draw >> 32) % kKeys;
    return task;
}

[[gnu::always_inline]] inline Task draw_task(const Work& work, Random& random, std::size_t worker) {
    Task task;
    task.kind = work.kind;
    switch (work.kind) {
    case Kind::read_only_8:
#pragma GCC unroll 8
        for (std::size_t& place : task.places)
            place = random() % kAccounts;
        break;
    case Kind::bank:
        if (work.share != 0 && random() % 10 < work.share) {
            task.kind = Kind::sum_1024;
            break;
        }
        task.places[0] = random() % kAccounts;
        task.places[1] = random() % kAccounts;
        break;
    case Kind::sum_1024:
        break;
    case Kind::hot_counter:
        task.places[0] = kHot;
        break;
    case Kind::own_counter:
        task.places[0] = kOwn + worker * kPageWords;
        break;
    case Kind::list:
    case Kind::hash_set:
    case Kind::ordered_map:
        return draw_operation(work, random);
    case Kind::queue:
        task.change = random() % 2 == 0 ? Change::insert : Change::remove;
        task.places[0] = 0;
        break;
    case Kind::table:
        task.places[0] = 0;
        break;
    case Kind::two_records:
    case Kind::reservation:
        task.places[0] = random() >> 32;
        break;
    }
    return task;
}

template <Kind structure, typename Words>
long change(Words& words, Operation operation) {
    if constexpr (structure == Kind::list)
        return change_list(words, kList, kListNodes, operation);
    else if constexpr (structure == Kind::hash_set)
        return change_list(words, kHash + operation.key % kBuckets, kHashNodes, operation);
    else if constexpr (structure == Kind::ordered_map)
        return change_map(words, operation);
    else
        return change_queue(words, operation);
}

template <Kind structure, typename Way>
[[gnu::always_inline]] inline long perform_change(Way& way, const Task& task) {
    const Operation operation{task.change, task.places[0]};
    const auto body = [operation](auto& words) { return change<structure>(words, operation); };
    return operation.change == Change::look_up ? way.read_only(body) : way.atomically(body);
}

// A transaction that reads everything by one access.
template <typename Way, typename Body>
long read_at_once(Way& way, Body body) {
    if constexpr (requires { way.read_at_once(body); })
        return way.read_at_once(body);
    else
        return way.read_only(body);
}

template <typename Way>
[[gnu::noinline]] long perform_on_table(Way& way, Kind kind, std::size_t drawn) {
    if (kind == Kind::table)
        return read_at_once(way, [drawn](auto& words) { return read_table(words, drawn); });
    if (kind == Kind::two_records)
        return way.atomically([records = two_records_of(drawn)](auto& words) {
            add_to_both(words, place_of_record(records.first), place_of_record(records.second));
            return 2L;
        });
    return way.atomically(
        [reservation = reservation_of(drawn)](auto& words) { return reserve(words, reservation); });
}

// Does a task. way.atomically(body) calls body(words) in a transaction, perhaps again;
// way.read_only(body) the same for one that stores nothing, and way.read_at_once(body), if there is
// such a function, for one that makes a single access. Returns the sum of what was read, or what
// the structures return; for a counter 1, and 2 for two records.
template <typename Way>
[[gnu::always_inline]] inline long perform(Way& way, const Task& task) {
    switch (task.kind) {
    case Kind::read_only_8: {
        std::size_t places[8];
#pragma GCC unroll 8
        for (std::size_t i = 0; i < 8; ++i)
            places[i] = task.places[i];
        return read_at_once(way, [&](auto& words) { return read_8(words, places); });
    }
    case Kind::bank:
        return way.atomically([first = task.places[0], second = task.places[1]](auto& words) {
            transfer(words, first, second);
            return 0L;
        });
    case Kind::sum_1024:
        return read_at_once(way, [&](auto& words) { return words.sum(0, kAccounts); });
    case Kind::hot_counter:
    case Kind::own_counter:
        return way.atomically([first = task.places[0]](auto& words) {
            words.store(first, words.load(first) + 1);
            return 1L;
        });
    case Kind::list:
        return perform_change<Kind::list>(way, task);
    case Kind::hash_set:
        return perform_change<Kind::hash_set>(way, task);
    case Kind::ordered_map:
        return perform_change<Kind::ordered_map>(way, task);
    case Kind::queue:
        return perform_change<Kind::queue>(way, task);
    case Kind::table:
    case Kind::two_records:
    case Kind::reservation:
        return perform_on_table(way, task.kind, task.places[0]);
    }
    __builtin_unreachable();
}

// Every other key is present in each of the structures; each account holds 100; the queue is half
// full; the records are 0, as all new memory.
inline constexpr long kMoney = 100 * static_cast<long>(kAccounts);
template <typename Way>
void set_up(Way& way) {
    for (std::size_t account = 0; account < kAccounts; ++account)
        way.atomically([&](auto& words) {
            words.store(account, 100);
            return 0L;
        });
    // Each is the first one of its list.
    for (std::size_t key = kKeys; key != 0; key -= 2)
        way.atomically([&](auto& words) {
            const Operation insert{Change::insert, key - 2};
            change<Kind::list>(words, insert);
            change<Kind::hash_set>(words, insert);
            return change<Kind::ordered_map>(words, insert);
        });
    for (std::size_t count = 0; count < kQueueMost / 2; ++count)
        perform(way, Task{Kind::queue, Change::insert, {count}});
}

} // namespace stm::bench
