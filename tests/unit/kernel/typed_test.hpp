// SPDX-License-Identifier: GPL-2.0
// What the tests share of transactions that programs run by themselves.
#pragma once

#include "tests/unit/kernel/transaction_test.hpp"

#include <vector>

namespace stm::test {

// What such a transaction has read and wants to write in one region.
struct Sets {
    std::uint64_t snapshot = 0;
    std::vector<std::uint64_t> reads; // STM_READ_RUN()
    std::vector<stm_stripe_write> writes;

    stm_sets argument(int handle = -1) const {
        stm_sets sets{};
        sets.handle = handle;
        sets.snapshot = snapshot;
        sets.reads = reinterpret_cast<std::uint64_t>(reads.data());
        sets.writes = reinterpret_cast<std::uint64_t>(writes.data());
        sets.read_count = static_cast<std::uint32_t>(reads.size());
        sets.write_count = static_cast<std::uint32_t>(writes.size());
        return sets;
    }
};

// The page that a window shows there.
inline void* window_page(const File& file, std::uint64_t offset) {
    stm_fault fault{};
    fault.index = fault.first = fault.last = offset / kPage;
    if (stm_core_window_fault(file.get(), &fault) != STM_FAULT_MAP)
        return nullptr;
    return simulated::page_bytes(fault.pages[fault.index - fault.first]);
}
inline std::uint64_t clock_of(const File& file) {
    return static_cast<const stm_clock*>(window_page(file, STM_OFFSET_CLOCK))->now;
}
inline std::uint64_t record_of(const File& file, std::uint64_t stripe) {
    const auto* const records = static_cast<const std::uint64_t*>(
        window_page(file, STM_OFFSET_RECORDS + stripe * 8 / kPage * kPage));
    return records[stripe % (kPage / 8)];
}

// A write of eight bytes at that position, which is a multiple of eight.
inline stm_stripe_write write_of(std::uint64_t position, std::uint64_t value) {
    stm_stripe_write write{};
    write.stripe = position / 64;
    write.mask = 0xffull << position % 64;
    std::memcpy(write.bytes + position % 64, &value, sizeof(value));
    return write;
}

class Typed : public Transactions {
protected:
    // At the newest snapshot.
    Sets now(const File& of) const { return {clock_of(of), {}, {}}; }
    static Sets reading(Sets sets, std::uint64_t position) {
        sets.reads.push_back(STM_READ_RUN(position / 64, 1));
        return sets;
    }
    static Sets writing(Sets sets, std::uint64_t position, std::uint64_t value) {
        sets.writes.push_back(write_of(position, value));
        return sets;
    }

    long commit_sets(const File& of, const Sets& sets, std::uint32_t flags = 0) {
        last = argument_of<stm_commit_sets>(flags);
        last.sets = sets.argument();
        return request(of, STM_IOC_COMMIT_SETS, last);
    }
    // In the region of `second`, too.
    long commit_both(const File& first, const Sets& in_first, const File& second,
                     const Sets& in_second, std::uint32_t flags = 0) {
        const stm_sets others[] = {in_second.argument(second.descriptor())};
        last = argument_of<stm_commit_sets>(flags);
        last.sets = in_first.argument();
        last.others = reinterpret_cast<std::uint64_t>(others);
        last.other_count = 1;
        return request(first, STM_IOC_COMMIT_SETS, last);
    }

    stm_commit_sets last{}; // with its answer
};

} // namespace stm::test
