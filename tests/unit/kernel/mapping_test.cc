// SPDX-License-Identifier: GPL-2.0
// What may be mapped, page faults, and who is attached.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <array>

namespace stm::test {
namespace {

constexpr std::uint64_t kLargest = ~std::uint64_t{0};

class Mappings : public KernelTest {
protected:
    static constexpr std::uint64_t kPages = 1030;
    File plain = open(control, "plain", kCreate, {kPages * kPage, STM_REGION_PLAIN});
    File transactional = open(control, "tx", kCreate, {kPages * kPage, 0});
    File executable =
        open(control, "exec", kCreate, {kPage, STM_REGION_PLAIN | STM_REGION_EXEC, 0700});
};

TEST_F(Mappings, LieInTheirRegion) {
    const auto error = [&](std::uint64_t first, std::uint64_t pages) {
        return map(plain, first, pages, STM_MAP_WRITE);
    };
    EXPECT_EQ(error(0, 1), 0);
    EXPECT_EQ(error(0, kPages), 0);
    EXPECT_EQ(error(kPages - 1, 1), 0);
    EXPECT_EQ(error(0, kPages + 1), -EINVAL);
    EXPECT_EQ(error(1, kPages), -EINVAL);
    EXPECT_EQ(error(kPages, 1), -EINVAL);
    EXPECT_EQ(error(kPages + 1, 0), -EINVAL);
    EXPECT_EQ(error(kLargest, 1), -EINVAL);
    EXPECT_EQ(error(1, kLargest), -EINVAL) << "first + pages is 0";
    EXPECT_EQ(error(2, kLargest), -EINVAL) << "first + pages is 1";
    EXPECT_EQ(error(kLargest, kLargest), -EINVAL);
    EXPECT_EQ(error(kLargest / kPage + 1, 1), -EINVAL) << "times the page size it is 0";
    EXPECT_EQ(error(kLargest - kPages + 2, kPages), -EINVAL);
}

TEST_F(Mappings, BecomeWhatTheirRegionAllows) {
    struct Row {
        File* file;
        unsigned wanted;
        int error;
        unsigned allowed;
    };
    const Row table[] = {
        {&plain, 0, 0, STM_MAP_WRITE | STM_MAP_PLAIN},
        {&plain, STM_MAP_WRITE, 0, STM_MAP_WRITE | STM_MAP_PLAIN},
        {&plain, STM_MAP_EXEC, -EACCES, 0},
        {&plain, STM_MAP_WRITE | STM_MAP_EXEC, -EACCES, 0},
        {&transactional, 0, 0, STM_MAP_WRITE},
        {&transactional, STM_MAP_WRITE, 0, STM_MAP_WRITE},
        {&transactional, STM_MAP_EXEC, -EACCES, 0},
        {&executable, 0, 0, STM_MAP_WRITE | STM_MAP_PLAIN},
        {&executable, STM_MAP_WRITE, 0, STM_MAP_WRITE | STM_MAP_PLAIN},
        {&executable, STM_MAP_EXEC, 0, STM_MAP_EXEC | STM_MAP_PLAIN},
        {&executable, STM_MAP_WRITE | STM_MAP_EXEC, -EACCES, 0},
    };
    for (const Row& row : table) {
        unsigned allowed = 0;
        EXPECT_EQ(map(*row.file, 0, 1, row.wanted, &allowed), row.error) << row.wanted;
        EXPECT_EQ(allowed, row.allowed) << row.wanted;
    }
}

// -- Faults --

TEST_F(Mappings, FaultInZerosThatLinuxKnows) {
    const Fault first = fault(plain, 5, 5);
    ASSERT_EQ(first.result, STM_FAULT_MAP);
    ASSERT_EQ(first.pages.size(), 1u);
    EXPECT_EQ(simulated::page_state(first.pages[0]).index, 5u);
    EXPECT_EQ(simulated::page_state(first.pages[0]).identity, plain.identity());
    EXPECT_EQ(simulated::page_bytes(first.pages[0])[123], 0);
    EXPECT_EQ(fault(plain, 5, 5, Access::store).pages, first.pages) << "the same page for all";
    EXPECT_EQ(info_of(plain).resident_bytes, kPage);
    EXPECT_EQ(info_of(plain).faults, 2u);
    simulated::page_bytes(first.pages[0])[1] = 'y';
    EXPECT_EQ(read_string(plain, 5 * kPage + 1, 1), "y");
}

TEST_F(Mappings, FaultOnlyWithinTheirRegion) {
    for (const std::uint64_t index : {kPages, kPages + 1, kLargest, kLargest / kPage + 1})
        EXPECT_EQ(fault(plain, index, kLargest).result, STM_FAULT_OUTSIDE) << index;
    EXPECT_EQ(fault(plain, kPages - 1, kLargest).pages.size(), 1u);
    EXPECT_EQ(info_of(plain).faults, 1u) << "what was refused was not served";
}

TEST_F(Mappings, OfTransactionalRegionsAreNotStoredTo) {
    EXPECT_EQ(fault(transactional, 0, 0, Access::store).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(info_of(transactional).resident_bytes, 0u);
    EXPECT_EQ(fault(transactional, 0, 0).result, STM_FAULT_MAP);
    EXPECT_EQ(fault(transactional, kPages, kPages, Access::store).result, STM_FAULT_OUTSIDE);
}

TEST_F(Mappings, FaultInTheResidentPagesThatFollow) {
    const auto touch = [&](std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t index = from; index < to; ++index)
            ASSERT_EQ(write(plain, index * kPage, "x", 1), 1);
    };
    const auto expect_run = [&](std::uint64_t index, std::uint64_t last, std::size_t count) {
        const Fault found = fault(plain, index, last);
        ASSERT_EQ(found.pages.size(), count) << index << " to " << last;
        for (std::size_t place = 0; place < count; ++place)
            EXPECT_EQ(simulated::page_state(found.pages[place]).index, index + place);
    };
    touch(10, 20);
    const std::uint64_t resident = info_of(plain).resident_bytes;
    expect_run(10, 1000, 10);
    expect_run(12, 1000, 8);
    expect_run(10, 12, 3);
    expect_run(10, 10, 1);
    expect_run(19, 1000, 1);
    EXPECT_EQ(info_of(plain).resident_bytes, resident);
    expect_run(9, 1000, 11); // its own page is made, the others were there
    expect_run(21, 1000, 1);
    EXPECT_EQ(info_of(plain).resident_bytes, resident + 2 * kPage);
    touch(100, 140);
    expect_run(100, 1000, STM_FAULT_BATCH);
    expect_run(100, kLargest, STM_FAULT_BATCH);
    touch(kPages - 3, kPages);
    expect_run(kPages - 3, kLargest, 3);
    // Across the border of two leaves of the page table; behind it nothing may be there yet.
    touch(510, 512);
    expect_run(510, 1000, 2);
    touch(512, 515);
    const Fault across = fault(plain, 510, 1000);
    ASSERT_LE(across.pages.size(), 5u);
    for (std::size_t place = 0; place < across.pages.size(); ++place)
        EXPECT_EQ(simulated::page_state(across.pages[place]).index, 510 + place);
}

TEST_F(Mappings, FaultInTheResidentPagesAround) {
    const auto touch = [&](std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t index = from; index < to; ++index)
            ASSERT_EQ(write(plain, index * kPage, "x", 1), 1);
    };
    // That pages `from` to `to`, not included, are mapped by a fault at `index`.
    const auto expect_run = [&](std::uint64_t first, std::uint64_t index, std::uint64_t last,
                                std::uint64_t from, std::uint64_t to) {
        const Fault found = fault_around(plain, first, index, last);
        ASSERT_EQ(found.first, from) << first << ", " << index << ", " << last;
        ASSERT_EQ(found.pages.size(), to - from) << first << ", " << index << ", " << last;
        for (std::size_t place = 0; place < found.pages.size(); ++place)
            EXPECT_EQ(simulated::page_state(found.pages[place]).index, from + place);
    };
    touch(10, 20);
    expect_run(0, 15, 1000, 10, 20);
    expect_run(12, 15, 17, 12, 18);
    expect_run(15, 15, 15, 15, 16);
    expect_run(0, 20, 1000, 10, 21); // its own page is made, the others were there
    expect_run(0, 9, 9, 9, 10);
    expect_run(5, 5, 9, 5, 6);
    touch(0, 3);
    expect_run(0, 2, 2, 0, 3);
    expect_run(0, 0, 0, 0, 1);
    // Never more than a batch, and always with the page that is missing.
    touch(100, 150);
    expect_run(0, 149, 149, 149 - STM_FAULT_BATCH + 1, 150);
    expect_run(0, 149, kLargest, 149 - STM_FAULT_BATCH + 1, 150);
    expect_run(0, 120, kLargest, 120 - STM_FAULT_BATCH + 1, 121);
    expect_run(118, 120, kLargest, 118, 118 + STM_FAULT_BATCH);
    // What makes no sense is served with the page alone.
    expect_run(121, 120, 110, 120, 121);
    expect_run(kLargest, 120, 0, 120, 121);
}

TEST_F(Mappings, FaultWithoutMemoryCanBeTriedAgain) {
    std::size_t points = 0;
    for (;; ++points) {
        const Snapshot before = snapshot(control);
        const FailPoint point(points + 1);
        const Fault answer = fault(plain, 600, 600, Access::store);
        if (point.happened() == Failure::none) {
            EXPECT_EQ(answer.result, STM_FAULT_MAP);
            break;
        }
        EXPECT_EQ(answer.result, STM_FAULT_NO_MEMORY);
        EXPECT_TRUE(same(before, snapshot(control),
                         points == 0 ? Compare::everything : Compare::all_but_what_stays));
        EXPECT_EQ(info_of(plain).resident_bytes, 0u);
    }
    std::printf("[  points  ] %-34s %zu\n", "stm_core_fault", points);
    EXPECT_EQ(points, 2u) << "the leaf and the page";
}

// -- Attachments --

class Attachments : public Mappings {
protected:
    std::array<stm_attachment, 8> list{};
    stm_attachments answer{};

    long ask(std::uint32_t capacity, std::uint32_t flags = STM_BY_NAME,
             const char* name = "plain") {
        std::memset(list.data(), 0x5c, sizeof(list));
        answer = argument_of<stm_attachments>(flags, name);
        answer.buffer = reinterpret_cast<std::uint64_t>(list.data());
        answer.capacity = capacity;
        answer.id = info_of(plain).id;
        return request(control, STM_IOC_ATTACHMENTS, answer);
    }
    static bool untouched(const stm_attachment& entry) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&entry);
        return std::all_of(bytes, bytes + sizeof(entry), [](auto byte) { return byte == 0x5c; });
    }
};

TEST_F(Attachments, AreHandlesAndMappings) {
    Process reader(300, kRoot, "a-reader");
    File opened;
    {
        const As now(reader);
        opened = open(control, "plain", STM_OPEN_READ, {0, 0, 0});
    }
    const simulated::Mapped mapped(plain.view(), {44, 3, 0x7000'0000, 2 * kPage, kPage, "mapper"});
    ASSERT_EQ(ask(8), 0);
    ASSERT_EQ(answer.count, 3u);
    EXPECT_EQ(answer.id, info_of(plain).id);
    EXPECT_EQ(list[0].kind, unsigned{STM_ATTACHMENT_HANDLE});
    EXPECT_EQ(list[0].pid, 1);
    EXPECT_STREQ(list[0].command, "init");
    EXPECT_EQ(list[0].protection, kReadWrite);
    EXPECT_EQ(list[0].address, 0u);
    EXPECT_EQ(list[1].pid, 300);
    EXPECT_STREQ(list[1].command, "a-reader");
    EXPECT_EQ(list[1].protection, kRead);
    EXPECT_EQ(list[2].kind, unsigned{STM_ATTACHMENT_MAPPING});
    EXPECT_EQ(list[2].pid, 44);
    EXPECT_EQ(list[2].address, 0x7000'0000u);
    EXPECT_EQ(list[2].length, 2 * kPage);
    EXPECT_EQ(list[2].offset, kPage);
    EXPECT_EQ(list[2].protection, 3u);
    EXPECT_STREQ(list[2].command, "mapper");
    EXPECT_TRUE(untouched(list[3]));
    EXPECT_EQ(info_of(plain).mappings, 1u);
    reader.exit();
    ASSERT_EQ(ask(8), 0);
    EXPECT_STREQ(list[1].command, "");
    opened.close();
}

TEST_F(Attachments, AreCountedBeyondTheCapacity) {
    const File second = open(control, "plain", kOpen, {0, 0, 0});
    const simulated::Mapped one(plain.view(), {44, 1, kPage, kPage, 0, "one"});
    const simulated::Mapped two(plain.view(), {45, 1, kPage, kPage, 0, "two"});
    for (std::uint32_t capacity = 0; capacity <= 5; ++capacity) {
        ASSERT_EQ(ask(capacity), 0);
        EXPECT_EQ(answer.count, 4u);
        for (std::uint32_t place = 0; place < list.size(); ++place)
            EXPECT_EQ(untouched(list[place]), place >= std::min(capacity, 4u)) << capacity;
    }
}

TEST_F(Attachments, AreToldByNameIdAndHandle) {
    EXPECT_EQ(ask(8, STM_BY_ID), 0);
    EXPECT_EQ(answer.count, 1u);
    EXPECT_EQ(ask(8, STM_BY_HANDLE), 0);
    EXPECT_EQ(answer.count, 0u) << "the control handle's region is default";
    EXPECT_EQ(ask(8, STM_BY_NAME, "nothing"), -ENOENT);
    EXPECT_EQ(ask(8, STM_BY_NEXT), -EINVAL);
    EXPECT_EQ(ask(8, 0), -EINVAL);
    EXPECT_EQ(ask(8, STM_BY_NAME | STM_BY_ID), -EINVAL);
    EXPECT_EQ(ask(8, STM_BY_NAME | 0x10), -EINVAL);
    EXPECT_EQ(ask(65536), 0);
    EXPECT_EQ(ask(65537), -EINVAL);
    EXPECT_EQ(ask(~0u), -EINVAL);
}

TEST_F(Attachments, NeedABufferOnlyForWhatIsStored) {
    answer = argument_of<stm_attachments>(STM_BY_NAME, "plain");
    answer.capacity = 1;
    EXPECT_EQ(request(control, STM_IOC_ATTACHMENTS, answer), -EFAULT);
    answer.buffer = ~std::uint64_t{0} - 8;
    EXPECT_EQ(request(control, STM_IOC_ATTACHMENTS, answer), -EFAULT) << "it wraps around";
    answer.buffer = 0;
    answer.capacity = 0;
    EXPECT_EQ(request(control, STM_IOC_ATTACHMENTS, answer), 0);
    EXPECT_EQ(answer.count, 1u);
}

} // namespace
} // namespace stm::test
