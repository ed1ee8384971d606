// SPDX-License-Identifier: GPL-2.0
// Loading, names, ids, device nodes and the end of regions.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>

namespace stm::test {
namespace {

// -- Loading --

class Loading : public testing::Test {
protected:
    Watch watch;
    stm_settings settings = usual_settings();
};

TEST_F(Loading, EndsWithNothingLeft) {
    const Module module(settings);
    EXPECT_GT(simulated::live().allocations, 0);
}

TEST_F(Loading, RefusesSettingsOutOfTheirRange) {
    const auto refused = [&](auto change) {
        stm_settings bad = usual_settings();
        change(bad);
        return stm_core_init(&bad);
    };
    EXPECT_EQ(refused([](auto& s) { s.max_regions = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_regions = STM_MAX_REGIONS + 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_regions = ~0u; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_size = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_size = s.max_region_bytes + 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_region_bytes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_user_regions = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_user_bytes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_bytes = s.default_size - 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_mode = 01000; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.device_major = 4096; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_region_bytes = kPage - 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_stripes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_stripes = ~0u; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_contexts = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.predicted_pages = 257; }), -EINVAL);
}

#define RANGE(settings, field) stm_core_setting_range(settings, offsetof(stm_settings, field))

TEST_F(Loading, TellsTheRangeOfEachSetting) {
    // Every word of the settings belongs to one that is known, and is valid within its range.
    std::size_t covered = 0;
    for (std::size_t offset = 0; offset < sizeof(stm_settings); offset += sizeof(unsigned)) {
        const stm_setting_range range = stm_core_setting_range(nullptr, offset);
        const stm_setting_range now = stm_core_setting_range(&settings, offset);
        if (range.least > range.most)
            continue;
        ++covered;
        EXPECT_EQ(now.least, range.least) << offset;
        EXPECT_LE(now.most, range.most) << offset;
    }
    EXPECT_EQ(covered, 15u) << "a setting without a range";
    EXPECT_EQ(RANGE(nullptr, max_regions).least, 1u);
    EXPECT_EQ(RANGE(nullptr, max_regions).most, STM_MAX_REGIONS);
    EXPECT_EQ(RANGE(nullptr, predicted_pages).most, 256u);
    EXPECT_EQ(RANGE(nullptr, default_mode).most, 0777u);
    EXPECT_EQ(RANGE(nullptr, default_size).most, ~std::uint64_t{0});
    settings.max_region_bytes = 5 * kPage + 17;
    EXPECT_EQ(RANGE(&settings, default_size).most, 5 * kPage);
    settings.max_bytes = 3 * kPage;
    EXPECT_EQ(RANGE(&settings, default_size).most, 3 * kPage);
}

TEST_F(Loading, AcceptsTheLimitsOfTheRanges) {
    settings.max_regions = 1;
    settings.max_user_regions = 1;
    settings.default_mode = 0777;
    { const Module module(settings); }
    settings.max_regions = STM_MAX_REGIONS;
    settings.default_mode = 0;
    const Module module(settings);
}

TEST_F(Loading, RefusesADefaultSizeThatNoRegionCanTake) {
    settings.default_size = kPage + 1; // two pages
    settings.max_region_bytes = 2 * kPage - 1;
    const int error = stm_core_init(&settings);
    EXPECT_EQ(error, -EINVAL);
    if (error == 0)
        stm_core_exit();
}

TEST_F(Loading, IsRefusedWithoutMemoryAtEachAllocationAndWorksAfterwards) {
    std::size_t points = 0;
    for (std::size_t nth = 1;; ++nth) {
        const FailPoint point(nth);
        const int error = stm_core_init(&settings);
        if (point.happened() == Failure::none) {
            ASSERT_EQ(error, 0);
            stm_core_exit();
            break;
        }
        points = nth;
        EXPECT_EQ(error, simulated::errno_of(point.happened())) << "point " << nth;
        EXPECT_EQ(simulated::describe(simulated::live()), simulated::describe(Live()));
        if (error == 0)
            stm_core_exit();
    }
    std::printf("[  points  ] %-34s %zu\n", "stm_core_init", points);
    EXPECT_GE(points, 7u);
}

class Regions : public KernelTest {};

TEST_F(Regions, BeginWithTheDefaultOne) {
    const auto regions = all_regions(control);
    ASSERT_EQ(regions.size(), 1u);
    EXPECT_STREQ(regions[0].name, "default");
    EXPECT_EQ(regions[0].minor, 0u);
    EXPECT_EQ(regions[0].handles, 0u) << "the control handle is no user";
    EXPECT_EQ(regions[0].mode, 0666u);
    EXPECT_EQ(regions[0].state, 0u);
    EXPECT_EQ(regions[0].creator_pid, 1);
}

// -- Names --

TEST_F(Regions, AreCreatedOnceAndThenOpened) {
    File first = open(control, "a", kCreate, {3 * kPage, STM_REGION_PLAIN, 0640});
    ASSERT_EQ(first.error(), 0);
    File second = open(control, "a");
    ASSERT_EQ(second.error(), 0);
    EXPECT_EQ(info_of(first).id, info_of(second).id);
    EXPECT_EQ(info_of(first).handles, 2u);
    EXPECT_EQ(open(control, "a", kOpen).error(), 0);
    EXPECT_EQ(open(control, "a", kCreate | STM_OPEN_EXCL).error(), -EEXIST);
    EXPECT_EQ(open(control, "b", kOpen).error(), -ENOENT);
    EXPECT_EQ(open(control, "b", kCreate | STM_OPEN_EXCL).error(), 0);
    EXPECT_EQ(open(control, "default", kCreate | STM_OPEN_EXCL).error(), -EEXIST);
}

TEST_F(Regions, AreToldInFullByOpen) {
    stm_open argument = open_argument("a", kCreate | STM_OPEN_CLOEXEC,
                                      {kPage + 1, STM_REGION_PLAIN | STM_REGION_EXEC, 0777});
    const File file = File::at(request(control, STM_IOC_OPEN, argument));
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(argument.region_size, 2 * kPage);
    EXPECT_EQ(argument.minor, 63u);
    EXPECT_EQ(argument.id, info_of(file).id);
    EXPECT_EQ(argument.id, (std::uint64_t{1} << 32) | 63);
    EXPECT_EQ(argument.mode, 0755u) << "the umask is applied";
    EXPECT_STREQ(argument.name, "a");
    const simulated::FileState state = simulated::file_at(file.descriptor());
    EXPECT_EQ(state.name, "a");
    EXPECT_EQ(state.access, kReadWrite);
    EXPECT_TRUE(state.close_on_exec);
    EXPECT_EQ(state.identity, file.identity());
    EXPECT_EQ(simulated::identity_size(state.identity), 2 * kPage);

    stm_open again = open_argument("a", STM_OPEN_READ, {0, 0, 0});
    const File other = File::at(request(control, STM_IOC_OPEN, again));
    EXPECT_EQ(again.region_flags, unsigned{STM_REGION_PLAIN | STM_REGION_EXEC});
    EXPECT_EQ(again.region_size, 2 * kPage);
    EXPECT_FALSE(simulated::file_at(other.descriptor()).close_on_exec);
    EXPECT_EQ(simulated::file_at(other.descriptor()).access, kRead);
}

TEST_F(Regions, AreToldApartByTheirWholeNames) {
    const std::string longest(STM_NAME_SIZE - 1, 'x');
    std::string differs_at_the_end = longest;
    differs_at_the_end.back() = 'y';
    std::vector<File> files;
    for (const std::string& name :
         {longest, differs_at_the_end, std::string(STM_NAME_SIZE - 2, 'x'), std::string("x"),
          std::string("X"), std::string("\xff\x01 /..")}) {
        files.push_back(open(control, name, kCreate | STM_OPEN_EXCL));
        EXPECT_EQ(files.back().error(), 0) << name;
        EXPECT_EQ(info_of(files.back()).name, name);
    }
    EXPECT_EQ(all_regions(control).size(), 1 + files.size());
}

TEST_F(Regions, HaveNamesThatAreNeitherEmptyNorTooLong) {
    EXPECT_EQ(open(control, "").error(), -EINVAL);
    EXPECT_EQ(open(control, std::string(STM_NAME_SIZE, 'x')).error(), -ENAMETOOLONG);
    EXPECT_EQ(open(control, std::string("a\0b", 3)).error(), -EINVAL)
        << "bytes behind the end of the name";
    stm_info info;
    EXPECT_EQ(info_by_name(control, "", info), -EINVAL);
    EXPECT_EQ(info_by_name(control, std::string(STM_NAME_SIZE, 'x'), info), -ENAMETOOLONG);
    EXPECT_EQ(destroy_name(control, ""), -EINVAL);
}

TEST_F(Regions, AreOpenedOnlyWithFlagsThatMakeSense) {
    const auto error = [&](std::uint32_t flags, std::uint32_t kind = STM_REGION_PLAIN,
                           std::uint32_t mode = 0600) {
        return open(control, "a", flags, {kPage, kind, mode}).error();
    };
    EXPECT_EQ(error(STM_OPEN_CREATE), -EINVAL) << "neither READ nor WRITE";
    EXPECT_EQ(error(0), -EINVAL);
    EXPECT_EQ(error(kOpen | STM_OPEN_EXCL), -EINVAL);
    EXPECT_EQ(error(kCreate | STM_OPEN_BY_ID), -EINVAL);
    EXPECT_EQ(error(kCreate | 0x40), -EINVAL);
    EXPECT_EQ(error(kCreate | 0x80000000u), -EINVAL);
    EXPECT_EQ(error(kCreate, STM_REGION_EXEC), -EINVAL);
    EXPECT_EQ(error(kCreate, STM_REGION_PLAIN | STM_REGION_MUTEX), -EINVAL);
    EXPECT_EQ(error(kCreate, 0x10), -EINVAL);
    EXPECT_EQ(error(kCreate, STM_REGION_PLAIN, 01000), -EINVAL);
    EXPECT_EQ(error(kCreate, STM_REGION_PLAIN, ~0u), -EINVAL);
    EXPECT_EQ(all_regions(control).size(), 1u);
    EXPECT_EQ(error(kCreate, 0), 0);
    EXPECT_EQ(error(STM_OPEN_WRITE, 0), 0);
}

TEST_F(Regions, StayWithoutUsersUntilTheyAreDestroyed) {
    open(control, "a").close();
    stm_info info;
    ASSERT_EQ(info_by_name(control, "a", info), 0);
    EXPECT_EQ(info.handles, 0u);
    EXPECT_EQ(destroy_name(control, "a"), 0);
    EXPECT_EQ(info_by_name(control, "a", info), -ENOENT);
}

// -- Device nodes --

TEST_F(Regions, AreBornByOpeningTheirNodeForWriting) {
    EXPECT_EQ(File::node(5, kRead).error(), -ENXIO);
    EXPECT_EQ(File::node(5, 0).error(), -ENXIO);
    EXPECT_EQ(all_regions(control).size(), 1u);
    const File born = File::node(5, kWrite);
    ASSERT_TRUE(born.ok());
    const stm_info info = info_of(born);
    EXPECT_STREQ(info.name, "minor:5");
    EXPECT_EQ(info.minor, 5u);
    EXPECT_EQ(info.region_size, 0u);
    EXPECT_EQ(info.state, 0u);
    EXPECT_EQ(info.region_flags, 0u);
    EXPECT_EQ(info.mode, 0666u) << "the node's; no umask";
    EXPECT_EQ(info.handles, 1u);
    const File reader = File::node(5, kRead);
    EXPECT_EQ(info_of(reader).id, info.id);
    const File by_name = open(control, "minor:5", kOpen, {0, 0, 0});
    EXPECT_EQ(info_of(by_name).id, info.id);
}

TEST_F(Regions, HaveNoNodeBeyondTheLastMinor) {
    EXPECT_EQ(File::node(64).error(), -ENXIO);
    EXPECT_EQ(File::node(~0u).error(), -ENXIO);
    const File last = File::node(63);
    ASSERT_TRUE(last.ok());
    EXPECT_STREQ(info_of(last).name, "minor:63");
}

TEST_F(Regions, AreNotCreatedWithTheNameOfANode) {
    EXPECT_EQ(open(control, "minor:7").error(), -EINVAL);
    EXPECT_EQ(open(control, "minor:").error(), -EINVAL);
    EXPECT_EQ(open(control, "minor:x").error(), -EINVAL);
    EXPECT_EQ(open(control, "minor:7", kOpen).error(), -ENOENT);
    EXPECT_EQ(open(control, "minor").error(), 0);
    EXPECT_EQ(open(control, "Minor:7").error(), 0);
}

TEST_F(Regions, OfNamesTakeTheHighestFreeMinor) {
    const File born = File::node(62);
    const File a = open(control, "a");
    const File b = open(control, "b");
    EXPECT_EQ(info_of(a).minor, 63u);
    EXPECT_EQ(info_of(b).minor, 61u);
    EXPECT_TRUE(File::node(61, kRead).ok());
}

TEST_F(Regions, AreRefusedWhenEveryMinorIsTaken) {
    settings.max_regions = 3;
    reload();
    const File a = open(control, "a");
    const File b = open(control, "b");
    EXPECT_EQ(open(control, "c").error(), -ENOSPC);
    EXPECT_EQ(open(control, "a").error(), 0);
    EXPECT_EQ(destroy_name(control, "b", STM_DESTROY_DEFERRED), 0);
    EXPECT_EQ(open(control, "c").error(), 0) << "the deferred one has given its minor back";
}

TEST_F(Regions, WithOneMinorAreOnlyTheDefaultOne) {
    settings.max_regions = 1;
    reload();
    EXPECT_EQ(open(control, "a").error(), -ENOSPC);
    EXPECT_EQ(File::node(1).error(), -ENXIO);
    EXPECT_TRUE(open(control, "default", kOpen, {0, 0, 0}).ok());
}

// -- Ids --

TEST_F(Regions, AreOpenedByTheirIds) {
    const File file = open(control, "a");
    const std::uint64_t id = info_of(file).id;
    const File again = open_id(control, id);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(info_of(again).handles, 2u);
    EXPECT_EQ(open_id(control, id, kOpen, kPage).error(), 0);
    EXPECT_EQ(open_id(control, id, kOpen, kPage + 1).error(), -EINVAL);
    EXPECT_EQ(open_id(control, id ^ (std::uint64_t{1} << 32)).error(), -ESTALE);
    EXPECT_EQ(open_id(control, id - 1).error(), -ESTALE) << "nothing was ever there";
    EXPECT_EQ(open_id(control, 0x1'ffff'ffff).error(), -ESTALE);
    EXPECT_EQ(open_id(control, ~std::uint64_t{0}).error(), -ESTALE);
    EXPECT_EQ(open_id(control, 0).error(), -ESTALE) << "no generation is 0";
}

TEST_F(Regions, ThatAreGoneLeaveStaleIds) {
    const std::uint64_t id = info_of(open(control, "a")).id;
    ASSERT_EQ(destroy_id(control, id), 0);
    stm_info info;
    EXPECT_EQ(info_by_id(control, id, info), -ESTALE);
    const File successor = open(control, "a");
    EXPECT_EQ(info_of(successor).minor, static_cast<std::uint32_t>(id));
    EXPECT_EQ(info_of(successor).id, id + (std::uint64_t{1} << 32));
    EXPECT_EQ(info_by_id(control, id, info), -ESTALE);
    EXPECT_EQ(open_id(control, id).error(), -ESTALE);
    EXPECT_EQ(destroy_id(control, id), -ESTALE);
    auto list = argument_of<stm_attachments>(STM_BY_ID);
    list.id = id;
    EXPECT_EQ(request(control, STM_IOC_ATTACHMENTS, list), -ESTALE);
}

// -- The end --

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

TEST_F(Regions, AreListedByTheirIdsWithAndWithoutAName) {
    const File one = open(control, "a");
    ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    const File two = open(control, "a");
    ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    const File three = open(control, "a");
    ASSERT_TRUE(open(control, "unused").ok());
    std::vector<std::uint64_t> ids;
    auto info = argument_of<stm_info>(STM_BY_NEXT_ID);
    for (; request(control, STM_IOC_INFO, info) == 0; ++info.id) {
        ids.push_back(info.id);
        info.flags = STM_BY_NEXT_ID;
    }
    EXPECT_EQ(request(control, STM_IOC_INFO, info), -ENOENT);
    ASSERT_EQ(ids.size(), 5u) << "with the region `default`";
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    for (const File* file : {&one, &two, &three})
        EXPECT_EQ(std::count(ids.begin(), ids.end(), info_of(*file).id), 1);
    EXPECT_EQ(all_regions(control).size(), 3u) << "by minors only those that have one";
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

// -- What is told of them --

TEST_F(Regions, TellWhoMadeThemAndWhen) {
    Process maker(77, kRoot, "maker");
    File file;
    {
        const As now(maker);
        file = open(control, "a");
    }
    stm_info info = info_of(file);
    EXPECT_EQ(info.creator_pid, 77);
    EXPECT_GT(info.created_ns, 1'000'000'000'000'000'000u);
    const File later = open(control, "b");
    EXPECT_GT(info_of(later).created_ns, info.created_ns);
    EXPECT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
    file.close();
}

TEST_F(Regions, TellSizesThatGoTogether) {
    for (std::size_t step = 1;; ++step) {
        SCOPED_TRACE(step);
        const File born = File::node(9);
        auto info = argument_of<stm_info>(STM_BY_NAME, "minor:9");
        bool happened = false;
        {
            const Interleave other(step, [&] { EXPECT_EQ(write(born, 0, "x", 1), 1); });
            ASSERT_EQ(request(control, STM_IOC_INFO, info), 0);
            happened = other.happened();
        }
        EXPECT_GE(info.region_size, info.resident_bytes);
        EXPECT_EQ((info.state & STM_STATE_SIZED) != 0, info.region_size != 0);
        EXPECT_EQ(destroy_handle(born), 0);
        if (!happened)
            break;
    }
}

TEST_F(Regions, AreDescribedForFdinfo) {
    const File file = open(control, "a", kCreate, {2 * kPage, STM_REGION_PLAIN});
    stm_info info{};
    stm_core_describe(file.get(), &info);
    EXPECT_STREQ(info.name, "a");
    EXPECT_EQ(info.region_size, 2 * kPage);
    EXPECT_EQ(info.id, info_of(file).id);
}

} // namespace
} // namespace stm::test
