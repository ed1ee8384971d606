// SPDX-License-Identifier: GPL-2.0
// Regions that are System V segments.
#include "tests/unit/kernel/kernel_test.hpp"

namespace stm::test {
namespace {

constexpr OpenOptions kSegment{5000, STM_REGION_PLAIN | STM_REGION_SEGMENT, 0660};
constexpr Credential kCreator{1000, 100};
constexpr Credential kSameGroup{1001, 100};
constexpr Credential kOther{1002, 200};

class Segments : public KernelTest {
protected:
    Segments() {
        const As creator(creator_);
        segment = open(control, "segment", kCreate, kSegment);
        id = info_of(segment).id;
    }

    void attach() {
        const MmapLock held;
        stm_core_attached(segment.get());
    }
    void detach() {
        const MmapLock held;
        stm_core_detached(segment.get());
    }
    long change(std::uint32_t what, std::uint32_t uid = 0, std::uint32_t gid = 0,
                std::uint32_t mode = 0) {
        auto argument = argument_of<stm_change_segment>(what);
        argument.id = id;
        argument.uid = uid;
        argument.gid = gid;
        argument.mode = mode;
        return request(control, STM_IOC_CHANGE_SEGMENT, argument);
    }
    long open_as(Process& who, std::uint32_t flags) {
        const As caller(who);
        return open_id(control, id, flags).error();
    }

    Process creator_{100, kCreator};
    Process same_group_{101, kSameGroup};
    Process other_{102, kOther};
    Process root_{103, kRoot};
    File segment;
    std::uint64_t id = 0;
};

TEST_F(Segments, KeepWhatTheirCreatorAskedFor) {
    ASSERT_TRUE(segment.ok());
    const stm_info info = info_of(segment);
    EXPECT_EQ(info.segment_bytes, 5000u);
    EXPECT_EQ(info.region_size, 2 * kPage);
    EXPECT_EQ(info.mode, 0660u) << "the umask does not matter";
    EXPECT_EQ(info.creator_uid, 1000u);
    EXPECT_EQ(info.creator_gid, 100u);
    EXPECT_GE(info.changed_ns, info.created_ns);
    EXPECT_EQ(info.attached_ns, 0u);
    EXPECT_EQ(info.detached_ns, 0u);
    EXPECT_EQ(info.last_pid, 0);
}

TEST_F(Segments, OtherRegionsHaveNothingOfIt) {
    const File plain = open(control, "plain");
    const stm_info info = info_of(plain);
    EXPECT_EQ(info.segment_bytes, 0u);
    EXPECT_EQ(info.changed_ns, 0u);
    unsigned allowed = 0;
    ASSERT_EQ(map(plain, 0, 1, STM_MAP_WRITE, &allowed), 0);
    EXPECT_EQ(allowed & STM_MAP_SEGMENT, 0u);
    ASSERT_EQ(map(segment, 0, 1, STM_MAP_WRITE, &allowed), 0);
    EXPECT_EQ(allowed, unsigned{STM_MAP_SEGMENT | STM_MAP_PLAIN | STM_MAP_WRITE});
}

TEST_F(Segments, ArePlainAndNeitherExecutableNorEphemeral) {
    for (const std::uint32_t kind :
         {std::uint32_t{STM_REGION_SEGMENT}, std::uint32_t{STM_REGION_SEGMENT | STM_REGION_MUTEX},
          std::uint32_t{STM_REGION_SEGMENT | STM_REGION_PLAIN | STM_REGION_EXEC},
          std::uint32_t{STM_REGION_SEGMENT | STM_REGION_PLAIN | STM_REGION_EPHEMERAL}})
        EXPECT_EQ(open(control, "new", kCreate, {kPage, kind}).error(), -EINVAL) << kind;
}

TEST_F(Segments, KnowWhenAndByWhomTheyWereAttachedAndDetached) {
    {
        const As caller(same_group_);
        attach();
    }
    stm_info info = info_of(segment);
    EXPECT_NE(info.attached_ns, 0u);
    EXPECT_EQ(info.detached_ns, 0u);
    EXPECT_EQ(info.last_pid, 101);
    {
        const As caller(other_);
        detach();
    }
    info = info_of(segment);
    EXPECT_GE(info.detached_ns, info.attached_ns);
    EXPECT_EQ(info.last_pid, 102);
}

TEST_F(Segments, AreOpenedByTheRulesOfSystemV) {
    ASSERT_EQ(change(STM_SEGMENT_OWNER, 1002, 200, 0640), 0);
    EXPECT_EQ(open_as(other_, kOpen), 0) << "the owner";
    EXPECT_EQ(open_as(creator_, kOpen), 0) << "the creator has the same rights";
    EXPECT_EQ(open_as(same_group_, STM_OPEN_READ), 0) << "in the creator's group";
    EXPECT_EQ(open_as(same_group_, kOpen), -EACCES);
    ASSERT_EQ(change(STM_SEGMENT_OWNER, 1002, 200, 0006), 0);
    EXPECT_EQ(open_as(other_, STM_OPEN_READ), -EACCES) << "the owner has the owner's rights only";
    EXPECT_EQ(open_as(root_, kOpen), 0) << "CAP_IPC_OWNER";
}

TEST_F(Segments, AreChangedByTheirOwnerAndTheirCreator) {
    {
        const As caller(other_);
        EXPECT_EQ(change(STM_SEGMENT_OWNER, 1002, 200, 0666), -EPERM);
        EXPECT_EQ(change(STM_SEGMENT_LOCK), -EPERM);
        EXPECT_EQ(destroy_id(control, id, STM_DESTROY_DEFERRED), -EPERM);
    }
    const std::uint64_t before = info_of(segment).changed_ns;
    {
        const As caller(creator_);
        EXPECT_EQ(change(STM_SEGMENT_OWNER, 1002, 200, 0600), 0);
    }
    const stm_info info = info_of(segment);
    EXPECT_EQ(info.uid, 1002u);
    EXPECT_EQ(info.gid, 200u);
    EXPECT_EQ(info.mode, 0600u);
    EXPECT_EQ(info.creator_uid, 1000u);
    EXPECT_GE(info.changed_ns, before);
    {
        const As caller(creator_);
        EXPECT_EQ(change(STM_SEGMENT_OWNER, 1000, 100, 0600), 0) << "still the creator";
        EXPECT_EQ(change(STM_SEGMENT_OWNER, ~0u, 100, 0600), -EINVAL) << "nobody";
        EXPECT_EQ(change(STM_SEGMENT_LOCK), 0);
    }
    EXPECT_NE(info_of(segment).state & STM_STATE_LOCKED, 0u);
    EXPECT_EQ(change(STM_SEGMENT_UNLOCK), 0);
    EXPECT_EQ(info_of(segment).state & STM_STATE_LOCKED, 0u);
}

TEST_F(Segments, RefuseChangesThatAreNone) {
    EXPECT_EQ(change(0), -EINVAL);
    EXPECT_EQ(change(STM_SEGMENT_LOCK | STM_SEGMENT_UNLOCK), -EINVAL);
    EXPECT_EQ(change(0x8), -EINVAL);
    EXPECT_EQ(change(STM_SEGMENT_OWNER, 0, 0, 01000), -EINVAL);
    const File plain = open(control, "plain");
    id = info_of(plain).id;
    EXPECT_EQ(change(STM_SEGMENT_LOCK), -EINVAL) << "no segment";
    id += std::uint64_t{1} << 32;
    EXPECT_EQ(change(STM_SEGMENT_LOCK), -ESTALE);
}

TEST_F(Segments, CanBeOpenedWithoutTheirNameAsLongAsTheyAreUsed) {
    ASSERT_EQ(destroy_id(control, id, STM_DESTROY_DEFERRED), 0);
    EXPECT_EQ(open(control, "segment", kOpen).error(), -ENOENT);
    File again = open_id(control, id);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(change(STM_SEGMENT_OWNER, 1, 1, 0600), 0);
    segment.close();
    EXPECT_TRUE(open_id(control, id).ok()) << "the other handle uses it";
    again.close();
    EXPECT_EQ(open_id(control, id).error(), -ESTALE);
    EXPECT_EQ(change(STM_SEGMENT_LOCK), -ESTALE);
}

TEST_F(Segments, KeepTheirMinorToTheirEnd) {
    const std::uint32_t minor = info_of(segment).minor;
    ASSERT_EQ(destroy_id(control, id, STM_DESTROY_DEFERRED), 0);
    EXPECT_NE(info_of(open(control, "next", kCreate, kSegment)).minor, minor);
    EXPECT_EQ(File::node(minor).error(), -ENOSPC);
    segment.close();
    EXPECT_EQ(info_of(open(control, "then", kCreate, kSegment)).minor, minor);
}

TEST_F(Segments, GoAtOnceIfNobodyUsesThem) {
    segment.close();
    ASSERT_EQ(destroy_id(control, id, STM_DESTROY_DEFERRED), 0);
    EXPECT_EQ(open_id(control, id).error(), -ESTALE);
    stm_info info{};
    EXPECT_EQ(info_by_id(control, id, info), -ESTALE);
}

// Linux tells of mappings at any time, also in the middle of a request about the segment.
TEST_F(Segments, CanBeAttachedAndDetachedDuringAnyRequest) {
    for (EachMoment moment; moment.next();) {
        stm_info info = argument_of<stm_info>(STM_BY_ID);
        info.id = id;
        long result = -1;
        moment.in_the_middle(
            [&] {
                attach();
                detach();
            },
            [&] { result = request(control, STM_IOC_INFO, info); });
        EXPECT_EQ(result, 0);
    }
}

TEST_F(Segments, DetachRefusesUnknownFlags) {
    auto argument = argument_of<stm_detach_segment>(1);
    EXPECT_EQ(request(control, STM_IOC_DETACH_SEGMENT, argument), -EINVAL);
    argument.flags = 0;
    EXPECT_EQ(request(control, STM_IOC_DETACH_SEGMENT, argument), -EINVAL) << "nothing is there";
}

} // namespace
} // namespace stm::test
