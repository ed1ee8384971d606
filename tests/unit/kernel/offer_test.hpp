// SPDX-License-Identifier: GPL-2.0
// Transactions that begin without a system call: the thread takes an offer that the module made in
// the thread's own memory.
#pragma once

#include "tests/unit/kernel/two_handles.hpp"

#include <atomic>
#include <cstdint>

namespace stm::test {

// A thread's cell, used as <stm/ioctl.h> says.
class Cell {
public:
    long attach(const File& file, unsigned signal = 0) {
        stm_cell argument{};
        argument.address = reinterpret_cast<std::uint64_t>(&words_);
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    }
    std::uint64_t offer() { return std::atomic_ref(words_.offer).load(); }
    std::uint64_t begun() { return std::atomic_ref(words_.begun).load(); }
    bool attached() { return offer() != 0; }
    bool offers(std::uint32_t site = 0) { return offer() == STM_CELL_OFFER(site); }
    // Begins a transaction, if that is possible without a system call.
    bool begin(std::uint32_t site = 0) {
        if (!offers(site))
            return false;
        std::atomic_ref(words_.begun).store(STM_CELL_OFFER(site));
        return offers(site) || std::atomic_ref(words_.begun).exchange(0) == 0;
    }
    // What no library does.
    void scribble(std::uint64_t offer, std::uint64_t begun) {
        std::atomic_ref(words_.offer).store(offer);
        std::atomic_ref(words_.begun).store(begun);
    }

private:
    alignas(sizeof(stm_start_cell)) stm_start_cell words_{};
};

class Offers : public TwoHandles<16> {
protected:
    Cell cell;
    Cell cell_of_second_thread; // outlives the file, which writes to it when it is closed

    void SetUp() override {
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(cell.attach(file), 0);
        ASSERT_EQ(commit(file), 0);
        ASSERT_TRUE(cell.offers());
    }
    // The first mapping takes the offer back.
    void map_it() {
        ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
        EXPECT_FALSE(cell.offers());
        run(file);
    }
    // One by system calls: after it, nothing stands against the next offer.
    void run(const File& by) {
        EXPECT_EQ(start(by), 1);
        EXPECT_EQ(commit(by), 0);
    }
};

} // namespace stm::test
