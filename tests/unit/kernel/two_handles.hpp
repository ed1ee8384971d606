// SPDX-License-Identifier: GPL-2.0
// Two handles of one transactional region, of which the first is used and the second disturbs it.
#pragma once

#include "tests/unit/kernel/kernel_test.hpp"

#include <cstdint>
#include <thread>

namespace stm::test {

template <std::uint64_t kPageCount>
class TwoHandles : public KernelTest {
protected:
    static constexpr std::uint64_t kPages = kPageCount;
    File file = open(control, "tx", kCreate, {kPages * kPage, 0});
    File other = open(control, "tx", kOpen, {0, 0, 0});

    // The first word of the page that a fault was given.
    static std::uint64_t* word(const Fault& found) {
        return reinterpret_cast<std::uint64_t*>(simulated::page_bytes(found.pages.at(0)));
    }
    std::uint64_t load(std::uint64_t page) { return *word(fault(file, page, page)); }
    void store(std::uint64_t page, std::uint64_t value) {
        *word(fault(file, page, page, Access::store)) = value;
    }
    // Another process writes there.
    void disturb(std::uint64_t page, std::uint64_t value = 77) {
        std::thread([&] {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage),
                      static_cast<long>(sizeof(value)));
        }).join();
    }
    std::uint64_t committed(std::uint64_t page) {
        std::uint64_t value = 0;
        EXPECT_EQ(read(other, page * kPage, &value, sizeof(value)), long{sizeof(value)});
        return value;
    }
};

} // namespace stm::test
