// SPDX-License-Identifier: GPL-2.0
// What tests of warm mappings share.
#pragma once

#include "tests/unit/kernel/two_handles.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>

namespace stm::test {

// A thread's warm cell, used as <stm/ioctl.h> says.
class WarmCell {
public:
    long attach(const File& file, unsigned flags = STM_CELL_WARM, unsigned signal = 0) {
        stm_cell argument{};
        argument.address = reinterpret_cast<std::uint64_t>(&words_);
        argument.flags = flags;
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    }
    bool offers() { return std::atomic_ref(words_.offer).load() == STM_CELL_OFFER(0); }
    std::uint64_t snapshot() { return std::atomic_ref(words_.snapshot).load(); }
    std::uint64_t begun() { return std::atomic_ref(words_.begun).load(); }
    bool begin(std::uint64_t clock) {
        if (!offers() || (snapshot() != STM_NO_SNAPSHOT && snapshot() != clock))
            return false;
        std::atomic_ref(words_.begun).store(STM_CELL_OFFER(0));
        return offers() || std::atomic_ref(words_.begun).exchange(0) == 0;
    }
    bool end() {
        __u64 begun = STM_CELL_OFFER(0);
        if (!std::atomic_ref(words_.begun).compare_exchange_strong(begun, 0))
            return false;
        std::atomic_ref(words_.ended).fetch_add(1);
        return true;
    }

private:
    alignas(sizeof(stm_warm_cell)) stm_warm_cell words_{};
};

class Warm : public TwoHandles<1100> {
protected:
    WarmCell cell;
    WarmCell cell_of_second_thread; // outlives the file

    void SetUp() override {
        ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(cell.attach(file), 0);
        ASSERT_EQ(commit(file), 0);
    }

    std::uint64_t clock() {
        stm_fault fault{};
        fault.index = fault.first = fault.last = STM_OFFSET_CLOCK / kPage;
        EXPECT_EQ(stm_core_window_fault(file.get(), &fault), STM_FAULT_MAP);
        auto* const found = reinterpret_cast<stm_clock*>(simulated::page_bytes(fault.pages[0]));
        return std::atomic_ref(found->now).load(std::memory_order_acquire);
    }
    bool mapped(std::uint64_t page) { return simulated::mapped_page(file.view(), page) != nullptr; }
    // What the program does: without a fault where the page is mapped.
    std::uint64_t see(std::uint64_t page) {
        if (!simulated::touch(file.view(), page, false)) {
            ++faults;
            const Fault found = fault(file, page, page);
            return found.result == STM_FAULT_MAP ? *word(found) : ~std::uint64_t{0};
        }
        return *reinterpret_cast<std::uint64_t*>(
            simulated::page_bytes(simulated::mapped_page(file.view(), page)));
    }
    bool set(std::uint64_t page, std::uint64_t value) {
        if (simulated::touch(file.view(), page, true)) {
            *reinterpret_cast<std::uint64_t*>(
                simulated::page_bytes(simulated::mapped_page(file.view(), page))) = value;
            return true;
        }
        ++faults;
        const Fault found = fault(file, page, page, Access::store);
        if (found.result == STM_FAULT_MAP)
            *word(found) = value;
        return found.result == STM_FAULT_MAP;
    }
    // Begins as the library does.
    void begin() {
        if (cell.begin(clock()))
            return;
        ++calls;
        ASSERT_EQ(start(file), 1);
    }
    long end() {
        if (cell.end())
            return 0;
        ++calls;
        return commit(file);
    }
    std::uint64_t in_transaction(std::uint64_t page) {
        begin();
        const std::uint64_t value = see(page);
        EXPECT_EQ(end(), 0);
        return value;
    }
    void put(std::uint64_t page, std::uint64_t value) {
        begin();
        EXPECT_TRUE(set(page, value));
        EXPECT_EQ(end(), 0);
    }
    // The same for any word of a page that is mapped.
    std::uint64_t word_of(std::uint64_t page, std::uint64_t number) {
        see(page);
        return reinterpret_cast<std::uint64_t*>(
            simulated::page_bytes(simulated::mapped_page(file.view(), page)))[number];
    }
    void disturb_word(std::uint64_t page, std::uint64_t number, std::uint64_t value) {
        std::thread([&] {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage + number * 8), 8);
        }).join();
    }
    // Of the first word of a page, for a commit of sets.
    static stm_stripe_write write_of(std::uint64_t page, std::uint64_t value) {
        stm_stripe_write write{};
        write.stripe = page * kPage / 64;
        write.mask = 0xff;
        std::memcpy(write.bytes, &value, sizeof(value));
        return write;
    }
    static constexpr std::uint64_t kNothing = ~std::uint64_t{0}; // see() has met a conflict
    unsigned faults = 0;
    unsigned calls = 0;
};

} // namespace stm::test
