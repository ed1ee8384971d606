// SPDX-License-Identifier: GPL-2.0
// Two kinds of calls at the same time, again and again; the sanitizers look on.
#include "tests/unit/kernel/kernel_test.hpp"
#include "tests/unit/kernel/threads.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <cstdio>

namespace stm::test {
namespace {

class Races : public KernelTest {};

TEST_F(Races, OfOpeningAgainstTheLastCloseEndWithAUserOrWithNothing) {
    File file;
    std::uint64_t id = 0;
    int opened = 0;
    int refused = 0;
    in_rounds(
        3, milliseconds(300),
        [&] {
            file = open(control, "e", kCreate | STM_OPEN_EXCL,
                        {kPage, STM_REGION_PLAIN | STM_REGION_EPHEMERAL});
            ASSERT_TRUE(file.ok());
            id = info_of(file).id;
        },
        [&](int number) {
            if (number == 0) {
                file.close();
                return;
            }
            const File again =
                number == 1 ? open_id(control, id) : open(control, "e", kOpen, {0, 0, 0});
            if (!again.ok()) {
                EXPECT_EQ(again.error(), number == 1 ? -ESTALE : -ENOENT);
                if (number == 1)
                    ++refused;
                return;
            }
            if (number == 1)
                ++opened;
            // With a name or without, it is a whole region.
            EXPECT_EQ(write(again, 0, "x", 1), 1);
            EXPECT_EQ(read_string(again, 0, 1), "x");
            EXPECT_EQ(fault(again, 0, 0).result, STM_FAULT_MAP);
        },
        [&] {
            EXPECT_EQ(all_regions(control).size(), 1u);
            EXPECT_EQ(version_of(control).bytes, 0u);
            EXPECT_EQ(simulated::live().pages, kPagesOfDefault);
        });
    std::printf("[  rounds  ] opened %d, refused %d\n", opened, refused);
}

TEST_F(Races, OfFirstFaultsInstallOnePage) {
    constexpr std::uint64_t kPages = 1024;
    const File file = open(control, "a", kCreate, {kPages * kPage});
    std::array<std::vector<stm_page*>, 4> seen;
    std::barrier turn(4);
    in_threads(4, [&](int number) {
        auto& mine = seen[static_cast<std::size_t>(number)];
        for (std::uint64_t index = 0; index < kPages; ++index) {
            turn.arrive_and_wait();
            const Fault found = fault(file, index, index, Access::store);
            ASSERT_EQ(found.result, STM_FAULT_MAP);
            mine.push_back(found.pages[0]);
        }
    });
    for (const auto& pages : seen)
        EXPECT_EQ(pages, seen[0]);
    EXPECT_EQ(info_of(file).resident_bytes, kPages * kPage);
    EXPECT_EQ(simulated::live().pages, static_cast<long>(kPages) + kPagesOfDefault);
}

TEST_F(Races, OfReadAndWriteCallsSeeWholeCalls) {
    constexpr std::size_t kBytes = 3 * kPage + 100;
    const File file = open(control, "a", kCreate, {4 * kPage});
    const auto end = Clock::now() + milliseconds(300);
    in_threads(4, [&](int number) {
        std::vector<std::uint8_t> bytes(kBytes);
        for (std::uint8_t round = 0; Clock::now() < end; ++round) {
            if (number < 2) {
                std::fill(bytes.begin(), bytes.end(),
                          static_cast<std::uint8_t>(round * 2 + number));
                ASSERT_EQ(write(file, 50, bytes.data(), kBytes), static_cast<long>(kBytes));
            } else {
                ASSERT_EQ(read(file, 50, bytes.data(), kBytes), static_cast<long>(kBytes));
                ASSERT_TRUE(std::all_of(bytes.begin(), bytes.end(),
                                        [&](auto byte) { return byte == bytes[0]; }));
            }
        }
    });
}

TEST_F(Races, OfExclusiveCreationHaveOneWinner) {
    std::atomic<int> winners{0};
    in_rounds(
        4, milliseconds(150), [&] { winners = 0; },
        [&](int) {
            const File file = open(control, "a", kCreate | STM_OPEN_EXCL);
            if (file.ok())
                ++winners;
            else
                EXPECT_EQ(file.error(), -EEXIST);
        },
        [&] {
            EXPECT_EQ(winners, 1);
            EXPECT_EQ(destroy_name(control, "a"), 0);
        });
}

TEST_F(Races, OfCreationAllGetTheSameRegion) {
    std::array<File, 4> files;
    in_rounds(
        4, milliseconds(150), [] {},
        [&](int number) {
            files[static_cast<std::size_t>(number)] =
                number % 2 == 0 ? open(control, "a", kCreate) : File::node(1);
        },
        [&] {
            for (std::size_t number = 0; number < 4; ++number) {
                ASSERT_TRUE(files[number].ok()) << files[number].error();
                EXPECT_EQ(info_of(files[number]).id, info_of(files[number % 2]).id);
                EXPECT_EQ(info_of(files[number]).handles, 2u);
            }
            for (File& file : files)
                file.close();
            EXPECT_EQ(destroy_name(control, "a"), 0);
            EXPECT_EQ(destroy_name(control, "minor:1"), 0);
        });
}

TEST_F(Races, OfTheFirstUseCountAHandleOnce) {
    File file;
    in_rounds(
        4, milliseconds(150), [&] { file = File::node(0); },
        [&](int number) {
            char byte = 0;
            EXPECT_GT(number == 0 ? read(file, 0, &byte, 1) : stm_core_size(file.get()), 0);
        },
        [&] {
            EXPECT_EQ(info_of(file).handles, 1u);
            file.close();
            EXPECT_EQ(info_of(control).handles, 0u);
        });
}

TEST_F(Races, OfSizesHaveOneWinner) {
    File file;
    std::array<long, 4> results{};
    in_rounds(
        4, milliseconds(150), [&] { file = File::node(9); },
        [&](int number) {
            results[static_cast<std::size_t>(number)] =
                set_size(file, (static_cast<std::uint64_t>(number) + 1) * kPage);
        },
        [&] {
            const std::uint64_t size = info_of(file).region_size;
            EXPECT_EQ(version_of(control).bytes, size);
            for (std::size_t number = 0; number < 4; ++number)
                EXPECT_EQ(results[number], (number + 1) * kPage <= size ? 0 : -EBUSY);
            EXPECT_EQ(destroy_handle(file), 0);
            file.close();
            EXPECT_EQ(version_of(control).bytes, 0u);
        });
}

} // namespace
} // namespace stm::test
