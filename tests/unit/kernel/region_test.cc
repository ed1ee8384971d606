// SPDX-License-Identifier: GPL-2.0
// Regions: their names, nodes and ids, and what is told of them.
#include "tests/unit/kernel/kernel_test.hpp"

namespace stm::test {
namespace {

using Regions = KernelTest;

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
    EXPECT_EQ(error(kCreate, STM_REGION_PLAIN | STM_REGION_DIRECT), -EINVAL);
    EXPECT_EQ(error(kCreate, STM_REGION_MUTEX | STM_REGION_DIRECT), -EINVAL);
    EXPECT_EQ(error(kCreate, 0x20), -EINVAL);
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
    for (EachMoment moment; moment.next();) {
        const File born = File::node(9);
        auto info = argument_of<stm_info>(STM_BY_NAME, "minor:9");
        moment.in_the_middle([&] { EXPECT_EQ(write(born, 0, "x", 1), 1); },
                             [&] { ASSERT_EQ(request(control, STM_IOC_INFO, info), 0); });
        EXPECT_GE(info.region_size, info.resident_bytes);
        EXPECT_EQ((info.state & STM_STATE_SIZED) != 0, info.region_size != 0);
        EXPECT_EQ(destroy_handle(born), 0);
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
