// SPDX-License-Identifier: GPL-2.0
// Regions: when they lose their names, and when they end.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <set>

namespace stm::test {
namespace {

using Regions = KernelTest;

TEST_F(Regions, InUseAreNotDestroyed) {
    File file = open(control, "a");
    EXPECT_EQ(destroy_name(control, "a"), -EBUSY);
    EXPECT_EQ(destroy_id(control, info_of(file).id), -EBUSY);
    EXPECT_EQ(info_of(file).state, unsigned{STM_STATE_SIZED});
    file.close();
    EXPECT_EQ(destroy_name(control, "a"), 0);
    EXPECT_EQ(destroy_name(control, "a"), -ENOENT);
}

TEST_F(Regions, DestroyedLaterLoseTheirNameNow) {
    File file = open(control, "a");
    const std::uint64_t id = info_of(file).id;
    ASSERT_EQ(write(file, 0, "old", 3), 3);
    EXPECT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    EXPECT_EQ(info_of(file).state, unsigned{STM_STATE_UNLINKED | STM_STATE_SIZED});
    EXPECT_EQ(info_of(file).id, id);
    EXPECT_EQ(open(control, "a", kOpen).error(), -ENOENT);
    EXPECT_EQ(open_id(control, id).error(), -ESTALE);
    EXPECT_EQ(File::node(static_cast<unsigned>(id), kRead).error(), -ENXIO);
    EXPECT_EQ(version_of(control).regions, 1u);
    EXPECT_EQ(version_of(control).bytes, kPage) << "its memory is still there";

    const File successor = open(control, "a", kCreate | STM_OPEN_EXCL);
    ASSERT_TRUE(successor.ok());
    EXPECT_EQ(read_string(successor, 0, 3), std::string(3, '\0'));
    EXPECT_EQ(read_string(file, 0, 3), "old");
    EXPECT_EQ(destroy_handle(file), -ENOENT) << "once is enough";
    file.close();
    EXPECT_EQ(version_of(control).bytes, kPage);
    EXPECT_EQ(version_of(control).resident_bytes, 0u);
}

TEST_F(Regions, ThatLostTheirNameAreToldOfAsLongAsTheyAreUsed) {
    File file = open(control, "a", kCreate, {kPage, 0});
    File second = open(control, "a", kOpen, {0, 0, 0});
    const std::uint64_t id = info_of(file).id;
    ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    const File successor = open(control, "a", kCreate | STM_OPEN_EXCL);
    ASSERT_EQ(info_of(successor).minor, static_cast<std::uint32_t>(id)) << "with the same minor";

    stm_info info;
    ASSERT_EQ(info_by_id(control, id, info), 0);
    EXPECT_EQ(info.id, id);
    EXPECT_EQ(info.state, unsigned{STM_STATE_UNLINKED | STM_STATE_SIZED});
    EXPECT_EQ(info.handles, 2u);
    EXPECT_STREQ(info.name, "a");
    stm_attachment users[4]{};
    auto list = argument_of<stm_attachments>(STM_BY_ID);
    list.id = id;
    list.buffer = reinterpret_cast<std::uint64_t>(users);
    list.capacity = 4;
    ASSERT_EQ(request(control, STM_IOC_ATTACHMENTS, list), 0);
    EXPECT_EQ(list.count, 2u);
    EXPECT_EQ(users[0].pid, simulated::init_process().pid());
    auto statistics = argument_of<stm_statistics>(STM_BY_ID);
    statistics.id = id;
    EXPECT_EQ(request(control, STM_IOC_STATISTICS, statistics), 0);
    EXPECT_EQ(open_id(control, id).error(), -ESTALE) << "nobody comes to it any more";
    EXPECT_EQ(destroy_id(control, id), -ESTALE) << "and it cannot be destroyed twice";

    file.close();
    EXPECT_EQ(info_by_id(control, id, info), 0);
    second.close();
    EXPECT_EQ(info_by_id(control, id, info), -ESTALE);
    EXPECT_EQ(request(control, STM_IOC_ATTACHMENTS, list), -ESTALE);
    EXPECT_EQ(request(control, STM_IOC_STATISTICS, statistics), -ESTALE);
}

// All ids of a listing.
std::vector<std::uint64_t> listed(const File& control) {
    std::vector<std::uint64_t> ids;
    auto info = argument_of<stm_info>(STM_BY_NEXT_ID);
    for (; request(control, STM_IOC_INFO, info) == 0; ++info.id) {
        ids.push_back(info.id);
        info.flags = STM_BY_NEXT_ID;
    }
    EXPECT_EQ(request(control, STM_IOC_INFO, info), -ENOENT);
    return ids;
}

TEST_F(Regions, AreListedByTheirIdsWithAndWithoutAName) {
    const File one = open(control, "a");
    ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    const File two = open(control, "a");
    ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    const File three = open(control, "a");
    ASSERT_TRUE(open(control, "unused").ok());
    const std::vector<std::uint64_t> ids = listed(control);
    ASSERT_EQ(ids.size(), 5u) << "with the region `default`";
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    for (const File* file : {&one, &two, &three})
        EXPECT_EQ(std::count(ids.begin(), ids.end(), info_of(*file).id), 1);
    EXPECT_EQ(all_regions(control).size(), 3u) << "by minors only those that have one";
}

TEST_F(Regions, AreListedWhateverTheOrderInWhichTheyComeAndGo) {
    std::mt19937 random(1);
    const std::vector<std::uint64_t> none = listed(control);
    std::map<std::uint64_t, std::pair<std::string, File>> used; // by their ids
    std::set<std::uint64_t> unused;
    for (int step = 0; step < 400; ++step) {
        const std::string name = std::to_string(step);
        switch (random() % 4) {
        case 0:
        case 1: // one that is used
            if (File file = open(control, name); file.ok()) {
                const std::uint64_t id = info_of(file).id;
                used.emplace(id, std::pair(name, std::move(file)));
            }
            break;
        case 2: // a nameless one, or one that is not used
            if (!used.empty()) {
                const auto one = std::next(used.begin(), random() % used.size());
                if (random() % 2 == 0)
                    (void)destroy_name(control, one->second.first, STM_DESTROY_DEFERRED);
                if (random() % 2 == 0)
                    break;
                stm_info info;
                const std::uint64_t id = one->first;
                used.erase(one);
                if (info_by_id(control, id, info) == 0)
                    unused.insert(id);
            }
            break;
        default:
            if (!unused.empty()) {
                EXPECT_EQ(destroy_id(control, *unused.begin()), 0);
                unused.erase(unused.begin());
            }
        }
        std::vector<std::uint64_t> expected(none);
        for (const auto& [id, one] : used)
            expected.push_back(id);
        expected.insert(expected.end(), unused.begin(), unused.end());
        std::sort(expected.begin(), expected.end());
        ASSERT_EQ(listed(control), expected) << "after step " << step;
    }
}

TEST_F(Regions, AreDestroyedByTheirOnlyHandle) {
    File file = open(control, "a");
    File other = open(control, "a");
    EXPECT_EQ(destroy_handle(file), -EBUSY) << "there is another one";
    other.close();
    EXPECT_EQ(destroy_handle(file), 0);
    EXPECT_EQ(open(control, "a", kOpen).error(), -ENOENT);
    EXPECT_EQ(read_string(file, 0, 1), std::string(1, '\0'));
    EXPECT_EQ(version_of(control).bytes, kPage);
    file.close();
    EXPECT_EQ(version_of(control).bytes, 0u);
}

TEST_F(Regions, DefaultIsNeverDestroyed) {
    const File file = open(control, "default", kOpen, {0, 0, 0});
    for (const std::uint32_t how : {0u, unsigned{STM_DESTROY_DEFERRED}}) {
        EXPECT_EQ(destroy_name(control, "default", how), -EBUSY);
        EXPECT_EQ(destroy_handle(control, how), -EBUSY);
        EXPECT_EQ(destroy_handle(file, how), -EBUSY);
        EXPECT_EQ(destroy_id(control, info_of(file).id, how), -EBUSY);
    }
}

TEST_F(Regions, EphemeralGoWithTheirLastUser) {
    File first = open(control, "e", kCreate, {kPage, STM_REGION_PLAIN | STM_REGION_EPHEMERAL});
    File second = open(control, "e");
    File node = File::node(63, kRead);
    EXPECT_EQ(info_of(first).handles, 3u);
    first.close();
    node.close();
    EXPECT_EQ(read_string(second, 0, 1), std::string(1, '\0'));
    second.close();
    EXPECT_EQ(all_regions(control).size(), 1u);
    EXPECT_EQ(version_of(control).bytes, 0u);
    EXPECT_EQ(open(control, "e", kOpen).error(), -ENOENT);
}

TEST_F(Regions, EphemeralMayBeDestroyedBefore) {
    File file = open(control, "e", kCreate, {kPage, STM_REGION_EPHEMERAL});
    EXPECT_EQ(destroy_name(control, "e"), -EBUSY);
    EXPECT_EQ(destroy_name(control, "e", STM_DESTROY_DEFERRED), 0);
    File successor = open(control, "e", kCreate | STM_OPEN_EXCL, {kPage, STM_REGION_EPHEMERAL});
    ASSERT_TRUE(successor.ok());
    file.close();
    EXPECT_EQ(open(control, "e", kOpen).error(), 0) << "the successor is another one";
    successor.close();
}

TEST_F(Regions, LeftAtUnloadAreFreed) {
    for (const char* name : {"a", "b", "c"}) {
        const File file = open(control, name);
        ASSERT_EQ(write(file, 0, name, 1), 1);
    }
}

} // namespace
} // namespace stm::test
