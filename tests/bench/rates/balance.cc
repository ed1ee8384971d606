// SPDX-License-Identifier: GPL-2.0
#include "balance.hpp"

#include <stdexcept>

namespace stm::bench {
namespace {

long read(Contestant& contestant, std::size_t place) {
    Task task{};
    task.kind = Kind::read_only_8;
    for (std::size_t& each : task.places)
        each = place;
    return contestant.run(task) / 8;
}

long money(Contestant& contestant) {
    Task task{};
    task.kind = Kind::sum_1024;
    return contestant.run(task);
}

long present(Contestant& contestant, Kind structure) {
    long count = 0;
    Task task{};
    task.kind = structure;
    task.change = Change::look_up;
    for (std::size_t key = 0; key < kKeys; ++key) {
        task.places[0] = key;
        count += contestant.run(task) == kPresent ? 1 : 0;
    }
    return count;
}

// Of all records, by looks at each of a page's.
long records(Contestant& contestant) {
    long total = 0;
    Task task{};
    task.kind = Kind::table;
    for (std::size_t shift = 0; shift < kPageRecords; ++shift) {
        task.places[0] = shift;
        total += contestant.run(task);
    }
    return total;
}

} // namespace

long effect_of(const Work& work, long result) {
    switch (work.kind) {
    case Kind::read_only_8:
    case Kind::table:
    case Kind::reservation:
        return 0;
    case Kind::two_records:
        return result;
    case Kind::bank:
    case Kind::sum_1024:
        if (result != 0 && result != kMoney)
            throw std::runtime_error("a sum of " + std::to_string(result) + " instead of " +
                                     std::to_string(kMoney));
        return 0;
    default:
        return result == 1 || result == -1 ? result : 0;
    }
}

long total_of(Contestant& contestant, const Work& work) {
    switch (work.kind) {
    case Kind::read_only_8:
    case Kind::bank:
    case Kind::sum_1024:
        return money(contestant);
    case Kind::hot_counter:
        return read(contestant, kHot);
    case Kind::own_counter: {
        long total = 0;
        for (std::size_t worker = 0; worker < kMostWorkers; ++worker)
            total += read(contestant, kOwn + worker * kPageWords);
        return total;
    }
    case Kind::list:
    case Kind::hash_set:
    case Kind::ordered_map:
        return present(contestant, work.kind);
    case Kind::queue: {
        Task task{};
        task.kind = Kind::queue;
        task.change = Change::look_up;
        return contestant.run(task);
    }
    case Kind::table:
    case Kind::two_records:
    case Kind::reservation:
        return records(contestant);
    }
    __builtin_unreachable();
}

long first_total(const Work& work) {
    switch (work.kind) {
    case Kind::read_only_8:
    case Kind::bank:
    case Kind::sum_1024:
        return kMoney;
    case Kind::hot_counter:
    case Kind::own_counter:
    case Kind::table:
    case Kind::two_records:
    case Kind::reservation:
        return 0;
    case Kind::list:
    case Kind::hash_set:
    case Kind::ordered_map:
        return kKeys / 2;
    case Kind::queue:
        return kQueueMost / 2;
    }
    __builtin_unreachable();
}

} // namespace stm::bench
