// SPDX-License-Identifier: GPL-2.0
// A doomed transaction whose program cannot be stopped yet: its loads and stores go on, and
// nothing of it is committed.
#include "tests/unit/kernel/two_handles.hpp"

namespace stm::test {
namespace {

class GoOn : public TwoHandles<8> {
protected:
    void SetUp() override { ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0); }

    long go_on() { return stm_core_control(file.get(), STM_IOC_VALIDATE, STM_VALIDATE_GO_ON); }
    // A transaction that has read page 0, which then changed with page 1.
    void doom() {
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(fault(file, 0, 0).result, STM_FAULT_MAP);
        disturb(0, 5);
        disturb(1, 6);
    }
};

TEST_F(GoOn, GivesWhatWasCommittedLast) {
    doom();
    EXPECT_EQ(fault(file, 1, 1).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(go_on(), -EAGAIN);
    const Fault loaded = fault(file, 1, 1);
    ASSERT_EQ(loaded.result, STM_FAULT_MAP);
    EXPECT_EQ(*word(loaded), 6u);
    const Fault untouched = fault(file, 2, 2);
    ASSERT_EQ(untouched.result, STM_FAULT_MAP);
    EXPECT_EQ(*word(untouched), 0u);
    const Fault stored = fault(file, 3, 3, Access::store);
    ASSERT_EQ(stored.result, STM_FAULT_MAP);
    *word(stored) = 9;
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(read_string(other, 3 * kPage, 1), std::string(1, '\0'));
}

TEST_F(GoOn, IsForOneTransaction) {
    doom();
    EXPECT_EQ(go_on(), -EAGAIN);
    EXPECT_EQ(cancel(file), 0);
    ASSERT_EQ(start(file), 1);
    ASSERT_EQ(fault(file, 0, 0).result, STM_FAULT_MAP);
    disturb(0, 7);
    disturb(1, 8);
    EXPECT_EQ(fault(file, 1, 1).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(GoOn, IsNothingForAValidTransaction) {
    EXPECT_EQ(go_on(), -EINVAL);
    ASSERT_EQ(start(file), 1);
    ASSERT_EQ(fault(file, 0, 0).result, STM_FAULT_MAP);
    EXPECT_EQ(go_on(), 0);
    disturb(0, 5);
    disturb(1, 6);
    EXPECT_EQ(fault(file, 1, 1).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_VALIDATE, 2), -EINVAL);
    EXPECT_EQ(cancel(file), 0);
}

} // namespace
} // namespace stm::test
