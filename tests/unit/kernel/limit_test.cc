// SPDX-License-Identifier: GPL-2.0
// Sizes, rights and limits.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>

namespace stm::test {
namespace {

constexpr std::uint64_t kLargest = ~std::uint64_t{0};

// -- Sizes --

class Sizes : public KernelTest {
protected:
    long created(std::uint64_t bytes, std::uint64_t* size = nullptr) {
        stm_open argument = open_argument("s", kCreate | STM_OPEN_EXCL, {bytes});
        const File file = File::at(request(control, STM_IOC_OPEN, argument));
        if (!file.ok())
            return file.error();
        if (size != nullptr)
            *size = argument.region_size;
        EXPECT_EQ(info_of(file).region_size, argument.region_size);
        return destroy_handle(file);
    }
};

TEST_F(Sizes, AreRoundedUpToPages) {
    std::uint64_t size = 0;
    for (const auto& [asked, given] : {std::pair{1ull, kPage},
                                       {kPage - 1, kPage},
                                       {kPage, kPage},
                                       {kPage + 1, 2 * kPage},
                                       {513 * kPage, 513 * kPage}}) {
        EXPECT_EQ(created(asked, &size), 0);
        EXPECT_EQ(size, given);
    }
}

TEST_F(Sizes, BeyondTheLargestAreRefused) {
    EXPECT_EQ(created(settings.max_region_bytes), 0);
    EXPECT_EQ(created(settings.max_region_bytes + 1), -EFBIG);
    for (const std::uint64_t bytes :
         {kLargest, kLargest - 1, kLargest - kPage + 1, kLargest - kPage, kLargest - kPage + 2,
          kLargest / 2 + 1, kLargest / 2}) {
        EXPECT_EQ(created(bytes), -EFBIG) << bytes;
        const File born = File::node(9);
        EXPECT_EQ(set_size(born, bytes), -EFBIG) << bytes;
        EXPECT_EQ(open(control, "minor:9", kOpen, {bytes, 0, 0}).error(), -EFBIG) << bytes;
        EXPECT_EQ(info_of(born).region_size, 0u);
    }
    EXPECT_EQ(version_of(control).bytes, 0u);
}

TEST_F(Sizes, TogetherStayBelowTheSumOfAll) {
    settings.max_bytes = 4 * kPage;
    reload();
    const File three = open(control, "three", kCreate, {3 * kPage});
    ASSERT_TRUE(three.ok());
    EXPECT_EQ(open(control, "two", kCreate, {2 * kPage}).error(), -ENOSPC)
        << "no capability helps here";
    EXPECT_EQ(open(control, "many", kCreate, {5 * kPage}).error(), -ENOSPC);
    EXPECT_TRUE(open(control, "one", kCreate, {kPage}).ok());
    EXPECT_EQ(version_of(control).bytes, 4 * kPage);
    const File born = File::node(9);
    EXPECT_EQ(set_size(born, 1), -ENOSPC);
    EXPECT_EQ(stm_core_size(born.get()), -ENOSPC);
    EXPECT_EQ(destroy_name(control, "one"), 0);
    EXPECT_EQ(set_size(born, 1), 0);
}

TEST_F(Sizes, OfAnExistingRegionWin) {
    const File file = open(control, "a", kCreate, {2 * kPage});
    EXPECT_TRUE(open(control, "a", kCreate, {1}).ok());
    EXPECT_TRUE(open(control, "a", kCreate, {2 * kPage}).ok());
    EXPECT_EQ(open(control, "a", kCreate, {2 * kPage + 1}).error(), -EINVAL);
    EXPECT_EQ(open(control, "a", kCreate, {kLargest}).error(), -EINVAL);
    EXPECT_EQ(info_of(file).handles, 1u);
}

TEST_F(Sizes, AreSetOnce) {
    const File born = File::node(9);
    std::uint64_t now = 0;
    EXPECT_EQ(set_size(born, 0), -EINVAL);
    EXPECT_EQ(set_size(born, kPage + 1, &now), 0);
    EXPECT_EQ(now, 2 * kPage);
    EXPECT_EQ(simulated::identity_size(born.identity()), 2 * kPage);
    EXPECT_EQ(info_of(born).state, unsigned{STM_STATE_SIZED});
    EXPECT_EQ(set_size(born, 1, &now), 0);
    EXPECT_EQ(now, 2 * kPage);
    EXPECT_EQ(set_size(born, 2 * kPage), 0);
    EXPECT_EQ(set_size(born, 2 * kPage + 1), -EBUSY);
    EXPECT_EQ(set_size(born, 0), -EINVAL);
    EXPECT_EQ(version_of(control).bytes, 2 * kPage);
    auto argument = argument_of<stm_set_size>(1);
    argument.region_size = kPage;
    EXPECT_EQ(request(born, STM_IOC_SET_SIZE, argument), -EINVAL) << "unknown flag";
}

TEST_F(Sizes, AreSetByWhoMayWrite) {
    const File writer = File::node(9, kWrite);
    const File reader = File::node(9, kRead);
    EXPECT_EQ(set_size(reader, kPage), -EBADF);
    EXPECT_EQ(set_size(writer, kPage), 0);
    EXPECT_EQ(set_size(reader, kPage), -EBADF);
}

TEST_F(Sizes, OfNodesAreTheDefaultAtFirstUse) {
    const File sized = File::node(1);
    EXPECT_EQ(stm_core_size(sized.get()), static_cast<long long>(settings.default_size));
    const File written = File::node(2);
    EXPECT_EQ(write(written, 0, "x", 1), 1);
    EXPECT_EQ(info_of(written).region_size, settings.default_size);
    const File read_first = File::node(3);
    EXPECT_EQ(read_string(read_first, 0, 1), std::string(1, '\0'));
    EXPECT_EQ(info_of(read_first).region_size, settings.default_size);
    const File mapped = File::node(4);
    EXPECT_EQ(map(mapped, 0, 4, 0), 0);
    EXPECT_EQ(info_of(mapped).region_size, settings.default_size);
    const File untouched = File::node(5);
    EXPECT_EQ(fault(untouched, 0, 0).result, STM_FAULT_OUTSIDE);
    EXPECT_EQ(info_of(untouched).region_size, 0u);
    EXPECT_EQ(version_of(control).bytes, 4 * settings.default_size);
}

TEST_F(Sizes, OfNodesFollowTheDefaultAsItIsThen) {
    const File born = File::node(1);
    settings.default_size = 7 * kPage - 5;
    EXPECT_EQ(stm_core_size(born.get()), 7 * 4096);
    const File other = File::node(2);
    settings.default_size = 0; // an administrator may do this at any time
    EXPECT_EQ(stm_core_size(other.get()), -EINVAL);
    settings.default_size = settings.max_region_bytes + 1;
    EXPECT_EQ(stm_core_size(other.get()), -EFBIG);
}

TEST_F(Sizes, SetMeanwhileAreAsGoodAsTheDefault) {
    for (EachMoment moment; moment.next();) {
        const File born = File::node(9);
        long long size = 0;
        moment.in_the_middle([&] { EXPECT_EQ(set_size(born, kPage), 0); },
                             [&] { size = stm_core_size(born.get()); });
        EXPECT_EQ(size, static_cast<long long>(info_of(born).region_size));
        EXPECT_EQ(destroy_handle(born), 0);
    }
}

TEST_F(Sizes, ThatOpenTellsAreWhatThereIsAndWhatWasAsked) {
    for (const std::uint64_t pages : {1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << pages << " pages meanwhile");
        for (EachMoment moment; moment.next();) {
            const File born = File::node(9);
            stm_open argument = open_argument("minor:9", kOpen, {2 * kPage, 0, 0});
            long result = 0;
            moment.in_the_middle([&] { set_size(born, pages * kPage); },
                                 [&] { result = request(control, STM_IOC_OPEN, argument); });
            const File file = File::at(result);
            const std::uint64_t size = info_of(born).region_size;
            if (file.ok()) {
                EXPECT_GE(size, 2 * kPage);
                EXPECT_EQ(argument.region_size, size);
            } else {
                EXPECT_EQ(result, -EINVAL);
                EXPECT_EQ(size, kPage);
            }
            EXPECT_EQ(info_of(born).handles, file.ok() ? 2u : 1u);
            EXPECT_EQ(version_of(control).bytes, size);
            EXPECT_EQ(destroy_handle(born, STM_DESTROY_DEFERRED), 0);
        }
    }
}

TEST_F(Sizes, ThatSetSizeTellsAreWhatThereIs) {
    for (const std::uint64_t pages : {1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << pages << " pages meanwhile");
        for (EachMoment moment; moment.next();) {
            const File born = File::node(9);
            long result = 0;
            std::uint64_t told = 0;
            moment.in_the_middle([&] { set_size(born, pages * kPage); },
                                 [&] { result = set_size(born, 2 * kPage, &told); });
            const std::uint64_t size = info_of(born).region_size;
            EXPECT_EQ(result, size < 2 * kPage ? -EBUSY : 0);
            if (result == 0) {
                EXPECT_EQ(told, size);
            }
            EXPECT_EQ(destroy_handle(born), 0);
        }
    }
}

// What <stm/ioctl.h> says of @region_size.
TEST_F(Sizes, OfNewRegionsAreTheDefaultWhenNoneIsAsked) {
    stm_open argument = open_argument("a", kCreate, {0});
    const File file = File::at(request(control, STM_IOC_OPEN, argument));
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(argument.region_size, settings.default_size);
    EXPECT_EQ(info_of(file).region_size, settings.default_size);
}

// A size is chosen for good and charged to the owner.
TEST_F(Sizes, AreNotChosenByWhoMayOnlyRead) {
    const File born = File::node(9);
    simulated::change_mode(born.identity(), 0644);
    Process other(50, {1000, 1000, false, false, false});
    {
        const As now(other);
        const File reader =
            open(control, "minor:9", STM_OPEN_READ, {settings.max_region_bytes, 0, 0});
        EXPECT_EQ(reader.error(), -EACCES);
        EXPECT_EQ(info_of(born).region_size, 0u);
    }
}

// -- Rights --

constexpr Credential kAlice{1000, 1000, false, false, false};
constexpr Credential kBob{1001, 1001, false, false, false};
constexpr Credential kCarol{1002, 1000, false, false, false}; // of Alice's group

class Rights : public KernelTest {
protected:
    Process alice{100, kAlice, "alice", 0};
    Process bob{101, kBob, "bob", 0};
    Process carol{102, kCarol, "carol", 0};

    File open_as(Process& who, const char* name, std::uint32_t flags = kOpen,
                 OpenOptions options = {0, 0, 0}) {
        const As now(who);
        return open(control, name, flags, options);
    }
};

TEST_F(Rights, FollowOwnerGroupAndMode) {
    const File file = open_as(alice, "a", kCreate, {kPage, STM_REGION_PLAIN, 0640});
    EXPECT_EQ(info_of(file).uid, 1000u);
    EXPECT_EQ(info_of(file).gid, 1000u);
    EXPECT_EQ(open_as(carol, "a", STM_OPEN_READ).error(), 0);
    EXPECT_EQ(open_as(carol, "a", STM_OPEN_WRITE).error(), -EACCES);
    EXPECT_EQ(open_as(carol, "a").error(), -EACCES);
    EXPECT_EQ(open_as(bob, "a", STM_OPEN_READ).error(), -EACCES);
    EXPECT_EQ(open_as(bob, "a", kCreate, {kPage}).error(), -EACCES);
    EXPECT_EQ(open_as(bob, "a", kCreate | STM_OPEN_EXCL, {kPage}).error(), -EEXIST);
    EXPECT_EQ(open_as(simulated::init_process(), "a").error(), 0);
    {
        const As now(bob);
        EXPECT_EQ(File::node(63, kRead).error(), -EACCES);
        EXPECT_EQ(File::node(63, kReadWrite).error(), -EACCES);
        EXPECT_EQ(open_id(control, info_of(file).id, STM_OPEN_READ).error(), -EACCES);
        stm_info info;
        EXPECT_EQ(info_by_name(control, "a", info), 0) << "anyone may ask";
    }
    simulated::change_mode(file.identity(), 0606);
    EXPECT_EQ(open_as(bob, "a").error(), 0);
    EXPECT_EQ(open_as(carol, "a", STM_OPEN_READ).error(), -EACCES) << "the group has less";
    EXPECT_EQ(info_of(file).mode, 0606u);
}

TEST_F(Rights, OfWhatIsBornByANodeAreTheNodes) {
    const simulated::Node node(1000, 1001, 0640);
    const As now(bob);
    const File born = File::node(5, kReadWrite, node); // Linux has asked the node
    ASSERT_TRUE(born.ok());
    EXPECT_EQ(info_of(born).uid, 1000u);
    EXPECT_EQ(info_of(born).gid, 1001u);
    EXPECT_EQ(info_of(born).mode, 0640u);
    EXPECT_EQ(open(control, "minor:5", STM_OPEN_READ, {0, 0, 0}).error(), 0) << "of the group";
    EXPECT_EQ(open(control, "minor:5", kOpen, {0, 0, 0}).error(), -EACCES);
    EXPECT_TRUE(File::node(5, kReadWrite, node).ok()) << "Linux has asked the node again";
    EXPECT_EQ(destroy_handle(born), -EPERM);
}

TEST_F(Rights, ToDestroyAreTheOwners) {
    open_as(alice, "a", kCreate, {kPage, STM_REGION_PLAIN, 0666}).close();
    {
        const As now(bob);
        EXPECT_EQ(destroy_name(control, "a"), -EPERM);
        EXPECT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), -EPERM);
        const File file = open(control, "a", kOpen, {0, 0, 0});
        EXPECT_EQ(destroy_handle(file), -EPERM);
        EXPECT_EQ(destroy_name(control, "default"), -EPERM);
    }
    const As now(alice);
    EXPECT_EQ(destroy_name(control, "a"), 0);
}

TEST_F(Rights, ToTheDefaultRegionAreAskedAtItsFirstUse) {
    settings.default_mode = 0600;
    reload();
    const As now(bob);
    const File file = File::node(0);
    ASSERT_TRUE(file.ok()) << "it is the control device as well";
    char byte = 0;
    EXPECT_EQ(read(file, 0, &byte, 1), -EACCES);
    EXPECT_EQ(write(file, 0, &byte, 1), -EACCES);
    EXPECT_EQ(map(file, 0, 1, 0), -EACCES);
    EXPECT_EQ(stm_core_size(file.get()), -EACCES);
    EXPECT_EQ(info_of(file).handles, 0u);
    EXPECT_EQ(info_of(file).region_size, 0u);
    EXPECT_EQ(open(control, "default", kOpen, {0, 0, 0}).error(), -EACCES);
}

TEST_F(Rights, ToSetTheSizeOfTheDefaultRegionAreAskedToo) {
    settings.default_mode = 0600;
    reload();
    const As now(bob);
    const File file = File::node(0);
    EXPECT_EQ(set_size(file, kPage), -EACCES);
    EXPECT_EQ(info_of(file).region_size, 0u);
}

// open(2) with the access mode 3 asks for both rights to the node and gives neither: a file for
// ioctl alone. Its handle is a user of the region all the same.
TEST_F(Rights, AreAskedOfAFileThatCanNeitherReadNorWrite) {
    const File file = open_as(alice, "a", kCreate, {kPage, STM_REGION_PLAIN, 0600});
    settings.default_mode = 0600;
    const As now(bob);
    EXPECT_EQ(File::node(63, 0).error(), -EACCES);
    EXPECT_EQ(info_of(file).handles, 1u);
}

TEST_F(Rights, ToTheDefaultRegionAreAskedOfAFileThatCanNeitherReadNorWrite) {
    settings.default_mode = 0600;
    reload();
    const As now(bob);
    const File file = File::node(0, 0);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(stm_core_size(file.get()), -EACCES) << "lseek";
    EXPECT_EQ(info_of(file).handles, 0u);
}

TEST_F(Rights, OfTheDefaultRegionMakeItsHandleAUser) {
    settings.default_size = 2 * kPage;
    const File file = File::node(0);
    EXPECT_EQ(info_of(file).handles, 0u);
    EXPECT_EQ(write(file, 1, "x", 1), 1);
    EXPECT_EQ(info_of(file).handles, 1u);
    EXPECT_EQ(read_string(file, 1, 1), "x");
    EXPECT_EQ(info_of(file).handles, 1u) << "only once";
    EXPECT_EQ(info_of(file).reads, 1u);
    EXPECT_EQ(info_of(file).writes, 1u);
}

// -- Limits of one user --

class Limits : public Rights {
protected:
    void SetUp() override {
        settings.max_user_regions = 3;
        settings.max_user_bytes = 8 * kPage;
        reload();
    }
    File create_as(Process& who, const char* name, std::uint64_t bytes = kPage) {
        return open_as(who, name, kCreate | STM_OPEN_EXCL, {bytes, STM_REGION_PLAIN, 0666});
    }
};

TEST_F(Limits, OfRegionsAreEachUsersOwn) {
    const File a = create_as(alice, "a");
    const File b = create_as(alice, "b");
    const File c = create_as(alice, "c");
    EXPECT_TRUE(c.ok());
    EXPECT_EQ(create_as(alice, "d").error(), -ENOSPC);
    {
        const As now(alice);
        EXPECT_EQ(File::node(9).error(), -ENOSPC);
        EXPECT_TRUE(open(control, "a").ok()) << "opening is free";
    }
    EXPECT_TRUE(create_as(carol, "d").ok()) << "the group does not matter";
    EXPECT_TRUE(create_as(bob, "e").ok());
    EXPECT_TRUE(create_as(simulated::init_process(), "f").ok());
    alice.credential.exceeds_limits = true;
    EXPECT_TRUE(create_as(alice, "g").ok());
}

TEST_F(Limits, OfBytesAreEachUsersOwn) {
    const File six = create_as(alice, "a", 6 * kPage);
    EXPECT_EQ(create_as(alice, "b", 3 * kPage).error(), -ENOSPC);
    EXPECT_EQ(create_as(alice, "b", 9 * kPage).error(), -ENOSPC);
    const File two = create_as(alice, "b", 2 * kPage);
    EXPECT_TRUE(two.ok());
    EXPECT_TRUE(create_as(bob, "c", 8 * kPage).ok());
    const As now(alice);
    const File born = File::node(9);
    ASSERT_TRUE(born.ok());
    EXPECT_EQ(set_size(born, 1), -ENOSPC);
    alice.credential.exceeds_limits = true;
    EXPECT_EQ(set_size(born, 1), 0);
    alice.credential.exceeds_limits = false;
    EXPECT_EQ(open(control, "minor:9", kOpen, {1, 0, 0}).error(), 0);
}

TEST_F(Limits, OfBytesAreFreeAgainWhileOtherRegionsStay) {
    const File small = create_as(alice, "a", kPage);
    ASSERT_TRUE(small.ok());
    for (int round = 0; round < 3; ++round) {
        const As now(alice);
        File large = create_as(alice, "b", 7 * kPage);
        ASSERT_TRUE(large.ok());
        EXPECT_EQ(destroy_handle(large), 0);
    }
}

TEST_F(Limits, CountWhatIsOnlyUnlinked) {
    File a = create_as(alice, "a", 8 * kPage);
    const As now(alice);
    ASSERT_EQ(destroy_handle(a), 0);
    EXPECT_EQ(open(control, "b").error(), -ENOSPC);
    a.close();
    EXPECT_TRUE(open(control, "b").ok());
}

TEST_F(Limits, MayBeLoweredBelowWhatThereIs) {
    const File a = create_as(alice, "a", 6 * kPage);
    const File b = create_as(alice, "b");
    settings.max_user_bytes = kPage;
    settings.max_user_regions = 1;
    settings.max_bytes = kPage;
    EXPECT_EQ(create_as(alice, "c").error(), -ENOSPC);
    EXPECT_EQ(version_of(control).max_user_bytes, kPage);
    EXPECT_EQ(version_of(control).max_user_regions, 1u);
    EXPECT_EQ(version_of(control).max_bytes, kPage);
    EXPECT_EQ(read_string(a, 0, 1), std::string(1, '\0'));
}

TEST_F(Limits, FollowTheCreatorNotTheOwner) {
    const File a = create_as(alice, "a", 8 * kPage);
    simulated::change_owner(a.identity(), 1001, 1001);
    EXPECT_EQ(create_as(alice, "b").error(), -ENOSPC);
    EXPECT_TRUE(create_as(bob, "b", 8 * kPage).ok());
    EXPECT_EQ(info_of(a).uid, 1001u);
}

// The accounts are zero again whichever order things end in: the limits are free, and nothing
// leaks.
TEST_F(Limits, AreFreeAgainAfterEveryOrderOfRelease) {
    std::vector<int> order{0, 1, 2, 3, 4};
    do {
        std::vector<File> files;
        files.push_back(create_as(alice, "a", 3 * kPage));
        files.push_back(create_as(alice, "b", 2 * kPage));
        {
            const As now(alice);
            files.push_back(File::node(9));
            ASSERT_EQ(set_size(files[2], 3 * kPage), 0);
            files.push_back(open(control, "a"));
        }
        files.push_back(create_as(bob, "c", 8 * kPage));
        ASSERT_EQ(create_as(alice, "d").error(), -ENOSPC);
        // Some lose their name first, some their users.
        ASSERT_EQ(destroy_name(control, "a", STM_DESTROY_DEFERRED), 0);
        for (const int which : order)
            files[static_cast<std::size_t>(which)].close();
        for (const char* name : {"b", "minor:9", "c"})
            ASSERT_EQ(destroy_name(control, name), 0);
        ASSERT_EQ(version_of(control).bytes, 0u);
        File all = create_as(alice, "all", 8 * kPage);
        ASSERT_TRUE(all.ok());
        const As now(alice);
        ASSERT_EQ(destroy_handle(all), 0);
    } while (std::next_permutation(order.begin(), order.end()));
}

} // namespace
} // namespace stm::test
