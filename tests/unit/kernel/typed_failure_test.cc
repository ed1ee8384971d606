// SPDX-License-Identifier: GPL-2.0
// The requests for given sets, with each service failing in turn, with callers that say what is not
// true, and with others in the middle of a commit.
#include "tests/unit/kernel/typed_test.hpp"

namespace stm::test {
namespace {

class TypedFailures : public Typed {
protected:
    static long wait_now(const File& of, const Sets& sets) {
        auto argument = argument_of<stm_wait_sets>(0);
        argument.sets = sets.argument();
        return request(of, STM_IOC_WAIT_SETS, argument);
    }
    // Each service that it asks fails once, and then it succeeds.
    template <typename Call>
    void fail_each(Call call, long success) {
        for (std::size_t step = 1;; ++step) {
            const Snapshot before = snapshot(control);
            long result = 0;
            Failure failed{};
            {
                const FailPoint point(step);
                result = call();
                failed = point.happened();
            }
            // An answer that cannot be given changes nothing about a commit.
            if (failed == Failure::none || result == success) {
                EXPECT_EQ(result, success);
                return;
            }
            ASSERT_LT(step, 1000u);
            EXPECT_TRUE(same(before, snapshot(control), Compare::all_but_what_stays)) << step;
            EXPECT_EQ(get(other, 0), 0u) << "step " << step << " leaves something written";
        }
    }
};

TEST_F(TypedFailures, OfACommitLeaveNothing) {
    Sets sets = writing(writing(reading(now(file), 640), 0, 1), 40 * kPage, 1);
    fail_each([&] { return commit_sets(file, sets); }, 0);
    EXPECT_EQ(get(other, 0), 1u);
}

TEST_F(TypedFailures, OfAWaitLeaveNothing) {
    const Sets sets = reading(now(file), 640);
    fail_each([&] { return wait_now(file, sets); }, -ETIMEDOUT);
    EXPECT_EQ(statistics_of(file).waiting, 0u);
}

// It cannot be told from one that has been there, but a lock can.
TEST_F(TypedFailures, ASnapshotOfTheFutureDoesNotPassLocks) {
    bool refused = false;
    for (std::size_t step = 0;; ++step) {
        ASSERT_LT(step, 1000u);
        bool happened = false;
        long result = 0;
        Sets sets = writing(reading(now(file), 0), 128, 1);
        sets.snapshot += 1'000'000;
        {
            const simulated::InterleaveCommit between(step, [&] {
                happened = true;
                std::thread([&] { result = commit_sets(other, sets); }).join();
            });
            put(file, 0, step);
        }
        if (!happened && step != 0)
            break;
        refused = refused || result == -EAGAIN;
    }
    EXPECT_TRUE(refused);
}

} // namespace
} // namespace stm::test
