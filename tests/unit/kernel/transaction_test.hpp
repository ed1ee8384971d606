// SPDX-License-Identifier: GPL-2.0
// What the tests of transactions share: two handles of one region, and its mappings.
#pragma once

#include "tests/unit/kernel/kernel_test.hpp"

#include <cstdint>
#include <thread>

namespace stm::test {

using simulated::AsThread;
using simulated::OtherThread;

class Transactions : public KernelTest {
protected:
    static constexpr std::uint64_t kBytes = 1 << 20;
    File file = open(control, "tx", kCreate, {kBytes, 0, 0666});
    File other = open(control, "tx", kOpen, {0, 0, 0});

    static void put(const File& to, std::uint64_t position, std::uint64_t value) {
        ASSERT_EQ(write(to, position, &value, sizeof(value)), static_cast<long>(sizeof(value)));
    }
    static std::uint64_t get(const File& from, std::uint64_t position) {
        std::uint64_t value = 0;
        EXPECT_EQ(read(from, position, &value, sizeof(value)), static_cast<long>(sizeof(value)));
        return value;
    }
    // Somebody else commits a write.
    void disturb(std::uint64_t position, std::uint64_t value = 77) {
        std::thread([&] { put(other, position, value); }).join();
    }
};

// What a program does with a mapped transactional region. A load or a store that is not possible is
// null, as SIGSEGV.
class MappedTransactions : public Transactions {
protected:
    void SetUp() override {
        ASSERT_EQ(map(file, 0, kBytes / kPage, STM_MAP_WRITE), 0);
        ASSERT_EQ(map(other, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    }

public:
    static std::uint64_t* address(const File& of, std::uint64_t position, Access access) {
        const Fault found = fault(of, position / kPage, position / kPage, access);
        if (found.result != STM_FAULT_MAP)
            return nullptr;
        return reinterpret_cast<std::uint64_t*>(simulated::page_bytes(found.pages[0]) +
                                                position % kPage);
    }
    static std::uint64_t load(const File& of, std::uint64_t position) {
        const std::uint64_t* place = address(of, position, Access::load);
        return place == nullptr ? ~std::uint64_t{0} : *place;
    }
    static bool store(const File& of, std::uint64_t position, std::uint64_t value) {
        std::uint64_t* place = address(of, position, Access::store);
        if (place != nullptr)
            *place = value;
        return place != nullptr;
    }
};

} // namespace stm::test
