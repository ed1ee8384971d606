// SPDX-License-Identifier: GPL-2.0
// The rules of <stm/ioctl.h> that all requests share, INFO and VERSION.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>

namespace stm::test {
namespace {

class Control : public KernelTest {
protected:
    File file = open(control, "a");

    long raw(unsigned number, const void* argument) {
        return stm_core_control(file.get(), number, reinterpret_cast<std::uint64_t>(argument));
    }

    // A valid argument of the request in a longer structure.
    template <typename Argument>
    std::vector<std::uint8_t> longer(const Argument& argument, std::size_t bytes) {
        std::vector<std::uint8_t> memory(std::max(bytes, sizeof(argument)));
        std::memcpy(memory.data(), &argument, sizeof(argument));
        const auto size = static_cast<std::uint32_t>(bytes);
        std::memcpy(memory.data(), &size, sizeof(size));
        return memory;
    }

    // Expects that the request follows the rules of sizes. The first version of the structure had
    // so many bytes.
    template <typename Argument>
    void expect_size_rules(unsigned number, const Argument& valid,
                           std::size_t first = sizeof(Argument)) {
        for (const std::size_t bytes :
             {first, sizeof(valid), sizeof(valid) + 1, sizeof(valid) + 8, std::size_t{4096}})
            EXPECT_GE(raw(number, longer(valid, bytes).data()), 0) << bytes;
        for (const std::size_t bytes :
             {std::size_t{0}, std::size_t{1}, std::size_t{4}, std::size_t{8}, first - 1})
            EXPECT_EQ(raw(number, longer(valid, bytes).data()), -EINVAL) << bytes;
        for (const std::size_t bytes : {sizeof(valid) + 1, sizeof(valid) + 8, std::size_t{4096}}) {
            for (const std::size_t place : {sizeof(valid), bytes - 1}) {
                auto memory = longer(valid, bytes);
                memory[place] = 1;
                EXPECT_EQ(raw(number, memory.data()), -E2BIG) << bytes;
            }
        }
        auto memory = longer(valid, 4096);
        for (const std::uint32_t bytes : {4097u, 65536u, ~0u, 0x80000000u}) {
            std::memcpy(memory.data(), &bytes, sizeof(bytes));
            EXPECT_EQ(raw(number, memory.data()), -E2BIG) << bytes;
        }
        EXPECT_EQ(raw(number, nullptr), -EFAULT);
        EXPECT_EQ(stm_core_control(file.get(), number, ~std::uint64_t{0}), -EFAULT);
        auto unknown = valid;
        for (std::uint32_t bit = 31; bit >= 8; --bit) {
            unknown.flags = valid.flags | 1u << bit;
            EXPECT_EQ(raw(number, &unknown), -EINVAL) << "flag " << bit;
        }
    }
};

TEST_F(Control, RefusesUnknownRequests) {
    auto version = argument_of<stm_version>(0);
    for (const unsigned number :
         {0u, ~0u, unsigned{_IO(STM_IOC_TYPE, 0xff)}, unsigned{_IO(0xB4, 0)},
          unsigned{STM_IOC_VERSION} | 0x40000000u, 0x5401u})
        EXPECT_EQ(raw(number, &version), -ENOTTY) << number;
    EXPECT_EQ(raw(_IO(STM_IOC_TYPE, 0xff), nullptr), -ENOTTY);
}

TEST_F(Control, FollowsTheRulesOfSizesInVersion) {
    expect_size_rules(STM_IOC_VERSION, argument_of<stm_version>(0));
}
TEST_F(Control, FollowsTheRulesOfSizesInInfo) {
    expect_size_rules(STM_IOC_INFO, argument_of<stm_info>(STM_BY_NAME, "a"),
                      offsetof(stm_info, segment_bytes));
}
TEST_F(Control, FollowsTheRulesOfSizesInTransaction) {
    expect_size_rules(STM_IOC_TRANSACTION, argument_of<stm_transaction>(0),
                      offsetof(stm_transaction, has_place));
}
TEST_F(Control, FollowsTheRulesOfSizesInStatistics) {
    expect_size_rules(STM_IOC_STATISTICS, argument_of<stm_statistics>(STM_BY_NAME, "a"),
                      offsetof(stm_statistics, load_faults));
    expect_size_rules(STM_IOC_STATISTICS,
                      argument_of<stm_statistics>(STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE),
                      offsetof(stm_statistics, load_faults));
}
TEST_F(Control, FollowsTheRulesOfSizesInAttachments) {
    expect_size_rules(STM_IOC_ATTACHMENTS, argument_of<stm_attachments>(STM_BY_NAME, "a"));
}
TEST_F(Control, FollowsTheRulesOfSizesInPlaces) {
    expect_size_rules(STM_IOC_PLACES, argument_of<stm_places>(STM_BY_NAME, "a"));
}
TEST_F(Control, FollowsTheRulesOfSizesInNamePlace) {
    auto argument = argument_of<stm_place>(0);
    argument.length = 64;
    argument.name[0] = 'a';
    expect_size_rules(STM_IOC_NAME_PLACE, argument);
}
TEST_F(Control, HasAHandleInCoreFilesWhenItIsAskedTo) {
    const File other = open(control, "a", kOpen);
    EXPECT_EQ(stm_core_is_dumped(file.get()), 0);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_DUMP, 1), 0);
    EXPECT_EQ(stm_core_is_dumped(file.get()), 1);
    EXPECT_EQ(stm_core_is_dumped(other.get()), 0);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_DUMP, 2), -EINVAL);
    EXPECT_EQ(stm_core_is_dumped(file.get()), 1);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_DUMP, 0), 0);
    EXPECT_EQ(stm_core_is_dumped(file.get()), 0);
}
TEST_F(Control, FollowsTheRulesOfSizesInSetSize) {
    auto argument = argument_of<stm_set_size>(0);
    argument.region_size = kPage;
    expect_size_rules(STM_IOC_SET_SIZE, argument);
}
TEST_F(Control, FollowsTheRulesOfSizesInOpen) {
    const auto before = simulated::live().descriptors;
    expect_size_rules(STM_IOC_OPEN, open_argument("a", kOpen));
    ASSERT_EQ(simulated::live().descriptors, before + 5) << "one for each that was accepted";
    for (int descriptor = 1; descriptor <= 5; ++descriptor)
        simulated::close_descriptor(descriptor);
}
TEST_F(Control, FollowsTheRulesOfSizesInChangeSegment) {
    const File segment =
        open(control, "segment", kCreate, {kPage, STM_REGION_PLAIN | STM_REGION_SEGMENT, 0600});
    auto argument = argument_of<stm_change_segment>(STM_SEGMENT_LOCK);
    argument.id = info_of(segment).id;
    expect_size_rules(STM_IOC_CHANGE_SEGMENT, argument);
}
TEST_F(Control, FollowsTheRulesOfSizesInVector) {
    const File transactional = open(control, "tx", kCreate, {kPage, 0, 0600});
    const auto valid = argument_of<stm_vector>(0);
    for (const std::size_t bytes : {sizeof(valid), sizeof(valid) + 8})
        EXPECT_EQ(stm_core_control(transactional.get(), STM_IOC_VECTOR,
                                   reinterpret_cast<std::uint64_t>(longer(valid, bytes).data())),
                  0);
    EXPECT_EQ(raw(STM_IOC_VECTOR, longer(valid, sizeof(valid) - 1).data()), -EINVAL);
    EXPECT_EQ(raw(STM_IOC_VECTOR, longer(valid, 5000).data()), -E2BIG);
}
TEST_F(Control, FollowsTheRulesOfSizesInDestroy) {
    // Each one that is accepted destroys one, so there must be one again.
    for (const std::size_t bytes : {sizeof(stm_destroy), sizeof(stm_destroy) + 8}) {
        open(control, "b").close();
        const auto valid = argument_of<stm_destroy>(STM_BY_NAME, "b");
        EXPECT_EQ(raw(STM_IOC_DESTROY, longer(valid, bytes).data()), 0);
        EXPECT_EQ(raw(STM_IOC_DESTROY, longer(valid, bytes).data()), -ENOENT);
        EXPECT_EQ(raw(STM_IOC_DESTROY, longer(valid, sizeof(valid) - 1).data()), -EINVAL);
        EXPECT_EQ(raw(STM_IOC_DESTROY, longer(valid, 5000).data()), -E2BIG);
    }
    auto argument = argument_of<stm_destroy>(STM_BY_NAME, "a");
    for (const std::uint32_t flags : std::initializer_list<std::uint32_t>{
             0, STM_BY_NEXT, STM_BY_NAME | 0x20, STM_BY_NAME | STM_BY_NEXT, STM_DESTROY_DEFERRED,
             STM_BY_NAME | STM_BY_ID}) {
        argument.flags = flags;
        EXPECT_EQ(raw(STM_IOC_DESTROY, &argument), -EINVAL) << flags;
    }
}

TEST_F(Control, WritesNoMoreThanItKnows) {
    auto memory = longer(argument_of<stm_version>(0), sizeof(stm_version) + 64);
    ASSERT_EQ(raw(STM_IOC_VERSION, memory.data()), 0);
    for (std::size_t place = sizeof(stm_version); place < memory.size(); ++place)
        EXPECT_EQ(memory[place], 0);
}

TEST_F(Control, RefusesReservedMembersThatAreNotZero) {
    auto version = argument_of<stm_version>(0);
    version.reserved = 1;
    EXPECT_EQ(raw(STM_IOC_VERSION, &version), -EINVAL);
    auto info = argument_of<stm_info>(STM_BY_NAME, "a");
    info.reserved = 1;
    EXPECT_EQ(raw(STM_IOC_INFO, &info), -EINVAL);
    stm_open open = open_argument("a", kOpen);
    open.reserved = 1;
    EXPECT_EQ(raw(STM_IOC_OPEN, &open), -EINVAL);
}

// Another thread of the caller may change the structure between two reads of it.
TEST_F(Control, ReadsEachSizeOnce) {
    for (std::size_t step = 1; step < 4; ++step) {
        auto memory = longer(argument_of<stm_info>(STM_BY_NAME, "a"), 4096);
        const Interleave other(step, [&] {
            const std::uint32_t size = 1;
            std::memcpy(memory.data(), &size, sizeof(size));
        });
        const long result = raw(STM_IOC_INFO, memory.data());
        EXPECT_TRUE(result == 0 || (result == -EINVAL && step == 1));
    }
    for (std::size_t step = 1; step < 4; ++step) {
        auto argument = argument_of<stm_version>(0);
        argument.size = sizeof(argument);
        const std::uint64_t canary = 0x1122334455667788;
        std::vector<std::uint8_t> memory(sizeof(argument) + sizeof(canary));
        std::memcpy(memory.data(), &argument, sizeof(argument));
        std::memcpy(memory.data() + sizeof(argument), &canary, sizeof(canary));
        const Interleave other(step, [&] {
            const std::uint32_t size = 4096;
            std::memcpy(memory.data(), &size, sizeof(size));
        });
        raw(STM_IOC_VERSION, memory.data());
        EXPECT_EQ(std::memcmp(memory.data() + sizeof(argument), &canary, sizeof(canary)), 0);
    }
}

TEST_F(Control, TellsItsVersionAndLimits) {
    const File other = open(control, "b", kCreate, {3 * kPage});
    ASSERT_EQ(write(other, 0, "x", 1), 1);
    const stm_version version = version_of(control);
    EXPECT_EQ(version.size, sizeof(version));
    EXPECT_EQ(version.abi_major, unsigned{STM_ABI_MAJOR});
    EXPECT_EQ(version.abi_minor, unsigned{STM_ABI_MINOR});
    EXPECT_EQ(version.device_major, settings.device_major);
    EXPECT_EQ(version.page_size, kPage);
    EXPECT_EQ(version.max_regions, settings.max_regions);
    EXPECT_EQ(version.regions, 3u);
    EXPECT_EQ(version.bytes, 4 * kPage);
    EXPECT_EQ(version.resident_bytes, kPage);
    EXPECT_EQ(version.max_region_bytes, settings.max_region_bytes);
    EXPECT_EQ(version.max_bytes, settings.max_bytes);
    EXPECT_EQ(version.max_user_regions, settings.max_user_regions);
    EXPECT_EQ(version.max_user_bytes, settings.max_user_bytes);
}

TEST_F(Control, ListsRegionsByTheNextMinor) {
    const File five = File::node(5);
    const File sixty = File::node(60);
    std::vector<std::uint32_t> minors;
    for (const stm_info& info : all_regions(control)) {
        EXPECT_EQ(info.flags, unsigned{STM_BY_NEXT});
        minors.push_back(info.minor);
    }
    EXPECT_EQ(minors, (std::vector<std::uint32_t>{0, 5, 60, 63}));
    for (const std::uint32_t beyond : {64u, 1000u, ~0u}) {
        auto info = argument_of<stm_info>(STM_BY_NEXT);
        info.minor = beyond;
        EXPECT_EQ(request(control, STM_IOC_INFO, info), -ENOENT) << beyond;
    }
}

TEST_F(Control, TellsOfARegionByExactlyOneOfItsHandles) {
    auto info = argument_of<stm_info>(0);
    for (const std::uint32_t flags : {0u, unsigned{STM_BY_NAME | STM_BY_HANDLE},
                                      unsigned{STM_BY_NEXT | STM_BY_ID}, unsigned{STM_BY_FLAGS}}) {
        info = argument_of<stm_info>(flags, "a");
        EXPECT_EQ(request(control, STM_IOC_INFO, info), -EINVAL) << flags;
    }
    stm_info by_name;
    stm_info by_id;
    ASSERT_EQ(info_by_name(control, "a", by_name), 0);
    ASSERT_EQ(info_by_id(control, by_name.id, by_id), 0);
    by_name.flags = by_id.flags = 0;
    EXPECT_EQ(std::memcmp(&by_name, &by_id, sizeof(by_id)), 0);
    stm_info by_handle = info_of(file);
    by_handle.flags = 0;
    EXPECT_EQ(std::memcmp(&by_handle, &by_id, sizeof(by_id)), 0);
    EXPECT_EQ(info_by_name(control, "nobody", by_name), -ENOENT);
}

TEST_F(Control, FailsOpenWhenNoDescriptorIsLeft) {
    simulated::limit_descriptors(1); // the fixture's file has the one
    const Snapshot before = snapshot(control);
    EXPECT_EQ(open(control, "b").error(), -EMFILE);
    EXPECT_TRUE(same(before, snapshot(control)));
    simulated::limit_descriptors(1024);
}

} // namespace
} // namespace stm::test
